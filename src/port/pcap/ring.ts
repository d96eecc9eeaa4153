/**
 * Frames between the data plane and the thread that writes or reads a port's file: a ring of bytes with one producer and one
 * consumer over shared memory, bounded. The data plane never waits; the thread rests (a futex) till it is woken.
 *
 *   memory  ┌ words: head, tail, flags ┬ why it ended, text ┬ record, record … ┬ skip to the front ┐
 *   record  ┌ kept │ original │ seconds │ nanoseconds │ frame … to a multiple of 16 bytes
 *
 * Positions only grow and wrap at 2^32: the capacity is a power of two. What is between head and tail is the consumer's.
 */
const [HEAD, RESTS, SIGNAL, TAIL, LOST, STOP, DONE, ENDED] = [0, 1, 2, 16, 32, 33, 34, 35];
const [TEXT_AT, TEXT_BYTES, HEADER_BYTES] = [256, 768, 1_024];
const RECORD = 16;
const SKIP = -1;

/** Memory for a ring of `capacity` bytes, a power of two. */
export const pcapRingMemory = (capacity: number): SharedArrayBuffer =>
  new SharedArrayBuffer(HEADER_BYTES + capacity);

const whole = (bytes: number): number => (bytes + RECORD + 15) & ~15;

export class PcapRing {
  /** The memory that frames are in. */
  readonly bytes: Uint8Array;
  // The frame that `next` has found: where in `bytes`, how many bytes of it are there, how many it had; its time.
  at = 0;
  kept = 0;
  originalLength = 0;
  seconds = 0;
  nanoseconds = 0;
  readonly #words: Int32Array;
  readonly #capacity: number;
  /** The producer's place, not yet shown; the consumer's, not yet given back. */
  #put = 0;
  #got = 0;

  constructor(memory: SharedArrayBuffer) {
    this.bytes = new Uint8Array(memory);
    this.#words = new Int32Array(memory);
    this.#capacity = memory.byteLength - HEADER_BYTES;
    if ((this.#capacity & (this.#capacity - 1)) !== 0) throw new RangeError('a ring has 2^n bytes');
  }

  /** Makes room for a frame and describes it; where in `bytes` its bytes go, or -1: full. `commit` shows it. */
  reserve(kept: number, originalLength: number, seconds: number, nanoseconds: number): number {
    const words = this.#words;
    const size = whole(kept);
    const mask = this.#capacity - 1;
    const place = this.#put & mask;
    const skipped = place + size > this.#capacity ? this.#capacity - place : 0;
    const used = (this.#put - Atomics.load(words, HEAD)) | 0;
    if (used + skipped + size > this.#capacity) return -1;
    if (skipped > 0) words[(HEADER_BYTES + place) >> 2] = SKIP;
    const record = HEADER_BYTES + ((place + skipped) & mask);
    words[record >> 2] = kept;
    words[(record >> 2) + 1] = originalLength;
    words[(record >> 2) + 2] = seconds;
    words[(record >> 2) + 3] = nanoseconds;
    this.#put = (this.#put + skipped + size) | 0;
    return record + RECORD;
  }

  commit(): void {
    Atomics.store(this.#words, TAIL, this.#put);
  }

  /** Goes to the next frame; false: there is none. */
  next(): boolean {
    const words = this.#words;
    const mask = this.#capacity - 1;
    if (this.#got === Atomics.load(words, TAIL)) return false;
    let place = this.#got & mask;
    if (words[(HEADER_BYTES + place) >> 2] === SKIP) {
      this.#got = (this.#got + this.#capacity - place) | 0;
      place = 0;
    }
    const record = (HEADER_BYTES + place) >> 2;
    this.kept = words[record] as number;
    this.originalLength = words[record + 1] as number;
    this.seconds = (words[record + 2] as number) >>> 0;
    this.nanoseconds = words[record + 3] as number;
    this.at = HEADER_BYTES + place + RECORD;
    this.#got = (this.#got + whole(this.kept)) | 0;
    return true;
  }

  /** Gives back all that `next` has gone to. */
  release(): void {
    Atomics.store(this.#words, HEAD, this.#got);
  }

  /** Forgets what `next` has gone to since the last `release`. */
  rewind(): void {
    this.#got = Atomics.load(this.#words, HEAD);
  }

  /** For the consumer: is there nothing that it has not gone to? */
  get empty(): boolean {
    return this.#got === Atomics.load(this.#words, TAIL);
  }

  /** For the producer: could a frame of so many bytes be put in? */
  hasRoom(kept: number): boolean {
    const used = (this.#put - Atomics.load(this.#words, HEAD)) | 0;
    const rest = this.#capacity - (this.#put & (this.#capacity - 1));
    const size = whole(kept);
    return used + size + (size > rest ? rest : 0) <= this.#capacity;
  }

  /** Frames that are not in the ring though they ought to be, since they were last asked for. */
  lose(frames: number): void {
    Atomics.add(this.#words, LOST, frames);
  }

  takeLost(): number {
    return Atomics.load(this.#words, LOST) === 0 ? 0 : Atomics.exchange(this.#words, LOST, 0);
  }

  /** For the thread: rests up to `ms` milliseconds, if `idle` says so after it can be woken. */
  rest(ms: number, idle: () => boolean): void {
    const words = this.#words;
    const seen = Atomics.load(words, SIGNAL);
    Atomics.store(words, RESTS, 1);
    if (idle() && !this.stopped) Atomics.wait(words, SIGNAL, seen, ms);
    Atomics.store(words, RESTS, 0);
  }

  /** For the data plane: wakes the thread when it rests. */
  wake(): void {
    if (Atomics.load(this.#words, RESTS) === 1) this.#signal();
  }

  /** Asks the thread to come to its end, and waits up to `ms` milliseconds for that; false: it has not. */
  stop(ms: number): boolean {
    Atomics.store(this.#words, STOP, 1);
    this.#signal();
    return Atomics.wait(this.#words, DONE, 0, ms) !== 'timed-out';
  }

  get stopped(): boolean {
    return Atomics.load(this.#words, STOP) === 1;
  }

  /** The thread has come to its end. */
  finish(): void {
    Atomics.store(this.#words, DONE, 1);
    Atomics.notify(this.#words, DONE);
  }

  /** No frame follows those that were committed. `why` is not empty; up to 768 bytes of it are kept. */
  end(why: string): void {
    const text = Buffer.from(why).subarray(0, TEXT_BYTES);
    this.#text.set(text);
    Atomics.store(this.#words, ENDED, text.length);
  }

  get ended(): boolean {
    return Atomics.load(this.#words, ENDED) !== 0;
  }

  get why(): string {
    return Buffer.from(this.#text.subarray(0, Atomics.load(this.#words, ENDED))).toString();
  }

  get #text(): Uint8Array {
    return this.bytes.subarray(TEXT_AT, TEXT_AT + TEXT_BYTES);
  }

  #signal(): void {
    Atomics.add(this.#words, SIGNAL, 1);
    Atomics.notify(this.#words, SIGNAL);
  }
}
