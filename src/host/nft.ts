/** nftables: what is there, read as JSON, and what we put there, as one script a transaction. */
import {
  type ChainChange,
  type Change,
  chainText,
  type RuleChange,
  ruleText,
  type TableChange,
  tableText,
} from './changes.ts';
import { tableName } from './nattable.ts';
import { type BaseChain, markOf } from './plan.ts';
import { findTool, run } from './run.ts';

/** What nft makes. */
type NftChange = TableChange | RuleChange | ChainChange;

export interface NftRule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly handle: number;
  readonly comment?: string;
  readonly expr: readonly NftExpression[];
}

interface NftExpression {
  readonly match?: {
    readonly op: string;
    readonly left: { readonly meta?: { readonly key: string } };
    readonly right: unknown;
  };
  /** A part in the words of iptables, which nft names and can't show. */
  readonly xt?: { readonly name: string };
  readonly counter?: unknown;
}

export interface NftItem {
  readonly chain?: {
    readonly family: string;
    readonly table: string;
    readonly name: string;
    readonly hook?: string;
    readonly type?: string;
    readonly policy?: string;
  };
  readonly rule?: NftRule;
  readonly table?: { readonly family: string; readonly name: string };
}

/** iptables' tables whose accept ends what the user does there to every packet; they are not for filtering. */
const NOT_FOR_FILTERING = ['mangle', 'raw', 'security'];

export const nftPresent = (): boolean => findTool('nft') !== undefined;

const isNft = (change: Change): change is NftChange => ['table', 'rule', 'chain'].includes(change.kind);

export async function ruleset(): Promise<readonly NftItem[]> {
  const said = await run('nft', ['-j', 'list', 'ruleset']);
  return (JSON.parse(said) as { nftables: NftItem[] }).nftables;
}

/** Chains of others that filter what is forwarded and what comes in; none without nft. */
export async function foreignChains(): Promise<readonly BaseChain[]> {
  return nftPresent() ? (await ruleset()).flatMap(foreignChain) : [];
}

/** A chain of somebody else's at a hook that our packets pass, or nothing. */
export function foreignChain(item: NftItem): BaseChain[] {
  const { chain } = item;
  if (chain?.type !== 'filter' || chain.table.startsWith('vswitchd_')) return [];
  if (chain.family !== 'ip' && chain.family !== 'inet') return [];
  if (chain.hook !== 'forward' && chain.hook !== 'input') return [];
  if (chain.family === 'ip' && NOT_FOR_FILTERING.includes(chain.table)) return [];
  return [{ family: chain.family, table: chain.table, chain: chain.name, hook: chain.hook }];
}

/** All chains of the family that iptables-nft has its tables in: `filter FORWARD`. */
export async function chainsOfIp(): Promise<readonly string[]> {
  return (await ruleset()).flatMap(({ chain }) =>
    chain?.family === 'ip' ? [`${chain.table} ${chain.name}`] : [],
  );
}

/** Makes nft's share of the changes in one transaction: either all are there or none. */
export async function addToNft(changes: readonly Change[]): Promise<void> {
  await transact(changes.filter(isNft).flatMap(scriptOf));
}

function scriptOf(change: NftChange): string[] {
  if (change.kind === 'rule') return [ruleText(change)];
  if (change.kind === 'chain') return [chainText(change)]; // one that is there is left as it is
  const table = `${change.family} ${change.name}`;
  // One of taps' chains may shield some already. Another is replaced, in the same transaction.
  if (change.family === 'netdev') return [`add table ${table}`];
  return [`add table ${table}`, `delete table ${table}`, tableText(change)];
}

/** Takes back nft's share of the changes, as far as they are still there: twice does no harm. */
export async function removeFromNft(changes: readonly Change[]): Promise<void> {
  const ours = changes.filter(isNft);
  if (ours.length === 0 || !nftPresent()) return;
  const items = await ruleset();
  const doomed = (item: NftItem): string[] =>
    ours.some(change => isIt(change, item)) ? [removal(item)] : [];
  // Chains before tables: one that goes with its table can't be named any more.
  await transact([
    ...items.filter(item => item.table === undefined).flatMap(doomed),
    ...items.filter(item => item.table !== undefined).flatMap(doomed),
  ]);
}

function isIt(change: NftChange, { table, chain, rule }: NftItem): boolean {
  if (change.kind === 'table')
    return (table?.family === change.family && table.name === change.name) || goesWith(change, rule);
  if (change.kind === 'chain')
    return chain?.family === 'netdev' && chain.table === change.table && chain.name === change.name;
  return rule !== undefined && isRule(change, rule);
}

/** Rules that were put first again while the switch ran are in no journal; they go with its table. */
const goesWith = ({ name }: TableChange, rule: NftRule | undefined): boolean =>
  rule?.comment?.startsWith(markOf('')) === true && tableName(rule.comment.slice(markOf('').length)) === name;

/** By its comment; or, when iptables-restore has loaded it again and nft can't read the comment, by all the rest. */
function isRule(change: RuleChange, rule: NftRule): boolean {
  if (rule.comment !== undefined) return rule.comment === change.comment;
  const { family, table, chain } = change;
  if (rule.family !== family || rule.table !== table || rule.chain !== chain) return false;
  if (!rule.expr.some(part => part.xt?.name === 'comment')) return false;
  const rest = wordsOf(rule);
  const wanted = Object.entries(change.match);
  return (
    rest.length === wanted.length + 1 &&
    wanted.every(([key, value], at) => isMatch(rest[at], key, value)) &&
    'accept' in (rest.at(-1) as object)
  );
}

/** A rule's parts but for its remark and its counter. */
export const wordsOf = ({ expr }: NftRule): readonly NftExpression[] =>
  expr.filter(part => part.xt?.name !== 'comment' && part.counter === undefined);

const isMatch = (part: NftExpression | undefined, key: string, value: string): boolean =>
  part?.match?.op === '==' && part.match.left.meta?.key === key && part.match.right === value;

function removal({ table, chain, rule }: NftItem): string {
  if (rule !== undefined)
    return `delete rule ${rule.family} ${rule.table} ${rule.chain} handle ${rule.handle}`;
  if (chain !== undefined) return `delete chain ${chain.family} ${chain.table} ${chain.name}`;
  return `delete table ${table?.family} ${table?.name}`;
}

/** Runs lines of nft's in one transaction. */
export async function transact(lines: readonly string[]): Promise<void> {
  if (lines.length > 0) await run('nft', ['-f', '-'], { input: lines.map(line => `${line}\n`).join('') });
}
