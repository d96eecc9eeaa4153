/**
 * A tap's interface end (or any Ethernet interface) through a packet socket, as a bridge would join it: the guest holds
 * the device end itself.
 */
import type { Batch } from '../dataplane/batch.ts';
import { BURST } from '../dataplane/batch.ts';
import { FilePort } from './file-port.ts';
import { GONE } from './port.ts';

/** The interface is there, but down: nothing to read till it is up, and nothing to give up for. */
const ENETDOWN = -100;

export class PacketPort extends FilePort {
  readonly kind = 'packet';

  receive(batch: Batch, ingress: number): number {
    const first = batch.count;
    const got = this.native.receivePackets(
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
    this.refusals[0] = 0;
    const taken = this.native.sendPackets(
      this.fd,
      batch.slab,
      batch.offset,
      batch.length,
      rows,
      count,
      this.refusals,
    );
    return taken < 0 ? GONE : taken;
  }
}
