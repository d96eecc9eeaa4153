/**
 * The forwarding database: VLAN and MAC to port, with age (IEEE 802.1D §7.9). Open addressing over shared memory: an entry
 * is four words side by side, so that a look-up is one cache line as a rule; half of the slots at most are in use, so that
 * probes stay short; the hash is secret, so that a guest can't aim at one chain. Full means that no more is learnt, not
 * that forwarding stops.
 *
 *   entry  │ key: VLAN << 16 | first two octets │ key: last four octets │ port + 1, 0: free │ last seen, seconds │
 */
import { multiplier, shiftFor, spread } from '../wire/hash.ts';
import { MAX_PORTS } from './batch.ts';
import { MAC_NEWS_WORDS, MacNews, NOWHERE, tellMac } from './macnews.ts';

const spreadOver = spread; // an import that each row needs

const NO_LIMIT = 0x7fff_ffff;

const WORDS = 4;
const KEY_HI = 0;
const KEY_LO = 1;
const PORT = 2;
const SEEN = 3;
/**
 * Before the entries, in a cache line of their own: how many there are, and how many frames found the table full. Then the
 * ring of what was learnt (macnews.ts).
 */
const NEWS_AT = 16;
const HEADER_WORDS = NEWS_AT + MAC_NEWS_WORDS;
const COUNT = 0;
const UNLEARNT = 1;
/** Slots looked at for age at each tick (100 ms), at the least; the whole of the default table in 13 s, at a few µs a tick. */
const SWEEP = 1024;
/** Ticks in which larger tables are gone over, too; half as many more where all of a full one is removed. */
const SWEEP_TICKS = 128;

export interface FdbEntry {
  readonly vlan: number;
  readonly hi: number;
  readonly lo: number;
  readonly port: number;
  readonly seenS: number;
}

const slotsFor = (maxEntries: number): number => 1 << Math.ceil(Math.log2(Math.max(maxEntries, 4) * 2));

const newsIn = (memory: SharedArrayBuffer): Int32Array => new Int32Array(memory, NEWS_AT * 4, MAC_NEWS_WORDS);

/** Memory for `maxEntries` entries. */
export const fdbMemory = (maxEntries: number): SharedArrayBuffer =>
  new SharedArrayBuffer((HEADER_WORDS + slotsFor(maxEntries) * WORDS) * 4);

/** Forgets all addresses, of a data plane that is no more. What was told of them stays. */
export function clearFdb(memory: SharedArrayBuffer): void {
  const words = new Int32Array(memory);
  words.fill(0, HEADER_WORDS);
  words[COUNT] = 0;
}

export class Fdb {
  /** Addresses that stand at each port, and how many may. */
  readonly portSizes = new Int32Array(MAX_PORTS);
  readonly portLimits = new Int32Array(MAX_PORTS).fill(NO_LIMIT);
  readonly #words: Int32Array;
  readonly #news: Int32Array;
  readonly #slotMask: number;
  #sweepAt = 0;

  // Closures, for what they share is then a constant to the compiler. A home is where an address stands as a rule.

  readonly home: (key: number, lo: number) => number;
  /** The port behind an address that stands in its home; -1: `lookup` knows. */
  readonly lookupHome: (home: number, key: number, lo: number) => number;
  /** Does the address stand in its home with this port and time? If not, `learn` it. */
  readonly isFresh: (home: number, key: number, lo: number, port: number, nowS: number) => boolean;
  /** The port behind an address, or -1. `key` is VLAN << 16 | the first two octets, `lo` the last four. */
  readonly lookup: (key: number, lo: number) => number;
  /** Where an address stands, or the complement of where it would. */
  readonly #place: (key: number, lo: number) => number;

  constructor(
    memory: SharedArrayBuffer,
    readonly maxEntries: number,
    readonly ageingS: number,
    seed: number,
  ) {
    const words = new Int32Array(memory);
    const slotMask = (words.length - HEADER_WORDS) / WORDS - 1;
    const shift = shiftFor(slotMask + 1);
    const [forLo, forKey] = [multiplier(seed, 0), multiplier(seed, 1)];
    this.#words = words;
    this.#news = newsIn(memory);
    this.#slotMask = slotMask;
    const last = words.length - WORDS;
    const home = (key: number, lo: number): number =>
      HEADER_WORDS + spreadOver(Math.imul(lo, forLo) ^ Math.imul(key, forKey), shift) * WORDS;
    this.home = home;
    this.lookupHome = (home, key, lo) =>
      // A free slot has port 0, so that it gives -1 whatever key is left there.
      words[home + KEY_LO] === lo && words[home + KEY_HI] === key ? (words[home + PORT] as number) - 1 : -1;
    this.isFresh = (home, key, lo, port, nowS) =>
      words[home + KEY_LO] === lo &&
      words[home + KEY_HI] === key &&
      words[home + PORT] === port + 1 &&
      words[home + SEEN] === nowS;
    const place = (key: number, lo: number): number => {
      for (let at = home(key, lo); ; at = at === last ? HEADER_WORDS : at + WORDS) {
        if (words[at + PORT] === 0) return ~at;
        if (words[at + KEY_LO] === lo && words[at + KEY_HI] === key) return at;
      }
    };
    this.#place = place;
    this.lookup = (key, lo) => {
      const at = place(key, lo);
      return at < 0 ? -1 : (words[at + PORT] as number) - 1;
    };
  }

  get size(): number {
    return this.#words[COUNT] as number;
  }

  /** Has the port as many addresses as it may? */
  isFull(port: number): boolean {
    return (this.portSizes[port] as number) >= (this.portLimits[port] as number);
  }

  /** Learns or refreshes; false when the address is new at the port, and the port or the table is full. */
  learn(key: number, lo: number, port: number, nowS: number): boolean {
    const words = this.#words;
    const found = this.#place(key, lo);
    if (found >= 0) {
      // A shared cache line is written only when there is news: the control thread may be reading.
      const before = words[found + PORT] as number;
      if (before !== port + 1) {
        if (this.isFull(port)) return false;
        this.#count(before - 1, -1);
        this.#count(port, 1);
        words[found + PORT] = port + 1;
        tellMac(this.#news, key, lo, port, before - 1);
      }
      if (words[found + SEEN] !== nowS) words[found + SEEN] = nowS;
      return true;
    }
    if (this.isFull(port)) return false;
    if ((words[COUNT] as number) >= this.maxEntries) {
      words[UNLEARNT] = (words[UNLEARNT] as number) + 1;
      return false;
    }
    const free = ~found;
    words[free + KEY_HI] = key;
    words[free + KEY_LO] = lo;
    words[free + SEEN] = nowS;
    words[free + PORT] = port + 1;
    words[COUNT] = (words[COUNT] as number) + 1;
    this.#count(port, 1);
    tellMac(this.#news, key, lo, port, NOWHERE);
    return true;
  }

  /** Forgets all that was learnt on a port. */
  flush(port: number): void {
    for (let slot = 0; slot <= this.#slotMask; ) {
      if (this.#words[HEADER_WORDS + slot * WORDS + PORT] === port + 1) this.#remove(slot);
      else slot++; // a removal moves another entry here: look again
    }
    // An entry that wrapped around from the last slots to the first may have been moved behind the walk.
    for (let slot = this.#slotMask; this.#words[HEADER_WORDS + slot * WORDS + PORT] !== 0 && slot > 0; slot--)
      if (this.#words[HEADER_WORDS + slot * WORDS + PORT] === port + 1) this.#remove(slot);
  }

  /** Removes what has not been seen for the ageing time, a part of the table at each call. */
  sweep(nowS: number): void {
    const oldest = nowS - this.ageingS;
    const slots = this.#slotMask + 1;
    const steps = Math.min(slots, Math.max(SWEEP, slots / SWEEP_TICKS));
    for (let step = 0; step < steps; step++) {
      const at = HEADER_WORDS + this.#sweepAt * WORDS;
      if (this.#words[at + PORT] !== 0 && (this.#words[at + SEEN] as number) <= oldest)
        this.#remove(this.#sweepAt);
      else this.#sweepAt = (this.#sweepAt + 1) & this.#slotMask;
    }
  }

  /** Empties a slot and closes the gap: entries behind it that would be past their home's chain move up. */
  #remove(slot: number): void {
    const words = this.#words;
    const mask = this.#slotMask;
    this.#count((words[HEADER_WORDS + slot * WORDS + PORT] as number) - 1, -1);
    let gap = slot;
    for (let next = (slot + 1) & mask; ; next = (next + 1) & mask) {
      const from = HEADER_WORDS + next * WORDS;
      if (words[from + PORT] === 0) break;
      const home = this.#home(words[from + KEY_HI] as number, words[from + KEY_LO] as number);
      if (((next - home) & mask) < ((next - gap) & mask)) continue;
      words.copyWithin(HEADER_WORDS + gap * WORDS, from, from + WORDS);
      gap = next;
    }
    words[HEADER_WORDS + gap * WORDS + PORT] = 0;
    words[COUNT] = (words[COUNT] as number) - 1;
  }

  #count(port: number, change: number): void {
    this.portSizes[port] = (this.portSizes[port] as number) + change;
  }

  /** The slot of an address's home. */
  #home(key: number, lo: number): number {
    return (this.home(key, lo) - HEADER_WORDS) / WORDS;
  }
}

/** What is learnt, and who moves; one reader at a time. */
export const newsOf = (memory: SharedArrayBuffer): MacNews => new MacNews(newsIn(memory));

/**
 * How many addresses are known, and how many frames came from one that was not learnt as the table was full (modulo 2^32;
 * they were forwarded all the same).
 */
export function countEntries(memory: SharedArrayBuffer): { size: number; unlearnt: number } {
  const words = new Int32Array(memory);
  return { size: words[COUNT] as number, unlearnt: (words[UNLEARNT] as number) >>> 0 };
}

/** All entries, for people; a table that changes meanwhile gives each entry as it was at some moment. */
export function listEntries(memory: SharedArrayBuffer): FdbEntry[] {
  const words = new Int32Array(memory);
  const found: FdbEntry[] = [];
  for (let at = HEADER_WORDS; at < words.length; at += WORDS) {
    const port = words[at + PORT] as number;
    if (port === 0) continue;
    const key = words[at + KEY_HI] as number;
    found.push({
      vlan: (key >> 16) & 0xfff,
      hi: key & 0xffff,
      lo: words[at + KEY_LO] as number,
      port: port - 1,
      seenS: words[at + SEEN] as number,
    });
  }
  return found;
}
