/**
 * Frames from a batch into the buffers that a guest offers. With mergeable buffers a frame may fill several, else it must fit one
 * chain. A frame that the guest can't finish is finished here first.
 */
import type { Batch } from '../../dataplane/batch.ts';
import { Drop } from '../../wire/drop.ts';
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, VNET_NEEDS_CSUM } from '../../wire/vnet.ts';
import { Copies } from '../copies.ts';
import type { Native } from '../native.ts';
import { Finisher } from '../offload.ts';
import { Tails } from '../tails.ts';
import type { GuestMemory } from './memory.ts';
import { type Plain, plainOf } from './plain.ts';
import { MAX_CHAIN, Pieces, type Ring } from './ring.ts';

/** What of a frame's state a guest takes. */
export interface Abilities {
  /** Bytes of its virtio-net header: 12, or 10 for a guest of old. */
  header: number;
  mergeable: boolean;
  csum: boolean;
  tso4: boolean;
  tso6: boolean;
  ecn: boolean;
}

/** In place of how many heads: there is no room, or something is not as it must be. */
const [FULL, BROKEN] = [-1, -2];
/** Buffers of one frame: a full one in buffers of 256 bytes. */
const MAX_BUFFERS = 512;

export class Delivery {
  /** Frames that were taken, but can't be finished. */
  refused = 0;
  readonly #memory: GuestMemory;
  readonly #pieces = new Pieces();
  readonly #native: Native;
  #plain: Plain | undefined;
  readonly #fromSlab: Copies;
  readonly #fromGuest: Copies;
  readonly #finisher = new Finisher();
  readonly #tails = new Tails();
  readonly #one = new Int32Array(1);
  /** Of the frame at hand: heads of its buffers, and the room in each. */
  readonly #heads = new Int32Array(MAX_BUFFERS);
  readonly #rooms = new Int32Array(MAX_BUFFERS);
  #buffers = 0;
  /** Where the next byte of the frame at hand goes: a piece, and how much of it is taken. */
  #piece = 0;
  #into = 0;

  constructor(native: Native, memory: GuestMemory) {
    this.#memory = memory;
    this.#native = native;
    this.#fromSlab = new Copies(native);
    this.#fromGuest = new Copies(native);
  }

  /** Lays rows[0 … count - 1] into the ring, in order; how many it had room for, or -1: it is not as it must be. */
  give(ring: Ring, batch: Batch, rows: Int32Array, count: number, abilities: Abilities): number {
    this.refused = 0;
    let offered = ring.offered();
    if (offered < 0) return -1;
    this.#plain ??= plainOf(this.#native, batch);
    let taken =
      abilities.header === 12 ? this.#plain.give(ring, this.#memory, rows, Math.min(count, offered)) : 0;
    offered -= taken;
    this.#pieces.count = 0;
    while (taken < count && offered > 0) {
      const row = rows[taken] as number;
      if (!takes(batch, row, abilities)) {
        const left = this.#giveFinished(ring, batch, row, offered, abilities);
        if (left === BROKEN) return -1;
        if (left === FULL) break;
        offered = left;
        taken++;
        continue;
      }
      const used = this.#open(ring, (batch.length[row] as number) + abilities.header, offered, abilities);
      if (used === BROKEN) return -1;
      if (used === FULL) break;
      this.#header(abilities.header, batch.halves, batch.offset[row] as number);
      this.#fill(batch, row);
      this.#use(ring, (batch.length[row] as number) + abilities.header);
      offered -= used;
      taken++;
    }
    this.#finish();
    return taken;
  }

  clear(): void {
    this.#fromSlab.clear();
    this.#fromGuest.clear();
  }

  /** Finds buffers for so many bytes; how many heads, FULL, or BROKEN. */
  #open(ring: Ring, need: number, offered: number, { header, mergeable }: Abilities): number {
    const pieces = this.#pieces;
    if (pieces.count + MAX_CHAIN > pieces.at.length) {
      this.#finish();
      pieces.count = 0;
    }
    const first = pieces.count;
    const most = mergeable ? Math.min(offered, MAX_BUFFERS) : 1;
    let room = 0;
    let buffers = 0;
    while (room < need && buffers < most) {
      if (pieces.count + MAX_CHAIN > pieces.at.length) break;
      const head = ring.head(buffers);
      const bytes = ring.walk(head, true, pieces);
      if (bytes < 0) return BROKEN;
      this.#heads[buffers] = head;
      this.#rooms[buffers] = bytes;
      buffers++;
      room += bytes;
    }
    if (room < need) {
      pieces.count = first;
      // A frame that no buffer holds, or all that are there together, is one that there is no room for.
      return FULL;
    }
    if ((pieces.bytes[first] as number) < header) return BROKEN;
    ring.last = (ring.last + buffers) & 0xffff;
    this.#buffers = buffers;
    this.#piece = first;
    this.#into = header;
    return buffers;
  }

  /** Writes a virtio-net header into the first buffer: what stands before `at` in the slab, or, without one, that nothing is left to do. */
  #header(header: number, halves?: Uint16Array, at = 0): void {
    const { window, at: place } = this.#pieces;
    const bytes = this.#memory.windows[window[this.#piece] as number] as Uint8Array;
    const to = place[this.#piece] as number;
    const from = (at - 10) >> 1;
    for (let half = 0; half < 5; half++) {
      const value = halves === undefined ? 0 : (halves[from + half] as number);
      bytes[to + 2 * half] = value;
      bytes[to + 2 * half + 1] = value >> 8;
    }
    if (header === 10) return;
    bytes[to + 10] = this.#buffers;
    bytes[to + 11] = this.#buffers >> 8;
  }

  #fill(batch: Batch, row: number): void {
    const { slab, offset, length, origin, tailFirst, tailCount } = batch;
    const at = offset[row] as number;
    const pieces = origin === undefined ? 0 : (tailCount[row] as number);
    if (origin === undefined || pieces === 0) {
      this.#put(this.#fromSlab, slab, at, length[row] as number);
      return;
    }
    const first = tailFirst[row] as number;
    let tail = 0;
    for (let piece = first; piece < first + pieces; piece++) tail += origin.bytes[piece] as number;
    this.#put(this.#fromSlab, slab, at, (length[row] as number) - tail);
    for (let piece = first; piece < first + pieces; piece++)
      this.#put(
        this.#fromGuest,
        origin.windows[origin.window[piece] as number] as Uint8Array,
        origin.at[piece] as number,
        origin.bytes[piece] as number,
      );
  }

  /** The next bytes of the frame at hand; there is room for them. */
  #put(copies: Copies, from: Uint8Array, start: number, count: number): void {
    const { window, at, bytes } = this.#pieces;
    const { windows } = this.#memory;
    let source = start;
    let left = count;
    while (left > 0) {
      const piece = this.#piece;
      const part = Math.min(left, (bytes[piece] as number) - this.#into);
      if (part > 0)
        copies.add(
          from,
          source,
          windows[window[piece] as number] as Uint8Array,
          (at[piece] as number) + this.#into,
          part,
        );
      source += part;
      left -= part;
      this.#into += part;
      if (this.#into === bytes[piece]) {
        this.#piece++;
        this.#into = 0;
      }
    }
  }

  #use(ring: Ring, bytes: number): void {
    let left = bytes;
    for (let buffer = 0; buffer < this.#buffers; buffer++) {
      const part = Math.min(left, this.#rooms[buffer] as number);
      ring.use(this.#heads[buffer] as number, part);
      left -= part;
    }
  }

  #finish(): void {
    this.#fromSlab.finish();
    this.#fromGuest.finish();
  }

  /** Heads that are left when a frame has gone in parts; FULL: not one part had room. */
  #giveFinished(ring: Ring, batch: Batch, row: number, offered: number, abilities: Abilities): number {
    const finisher = this.#finisher;
    this.#one[0] = row;
    this.#tails.bringIn(batch, this.#one, 1);
    const bytes = batch.length[row] as number;
    if (finisher.finish(batch.slab, batch.mem, batch.offset[row] as number, bytes) !== Drop.None) {
      this.refused++;
      return offered;
    }
    let left = offered;
    for (let i = 0; i < finisher.count; i++) {
      const length = finisher.length[i] as number;
      const used = left === 0 ? FULL : this.#open(ring, length + abilities.header, left, abilities);
      if (used === BROKEN) return BROKEN;
      // What follows a part that was taken is lost on the wire when it finds no room, as a segment may be.
      if (used === FULL) {
        if (i === 0) return FULL;
        break;
      }
      this.#header(abilities.header);
      this.#put(this.#fromSlab, finisher.slab, finisher.offset[i] as number, length);
      this.#use(ring, length + abilities.header);
      left -= used;
    }
    this.#finish(); // the next frame to be finished takes the same place
    return left;
  }
}

/** Does the guest finish what is left of a frame? */
function takes({ halves, offset }: Batch, row: number, { csum, tso4, tso6, ecn }: Abilities): boolean {
  const state = halves[((offset[row] as number) - 10) >> 1] as number;
  if (state === 0) return true;
  if ((state & VNET_NEEDS_CSUM) !== 0 && !csum) return false;
  const gso = state >> 8;
  if ((gso & GSO_ECN) !== 0 && !ecn) return false;
  const kind = gso & ~GSO_ECN;
  return kind === GSO_NONE || (kind === GSO_TCPV4 && tso4) || (kind === GSO_TCPV6 && tso6);
}
