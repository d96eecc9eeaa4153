/** What guests of a simulation write and read. */
import { clientMac } from '../../fixtures/dhcp.ts';
import { formatMac } from '../../src/wire/address.ts';

const VLAN = 5;

/** The frame in a VLAN. */
export function tagged(frame: Uint8Array): Uint8Array {
  const out = new Uint8Array(frame.length + 4);
  out.set(frame.subarray(0, 12));
  new DataView(out.buffer).setUint32(12, (0x8100 << 16) | VLAN);
  out.set(frame.subarray(12), 16);
  return out;
}

/** A client's MAC. */
export function macText(n: number): string {
  const { hi, lo } = clientMac(n);
  return formatMac(hi, lo);
}
