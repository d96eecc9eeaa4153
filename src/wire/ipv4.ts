/** IPv4, RFC 791. */
import type { Ip4 } from './address.ts';
import * as sums from './checksum.ts';
import { Drop } from './drop.ts';

export const MIN_SIZE = 20;
export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;

const TOTAL_LENGTH = 2,
  ID = 4,
  FRAGMENT = 6,
  TTL = 8,
  PROTOCOL = 9,
  CHECKSUM = 10,
  SOURCE = 12,
  DESTINATION = 16; // byte offsets
const DONT_FRAGMENT = 0x4000,
  MORE_FRAGMENTS = 0x2000,
  FRAGMENT_OFFSET = 0x1fff;

/** After Drop.None every accessor below is in bounds; the header's checksum is right too. RFC 791 §3.1. */
export function check(mem: DataView, at: number, bytes: number): Drop {
  if (bytes < MIN_SIZE) return Drop.Ip4Truncated;
  if (version(mem, at) !== 4) return Drop.Ip4BadVersion;
  const header = headerLength(mem, at);
  const total = totalLength(mem, at);
  if (header < MIN_SIZE || header > total || total > bytes) return Drop.Ip4BadLength;
  return sums.valid(mem, at, header) ? Drop.None : Drop.Ip4BadChecksum;
}

export const version = (mem: DataView, at: number): number => mem.getUint8(at) >> 4;
/** Bytes, options included. */
export const headerLength = (mem: DataView, at: number): number => (mem.getUint8(at) & 15) * 4;
export const totalLength = (mem: DataView, at: number): number => mem.getUint16(at + TOTAL_LENGTH);
export const id = (mem: DataView, at: number): number => mem.getUint16(at + ID);
export const dontFragment = (mem: DataView, at: number): boolean =>
  (mem.getUint16(at + FRAGMENT) & DONT_FRAGMENT) !== 0;
/** Part of a larger packet? */
export const isFragment = (mem: DataView, at: number): boolean =>
  (mem.getUint16(at + FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0;
/** In bytes. */
export const fragmentOffset = (mem: DataView, at: number): number =>
  (mem.getUint16(at + FRAGMENT) & FRAGMENT_OFFSET) * 8;
export const ttl = (mem: DataView, at: number): number => mem.getUint8(at + TTL);
export const protocol = (mem: DataView, at: number): number => mem.getUint8(at + PROTOCOL);
export const headerChecksum = (mem: DataView, at: number): number => mem.getUint16(at + CHECKSUM);
export const source = (mem: DataView, at: number): Ip4 => mem.getInt32(at + SOURCE) as Ip4;
export const destination = (mem: DataView, at: number): Ip4 => mem.getInt32(at + DESTINATION) as Ip4;

/** Changes the source address and brings the header's checksum along (not the transport's). */
export function setSource(mem: DataView, at: number, ip: Ip4): void {
  mem.setUint16(at + CHECKSUM, sums.adjusted32(headerChecksum(mem, at), source(mem, at), ip));
  mem.setInt32(at + SOURCE, ip);
}

/** Changes the destination address and brings the header's checksum along (not the transport's). */
export function setDestination(mem: DataView, at: number, ip: Ip4): void {
  mem.setUint16(at + CHECKSUM, sums.adjusted32(headerChecksum(mem, at), destination(mem, at), ip));
  mem.setInt32(at + DESTINATION, ip);
}

/** Takes one from the time to live and brings the checksum along; the caller has seen that it is not zero. */
export function decrementTtl(mem: DataView, at: number): void {
  const before = mem.getUint16(at + TTL);
  mem.setUint16(at + CHECKSUM, sums.adjusted(headerChecksum(mem, at), before, before - 0x100));
  mem.setUint16(at + TTL, before - 0x100);
}

export const setTotalLength = (mem: DataView, at: number, bytes: number): void =>
  mem.setUint16(at + TOTAL_LENGTH, bytes);

/** Sums the header anew. */
export function setChecksum(mem: DataView, at: number): void {
  mem.setUint16(at + CHECKSUM, 0);
  mem.setUint16(at + CHECKSUM, sums.checksum(mem, at, headerLength(mem, at)));
}

/** Writes a 20-byte header, summed; no options, not a fragment. */
export function emit(
  mem: DataView,
  at: number,
  total: number,
  identification: number,
  hops: number,
  proto: number,
  from: Ip4,
  to: Ip4,
): void {
  mem.setUint16(at, 0x4500);
  mem.setUint16(at + TOTAL_LENGTH, total);
  mem.setUint16(at + ID, identification);
  mem.setUint16(at + FRAGMENT, 0);
  mem.setUint8(at + TTL, hops);
  mem.setUint8(at + PROTOCOL, proto);
  mem.setInt32(at + SOURCE, from);
  mem.setInt32(at + DESTINATION, to);
  setChecksum(mem, at);
}
