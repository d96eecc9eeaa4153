/**
 * May this port send this? Addresses reserved for the link itself go nowhere (IEEE 802.1Q §8.6.3), and no guest may speak
 * with the gateway's own MAC: it would take the gateway's place for all others.
 */
import type { Mac } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import type { Batch, Stage } from './batch.ts';

const RESERVED_HI = 0x0180;
const RESERVED_LO = 0xc200_0000 | 0; // 01-80-C2-00-00-00 … 0F

/** `gatewayMac`: the switch's own address, undefined where it has no gateway. */
export const guard = (gatewayMac: Mac | undefined): Stage => ({
  name: 'guard',
  run(batch: Batch): void {
    const hi = gatewayMac?.hi ?? -1;
    const lo = gatewayMac?.lo ?? -1;
    const { count, mem, offset, drop } = batch;
    for (let row = 0; row < count; row++) {
      if (drop[row] !== Drop.None) continue;
      const at = offset[row] as number;
      const reserved =
        mem.getUint16(at) === RESERVED_HI && (ethernet.destinationLo(mem, at) & ~15) === RESERVED_LO;
      if (reserved) drop[row] = Drop.ReservedAddress;
      else if (mem.getUint16(at + 6) === hi && ethernet.sourceLo(mem, at) === lo)
        drop[row] = Drop.SourceIsGateway;
    }
  },
});
