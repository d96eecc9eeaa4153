/**
 * Frames that wait: copies of a few rows with their virtio-net headers, in slots of the size that the switch's own frames
 * have. Who waits for what, and how long, is the owner's to know.
 */
import { type Batch, RESERVED_SLOT } from '../dataplane/batch.ts';
import { ETHERNET_SIZE, ETHERTYPE_IP4 } from '../wire/ethernet.ts';
import { VNET_SIZE } from '../wire/vnet.ts';

/** Bytes of the largest frame that can wait: what is larger is sent again by whoever cares. */
export const HELD_BYTES = RESERVED_SLOT - 100;

export class HeldFrames {
  readonly #memory: Uint8Array;
  readonly #bytes: Int32Array; // 0: free

  constructor(slots: number) {
    this.#memory = new Uint8Array(slots * RESERVED_SLOT);
    this.#bytes = new Int32Array(slots);
  }

  /** Copies the row's frame; the slot that it is in, or -1: it is too large, or there is no room. */
  keep(batch: Batch, row: number): number {
    const bytes = batch.length[row] as number;
    const slot = bytes > HELD_BYTES ? -1 : this.#bytes.indexOf(0);
    if (slot < 0) return -1;
    const from = (batch.offset[row] as number) - VNET_SIZE;
    copy(batch.slab, from, this.#memory, slot * RESERVED_SLOT, VNET_SIZE + bytes);
    this.#bytes[slot] = bytes;
    return slot;
  }

  isFree = (slot: number): boolean => this.#bytes[slot] === 0;

  free(slot: number): void {
    this.#bytes[slot] = 0;
  }

  /** Appends a copy of the slot's frame, an IPv4 packet without tags, to the batch; its row, or -1 when there is no room. */
  append(slot: number, batch: Batch, ingress: number): number {
    const bytes = this.#bytes[slot] as number;
    const row = batch.append(bytes, ingress);
    if (row < 0) return -1;
    const at = batch.offset[row] as number;
    copy(this.#memory, slot * RESERVED_SLOT, batch.slab, at - VNET_SIZE, VNET_SIZE + bytes);
    batch.etherType[row] = ETHERTYPE_IP4;
    batch.l3[row] = at + ETHERNET_SIZE;
    return row;
  }
}

/** Byte by byte: `set(subarray)` would allocate for each frame held. */
function copy(from: Uint8Array, at: number, to: Uint8Array, start: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) to[start + i] = from[at + i] as number;
}
