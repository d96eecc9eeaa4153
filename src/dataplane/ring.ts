/**
 * Frames between the two threads: a ring with one producer and one consumer over shared memory. Neither side ever waits;
 * a full ring refuses, and the refusal is a counted drop. Waking the other side is the caller's business (an eventfd).
 *
 *   memory  ┌ head, one cache line ┬ tail, one cache line ┬ slot 0: length, port, frame … ┬ slot 1 …
 *
 * head and, beside it, whether the consumer waits, are written by the consumer alone, tail by the producer alone. They only grow (and wrap at 2^32); a slot belongs to
 * the consumer from the tail's store until the head's.
 */
const HEAD = 0;
const WAITS = 1; // 1: the consumer is not looking, and wants to be woken
const TAIL = 16; // words: 64 bytes on, lest the two threads fight over one cache line
const HEADER_BYTES = 128;
const SLOT_HEADER = 8;
const SLOT_BYTES = 2_112;

/** Bytes of the largest frame that fits: more than any frame the control plane has business with. */
export const RING_FRAME = SLOT_BYTES - SLOT_HEADER;

/** Memory for a ring of `slots` frames, a power of two. */
export const ringMemory = (slots: number): SharedArrayBuffer =>
  new SharedArrayBuffer(HEADER_BYTES + slots * SLOT_BYTES);

export class FrameRing {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #slots: number;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.#bytes = new Uint8Array(memory);
    this.#slots = (memory.byteLength - HEADER_BYTES) / SLOT_BYTES;
    if ((this.#slots & (this.#slots - 1)) !== 0) throw new RangeError('a ring has a power of two of slots');
  }

  get slots(): number {
    return this.#slots;
  }

  /** How many frames have been taken out, and put in, since the beginning: they wrap at 2^32. */
  get taken(): number {
    return Atomics.load(this.#words, HEAD);
  }

  get put(): number {
    return Atomics.load(this.#words, TAIL);
  }

  /**
   * The consumer stops looking; false: something has come in meanwhile, so it shall look again. From then on the producer
   * wakes it.
   */
  rest(): boolean {
    Atomics.store(this.#words, WAITS, 1);
    if (this.taken === this.put) return true;
    this.look();
    return false;
  }

  /** The consumer looks, and need not be woken. */
  look(): void {
    Atomics.store(this.#words, WAITS, 0);
  }

  /** For the producer, after it has put something in: must the consumer be woken? Says so once for each rest. */
  get waits(): boolean {
    return Atomics.load(this.#words, WAITS) === 1 && Atomics.compareExchange(this.#words, WAITS, 1, 0) === 1;
  }

  /** Copies bytes `at … at + length - 1` of `from` in, with a port's index; false when full or too long. */
  push(from: Uint8Array, at: number, length: number, port: number): boolean {
    const tail = this.put;
    const used = (tail - this.taken) | 0;
    if (used === this.#slots || length > RING_FRAME) return false;
    const slot = this.#slot(tail);
    this.#words[slot >> 2] = length;
    this.#words[(slot >> 2) + 1] = port;
    const to = slot + SLOT_HEADER;
    for (let i = 0; i < length; i++) this.#bytes[to + i] = from[at + i] as number;
    Atomics.store(this.#words, TAIL, (tail + 1) | 0);
    return true;
  }

  /** Throws away what is in it; neither side may be at work. */
  clear(): void {
    Atomics.store(this.#words, HEAD, this.put);
  }

  /** Hands the oldest frame to `take`, as a copy that it may keep; false when the ring is empty. */
  pop(take: (frame: Uint8Array<ArrayBuffer>, port: number) => void): boolean {
    const head = Atomics.load(this.#words, HEAD);
    if (head === Atomics.load(this.#words, TAIL)) return false;
    const slot = this.#slot(head);
    const length = this.#words[slot >> 2] as number;
    const port = this.#words[(slot >> 2) + 1] as number;
    const frame = Buffer.allocUnsafe(length); // of a pool: memory of its own costs more than the copy
    const from = slot + SLOT_HEADER;
    for (let i = 0; i < length; i++) frame[i] = this.#bytes[from + i] as number;
    Atomics.store(this.#words, HEAD, (head + 1) | 0);
    take(frame, port);
    return true;
  }

  #slot(position: number): number {
    return HEADER_BYTES + (position & (this.#slots - 1)) * SLOT_BYTES;
  }
}
