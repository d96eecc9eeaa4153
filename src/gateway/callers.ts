/**
 * Callers: which port a guest's connection to a service of the host came in by. The host's stack sees an address and a TCP
 * port, and a guest may write any address; this table knows where the SYN came from, and all that the host answers goes
 * there and nowhere else. Whoever serves asks it by the same address and port, from the control thread.
 *
 *   open      the SYN has been seen; another port's guest with the same address and TCP port is kept out
 *   ending    the host has sent its FIN: `end` is what the guest must acknowledge
 *   cut       the guest has sent a RST; if the host does not heed it, its next segment tells
 *   over      the FIN is acknowledged, or the host has sent a RST, or nobody has sent anything for IDLE_S, for CUT_S after
 *             a cut: the place may be another's
 *
 * Not before that: the host sends what is not acknowledged again, and another's guest could come to hear it. A server must
 * end its connections well within IDLE_S, which the rest of the host's sending (backoff of at most a minute) then is within.
 */
import { Drop } from '../wire/drop.ts';
import { multiplier, shiftFor, spread } from '../wire/hash.ts';
import { ACK, FIN, RST, SYN } from '../wire/tcp.ts';

export const MAX_CALLERS = 4_096;
/** How many a port may have; and how many while few places are left, so that no port is kept out by others. */
const MOST = 64;
const FEWEST = 8;
const FEW_LEFT = 2_048; // 255 ports with FEWEST
export const IDLE_S = 120;
/** Times longer than the host waits before it sends again for the first time. */
const CUT_S = 2;
const HEADS = 2 * MAX_CALLERS;
const PORTS = 256;

const VERSION = 0; // odd while the words of an identity are being written
const IP = 1;
const KEY = 2; // the guest's TCP port, and whether it came by the alias
const INGRESS = 3; // NONE: free
const MAC_HI = 4;
const MAC_LO = 5;
const OPENED = 6; // seconds of the monotonic clock
const SEEN = 7;
const STATE = 8;
const END = 9;
const NEXT = 10; // chain, or the free list
const WORDS = 11;
const NONE = -1;
const OPEN = 0;
const ENDING = 1;
const CUT = 2;
const OVER = 3;
/** Apart from what other tables multiply by. */
const FIRST_MULTIPLIER = 32;
const ALIASED = 0x1_0000;

/** The guest's end of a connection: its TCP port, and whether it called the alias. */
export const callerKey = (port: number, aliased: boolean): number => (aliased ? port | ALIASED : port);

/** Memory that both threads see; the data plane's writes it. */
export function callerMemory(): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(MAX_CALLERS * WORDS * 4);
  clearCallers(memory);
  return memory;
}

/** Forgets all callers. */
export function clearCallers(memory: SharedArrayBuffer): void {
  const words = new Int32Array(memory);
  for (let at = 0; at < words.length; at += WORDS) words[at + INGRESS] = NONE;
}

export class Callers {
  readonly #words: Int32Array;
  readonly #heads = new Int32Array(HEADS).fill(NONE);
  readonly #shift = shiftFor(HEADS);
  readonly #forIp: number;
  readonly #forKey: number;
  /** By port: entries, and the second in which there was no room, lest every SYN of a flood searches for some. */
  readonly #held = new Uint16Array(PORTS);
  readonly #refusedS = new Int32Array(PORTS).fill(NONE);
  #free = 0;
  #left = MAX_CALLERS;

  constructor(memory: SharedArrayBuffer, seed: number) {
    this.#words = new Int32Array(memory);
    this.#forIp = multiplier(seed, FIRST_MULTIPLIER);
    this.#forKey = multiplier(seed, FIRST_MULTIPLIER + 1);
    for (let entry = 0; entry < MAX_CALLERS; entry++)
      this.#words[entry * WORDS + NEXT] = entry + 1 < MAX_CALLERS ? entry + 1 : NONE;
  }

  /** May a guest's segment pass? A SYN makes an entry. */
  admit(
    ip: number,
    key: number,
    ingress: number,
    hi: number,
    lo: number,
    flags: number,
    acknowledged: number,
    nowS: number,
  ): Drop {
    const words = this.#words;
    const opens = (flags & (SYN | ACK | RST)) === SYN;
    const entry = this.find(ip, key);
    const at = entry * WORDS;
    if (entry !== NONE && words[at + INGRESS] === ingress) {
      if (opens) this.#identify(at, ip, key, ingress, hi, lo, nowS);
      else if (words[at + STATE] !== OVER && (flags & RST) !== 0) words[at + STATE] = CUT;
      else if (words[at + STATE] === ENDING && (flags & ACK) !== 0 && words[at + END] === acknowledged)
        words[at + STATE] = OVER;
      words[at + SEEN] = nowS;
      return Drop.None;
    }
    if (entry !== NONE && !(opens && this.#isOver(at, nowS))) return Drop.CallerTaken;
    if (!opens) return Drop.CallerUnknown;
    if (entry !== NONE) this.#release(entry);
    return this.#open(ip, key, ingress, hi, lo, nowS) ? Drop.None : Drop.CallersFull;
  }

  /** A port is another's from now on: those who called by it get no more answers. */
  forgetPort(ingress: number): void {
    for (let entry = 0; entry < MAX_CALLERS; entry++)
      if (this.#words[entry * WORDS + INGRESS] === ingress) this.#release(entry);
  }

  /** Takes in a segment of the host's to the caller; `next`: the sequence number behind it. */
  answered(entry: number, flags: number, next: number, nowS: number): void {
    const at = entry * WORDS;
    const words = this.#words;
    words[at + SEEN] = nowS;
    if ((flags & RST) !== 0) words[at + STATE] = OVER;
    else if (words[at + STATE] === OPEN || words[at + STATE] === CUT) {
      words[at + STATE] = (flags & FIN) !== 0 ? ENDING : OPEN;
      words[at + END] = next;
    }
  }

  /** The entry of a caller, for what follows; -1 when there is none. */
  find(ip: number, key: number): number {
    const words = this.#words;
    let entry = this.#heads[this.#head(ip, key)] as number;
    while (entry !== NONE) {
      const at = entry * WORDS;
      if (words[at + KEY] === key && words[at + IP] === ip) return entry;
      entry = words[at + NEXT] as number;
    }
    return NONE;
  }

  ingress = (entry: number): number => this.#words[entry * WORDS + INGRESS] as number;
  hi = (entry: number): number => this.#words[entry * WORDS + MAC_HI] as number;
  lo = (entry: number): number => this.#words[entry * WORDS + MAC_LO] as number;

  #isOver(at: number, nowS: number): boolean {
    const state = this.#words[at + STATE];
    const silentS = nowS - (this.#words[at + SEEN] as number);
    return state === OVER || silentS >= (state === CUT ? CUT_S : IDLE_S);
  }

  #open(ip: number, key: number, ingress: number, hi: number, lo: number, nowS: number): boolean {
    if (!this.#makeRoom(ingress, nowS)) return false;
    const entry = this.#free;
    const at = entry * WORDS;
    const head = this.#head(ip, key);
    this.#free = this.#words[at + NEXT] as number;
    this.#left--;
    this.#held[ingress] = (this.#held[ingress] as number) + 1;
    this.#words[at + NEXT] = this.#heads[head] as number;
    this.#heads[head] = entry;
    this.#identify(at, ip, key, ingress, hi, lo, nowS);
    this.#words[at + SEEN] = nowS;
    return true;
  }

  #identify(
    at: number,
    ip: number,
    key: number,
    ingress: number,
    hi: number,
    lo: number,
    nowS: number,
  ): void {
    const words = this.#words;
    Atomics.add(words, at + VERSION, 1);
    words[at + IP] = ip;
    words[at + KEY] = key;
    words[at + INGRESS] = ingress;
    words[at + MAC_HI] = hi;
    words[at + MAC_LO] = lo;
    words[at + OPENED] = nowS;
    words[at + STATE] = OPEN;
    Atomics.add(words, at + VERSION, 1);
  }

  /** Is there a place for one more of the port? The oldest of those that are over goes: of its own, when it has as many as it may. */
  #makeRoom(ingress: number, nowS: number): boolean {
    const most = this.#left > FEW_LEFT ? MOST : FEWEST;
    const full = (this.#held[ingress] as number) >= most;
    if (!full && this.#left > 0) return true;
    if (this.#refusedS[ingress] === nowS) return false;
    const oldest = this.#oldest(full ? ingress : NONE, nowS);
    if (oldest === NONE) this.#refusedS[ingress] = nowS;
    else this.#release(oldest);
    return oldest !== NONE;
  }

  /** The one of a port, or of all (NONE), that is over and has been quiet for longest. */
  #oldest(ingress: number, nowS: number): number {
    const words = this.#words;
    let oldest = NONE;
    for (let entry = 0; entry < MAX_CALLERS; entry++) {
      const at = entry * WORDS;
      const holder = words[at + INGRESS] as number;
      if (holder === NONE || (ingress !== NONE && holder !== ingress) || !this.#isOver(at, nowS)) continue;
      if (oldest === NONE || (words[at + SEEN] as number) < (words[oldest * WORDS + SEEN] as number))
        oldest = entry;
    }
    return oldest;
  }

  #release(entry: number): void {
    const words = this.#words;
    const at = entry * WORDS;
    const head = this.#head(words[at + IP] as number, words[at + KEY] as number);
    const next = words[at + NEXT] as number;
    if (this.#heads[head] === entry) this.#heads[head] = next;
    else {
      let before = this.#heads[head] as number;
      while (words[before * WORDS + NEXT] !== entry) before = words[before * WORDS + NEXT] as number;
      words[before * WORDS + NEXT] = next;
    }
    const ingress = words[at + INGRESS] as number;
    this.#held[ingress] = (this.#held[ingress] as number) - 1;
    Atomics.add(words, at + VERSION, 1);
    words[at + INGRESS] = NONE;
    Atomics.add(words, at + VERSION, 1);
    words[at + NEXT] = this.#free;
    this.#free = entry;
    this.#left++;
  }

  #head(ip: number, key: number): number {
    return spread(Math.imul(ip, this.#forIp) ^ Math.imul(key, this.#forKey), this.#shift);
  }
}

export interface Caller {
  readonly ip: number;
  readonly key: number;
  /** The index of the port that the SYN came in by. */
  readonly ingress: number;
  readonly hi: number;
  readonly lo: number;
}

/** Who has this address and key; undefined: nobody, or the entry is just changing. For the control thread. */
export function callerOf(memory: SharedArrayBuffer, ip: number, key: number): Caller | undefined {
  const words = new Int32Array(memory);
  for (let at = 0; at < words.length; at += WORDS) {
    if (words[at + IP] !== ip || words[at + KEY] !== key) continue;
    const version = Atomics.load(words, at + VERSION);
    const caller = read(words, at);
    const same = (version & 1) === 0 && Atomics.load(words, at + VERSION) === version;
    if (same && caller.ingress !== NONE && caller.ip === ip && caller.key === key) return caller;
  }
  return undefined;
}

const read = (words: Int32Array, at: number): Caller => ({
  ip: words[at + IP] as number,
  key: words[at + KEY] as number,
  ingress: words[at + INGRESS] as number,
  hi: words[at + MAC_HI] as number,
  lo: words[at + MAC_LO] as number,
});
