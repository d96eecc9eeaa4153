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
  readonly holds = false;
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

  /**
   * From now on the frames are received again and again, and what is sent is counted, not kept. All must fit the arena.
   * `copied`: written anew each time, for stages that change frames where they stand.
   */
  loop(frames: readonly Uint8Array[], copied = false): void {
    this.#looped = new LoopedFrames(frames, copied);
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

/** Copies eight-byte words of a slab from one place to another. */
type Move = (from: number, to: number, words: number) => void;
const movers = new WeakMap<Batch, Move>();

/**
 * One closure a batch, whose slab is then a constant to the compiler. As doubles, for these are the widest numbers that
 * do not allocate: half the time of int32. V8 keeps the bits of those that are no numbers; a test holds it to that.
 */
function moverOf({ slab }: Batch): Move {
  const words = new Float64Array(slab.buffer);
  return (from, to, count) => {
    const end = from + count;
    while (from < end) words[to++] = words[from++] as number;
  };
}

interface LaidBurst {
  /** Where the frames stand, and where they are received. */
  readonly places: Int32Array;
  readonly offsets: Int32Array;
  readonly lengths: Int32Array;
}

/**
 * Frames that are received again and again. They stand in the slab's arena for good, and as a rule are received where they
 * are: what is measured with them is the pipeline and no copy. `copied` is for stages that change frames: each burst is
 * copied to the arena's start first, where a tap's read would put it, which costs some 10 ns a small frame.
 */
class LoopedFrames {
  readonly #frames: readonly Uint8Array[];
  readonly #copied: boolean;
  /** Columns ready to be copied: a loop over single frames costs as much as two stages. */
  readonly #bursts: LaidBurst[] = [];
  #move: Move | undefined;
  #next = 0;

  constructor(frames: readonly Uint8Array[], copied: boolean) {
    this.#frames = frames;
    this.#copied = copied;
  }

  receive(batch: Batch, ingress: number): number {
    if (this.#move === undefined) this.#lay(batch);
    const burst = this.#bursts[this.#next];
    if (burst === undefined) return 0; // no frames: it only counts what it is sent
    if (this.#copied) this.#copy(burst);
    this.#next = this.#next + 1 === this.#bursts.length ? 0 : this.#next + 1;
    batch.offset.set(burst.offsets, batch.count);
    batch.length.set(burst.lengths, batch.count);
    batch.claim(BURST, ingress);
    return BURST;
  }

  /** With their virtio-net headers. */
  #copy({ places, offsets, lengths }: LaidBurst): void {
    const move = this.#move as Move;
    for (let i = 0; i < BURST; i++)
      move(
        ((places[i] as number) - VNET_SIZE) >> 3,
        ((offsets[i] as number) - VNET_SIZE) >> 3,
        wordsOf(lengths[i] as number),
      );
  }

  #lay(batch: Batch): void {
    const known = movers.get(batch) ?? moverOf(batch);
    movers.set(batch, known);
    this.#move = known;
    const stand = this.#place(batch);
    const total = this.#frames.length;
    // Whole bursts, as many as bring each frame round to the start again.
    for (let first = 0; total > 0 && (first === 0 || first % total !== 0); first += BURST) {
      const frames = Int32Array.from({ length: BURST }, (_, i) => (first + i) % total);
      const lengths = frames.map(frame => (this.#frames[frame] as Uint8Array).length);
      const places = frames.map(frame => stand[frame] as number);
      if (this.#copied) this.#bursts.push({ ...this.#received(batch, lengths), places });
      else this.#bursts.push({ places, offsets: places, lengths });
    }
  }

  /** Bursts of the same lengths share their columns: thousands of arrays would cost more to fetch than frames to copy. */
  #received(batch: Batch, lengths: Int32Array): Pick<LaidBurst, 'offsets' | 'lengths'> {
    const last = this.#bursts.at(-1);
    const same = last?.lengths.every((length, i) => length === lengths[i]);
    return last !== undefined && same === true ? last : { offsets: packed(batch.arena, lengths), lengths };
  }

  /** Writes all frames behind what the batch's other looped ports have laid there, and returns where they stand. */
  #place(batch: Batch): Int32Array {
    const start = batch.looped === 0 ? batch.arena + COPY_BYTES : batch.looped;
    const lengths = Int32Array.from(this.#frames, frame => frame.length);
    const offsets = this.#copied ? dense(start, lengths) : packed(start, lengths);
    for (const [index, frame] of this.#frames.entries()) {
      const at = offsets[index] as number;
      if (at + frame.length > batch.slab.length) throw new RangeError('the frames do not fit the arena');
      batch.slab.fill(0, at - VNET_SIZE, at);
      batch.slab.set(frame, at);
      batch.looped = (at + frame.length + 63) & ~63;
    }
    return offsets;
  }
}

/** Room at the arena's start for a burst of copied frames of the usual sizes. */
const COPY_BYTES = BURST * 2_048;

/** Of a frame with its virtio-net header, which begins on a word's boundary (HEADROOM - VNET_SIZE is 56). */
const wordsOf = (bytes: number): number => (VNET_SIZE + bytes + 7) >> 3;

/** Where frames of these lengths stand behind one another, as a tap packs them. */
function packed(start: number, lengths: Int32Array): Int32Array {
  let next = start;
  return lengths.map(length => {
    const at = next + HEADROOM;
    next = (at + length + 63) & ~63;
    return at;
  });
}

/** The same without headroom: where they only wait to be copied, in order. */
function dense(start: number, lengths: Int32Array): Int32Array {
  let next = start;
  return lengths.map(length => {
    const at = next + VNET_SIZE;
    next += wordsOf(length) * 8;
    return at;
  });
}
