/**
 * Frames from a guest's ring into a batch. Of a long frame only the beginning is copied, which is all that stages look at; its end
 * stays where it is till somebody sends the frame on (batch.origin), so that a guest's bytes are copied once on their way to
 * another guest. What rules decide on stands in the slab, where no guest can change it any more.
 *
 * Frames for the gateway, or for all, come in whole: the gateway may read or change any part of them, or keep it.
 *
 *   heads → pieces of guest memory → headers and beginnings, in one copy → virtio-net headers put right → ends that are needed
 */
import { type Batch, BURST, HEADROOM, MAX_FRAME, type Origin } from '../../dataplane/batch.ts';
import type { Mac } from '../../wire/address.ts';
import * as ethernet from '../../wire/ethernet.ts';
import { Copies } from '../copies.ts';
import type { Native } from '../native.ts';
import { Tails } from '../tails.ts';
import type { GuestMemory } from './memory.ts';
import { BEGINNING, type Plain, plainOf, TRUSTED, WHOLE } from './plain.ts';
import { MAX_CHAIN, type Pieces, type Ring } from './ring.ts';

/** Bytes of the slab for what is none. */
const NO_FRAME = 128;

interface Shared {
  readonly plain: Plain;
  readonly origin: Origin;
}

export class Intake {
  /** Chains of the burst whose heads are to be used when its frames have gone. */
  count = 0;
  readonly #native: Native;
  readonly #memory: GuestMemory;
  readonly #gatewayMac: Mac | undefined;
  #shared: Shared | undefined;
  readonly #first = new Int32Array(BURST + 1);
  readonly #total = new Int32Array(BURST);
  readonly #copies: Copies;
  readonly #tails = new Tails();
  readonly #row = new Int32Array(1);

  constructor(native: Native, memory: GuestMemory, gatewayMac: Mac | undefined) {
    this.#native = native;
    this.#memory = memory;
    this.#gatewayMac = gatewayMac;
    this.#copies = new Copies(native);
  }

  /** Takes up to `most` chains; how many, or -1: one is not as it must be. `header`: bytes of the guest's virtio-net header. */
  take(ring: Ring, most: number, header: number, batch: Batch, ingress: number): number {
    const shared = this.#share(batch);
    const { plain } = shared;
    let count = header === 12 ? plain.take(ring, this.#memory, Math.min(most, BURST)) : 0;
    if (count > 0) ring.last = (ring.last + count) & 0xffff;
    else {
      count = this.#collect(ring, Math.min(most, BURST), plain);
      if (count <= 0) return count;
      this.#copyIn(batch, header, count, plain.pieces);
    }
    this.count = count;
    this.#bringIn(batch, count, shared.origin);
    batch.claim(count, ingress);
    return count;
  }

  /** Takes up to `most` chains and leaves their frames; how many. */
  discard(ring: Ring, most: number, batch: Batch): number {
    const count = Math.min(most, BURST);
    const { heads } = this.#share(batch).plain;
    for (let i = 0; i < count; i++) heads[i] = ring.head(i);
    ring.last = (ring.last + count) & 0xffff;
    this.count = count;
    return count;
  }

  /** The burst's chains are done with; call `publish` of the ring then. */
  use(ring: Ring): void {
    const { count } = this;
    this.count = 0;
    const heads = this.#shared?.plain.heads;
    if (heads === undefined) return;
    for (let i = 0; i < count; i++) ring.use(heads[i] as number, 0);
  }

  #share(batch: Batch): Shared {
    const { windows } = this.#memory;
    if (this.#shared !== undefined && this.#shared.origin.windows === windows) return this.#shared;
    const plain = plainOf(this.#native, batch);
    const { window, at, bytes } = plain.pieces;
    this.#shared = { plain, origin: { windows, window, at, bytes } };
    return this.#shared;
  }

  #collect(ring: Ring, most: number, { heads, pieces }: Plain): number {
    pieces.count = 0;
    let count = 0;
    while (count < most && pieces.count + MAX_CHAIN <= pieces.at.length) {
      const head = ring.head(count);
      this.#first[count] = pieces.count;
      const total = ring.walk(head, false, pieces);
      if (total < 0) return -1;
      heads[count] = head;
      this.#total[count] = total;
      count++;
    }
    this.#first[count] = pieces.count;
    ring.last = (ring.last + count) & 0xffff;
    return count;
  }

  /** Headers and beginnings. */
  #copyIn(batch: Batch, header: number, count: number, pieces: Pieces): void {
    const { offset, length, count: row, tailCount } = batch;
    let next = batch.arena;
    for (let i = 0; i < count; i++) {
      const start = next + HEADROOM;
      const frame = (this.#total[i] as number) - header;
      offset[row + i] = start;
      length[row + i] = Math.max(0, frame);
      tailCount[row + i] = 0;
      if (frame < ethernet.ETHERNET_SIZE || frame > MAX_FRAME) {
        next += NO_FRAME; // of which nothing is read: parse drops it
        continue;
      }
      next = (start + frame + 63) & ~63;
      this.#gather(batch, row + i, i, header, pieces);
    }
    this.#copies.finish();
    for (let i = 0; i < count; i++) this.#putRight(batch, row + i, header);
  }

  /** One frame's; its end, if it has one, stays where it is. */
  #gather(batch: Batch, row: number, i: number, header: number, pieces: Pieces): void {
    const { slab, offset, length, tailFirst, tailCount } = batch;
    const { windows } = this.#memory;
    const { window, at, bytes } = pieces;
    const copies = this.#copies;
    const start = offset[row] as number;
    const frame = length[row] as number;
    const end = this.#first[i + 1] as number;
    let piece = this.#first[i] as number;
    let left = header + (frame <= WHOLE ? frame : BEGINNING);
    let to = start - header;
    while (left > 0) {
      const part = Math.min(left, bytes[piece] as number);
      copies.add(windows[window[piece] as number] as Uint8Array, at[piece] as number, slab, to, part);
      to += part;
      left -= part;
      if (part === bytes[piece]) piece++;
      else {
        at[piece] = (at[piece] as number) + part;
        bytes[piece] = (bytes[piece] as number) - part;
      }
    }
    tailFirst[row] = piece;
    tailCount[row] = end - piece;
  }

  /** A header of 12 bytes ends in a count that says nothing here; ours has 10. */
  #putRight({ words, halves, offset }: Batch, row: number, header: number): void {
    const start = offset[row] as number;
    const to = (start - 10) >> 1;
    if (header === 12)
      for (let half = 4; half >= 0; half--) halves[to + half] = halves[to + half - 1] as number;
    words[to >> 1] = (words[to >> 1] as number) & TRUSTED;
  }

  /** Ends that somebody wants to read or change; without any there is no origin. */
  #bringIn(batch: Batch, count: number, origin: Origin): void {
    const { mem, offset, tailCount, count: row } = batch;
    let tails = 0;
    for (let i = row; i < row + count; i++) tails |= tailCount[i] as number;
    if (tails === 0) return;
    batch.origin = origin;
    const mac = this.#gatewayMac;
    for (let i = row; i < row + count; i++) {
      if (tailCount[i] === 0) continue;
      const at = offset[i] as number;
      const hi = ethernet.destinationHi(mem, at);
      const isGateway = mac !== undefined && hi === mac.hi && ethernet.destinationLo(mem, at) === mac.lo;
      if (!isGateway && !ethernet.isGroup(hi)) continue;
      this.#row[0] = i;
      this.#tails.bringIn(batch, this.#row, 1);
    }
  }

  clear(): void {
    this.count = 0;
    this.#copies.clear();
  }
}
