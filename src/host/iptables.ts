/**
 * iptables, in both its variants: what is there, and our rules put in and taken out. Looking makes nothing: to list a table
 * is to make it in the legacy variant, so only those are listed that the kernel says are there.
 */
import { readFileSync } from 'node:fs';
import type { Change, IptablesChange, XtableChange } from './changes.ts';
import { chainsOfIp, nftPresent } from './nft.ts';
import type { Xtables } from './plan.ts';
import { exitStatus, findTool, run } from './run.ts';

type Variant = 'nft' | 'legacy';

/** What iptables ends with when there is no such rule. */
const NO_SUCH_RULE = 1;
/** As often a rule of the same words is looked for, should somebody have loaded it twice. */
const MAX_SAME = 16;

/** Do the host's rules, as a save shows them, hold or drop anything in what filters? Ours are none of the host's. */
const FILTERS = /^(:(INPUT|FORWARD) DROP|-A (INPUT|FORWARD) )/;

const isIptables = (change: Change): change is IptablesChange => change.kind === 'iptables';
const isXtable = (change: Change): change is XtableChange => change.kind === 'xtable';

/** The variant that `iptables` stands for here; undefined where there is none. */
export async function usualVariant(): Promise<Variant | undefined> {
  if (findTool('iptables') === undefined) return undefined;
  return (await run('iptables', ['--version'])).includes('nf_tables') ? 'nft' : 'legacy';
}

/** The program of a variant; before there were two, it had the plain name. */
async function toolOf(variant: Variant): Promise<string | undefined> {
  if (findTool(`iptables-${variant}-restore`) !== undefined) return `iptables-${variant}`;
  return (await usualVariant()) === variant ? 'iptables' : undefined;
}

/** What a variant holds; undefined where it is not installed. `ours`: what a killed instance made is not the host's. */
export async function readXtables(variant: Variant, ours: readonly Change[]): Promise<Xtables | undefined> {
  const tool = await toolOf(variant);
  if (tool === undefined) return undefined;
  const saved = new Map<string, string[]>();
  for (const table of variant === 'legacy' ? legacyTables() : [undefined]) {
    const only = table === undefined ? [] : ['-t', table];
    for (const [name, lines] of tablesOf(await run(`${tool}-save`, only))) saved.set(name, lines);
  }
  return {
    tool,
    lasting: variant === 'legacy',
    filters: (saved.get('filter') ?? []).some(line => FILTERS.test(line) && !line.includes('vswitchd:')),
    ...(await hooksOf(variant, [...saved.keys()], ours.filter(isXtable))),
  };
}

/**
 * The tables and chains that were there before us. iptables-nft makes each for the first rule in it, and shows all chains of
 * a table whether they are there or not: nft tells. Without nft nobody can see the difference.
 */
async function hooksOf(
  variant: Variant,
  tables: readonly string[],
  made: readonly XtableChange[],
): Promise<Pick<Xtables, 'tables' | 'hasChain'>> {
  const there = variant === 'nft' && nftPresent() ? await chainsOfIp() : undefined;
  const ours = made.flatMap(({ table, chains }) => chains.map(chain => `${table} ${chain}`));
  return {
    tables: tables.filter(table => !made.some(change => change.whole && change.table === table)),
    hasChain: (table, chain) =>
      (there === undefined || there.includes(`${table} ${chain}`)) && !ours.includes(`${table} ${chain}`),
  };
}

/** The tables that legacy iptables has in this namespace. */
export function legacyTables(): string[] {
  try {
    return readFileSync('/proc/net/ip_tables_names', 'utf8').split('\n').filter(Boolean);
  } catch {
    return []; // this kernel has none
  }
}

/** The lines of each table in what a save says. */
function tablesOf(text: string): Map<string, string[]> {
  const tables = new Map<string, string[]>();
  let lines: string[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      lines = [];
      tables.set(line.slice(1), lines);
    } else lines.push(line);
  }
  return tables;
}

/** Puts each rule first in its chain, one after another: a table's all at once. */
export async function addToIptables(changes: readonly Change[]): Promise<void> {
  const rules = changes.filter(isIptables);
  for (const tool of new Set(rules.map(rule => rule.tool))) {
    const own = rules.filter(rule => rule.tool === tool);
    const input = [...new Set(own.map(rule => rule.table))].map(table => {
      const lines = own.filter(rule => rule.table === table).map(rule => `-I ${rule.chain} ${rule.words}\n`);
      return `*${table}\n${lines.join('')}COMMIT\n`;
    });
    await run(`${tool}-restore`, ['-w', '-n'], { input: input.join('') });
  }
}

/** Takes rules out as far as they are there, and then what was made for them, where nothing else is in it. */
export async function removeFromIptables(changes: readonly Change[]): Promise<void> {
  for (const rule of changes.filter(isIptables)) await removeRule(rule);
  for (const change of changes.filter(isXtable)) await removeTable(change);
}

async function removeRule({ tool, table, chain, words }: IptablesChange): Promise<void> {
  if (findTool(tool) === undefined) return;
  if (tool === 'iptables-legacy' && !legacyTables().includes(table)) return;
  for (let tries = 0; tries < MAX_SAME; tries++) {
    try {
      await run(tool, ['-w', '-t', table, '-D', chain, ...words.split(' ')]);
    } catch (error) {
      if (exitStatus(error) !== NO_SUCH_RULE) throw error;
      return;
    }
  }
}

async function removeTable({ tool, table, chains, whole }: XtableChange): Promise<void> {
  for (const chain of chains) {
    try {
      const rules = await run(tool, ['-w', '-t', table, '-S', chain]);
      // A policy that somebody has set is as good as a rule of his.
      if (rules.trim() === `-P ${chain} ACCEPT`) await run(tool, ['-w', '-t', table, '-X', chain]);
    } catch {
      // it went meanwhile, or somebody uses it
    }
  }
  if (!whole || !nftPresent()) return;
  const left = (await chainsOfIp()).some(chain => chain.startsWith(`${table} `));
  if (!left) await run('nft', ['delete', 'table', 'ip', table]).catch(() => undefined); // somebody was faster
}
