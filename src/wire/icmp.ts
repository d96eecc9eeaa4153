/** ICMP, RFC 792, with the codes of RFC 1812 §5.2.7 and the MTU field of RFC 1191. */
import * as sums from './checksum.ts';
import { Drop } from './drop.ts';

export const ICMP_SIZE = 8;
export const ICMP_CHECKSUM = 2; // byte offset
export const ECHO_ID = 4; // byte offset

export const ECHO_REPLY = 0;
export const UNREACHABLE = 3;
export const ECHO_REQUEST = 8;
export const TIME_EXCEEDED = 11;
export const PARAMETER_PROBLEM = 12;

export const NET_UNREACHABLE = 0; // codes of UNREACHABLE
export const PORT_UNREACHABLE = 3;
export const FRAGMENTATION_NEEDED = 4;
export const PROHIBITED = 13;

/** After Drop.None the accessors are in bounds and the checksum is right. `bytes` is what IP carries. */
export function check(mem: DataView, at: number, bytes: number): Drop {
  if (bytes < ICMP_SIZE) return Drop.IcmpTruncated;
  return sums.valid(mem, at, bytes) ? Drop.None : Drop.IcmpBadChecksum;
}

export const type = (mem: DataView, at: number): number => mem.getUint8(at);
export const code = (mem: DataView, at: number): number => mem.getUint8(at + 1);
/** Of an echo or its reply. */
export const echoId = (mem: DataView, at: number): number => mem.getUint16(at + ECHO_ID);

/**
 * An error about a packet, as routers and hosts send it from afar. Not a redirect, which is for neighbours alone (RFC 1812
 * §5.2.7.2), nor a source quench, which nobody may send any more (RFC 6633).
 */
export const isError = (mem: DataView, at: number): boolean => {
  const kind = type(mem, at);
  return kind === UNREACHABLE || kind === TIME_EXCEEDED || kind === PARAMETER_PROBLEM;
};

/** Writes the 8-byte header over what already stands behind it and sums all `bytes`. */
export function emit(
  mem: DataView,
  at: number,
  kind: number,
  sub: number,
  rest: number,
  bytes: number,
): void {
  mem.setUint8(at, kind);
  mem.setUint8(at + 1, sub);
  mem.setUint16(at + ICMP_CHECKSUM, 0);
  mem.setInt32(at + 4, rest);
  mem.setUint16(at + ICMP_CHECKSUM, sums.checksum(mem, at, bytes));
}
