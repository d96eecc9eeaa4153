/**
 * May this port send this? Addresses reserved for the link itself go nowhere (IEEE 802.1Q §8.6.3), and no guest may speak
 * with the gateway's own MAC: it would take the gateway's place for all others.
 */
import type { Mac } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import { type Batch, DROPPED, KEY_OCTETS, type Stage } from './batch.ts';

const RESERVED_HI = 0x0180;
const RESERVED_LO = 0xc200_0000 | 0; // 01-80-C2-00-00-00 … 0F
const OCTETS = KEY_OCTETS; // an import that each row needs

/** `gatewayMac`: the switch's own address, undefined where it has no gateway: then no port can take its place. */
export const guard = (batch: Batch, gatewayMac: Mac | undefined): Stage => {
  const { egress, sourceKey, sourceLo, destinationKey, destinationLo } = batch;
  /** Columns of rows that are dropped already are stale. */
  const refuse = (row: number, reason: Drop): void => {
    if (egress[row] !== DROPPED) batch.refuse(row, reason);
  };
  const reserved = (): void => {
    const { count } = batch;
    for (let row = 0; row < count; row++)
      if (
        ((destinationLo[row] as number) & ~15) === RESERVED_LO &&
        ((destinationKey[row] as number) & OCTETS) === RESERVED_HI
      )
        refuse(row, Drop.ReservedAddress);
  };
  const impostors = ({ hi, lo }: Mac): void => {
    const { count } = batch;
    for (let row = 0; row < count; row++)
      if (sourceLo[row] === lo && ((sourceKey[row] as number) & OCTETS) === hi)
        refuse(row, Drop.SourceIsGateway);
  };
  return {
    name: 'guard',
    run(): void {
      if (batch.grouped) reserved();
      if (gatewayMac !== undefined) impostors(gatewayMac);
    },
  };
};
