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

/**
 * The protocol of a packet that passes `check`, has no options and is no fragment, as nearly all; -1: another. The same as
 * the accessors would tell, in five loads.
 */
export function plainProtocol(mem: DataView, at: number, bytes: number): number {
  if (bytes < MIN_SIZE) return -1;
  const first = mem.getInt32(at); // version, header length, type of service, total length
  const second = mem.getInt32(at + 4); // identification, flags, fragment offset
  const third = mem.getInt32(at + 8); // time to live, protocol, checksum
  const from = mem.getInt32(at + SOURCE);
  const to = mem.getInt32(at + DESTINATION);
  const total = first & 0xffff;
  if (first >>> 24 !== 0x45 || total < MIN_SIZE || total > bytes) return -1;
  if ((second & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0) return -1;
  const upper = (first >>> 16) + (second >>> 16) + (third >>> 16) + (from >>> 16) + (to >>> 16);
  const sum = upper + total + (second & 0xffff) + (third & 0xffff) + (from & 0xffff) + (to & 0xffff);
  return sums.fold(sum) === 0xffff ? (third >>> 16) & 0xff : -1;
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
export const moreFragments = (mem: DataView, at: number): boolean =>
  (mem.getUint16(at + FRAGMENT) & MORE_FRAGMENTS) !== 0;
/** In bytes. */
export const fragmentOffset = (mem: DataView, at: number): number =>
  (mem.getUint16(at + FRAGMENT) & FRAGMENT_OFFSET) * 8;
export const ttl = (mem: DataView, at: number): number => mem.getUint8(at + TTL);
export const protocol = (mem: DataView, at: number): number => mem.getUint8(at + PROTOCOL);
export const headerChecksum = (mem: DataView, at: number): number => mem.getUint16(at + CHECKSUM);
export const source = (mem: DataView, at: number): Ip4 => mem.getInt32(at + SOURCE) as Ip4;
export const destination = (mem: DataView, at: number): Ip4 => mem.getInt32(at + DESTINATION) as Ip4;

/** Changes the source address, which changes the header's sum by `delta` (checksum.ts), and brings its checksum along. */
export function moveSource(mem: DataView, at: number, ip: Ip4, delta: number): void {
  mem.setUint16(at + CHECKSUM, sums.moved(headerChecksum(mem, at), delta));
  mem.setInt32(at + SOURCE, ip);
}

/** The same for the destination address. */
export function moveDestination(mem: DataView, at: number, ip: Ip4, delta: number): void {
  mem.setUint16(at + CHECKSUM, sums.moved(headerChecksum(mem, at), delta));
  mem.setInt32(at + DESTINATION, ip);
}

/** Changes the source address and brings the header's checksum along (not the transport's). */
export const setSource = (mem: DataView, at: number, ip: Ip4): void =>
  moveSource(mem, at, ip, sums.delta32(source(mem, at), ip));

/** Changes the destination address and brings the header's checksum along (not the transport's). */
export const setDestination = (mem: DataView, at: number, ip: Ip4): void =>
  moveDestination(mem, at, ip, sums.delta32(destination(mem, at), ip));

/** Takes one from the time to live and brings the checksum along; the caller has seen that it is not zero. */
export function decrementTtl(mem: DataView, at: number): void {
  const before = mem.getUint16(at + TTL);
  mem.setUint16(at + CHECKSUM, sums.adjusted(headerChecksum(mem, at), before, before - 0x100));
  mem.setUint16(at + TTL, before - 0x100);
}

export const setTotalLength = (mem: DataView, at: number, bytes: number): void =>
  mem.setUint16(at + TOTAL_LENGTH, bytes);

/** Makes it the part of a packet that begins at `offset` bytes; the header's checksum is the caller's. */
export const setFragment = (mem: DataView, at: number, offset: number, more: boolean): void =>
  mem.setUint16(at + FRAGMENT, (more ? MORE_FRAGMENTS : 0) | (offset / 8));

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
