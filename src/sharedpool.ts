/**
 * Shared memory that is used again. V8 gives it back only when each thread that has seen it has collected its heap, which the data
 * plane's, as it allocates nothing, hardly ever does: of 2,000 short captures one after the other some 200 rings were held at a time.
 */
export class SharedPool {
  readonly #make: () => SharedArrayBuffer;
  readonly #headerBytes: number;
  readonly #most: number;
  readonly #free: SharedArrayBuffer[] = [];

  /** `headerBytes`: those that must be zeros at the beginning. `most`: kept while nobody needs them. */
  constructor(make: () => SharedArrayBuffer, headerBytes: number, most: number) {
    this.#make = make;
    this.#headerBytes = headerBytes;
    this.#most = most;
  }

  take(): SharedArrayBuffer {
    const memory = this.#free.pop();
    if (memory === undefined) return this.#make();
    new Uint8Array(memory, 0, this.#headerBytes).fill(0);
    return memory;
  }

  /** Nobody may write it any more. */
  give(memory: SharedArrayBuffer): void {
    if (this.#free.length < this.#most) this.#free.push(memory);
  }
}
