/**
 * Frames between the data plane and the thread that writes or reads a port's file: a ring (../bytering.ts). The data plane never
 * waits; the thread rests (a futex) till it is woken.
 *
 *   header  ┌ head, tail, flags ┬ why it ended, text
 *   record  ┌ size │ kept │ original │ seconds │ nanoseconds │ frame …
 */
import { ByteRing } from '../bytering.ts';

const [RESTS, SIGNAL, LOST, STOP, DONE, ENDED] = [1, 2, 32, 33, 34, 35];
const [TEXT_AT, TEXT_BYTES] = [256, 768];
export const HEADER_BYTES = 1_024;
const RECORD = 20;

/** Memory for a ring of `capacity` bytes, a power of two. */
export const pcapRingMemory = (capacity: number): SharedArrayBuffer =>
  new SharedArrayBuffer(HEADER_BYTES + capacity);

export class PcapRing extends ByteRing {
  // The frame that `next` has found: where in `bytes`, how many bytes of it are there, how many it had; its time.
  at = 0;
  kept = 0;
  originalLength = 0;
  seconds = 0;
  nanoseconds = 0;
  readonly #flags: Int32Array;
  readonly #text: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    super(memory, HEADER_BYTES);
    this.#flags = new Int32Array(memory, 0, TEXT_AT >> 2);
    this.#text = new Uint8Array(memory, TEXT_AT, TEXT_BYTES);
  }

  /** Makes room for a frame and describes it; where in `bytes` its bytes go, or -1: full. `commit` shows it. */
  reserve(kept: number, originalLength: number, seconds: number, nanoseconds: number): number {
    const record = this.take(RECORD + kept);
    if (record < 0) return -1;
    const { words } = this;
    const word = record >> 2;
    words[word + 1] = kept;
    words[word + 2] = originalLength;
    words[word + 3] = seconds;
    words[word + 4] = nanoseconds;
    return record + RECORD;
  }

  /** For the producer: could a frame of so many bytes be put in? */
  hasRoom(kept: number): boolean {
    return this.hasRoomFor(RECORD + kept);
  }

  /** Goes to the next frame; false: there is none. */
  next(): boolean {
    const record = this.oldest();
    if (record < 0) return false;
    const { words } = this;
    const word = record >> 2;
    this.kept = words[word + 1] as number;
    this.originalLength = words[word + 2] as number;
    this.seconds = (words[word + 3] as number) >>> 0;
    this.nanoseconds = words[word + 4] as number;
    this.at = record + RECORD;
    this.pass(record);
    return true;
  }

  /** Frames that are not in the ring though they ought to be, since they were last asked for. */
  lose(frames: number): void {
    Atomics.add(this.#flags, LOST, frames);
  }

  takeLost(): number {
    return Atomics.load(this.#flags, LOST) === 0 ? 0 : Atomics.exchange(this.#flags, LOST, 0);
  }

  /** For the thread: rests up to `ms` milliseconds, if `idle` says so after it can be woken. */
  rest(ms: number, idle: () => boolean): void {
    const flags = this.#flags;
    const seen = Atomics.load(flags, SIGNAL);
    Atomics.store(flags, RESTS, 1);
    if (idle() && !this.stopped) Atomics.wait(flags, SIGNAL, seen, ms);
    Atomics.store(flags, RESTS, 0);
  }

  /** For the data plane: wakes the thread when it rests. */
  wake(): void {
    if (Atomics.load(this.#flags, RESTS) === 1) this.#signal();
  }

  /** Asks the thread to come to its end, and waits up to `ms` milliseconds for that; false: it has not. */
  stop(ms: number): boolean {
    Atomics.store(this.#flags, STOP, 1);
    this.#signal();
    return Atomics.wait(this.#flags, DONE, 0, ms) !== 'timed-out';
  }

  get stopped(): boolean {
    return Atomics.load(this.#flags, STOP) === 1;
  }

  /** The thread has come to its end. */
  finish(): void {
    Atomics.store(this.#flags, DONE, 1);
    Atomics.notify(this.#flags, DONE);
  }

  /** No frame follows those that were committed. `why` is not empty; up to 768 bytes of it are kept. */
  end(why: string): void {
    const text = Buffer.from(why).subarray(0, TEXT_BYTES);
    this.#text.set(text);
    Atomics.store(this.#flags, ENDED, text.length);
  }

  get ended(): boolean {
    return Atomics.load(this.#flags, ENDED) !== 0;
  }

  get why(): string {
    return Buffer.from(this.#text.subarray(0, Atomics.load(this.#flags, ENDED))).toString();
  }

  #signal(): void {
    Atomics.add(this.#flags, SIGNAL, 1);
    Atomics.notify(this.#flags, SIGNAL);
  }
}
