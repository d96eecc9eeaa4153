/**
 * Records of any length from one thread to another, over shared memory, bounded; neither side waits here. What a record holds is its
 * owner's: behind its first word, which is its size.
 *
 *   memory  ┌ head, tail: words, 64 bytes apart, and the owner's header ┬ record, record … ┬ skip to the front ┐
 *
 * Positions only grow and wrap at 2^32: the capacity is a power of two. What is between head and tail is the consumer's. Records
 * begin on boundaries of eight bytes.
 */
const [HEAD, TAIL] = [0, 16];
/** In place of a size: the next record is at the front. */
const SKIP = -1;

export class ByteRing {
  /** The memory that records are in; places count from its beginning. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly #control: Int32Array;
  readonly #capacity: number;
  /** The producer's place, not yet shown; the consumer's, not yet given back. */
  #put = 0;
  #got = 0;

  /** `header`: bytes before the records, 128 at the least, of which the owner has those but the words 0 and 16. */
  constructor(memory: SharedArrayBuffer, header: number) {
    this.bytes = new Uint8Array(memory, header);
    this.words = new Int32Array(memory, header);
    this.#control = new Int32Array(memory, 0, header >> 2);
    this.#capacity = this.bytes.length;
    if ((this.#capacity & (this.#capacity - 1)) !== 0) throw new RangeError('a ring has 2^n bytes');
  }

  /** For the producer: where a record of so many bytes, its first word among them, begins; -1: there is no room. */
  take(bytes: number): number {
    const size = whole(bytes);
    const place = this.#put & (this.#capacity - 1);
    const skipped = place + size > this.#capacity ? this.#capacity - place : 0;
    if (this.#used + skipped + size > this.#capacity) return -1;
    if (skipped > 0) this.words[place >> 2] = SKIP;
    const at = skipped > 0 ? 0 : place;
    this.words[at >> 2] = size;
    this.#put = (this.#put + skipped + size) | 0;
    return at;
  }

  /** For the producer: could a record of so many bytes be put in? */
  hasRoomFor(bytes: number): boolean {
    const size = whole(bytes);
    const rest = this.#capacity - (this.#put & (this.#capacity - 1));
    return this.#used + size + (size > rest ? rest : 0) <= this.#capacity;
  }

  get #used(): number {
    return (this.#put - Atomics.load(this.#control, HEAD)) | 0;
  }

  /** For the producer: shows what was taken. */
  commit(): void {
    Atomics.store(this.#control, TAIL, this.#put);
  }

  /** For the consumer: where the oldest record begins that was not passed over; -1: there is none. */
  oldest(): number {
    if (this.empty) return -1;
    const at = this.#got & (this.#capacity - 1);
    if (this.words[at >> 2] !== SKIP) return at;
    this.#got = (this.#got + this.#capacity - at) | 0;
    return 0;
  }

  /** For the consumer: is there nothing that was not passed over? */
  get empty(): boolean {
    return this.#got === Atomics.load(this.#control, TAIL);
  }

  /** For the consumer: passes over the oldest record. Its memory is the consumer's till `release`. */
  pass(at: number): void {
    this.#got = (this.#got + (this.words[at >> 2] as number)) | 0;
  }

  /** For the consumer: gives back what was passed over. */
  release(): void {
    Atomics.store(this.#control, HEAD, this.#got);
  }

  /** For the consumer: forgets what was passed over since the last `release`. */
  rewind(): void {
    this.#got = Atomics.load(this.#control, HEAD);
  }
}

const whole = (bytes: number): number => (bytes + 7) & ~7;
