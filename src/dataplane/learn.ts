/** Source MAC to ingress port. Parse has dropped group sources, which must never be learnt (IEEE 802.1D §7.8). */
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import type { Batch, Stage } from './batch.ts';
import type { Fdb } from './fdb.ts';

export const learn = (fdb: Fdb): Stage => ({
  name: 'learn',
  run(batch: Batch): void {
    const { mem, nowS } = batch;
    for (let row = 0; row < batch.count; row++) {
      if (batch.drop[row] !== Drop.None) continue;
      const at = batch.offset[row] as number;
      const key = ((batch.vlan[row] as number) << 16) | ethernet.sourceHi(mem, at);
      fdb.learn(key, ethernet.sourceLo(mem, at), batch.ingress[row] as number, nowS);
    }
  },
});
