/** Source MAC to ingress port. Parse has dropped group sources, which must never be learnt (IEEE 802.1D §7.8). */
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import type { Batch, Stage } from './batch.ts';
import type { Fdb } from './fdb.ts';

export const learn = (fdb: Fdb): Stage => ({
  name: 'learn',
  run(batch: Batch): void {
    const { count, mem, nowS, offset, drop, vlan, ingress } = batch;
    for (let row = 0; row < count; row++) {
      if (drop[row] !== Drop.None) continue;
      const at = offset[row] as number;
      const key = ((vlan[row] as number) << 16) | ethernet.sourceHi(mem, at);
      fdb.learn(key, ethernet.sourceLo(mem, at), ingress[row] as number, nowS);
    }
  },
});
