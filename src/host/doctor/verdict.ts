/**
 * What a firewall's chain does to a packet for certain. Rules that ask for more than is known of the packet (a port, a
 * state, an address) are passed over: they may let something through, and they don't decide over the rest.
 */
import type { NftItem, NftRule } from '../nft.ts';

/** What is known of a packet, by nft's names; a rule that asks for another is passed over. */
export type Packet = Readonly<
  Partial<Record<'iifname' | 'oifname' | 'l4proto' | 'nfproto' | 'protocol', string>>
>;

export interface ChainName {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
}

type End = 'accept' | 'drop';

/** Jumps deeper than the kernel allows are a loop in what we were told. */
const MAX_JUMPS = 16;

/** A base chain's verdict: a rule's, or its policy. */
export function verdictOf(ruleset: readonly NftItem[], base: ChainName, packet: Packet): End {
  const policy = ruleset.find(({ chain }) => chain?.name === base.chain && isIn(base, chain))?.chain?.policy;
  return walk(ruleset, base, packet, 0) ?? (policy === 'drop' ? 'drop' : 'accept');
}

const isIn = (where: ChainName, item: { readonly family: string; readonly table: string }): boolean =>
  item.family === where.family && item.table === where.table;

function walk(ruleset: readonly NftItem[], where: ChainName, packet: Packet, jumps: number): End | undefined {
  if (jumps > MAX_JUMPS) return undefined;
  for (const { rule } of ruleset) {
    if (rule === undefined || rule.chain !== where.chain || !isIn(where, rule)) continue;
    const effect = effectOf(rule, packet);
    if (effect === 'accept' || effect === 'drop') return effect;
    if (effect === 'return') return undefined;
    if (effect === undefined) continue;
    const there = walk(ruleset, { ...where, chain: effect.target }, packet, jumps + 1);
    if (there !== undefined || effect.goes) return there;
  }
  return undefined;
}

interface Jump {
  readonly target: string;
  /** It does not come back. */
  readonly goes: boolean;
}

type Part = Readonly<Record<string, unknown>>;

/** What a rule does to the packet; undefined: nothing, or nothing that is certain. */
function effectOf(rule: NftRule, packet: Packet): End | 'return' | Jump | undefined {
  for (const part of rule.expr as readonly Part[]) {
    if ('accept' in part) return 'accept';
    if ('drop' in part || 'reject' in part || isReject(part)) return 'drop';
    if ('return' in part) return 'return';
    if ('jump' in part) return { target: targetOf(part.jump), goes: false };
    if ('goto' in part) return { target: targetOf(part.goto), goes: true };
    if (!isIdle(part) && !matches(part.match, packet)) return undefined;
  }
  return undefined;
}

const targetOf = (jump: unknown): string => (jump as { target: string }).target;

const isXt = (part: Part, name: string): boolean => (part.xt as { name?: string } | undefined)?.name === name;

const isReject = (part: Part): boolean => isXt(part, 'REJECT');

/** It counts or remarks, and lets every packet go on. */
const isIdle = (part: Part): boolean =>
  'counter' in part || 'log' in part || isXt(part, 'comment') || isXt(part, 'LOG');

interface Match {
  readonly op: string;
  readonly left: { readonly meta?: { readonly key: string }; readonly payload?: { readonly field?: string } };
  readonly right: unknown;
}

function matches(match: unknown, packet: Packet): boolean {
  if (match === undefined) return false;
  const { op, left, right } = match as Match;
  const key = left.meta?.key ?? left.payload?.field ?? '';
  const value = packet[key as keyof Packet];
  if (value === undefined) return false;
  const wanted = typeof right === 'object' ? (right as { set?: unknown[] }).set : [right];
  if (wanted === undefined || wanted.some(one => typeof one === 'object')) return false; // a prefix, a range, a named set
  const is = wanted.some(one => fits(String(one), value));
  return op === '!=' ? !is : (op === '==' || op === 'in') && is;
}

const fits = (wanted: string, value: string): boolean =>
  wanted.endsWith('*') ? value.startsWith(wanted.slice(0, -1)) : wanted === value;
