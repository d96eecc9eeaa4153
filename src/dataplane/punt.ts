/** How a frame leaves the hot path for the control plane: by copy, bounded, never waited for. */
import type { Batch } from './batch.ts';

export interface Punt {
  /**
   * Copies the row's frame out, with its ingress; false when the control plane is behind: then it is dropped. `bulk`: one of
   * the many that one guest may send, which leave room for other guests' and for what is not bulk.
   */
  punt(batch: Batch, row: number, bulk?: boolean): boolean;
}
