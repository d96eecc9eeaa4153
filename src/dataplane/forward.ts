/**
 * Destination MAC to egress ports, for the rows that no earlier stage has decided (IEEE 802.1D §7.7).
 *
 * Two loops, as in learn: destinations that stand in their home slot, then the rest, which take a whole look-up. What the
 * gateway has written since parse is among these, and is read from the frame.
 */
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import { type Batch, FLOOD, LOOK_UP, type Stage, UNDECIDED } from './batch.ts';
import type { Fdb } from './fdb.ts';
import { type Allowances, UNKNOWN } from './storm.ts';

// Imports that each row needs.
const [OPEN, ALL, WRITTEN] = [UNDECIDED, FLOOD, LOOK_UP];
const { isGroup } = ethernet;

export const forward = (batch: Batch, fdb: Fdb, allowances?: Allowances): Stage => {
  const { mem, offset, egress, ingress, destinationKey, destinationLo, destinationHome } = batch;
  const { lookupHome } = fdb;
  const rest = new Int32Array(batch.capacity);
  /** The whole look-up. */
  const decide = (row: number, key: number, lo: number): void => {
    if (isGroup(key)) {
      egress[row] = FLOOD;
      return;
    }
    const found = fdb.lookup(key, lo);
    if (found === ingress[row]) batch.refuse(row, Drop.SameSegment);
    else if (found >= 0) egress[row] = found;
    else if (allowances === undefined || allowances.take(ingress[row] as number, UNKNOWN))
      egress[row] = FLOOD;
    else batch.refuse(row, Drop.UnknownLimit);
  };
  return {
    name: 'forward',
    run(): void {
      const { count, port } = batch;
      let resting = 0;
      for (let row = 0; row < count; row++) {
        if (egress[row] !== OPEN) {
          if (egress[row] === WRITTEN) rest[resting++] = row;
          continue;
        }
        const key = destinationKey[row] as number;
        if (isGroup(key)) {
          egress[row] = ALL;
          continue;
        }
        const found = lookupHome(destinationHome[row] as number, key, destinationLo[row] as number);
        if (found < 0) rest[resting++] = row;
        else if (found === port) batch.refuse(row, Drop.SameSegment);
        else egress[row] = found;
      }
      for (let i = 0; i < resting; i++) {
        const row = rest[i] as number;
        const at = offset[row] as number;
        if (egress[row] === OPEN) decide(row, destinationKey[row] as number, destinationLo[row] as number);
        else decide(row, ethernet.destinationHi(mem, at), ethernet.destinationLo(mem, at));
      }
    },
  };
};
