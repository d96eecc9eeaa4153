/**
 * Destination MAC to egress ports, for the rows that no earlier stage has decided (IEEE 802.1D §7.7).
 *
 * Two loops, as in learn: destinations that stand in their home slot, then the rest, which take a whole look-up.
 */
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import { type Batch, FLOOD, type Stage, UNDECIDED } from './batch.ts';
import type { Fdb } from './fdb.ts';

// Imports that each row needs.
const NONE = Drop.None;
const OPEN = UNDECIDED;
const { destinationHi, destinationLo, isGroup } = ethernet;

export const forward = (batch: Batch, fdb: Fdb): Stage => {
  const { mem, offset, drop, egress, vlan, ingress } = batch;
  const { lookupHome } = fdb;
  const rest = new Int32Array(batch.capacity);
  return {
    name: 'forward',
    run(): void {
      const { count } = batch;
      let resting = 0;
      for (let row = 0; row < count; row++) {
        if (drop[row] !== NONE || egress[row] !== OPEN) continue;
        const at = offset[row] as number;
        const hi = destinationHi(mem, at);
        if (isGroup(hi)) {
          egress[row] = FLOOD;
          continue;
        }
        const port = lookupHome(((vlan[row] as number) << 16) | hi, destinationLo(mem, at));
        if (port < 0) rest[resting++] = row;
        else if (port === ingress[row]) drop[row] = Drop.SameSegment;
        else egress[row] = port;
      }
      for (let i = 0; i < resting; i++) {
        const row = rest[i] as number;
        const at = offset[row] as number;
        const key = ((vlan[row] as number) << 16) | destinationHi(mem, at);
        const port = fdb.lookup(key, destinationLo(mem, at));
        if (port === ingress[row]) drop[row] = Drop.SameSegment;
        else egress[row] = port < 0 ? FLOOD : port;
      }
    },
  };
};
