/**
 * A port in memory, for tests, replays and benchmarks: frames given to it are received, frames sent to it are kept. With
 * `loop` it receives the same frames for ever and only counts what is sent, without an allocation.
 */
import { type Batch, BURST, HEADROOM, SLOT } from '../dataplane/batch.ts';
import { Drop } from '../wire/drop.ts';
import { VNET_SIZE } from '../wire/vnet.ts';
import { Finisher } from './offload.ts';
import { GONE, type Port } from './port.ts';

export interface MemoryOptions {
  readonly mtu?: number;
  /** Are frames sent to it kept as they are, unfinished ones too? If not, they are finished first. */
  readonly offloads?: boolean;
}

const NO_HEADER = new Uint8Array(VNET_SIZE);

export class MemoryPort implements Port {
  readonly kind = 'memory';
  readonly fd = -1;
  readonly mtu: number;
  readonly offloads: boolean;
  /** Frames sent, without their virtio-net headers, in order. */
  readonly sent: Uint8Array[] = [];
  /** Counted instead of kept, once `loop` was called. */
  sentFrames = 0;
  refused = 0;
  /** Set it to play a full or a vanished device. */
  full = false;
  gone = false;
  readonly #queue: { frame: Uint8Array; header: Uint8Array }[] = [];
  readonly #finisher = new Finisher();
  #looped: LoopedFrames | undefined;

  constructor(
    readonly name: string,
    options: MemoryOptions = {},
  ) {
    this.mtu = options.mtu ?? 1500;
    this.offloads = options.offloads ?? false;
  }

  /** Queues a frame to be received, with its virtio-net header (10 bytes; default: nothing unfinished). */
  give(frame: Uint8Array, header: Uint8Array = NO_HEADER): void {
    this.#queue.push({ frame, header });
  }

  /** From now on the frames are received again and again, and what is sent is counted, not kept. */
  loop(frames: readonly Uint8Array[]): void {
    this.#looped = new LoopedFrames(frames);
  }

  receive(batch: Batch, ingress: number): number {
    if (this.gone) return GONE;
    if (this.#looped !== undefined) return this.#looped.receive(batch, ingress);
    let count = 0;
    for (let at = batch.arena; count < BURST && this.#queue.length > 0; at += SLOT, count++) {
      const { frame, header } = this.#queue.shift() as { frame: Uint8Array; header: Uint8Array };
      batch.slab.set(header, at + HEADROOM - VNET_SIZE);
      batch.slab.set(frame, at + HEADROOM);
      batch.push(at + HEADROOM, frame.length, ingress);
    }
    return count;
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    this.refused = 0;
    if (this.gone) return GONE;
    if (this.full) return 0;
    this.sentFrames += count;
    if (this.#looped !== undefined) return count;
    for (let i = 0; i < count; i++) this.#keep(batch, rows[i] as number);
    return count;
  }

  #keep(batch: Batch, row: number): void {
    const at = batch.offset[row] as number;
    const length = batch.length[row] as number;
    if (this.offloads) {
      this.sent.push(batch.slab.slice(at, at + length));
      return;
    }
    const finished = this.#finisher;
    if (finished.finish(batch.slab, batch.mem, at, length) !== Drop.None) {
      this.refused++;
      return;
    }
    for (let i = 0; i < finished.count; i++) {
      const from = finished.offset[i] as number;
      this.sent.push(finished.slab.slice(from, from + (finished.length[i] as number)));
    }
  }

  close(): void {}
}

/** Frames laid out in the slab's arena as a tap packs them; writes only what a stage may have changed. */
class LoopedFrames {
  readonly #frames: readonly Uint8Array[];
  #next = 0;

  constructor(frames: readonly Uint8Array[]) {
    this.#frames = frames;
  }

  receive(batch: Batch, ingress: number): number {
    let at = batch.arena;
    for (let count = 0; count < BURST; count++) {
      const frame = this.#frames[this.#next] as Uint8Array;
      this.#next = this.#next + 1 === this.#frames.length ? 0 : this.#next + 1;
      const start = at + HEADROOM;
      const slab = batch.slab;
      for (let i = start - VNET_SIZE; i < start; i++) slab[i] = 0;
      for (let i = 0; i < frame.length; i++) slab[start + i] = frame[i] as number;
      batch.push(start, frame.length, ingress);
      at = (start + frame.length + 63) & ~63;
    }
    return BURST;
  }
}
