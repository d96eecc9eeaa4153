/** nftables: what is there, read as JSON, and what we put there, as one script a transaction. */
import { readFileSync, writeFileSync } from 'node:fs';
import {
  type Change,
  type RuleChange,
  ruleText,
  type SysctlChange,
  type TableChange,
  tableText,
} from './changes.ts';
import type { BaseChain, Present } from './plan.ts';
import { findTool, run } from './run.ts';

interface NftItem {
  readonly chain?: {
    readonly family: string;
    readonly table: string;
    readonly name: string;
    readonly hook?: string;
    readonly type?: string;
  };
  readonly rule?: {
    readonly family: string;
    readonly table: string;
    readonly chain: string;
    readonly handle: number;
    readonly comment?: string;
  };
  readonly table?: { readonly family: string; readonly name: string };
}

export const nftPresent = (): boolean => findTool('nft') !== undefined;

async function ruleset(): Promise<readonly NftItem[]> {
  const said = await run('nft', ['-j', 'list', 'ruleset']);
  return (JSON.parse(said) as { nftables: NftItem[] }).nftables;
}

/** What the plan must know of the host. Without nft there are no chains to look at. */
export async function readPresent(): Promise<Present> {
  const items = nftPresent() ? await ruleset() : [];
  return { chains: items.flatMap(foreignChain), sysctl: readSysctl };
}

function foreignChain(item: NftItem): BaseChain[] {
  const { chain } = item;
  if (chain?.type !== 'filter' || chain.table.startsWith('vswitchd_')) return [];
  if (chain.family !== 'ip' && chain.family !== 'inet') return [];
  if (chain.hook !== 'forward' && chain.hook !== 'input') return [];
  return [{ family: chain.family, table: chain.table, chain: chain.name, hook: chain.hook }];
}

const sysctlPath = (key: string): string => `/proc/sys/${key}`;

/** A kernel setting, undefined where this kernel or namespace has none of that name. */
export function readSysctl(key: string): string | undefined {
  try {
    return readFileSync(sysctlPath(key), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** Makes changes, all of nft's in one transaction: either all are there or none. */
export async function make(changes: readonly Change[]): Promise<void> {
  for (const change of changes)
    if (change.kind === 'sysctl') writeFileSync(sysctlPath(change.key), change.value);
  const script = changes.flatMap(change => {
    if (change.kind === 'rule') return [`${ruleText(change)}\n`];
    // Added and deleted first: a table that is there already is replaced, in the same transaction.
    return change.kind === 'table'
      ? [
          `add table ${change.family} ${change.name}\ndelete table ${change.family} ${change.name}\n${tableText(change)}`,
        ]
      : [];
  });
  if (script.length > 0) await nft(script.join(''));
}

export const nft = (script: string): Promise<string> => run('nft', ['-f', '-'], { input: script });

/** Takes changes back as far as they are still there. Rules are found by their comment, so twice does no harm. */
export async function takeBack(changes: readonly Change[]): Promise<void> {
  for (const change of [...changes].reverse()) {
    if (change.kind === 'sysctl') restore(change);
    // The interface may be gone, and its filter with it.
    if (change.kind === 'tc')
      await run('tc', ['qdisc', 'delete', 'dev', change.interface, 'clsact']).catch(() => undefined);
  }
  const ours = changes.filter(change => change.kind === 'table' || change.kind === 'rule');
  if (ours.length === 0 || !nftPresent()) return;
  const items = await ruleset();
  const script = [...tablesLeft(ours, items), ...rulesLeft(ours, items)];
  if (script.length > 0) await nft(script.map(line => `${line}\n`).join(''));
}

/** Puts a setting back, unless somebody has changed it since. */
function restore(change: SysctlChange): void {
  if (readSysctl(change.key) === change.value) writeFileSync(sysctlPath(change.key), change.before);
}

function tablesLeft(changes: readonly Change[], items: readonly NftItem[]): string[] {
  const wanted = changes.filter((change): change is TableChange => change.kind === 'table');
  return items.flatMap(({ table }) =>
    table !== undefined && wanted.some(change => change.family === table.family && change.name === table.name)
      ? [`delete table ${table.family} ${table.name}`]
      : [],
  );
}

function rulesLeft(changes: readonly Change[], items: readonly NftItem[]): string[] {
  const comments = new Set(
    changes.filter((change): change is RuleChange => change.kind === 'rule').map(change => change.comment),
  );
  return items.flatMap(({ rule }) =>
    rule?.comment !== undefined && comments.has(rule.comment)
      ? [`delete rule ${rule.family} ${rule.table} ${rule.chain} handle ${rule.handle}`]
      : [],
  );
}
