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

/** Words from a frame's virtio-net header to its end. */
const wordsOf = (bytes: number): number => (VNET_SIZE + bytes + 3) >> 2;

interface LaidBurst {
  readonly frames: Int32Array;
  readonly offsets: Int32Array;
  readonly lengths: Int32Array;
}

/**
 * Frames that stand in the slab's arena, packed as a tap packs them, and are received where they are: what is measured
 * with them is the pipeline and no copy. A burst may hold a frame twice, so a stage that changes frames needs BURST of
 * them, copied anew: word by word from the virtio-net header on, which a small frame's costs some 10 ns.
 */
class LoopedFrames {
  readonly #frames: readonly Uint8Array[];
  readonly #copied: boolean;
  readonly #offsets: Int32Array;
  readonly #lengths: Int32Array;
  /** Columns ready to be copied: a loop over single frames costs as much as two stages. */
  readonly #bursts: LaidBurst[] = [];
  #words = new Int32Array(0);
  /** What is copied: all frames' words, and where each frame's begin. */
  #kept = new Int32Array(0);
  readonly #starts: Int32Array;
  #laid = false;
  #next = 0;

  constructor(frames: readonly Uint8Array[], copied: boolean) {
    this.#frames = frames;
    this.#copied = copied;
    this.#offsets = new Int32Array(frames.length);
    this.#starts = new Int32Array(frames.length);
    this.#lengths = Int32Array.from(frames, frame => frame.length);
  }

  receive(batch: Batch, ingress: number): number {
    if (!this.#laid) this.#lay(batch);
    const burst = this.#bursts[this.#next];
    if (burst === undefined) return 0; // no frames: it only counts what it is sent
    if (this.#copied) this.#copy(burst);
    this.#next = this.#next + 1 === this.#bursts.length ? 0 : this.#next + 1;
    batch.offset.set(burst.offsets, batch.count);
    batch.length.set(burst.lengths, batch.count);
    batch.claim(BURST, ingress);
    return BURST;
  }

  #copy({ frames, offsets, lengths }: LaidBurst): void {
    const words = this.#words;
    const kept = this.#kept;
    const starts = this.#starts;
    for (let i = 0; i < BURST; i++) {
      const to = ((offsets[i] as number) - VNET_SIZE) >> 2;
      const from = starts[frames[i] as number] as number;
      const count = wordsOf(lengths[i] as number);
      for (let word = 0; word < count; word++) words[to + word] = kept[from + word] as number;
    }
  }

  /** Behind what the batch's other looped ports have laid there. */
  #lay(batch: Batch): void {
    let at = batch.looped === 0 ? batch.arena : batch.looped;
    for (const [index, frame] of this.#frames.entries()) {
      const start = at + HEADROOM;
      if (start + frame.length > batch.slab.length) throw new RangeError('the frames do not fit the arena');
      batch.slab.fill(0, at, start);
      batch.slab.set(frame, start);
      this.#offsets[index] = start;
      at = (start + frame.length + 63) & ~63;
    }
    batch.looped = at;
    this.#laid = true;
    this.#words = new Int32Array(batch.slab.buffer);
    if (this.#copied) this.#keep();
    this.#cut();
  }

  /** Keeps all frames as they stand before any stage has seen them. */
  #keep(): void {
    let next = 0;
    for (const [index, bytes] of this.#lengths.entries()) {
      this.#starts[index] = next;
      next += wordsOf(bytes);
    }
    this.#kept = new Int32Array(next);
    for (const [index, bytes] of this.#lengths.entries()) {
      const first = ((this.#offsets[index] as number) - VNET_SIZE) >> 2;
      this.#kept.set(this.#words.subarray(first, first + wordsOf(bytes)), this.#starts[index]);
    }
  }

  /** Whole bursts, as many as bring each frame round to the start again. */
  #cut(): void {
    const total = this.#offsets.length;
    if (total === 0) return;
    for (let first = 0; first === 0 || first % total !== 0; first += BURST) {
      const frames = Array.from({ length: BURST }, (_, i) => (first + i) % total);
      this.#bursts.push({
        frames: Int32Array.from(frames),
        offsets: Int32Array.from(frames, frame => this.#offsets[frame] as number),
        lengths: Int32Array.from(frames, frame => this.#lengths[frame] as number),
      });
    }
  }
}
