/**
 * Who has which address: what the gateway knows from ARP, and the packets that wait for an answer. A direct-mapped table,
 * an entry for each address of a subnet up to /16; in larger ones addresses that share the low 16 bits share an entry.
 * Held packets are few and small: what is larger is sent again by whoever cares.
 */

import { type Batch, RESERVED_SLOT } from '../dataplane/batch.ts';
import type { Ip4 } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import { ETHERNET_SIZE, ETHERTYPE_IP4 } from '../wire/ethernet.ts';
import { VNET_SIZE } from '../wire/vnet.ts';
import type { Lost } from './fragments.ts';

const MAX_ENTRIES = 65_536;
const IP = 0;
const MAC_HI = 1;
const MAC_LO = 2;
const HEARD = 3; // seconds; 0: never
const ASKED = 4;
const WORDS = 5;
/** An entry that nobody has confirmed for this long is asked for again. */
const STALE_S = 300;
const HELD = 32;
const HELD_BYTES = RESERVED_SLOT - 100;
/** RFC 1122 §2.3.2.1: no more than one request a second for an address. */
const ASK_INTERVAL_S = 1;
const HOLD_S = 3;

export class Neighbours {
  readonly #table: Int32Array;
  readonly #mask: number;
  readonly #held = new Uint8Array(HELD * RESERVED_SLOT);
  readonly #heldFor = new Int32Array(HELD);
  readonly #heldBytes = new Int32Array(HELD); // 0: free
  readonly #heldSinceS = new Int32Array(HELD);
  readonly #heldFrom = new Uint8Array(HELD); // the port that it came in on

  constructor(subnetMask: number) {
    const size = Math.min(MAX_ENTRIES, ~subnetMask + 1);
    this.#table = new Int32Array(size * WORDS);
    this.#mask = size - 1;
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
    const bytes = batch.length[row] as number;
    if (bytes > HELD_BYTES) return false;
    const slot = this.#heldBytes.indexOf(0);
    if (slot < 0) return false;
    const from = batch.offset[row] as number;
    copy(batch.slab, from - VNET_SIZE, this.#held, slot * RESERVED_SLOT, VNET_SIZE + bytes);
    this.#heldFor[slot] = ip;
    this.#heldBytes[slot] = bytes;
    this.#heldSinceS[slot] = batch.nowS;
    this.#heldFrom[slot] = batch.ingress[row] as number;
    return true;
  }

  /** Appends to the batch what waits for an address, with its MAC as destination; the frames go where the FDB says. */
  release(batch: Batch, ip: Ip4, hi: number, lo: number, ingress: number): void {
    for (let slot = 0; slot < HELD; slot++) {
      const bytes = this.#heldBytes[slot] as number;
      if (bytes === 0 || this.#heldFor[slot] !== ip) continue;
      this.#heldBytes[slot] = 0;
      const row = batch.append(bytes, ingress);
      if (row < 0) continue;
      const at = batch.offset[row] as number;
      const from = slot * RESERVED_SLOT;
      copy(this.#held, from, batch.slab, at - VNET_SIZE, VNET_SIZE + bytes);
      batch.mem.setUint16(at, hi);
      batch.mem.setInt32(at + 2, lo);
      batch.etherType[row] = ETHERTYPE_IP4;
      batch.l3[row] = at + ETHERNET_SIZE;
    }
  }

  /** Gives up what has waited too long. */
  tick(nowS: number, lost: Lost): void {
    for (let slot = 0; slot < HELD; slot++) {
      if (this.#heldBytes[slot] === 0 || nowS - (this.#heldSinceS[slot] as number) < HOLD_S) continue;
      this.#heldBytes[slot] = 0;
      lost(this.#heldFrom[slot] as number, Drop.NeighbourUnresolved);
    }
  }
}

/** Byte by byte: `set(subarray)` would allocate for each frame held. */
function copy(from: Uint8Array, at: number, to: Uint8Array, start: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) to[start + i] = from[at + i] as number;
}
