/** A tap's device end: what a guest's netdev sends comes out of the file, what is written to it arrives in the guest. */
import type { Batch } from '../dataplane/batch.ts';
import { FilePort } from './file-port.ts';

export class TapPort extends FilePort {
  readonly kind = 'tap';

  receive(batch: Batch, ingress: number): number {
    return this.read(batch, ingress, 0);
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    return this.write(batch, rows, count, 0);
  }
}
