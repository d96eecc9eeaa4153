/**
 * Which guest may say that it has which address: (port, MAC, IPv4 address), by leases and reservations. Open addressing in typed
 * arrays; growing and taking out are the control plane's commands, never a frame's.
 *
 * A binding may leave the port open (ANY_PORT: a reservation by MAC, wherever the guest is) or the MAC (ANY_MAC: one by port).
 */
import { multiplier, shiftFor, spread } from '../wire/hash.ts';
import { GATEWAY_PORT } from './batch.ts';

/** No port has this index. */
export const ANY_PORT = GATEWAY_PORT;
/** Both parts of a MAC that nobody has: the zero address. */
export const ANY_MAC = 0;

/** Words of a binding: port, MAC's first two octets, its last four, address. */
export const BINDING_WORDS = 4;
/** Of a slot: port + 1 << 16 | first two octets (0: free), last four octets, address. */
const WORDS = 3;
const FEWEST = 64;
/** Apart from what other tables multiply by. */
const FIRST_MULTIPLIER = 48;

export class Bindings {
  #slots = new Int32Array(FEWEST * WORDS);
  #mask = FEWEST - 1;
  #shift = shiftFor(FEWEST);
  #count = 0;
  readonly #forKey: number;
  readonly #forLo: number;
  readonly #forIp: number;

  constructor(seed: number) {
    this.#forKey = multiplier(seed, FIRST_MULTIPLIER);
    this.#forLo = multiplier(seed, FIRST_MULTIPLIER + 1);
    this.#forIp = multiplier(seed, FIRST_MULTIPLIER + 2);
  }

  get size(): number {
    return this.#count;
  }

  /** May the guest with this MAC on this port have the address? */
  allows(port: number, hi: number, lo: number, ip: number): boolean {
    return (
      this.#find(keyOf(port, hi), lo, ip) >= 0 ||
      this.#find(keyOf(ANY_PORT, hi), lo, ip) >= 0 ||
      this.#find(keyOf(port, ANY_MAC), ANY_MAC, ip) >= 0
    );
  }

  /** Takes in what has come and out what has gone; BINDING_WORDS each. */
  change(added: Int32Array, removed: Int32Array): void {
    for (let at = 0; at < removed.length; at += BINDING_WORDS)
      this.#remove(keyAt(removed, at), removed[at + 2] as number, removed[at + 3] as number);
    for (let at = 0; at < added.length; at += BINDING_WORDS)
      this.#add(keyAt(added, at), added[at + 2] as number, added[at + 3] as number);
  }

  /** Where a binding stands, or the complement of where it would. */
  #find(key: number, lo: number, ip: number): number {
    const slots = this.#slots;
    for (let slot = this.#home(key, lo, ip); ; slot = (slot + 1) & this.#mask) {
      const at = slot * WORDS;
      if (slots[at] === 0) return ~slot;
      if (slots[at] === key && slots[at + 1] === lo && slots[at + 2] === ip) return slot;
    }
  }

  #home(key: number, lo: number, ip: number): number {
    return spread(
      Math.imul(key, this.#forKey) ^ Math.imul(lo, this.#forLo) ^ Math.imul(ip, this.#forIp),
      this.#shift,
    );
  }

  #add(key: number, lo: number, ip: number): void {
    const slot = this.#find(key, lo, ip);
    if (slot >= 0) return;
    this.#put(~slot, key, lo, ip);
    if (++this.#count * 2 > this.#mask) this.#grow();
  }

  #put(slot: number, key: number, lo: number, ip: number): void {
    const at = slot * WORDS;
    this.#slots[at] = key;
    this.#slots[at + 1] = lo;
    this.#slots[at + 2] = ip;
  }

  #grow(): void {
    const before = this.#slots;
    const slots = (this.#mask + 1) * 2;
    this.#slots = new Int32Array(slots * WORDS);
    this.#mask = slots - 1;
    this.#shift = shiftFor(slots);
    for (let at = 0; at < before.length; at += WORDS) this.#move(before, at);
  }

  #move(from: Int32Array, at: number): void {
    const [key, lo, ip] = [from[at] as number, from[at + 1] as number, from[at + 2] as number];
    if (key !== 0) this.#put(~this.#find(key, lo, ip), key, lo, ip);
  }

  /** What stands behind moves up, so that no probe ends too early. */
  #remove(key: number, lo: number, ip: number): void {
    let slot = this.#find(key, lo, ip);
    if (slot < 0) return;
    this.#count--;
    this.#slots[slot * WORDS] = 0;
    for (;;) {
      slot = (slot + 1) & this.#mask;
      const at = slot * WORDS;
      if (this.#slots[at] === 0) return;
      const moved = this.#slots.slice(at, at + WORDS);
      this.#slots[at] = 0;
      this.#move(moved, 0);
    }
  }
}

const keyOf = (port: number, hi: number): number => ((port + 1) << 16) | hi;
const keyAt = (words: Int32Array, at: number): number => keyOf(words[at] as number, words[at + 1] as number);
