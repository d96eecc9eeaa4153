/**
 * Addresses that guests have learnt by name: (guest, address, domain) → until when. Chains of a hash table in typed arrays,
 * of a size fixed at the start. Who fills it sees to its not running over, and takes out what has run out.
 */
import { multiplier, shiftFor, spread } from '../wire/hash.ts';

/** Entries of a switch, and no more. */
export const MAX_NAMES = 4_096;
const HEADS = 2 * MAX_NAMES;

const GUEST = 0;
const ADDRESS = 1;
const DOMAIN = 2;
const EXPIRES = 3; // seconds of the monotonic clock
const NEXT = 4; // chain, or the free list
const WORDS = 5;
const NONE = -1;
/** Apart from what other tables multiply by. */
const FIRST_MULTIPLIER = 16;

export class NameTable {
  readonly #entries = new Int32Array(MAX_NAMES * WORDS);
  readonly #heads = new Int32Array(HEADS);
  readonly #shift = shiftFor(HEADS);
  readonly #forGuest: number;
  readonly #forAddress: number;
  readonly #forDomain: number;
  #free = 0;

  constructor(seed: number) {
    this.#forGuest = multiplier(seed, FIRST_MULTIPLIER);
    this.#forAddress = multiplier(seed, FIRST_MULTIPLIER + 1);
    this.#forDomain = multiplier(seed, FIRST_MULTIPLIER + 2);
    this.clear();
  }

  clear(): void {
    this.#heads.fill(NONE);
    for (let entry = 0; entry < MAX_NAMES; entry++)
      this.#entries[entry * WORDS + NEXT] = entry + 1 < MAX_NAMES ? entry + 1 : NONE;
    this.#free = 0;
  }

  /** Has the guest learnt the address by a name of the domain, and not too long ago? */
  has(guest: number, address: number, domain: number, nowS: number): boolean {
    const entry = this.#find(guest, address, domain);
    return entry !== NONE && (this.#entries[entry * WORDS + EXPIRES] as number) > nowS;
  }

  /** Puts an entry in, or lengthens its life; nothing happens when the table is full. */
  learn(guest: number, address: number, domain: number, expiresS: number): void {
    let entry = this.#find(guest, address, domain);
    if (entry === NONE) {
      entry = this.#free;
      if (entry === NONE) return;
      const head = this.#head(guest, address, domain);
      this.#free = this.#entries[entry * WORDS + NEXT] as number;
      this.#entries[entry * WORDS + GUEST] = guest;
      this.#entries[entry * WORDS + ADDRESS] = address;
      this.#entries[entry * WORDS + DOMAIN] = domain;
      this.#entries[entry * WORDS + NEXT] = this.#heads[head] as number;
      this.#heads[head] = entry;
    }
    this.#entries[entry * WORDS + EXPIRES] = expiresS;
  }

  /** Takes an entry out, if it is there. */
  forget(guest: number, address: number, domain: number): void {
    const entry = this.#find(guest, address, domain);
    if (entry === NONE) return;
    const head = this.#head(guest, address, domain);
    const next = this.#entries[entry * WORDS + NEXT] as number;
    if (this.#heads[head] === entry) this.#heads[head] = next;
    else {
      let before = this.#heads[head] as number;
      while (this.#entries[before * WORDS + NEXT] !== entry)
        before = this.#entries[before * WORDS + NEXT] as number;
      this.#entries[before * WORDS + NEXT] = next;
    }
    this.#entries[entry * WORDS + NEXT] = this.#free;
    this.#free = entry;
  }

  #find(guest: number, address: number, domain: number): number {
    let entry = this.#heads[this.#head(guest, address, domain)] as number;
    while (entry !== NONE) {
      const at = entry * WORDS;
      if (
        this.#entries[at + ADDRESS] === address &&
        this.#entries[at + GUEST] === guest &&
        this.#entries[at + DOMAIN] === domain
      )
        return entry;
      entry = this.#entries[at + NEXT] as number;
    }
    return NONE;
  }

  #head(guest: number, address: number, domain: number): number {
    return spread(
      Math.imul(guest, this.#forGuest) ^
        Math.imul(address, this.#forAddress) ^
        Math.imul(domain, this.#forDomain),
      this.#shift,
    );
  }
}
