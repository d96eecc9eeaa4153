/**
 * Source MAC to ingress port. Parse has dropped group sources, which must never be learnt (IEEE 802.1D §7.8).
 *
 * Two loops: the first finds the frames whose station stands in its home slot as this frame would write it, nearly all;
 * the second learns from the rest, of which some may have been dropped. The probing stays out of the first, so that the
 * compiler keeps it small. All rows have one ingress, so a station's rows may be split between the loops.
 *
 * A table that is full forwards what it can't learn; a port that has as many addresses as it may does not.
 *
 * Nobody is learnt on the uplink: only what the gateway has routed goes there, whatever MAC a guest writes on a frame.
 */
import { Drop } from '../wire/drop.ts';
import { type Batch, DROPPED, type Stage } from './batch.ts';
import type { Fdb } from './fdb.ts';
import { type Allowances, NEW_MAC } from './storm.ts';

/** `uplink`: its port's index, -1: none. */
export const learn = (batch: Batch, fdb: Fdb, uplink: number, allowances?: Allowances): Stage => {
  const { egress, sourceKey, sourceLo, sourceHome } = batch;
  const { isFresh } = fdb;
  const rest = new Int32Array(batch.capacity);
  /** Does the address come to the port sooner than it may? */
  const isEarly = (key: number, lo: number, port: number): boolean =>
    allowances !== undefined && fdb.lookup(key, lo) !== port && !allowances.take(port, NEW_MAC);
  return {
    name: 'learn',
    run(): void {
      const { count, nowS, port } = batch;
      if (port === uplink) return;
      let resting = 0;
      for (let row = 0; row < count; row++) {
        const home = sourceHome[row] as number;
        if (!isFresh(home, sourceKey[row] as number, sourceLo[row] as number, port, nowS))
          rest[resting++] = row;
      }
      for (let i = 0; i < resting; i++) {
        const row = rest[i] as number;
        if (egress[row] === DROPPED) continue;
        const [key, lo] = [sourceKey[row] as number, sourceLo[row] as number];
        if (isEarly(key, lo, port)) {
          batch.refuse(row, Drop.LearnLimit);
          continue;
        }
        const isKnown = fdb.learn(key, lo, port, nowS);
        if (!isKnown && fdb.isFull(port)) batch.refuse(row, Drop.MacLimit);
      }
    },
  };
};
