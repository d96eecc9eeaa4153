/**
 * Copies from one memory to another, gathered and done in one native call: a loop in JavaScript takes half a microsecond for the
 * bytes of a full frame. They are done at the latest when a copy between two other memories is added.
 */
import type { Native } from './native.ts';

const MAX_SPANS = 256;
const NOWHERE = new Uint8Array(0);

export class Copies {
  readonly #native: Native;
  readonly #spans = new Int32Array(3 * MAX_SPANS);
  #count = 0;
  #from = NOWHERE;
  #to = NOWHERE;

  constructor(native: Native) {
    this.#native = native;
  }

  add(from: Uint8Array, at: number, to: Uint8Array, place: number, bytes: number): void {
    if (from !== this.#from || to !== this.#to || this.#count === MAX_SPANS) {
      this.finish();
      this.#from = from as Uint8Array<ArrayBuffer>;
      this.#to = to as Uint8Array<ArrayBuffer>;
    }
    const span = 3 * this.#count++;
    this.#spans[span] = at;
    this.#spans[span + 1] = place;
    this.#spans[span + 2] = bytes;
  }

  /** Does all that was added. */
  finish(): void {
    if (this.#count > 0) this.#native.copyBytes(this.#from, this.#to, this.#spans, this.#count);
    this.#count = 0;
  }

  /** Forgets the memories: one may be unmapped. */
  clear(): void {
    this.#count = 0;
    this.#from = this.#to = NOWHERE;
  }
}
