/** What a guest's port may flood to the others in a second, and how many addresses it may bring. */
import { Refusal } from './schema.ts';

/** Frames a second, `macs` in addresses; what is not there has no limit. */
export interface StormLimit {
  readonly broadcast?: number;
  readonly multicast?: number;
  /** Unicast to addresses that nobody is known to have. */
  readonly unknown?: number;
  /** New addresses to be learnt. */
  readonly macs?: number;
}

const KINDS = ['broadcast', 'multicast', 'unknown', 'macs'] as const;
const MAX = 10_000_000;
export const STORM_LIMIT =
  'expected broadcast=, multicast=, unknown= or macs=, each once, with a number a second from 1 to 10000000, such as broadcast=1000,unknown=1000';

export function parseStormLimit(value: string): StormLimit | Refusal {
  const limit: { -readonly [kind in keyof StormLimit]: number } = {};
  for (const item of value.split(',')) {
    const [, word, digits] = /^([a-z]+)=(\d{1,8})$/.exec(item.trim()) ?? [];
    const kind = KINDS.find(each => each === word);
    const perS = Number(digits);
    if (kind === undefined || limit[kind] !== undefined || perS < 1 || perS > MAX)
      return new Refusal(STORM_LIMIT);
    limit[kind] = perS;
  }
  return limit;
}
