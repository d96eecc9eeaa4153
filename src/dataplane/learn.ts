/**
 * Source MAC to ingress port. Parse has dropped group sources, which must never be learnt (IEEE 802.1D §7.8).
 *
 * Two loops: the first finds the frames whose station stands in its home slot as this frame would write it, nearly all;
 * the second learns from the rest. The probing stays out of the first, so that the compiler keeps it small. All rows have
 * one ingress, so a station's rows may be split between the loops.
 */
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import type { Batch, Stage } from './batch.ts';
import type { Fdb } from './fdb.ts';

// Imports that each row needs.
const NONE = Drop.None;
const { sourceHi, sourceLo } = ethernet;

export const learn = (batch: Batch, fdb: Fdb): Stage => {
  const { mem, offset, drop, vlan, ingress } = batch;
  const { isFresh } = fdb;
  const rest = new Int32Array(batch.capacity);
  const keyOf = (row: number, at: number): number => ((vlan[row] as number) << 16) | sourceHi(mem, at);
  return {
    name: 'learn',
    run(): void {
      const { count, nowS } = batch;
      let resting = 0;
      for (let row = 0; row < count; row++) {
        if (drop[row] !== NONE) continue;
        const at = offset[row] as number;
        if (!isFresh(keyOf(row, at), sourceLo(mem, at), ingress[row] as number, nowS)) rest[resting++] = row;
      }
      for (let i = 0; i < resting; i++) {
        const row = rest[i] as number;
        const at = offset[row] as number;
        fdb.learn(keyOf(row, at), sourceLo(mem, at), ingress[row] as number, nowS);
      }
    },
  };
};
