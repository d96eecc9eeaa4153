/** UDP, RFC 768. */
import { Drop } from './drop.ts';

export const UDP_SIZE = 8;
export const UDP_CHECKSUM = 6; // byte offset

/** After Drop.None the accessors are in bounds and the length fits. `bytes` is what IP carries. */
export function check(mem: DataView, at: number, bytes: number): Drop {
  if (bytes < UDP_SIZE) return Drop.UdpTruncated;
  const said = length(mem, at);
  return said < UDP_SIZE || said > bytes ? Drop.UdpBadLength : Drop.None;
}

export const sourcePort = (mem: DataView, at: number): number => mem.getUint16(at);
export const destinationPort = (mem: DataView, at: number): number => mem.getUint16(at + 2);
/** Header and payload, bytes. */
export const length = (mem: DataView, at: number): number => mem.getUint16(at + 4);
/** 0: the sender did not sum. */
export const checksum = (mem: DataView, at: number): number => mem.getUint16(at + UDP_CHECKSUM);
