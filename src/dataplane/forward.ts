/** Destination MAC to egress ports, for the rows that no earlier stage has decided (IEEE 802.1D §7.7). */
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import { type Batch, FLOOD, type Stage, UNDECIDED } from './batch.ts';
import type { Fdb } from './fdb.ts';

export const forward = (fdb: Fdb): Stage => ({
  name: 'forward',
  run(batch: Batch): void {
    const { count, mem, offset, drop, egress, vlan, ingress } = batch;
    for (let row = 0; row < count; row++) {
      if (drop[row] !== Drop.None || egress[row] !== UNDECIDED) continue;
      const at = offset[row] as number;
      const hi = ethernet.destinationHi(mem, at);
      if (ethernet.isGroup(hi)) {
        egress[row] = FLOOD;
        continue;
      }
      const port = fdb.lookup(((vlan[row] as number) << 16) | hi, ethernet.destinationLo(mem, at));
      if (port === ingress[row]) drop[row] = Drop.SameSegment;
      else egress[row] = port < 0 ? FLOOD : port;
    }
  },
});
