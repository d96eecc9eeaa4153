/**
 * A tap's interface end (or any Ethernet interface) through a packet socket, as a bridge would join it: the guest holds
 * the device end itself. The file stays its opener's; `close` forgets it.
 */
import type { Batch } from '../dataplane/batch.ts';
import { BURST } from '../dataplane/batch.ts';
import { loadNative, type Native } from './native.ts';
import { GONE, type Port } from './port.ts';

/** The interface is there, but down: nothing to read till it is up, and nothing to give up for. */
const ENETDOWN = -100;

export class PacketPort implements Port {
  readonly kind = 'packet';
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
    const got = this.#native.receivePackets(
      this.fd,
      batch.slab,
      batch.arena,
      batch.offset,
      batch.length,
      first,
      BURST,
    );
    if (got < 0) return got === ENETDOWN ? 0 : GONE;
    batch.claim(got, ingress);
    return got;
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    this.#refused[0] = 0;
    const taken = this.#native.sendPackets(
      this.fd,
      batch.slab,
      batch.offset,
      batch.length,
      rows,
      count,
      this.#refused,
    );
    return taken < 0 ? GONE : taken;
  }

  close(): void {}
}
