/** Brings the ends of frames into the slab, behind their beginnings, for whoever can't take them from where they are. */
import type { Batch } from '../dataplane/batch.ts';
import { loadNative } from './native.ts';

/** Pieces that are copied in one go. */
const MAX_SPANS = 512;

export class Tails {
  readonly #native = loadNative();
  readonly #spans = new Int32Array(3 * MAX_SPANS);

  /** After it rows[0 … count - 1] are whole in the slab. */
  bringIn(batch: Batch, rows: Int32Array, count: number): void {
    const { origin, offset, length, tailFirst, tailCount } = batch;
    if (origin === undefined) return;
    const { window, at, bytes } = origin;
    const spans = this.#spans;
    let filled = 0;
    let from = -1;
    for (let i = 0; i < count; i++) {
      const row = rows[i] as number;
      const first = tailFirst[row] as number;
      let to = (offset[row] as number) + (length[row] as number);
      for (let piece = first + (tailCount[row] as number) - 1; piece >= first; piece--) {
        if (window[piece] !== from || filled === MAX_SPANS) {
          this.#copy(batch, from, filled);
          filled = 0;
          from = window[piece] as number;
        }
        to -= bytes[piece] as number;
        spans[3 * filled] = at[piece] as number;
        spans[3 * filled + 1] = to;
        spans[3 * filled + 2] = bytes[piece] as number;
        filled++;
      }
      tailCount[row] = 0;
    }
    this.#copy(batch, from, filled);
  }

  #copy({ origin, slab }: Batch, window: number, count: number): void {
    if (count > 0) this.#native.copyBytes(origin?.windows[window] as Uint8Array, slab, this.#spans, count);
  }
}
