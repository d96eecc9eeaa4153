/** TCP's header, RFC 9293 §3.1: what a switch and a NAT need of it. */
import { Drop } from './drop.ts';

export const TCP_SIZE = 20;
export const TCP_CHECKSUM = 16; // byte offset
export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const CWR = 0x80;

/** After Drop.None the accessors are in bounds. `bytes` is what IP carries. */
export function check(mem: DataView, at: number, bytes: number): Drop {
  if (bytes < TCP_SIZE) return Drop.TcpTruncated;
  const header = headerLength(mem, at);
  return header < TCP_SIZE || header > bytes ? Drop.TcpBadHeader : Drop.None;
}

export const sourcePort = (mem: DataView, at: number): number => mem.getUint16(at);
export const destinationPort = (mem: DataView, at: number): number => mem.getUint16(at + 2);
/** As a signed int32. */
export const sequence = (mem: DataView, at: number): number => mem.getInt32(at + 4);
/** As a signed int32. */
export const acknowledgement = (mem: DataView, at: number): number => mem.getInt32(at + 8);
/** Bytes, options included. */
export const headerLength = (mem: DataView, at: number): number => (mem.getUint8(at + 12) >> 4) * 4;
export const flags = (mem: DataView, at: number): number => mem.getUint8(at + 13);
/** May a segment open a connection, which all later ones go on with? (RFC 9293 §3.10.7.2) */
export const opens = (mem: DataView, at: number): boolean => (flags(mem, at) & (ACK | RST)) === 0;
export const setFlags = (mem: DataView, at: number, value: number): void => mem.setUint8(at + 13, value);
export const setSequence = (mem: DataView, at: number, value: number): void => mem.setInt32(at + 4, value);
