/** Brings the ends of frames into the slab, behind their beginnings, for whoever can't take them from where they are. */
import type { Batch } from '../dataplane/batch.ts';
import { Copies } from './copies.ts';
import { loadNative } from './native.ts';

export class Tails {
  readonly #copies = new Copies(loadNative());

  /** After it rows[0 … count - 1] are whole in the slab. */
  bringIn(
    { origin, slab, offset, length, tailFirst, tailCount }: Batch,
    rows: Int32Array,
    count: number,
  ): void {
    if (origin === undefined) return;
    const { windows, window, at, bytes } = origin;
    for (let i = 0; i < count; i++) {
      const row = rows[i] as number;
      const first = tailFirst[row] as number;
      let to = (offset[row] as number) + (length[row] as number);
      for (let piece = first + (tailCount[row] as number) - 1; piece >= first; piece--) {
        to -= bytes[piece] as number;
        const from = windows[window[piece] as number] as Uint8Array;
        this.#copies.add(from, at[piece] as number, slab, to, bytes[piece] as number);
      }
      tailCount[row] = 0;
    }
    this.#copies.finish();
    this.#copies.clear();
  }
}
