/**
 * Who has which address: what the gateway knows from ARP (neighbourmemory.ts), and the packets that wait for an answer, which are
 * few and small.
 */

import type { Batch } from '../dataplane/batch.ts';
import type { Ip4 } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import type { Lost } from './fragments.ts';
import { HeldFrames } from './held.ts';
import { ASKED, HEARD, IP, MAC_HI, MAC_LO, STALE_S, WORDS } from './neighbourmemory.ts';

const HELD = 32;
/** RFC 1122 §2.3.2.1: no more than one request a second for an address. */
const ASK_INTERVAL_S = 1;
const HOLD_S = 3;

export class Neighbours {
  readonly #table: Int32Array;
  readonly #mask: number;
  readonly #held = new HeldFrames(HELD);
  readonly #heldFor = new Int32Array(HELD);
  readonly #heldSinceS = new Int32Array(HELD);
  readonly #heldFrom = new Uint8Array(HELD); // the port that it came in on

  constructor(memory: SharedArrayBuffer) {
    this.#table = new Int32Array(memory);
    this.#mask = this.#table.length / WORDS - 1;
  }

  /** Takes over what a table before this one knew, packed. */
  restore(words: Int32Array): void {
    for (let at = 0; at < words.length; at += ASKED)
      this.learn(
        words[at + IP] as Ip4,
        words[at + MAC_HI] as number,
        words[at + MAC_LO] as number,
        words[at + HEARD] as number,
      );
  }

  /** Takes in what an ARP packet says of its sender. */
  learn(ip: Ip4, hi: number, lo: number, nowS: number): void {
    const at = (ip & this.#mask) * WORDS;
    this.#table[at + IP] = ip;
    this.#table[at + MAC_HI] = hi;
    this.#table[at + MAC_LO] = lo;
    this.#table[at + HEARD] = nowS + 1;
  }

  /** Where the entry of an address stands, for `hi` and `lo`; -1 when it is unknown or stale. */
  find(ip: Ip4, nowS: number): number {
    const at = (ip & this.#mask) * WORDS;
    const heard = this.#table[at + HEARD] as number;
    return this.#table[at + IP] === ip && heard !== 0 && nowS - heard < STALE_S ? at : -1;
  }

  hi = (entry: number): number => this.#table[entry + MAC_HI] as number;
  lo = (entry: number): number => this.#table[entry + MAC_LO] as number;

  /** May the address be asked for now? Notes that it was. */
  mayAsk(ip: Ip4, nowS: number): boolean {
    const at = (ip & this.#mask) * WORDS;
    if (this.#table[at + IP] === ip && nowS + 1 - (this.#table[at + ASKED] as number) < ASK_INTERVAL_S)
      return false;
    if (this.#table[at + IP] !== ip) {
      this.#table[at + IP] = ip;
      this.#table[at + HEARD] = 0;
    }
    this.#table[at + ASKED] = nowS + 1;
    return true;
  }

  /** Keeps a copy of the row's frame till the address answers; false when there is no room. */
  hold(batch: Batch, row: number, ip: Ip4): boolean {
    const slot = this.#held.keep(batch, row);
    if (slot < 0) return false;
    this.#heldFor[slot] = ip;
    this.#heldSinceS[slot] = batch.nowS;
    this.#heldFrom[slot] = batch.ingress[row] as number;
    return true;
  }

  /** Appends to the batch what waits for an address, with its MAC as destination; the frames go where the FDB says. */
  release(batch: Batch, ip: Ip4, hi: number, lo: number, ingress: number): void {
    for (let slot = 0; slot < HELD; slot++) {
      if (this.#held.isFree(slot) || this.#heldFor[slot] !== ip) continue;
      const row = this.#held.append(slot, batch, ingress);
      this.#held.free(slot);
      if (row < 0) continue;
      const at = batch.offset[row] as number;
      batch.mem.setUint16(at, hi);
      batch.mem.setInt32(at + 2, lo);
    }
  }

  /** Gives up what has waited too long. */
  tick(nowS: number, lost: Lost): void {
    for (let slot = 0; slot < HELD; slot++) {
      if (this.#held.isFree(slot) || nowS - (this.#heldSinceS[slot] as number) < HOLD_S) continue;
      this.#held.free(slot);
      lost(this.#heldFrom[slot] as number, Drop.NeighbourUnresolved);
    }
  }
}
