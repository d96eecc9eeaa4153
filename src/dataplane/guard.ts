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

// Imports that each row needs.
const NONE = Drop.None;
const { destinationHi, destinationLo, sourceHi, sourceLo } = ethernet;

/** `gatewayMac`: the switch's own address, undefined where it has no gateway. */
export const guard = (batch: Batch, gatewayMac: Mac | undefined): Stage => {
  const { mem, offset, drop } = batch;
  const hi = gatewayMac?.hi ?? -1;
  const lo = gatewayMac?.lo ?? -1;
  return {
    name: 'guard',
    run(): void {
      const { count } = batch;
      for (let row = 0; row < count; row++) {
        if (drop[row] !== NONE) continue;
        const at = offset[row] as number;
        const reserved =
          destinationHi(mem, at) === RESERVED_HI && (destinationLo(mem, at) & ~15) === RESERVED_LO;
        if (reserved) drop[row] = Drop.ReservedAddress;
        else if (sourceHi(mem, at) === hi && sourceLo(mem, at) === lo) drop[row] = Drop.SourceIsGateway;
      }
    },
  };
};
