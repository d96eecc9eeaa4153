/**
 * A tap's device end: what a guest's netdev sends comes out of the file, what is written to the file arrives in the guest.
 * The file stays its opener's; `close` forgets it.
 */
import type { Batch } from '../dataplane/batch.ts';
import { BURST } from '../dataplane/batch.ts';
import { loadNative, type Native } from './native.ts';
import { GONE, type Port } from './port.ts';

export class TapPort implements Port {
  readonly kind = 'tap';
  readonly offloads = true;
  readonly #native: Native = loadNative();
  readonly #refused = new Int32Array(1);

  constructor(
    readonly name: string,
    readonly fd: number,
    readonly mtu: number,
  ) {}

  get refused(): number {
    return this.#refused[0] as number;
  }

  receive(batch: Batch, ingress: number): number {
    const first = batch.count;
    const got = this.#native.readFrames(
      this.fd,
      batch.slab,
      batch.arena,
      batch.offset,
      batch.length,
      first,
      BURST,
      0,
    );
    if (got < 0) return GONE;
    batch.claim(got, ingress);
    return got;
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    this.#refused[0] = 0;
    const taken = this.#native.writeFrames(
      this.fd,
      batch.slab,
      batch.offset,
      batch.length,
      rows,
      count,
      0,
      this.#refused,
    );
    return taken < 0 ? GONE : taken;
  }

  close(): void {}
}
