/**
 * Writing captures as pcapng (draft-ietf-opsawg-pcapng): functions from values to the bytes of one block, put into memory of
 * the caller's, little-endian. `pcap.ts` reads them.
 *
 *   file  ┌ section ┬ interface 0 ┬ interface 1 … ┬ packet, packet … ┬ statistics, now and then
 *   block ┌ type ┬ length ┬ body, options ┬ length once more         all of it on word boundaries
 *
 * Each `put…` writes one block at `at` and returns where it ends; the caller has seen that it fits, by `packetSize` or by
 * `blockSize`. Nothing is allocated, so a frame path may write packets. Times are nanoseconds since 1970 (if_tsresol 9).
 */
import { BYTE_ORDER, ENHANCED_PACKET, INTERFACE, LINK_ETHERNET, SECTION, viewOf } from './pcap.ts';

/** Where blocks are put: both views are of the same bytes. */
export interface Target {
  readonly bytes: Uint8Array;
  readonly mem: DataView;
}

export const targetOf = (bytes: Uint8Array): Target => ({ bytes, mem: viewOf(bytes) });

/** A point in time, as packets have it. */
export interface Time {
  /** Since 1970, whole, below 2^32. */
  readonly seconds: number;
  /** Of the second, below 10^9. */
  readonly nanoseconds: number;
}

/** `epb_flags`, bits 0 and 1: which way a frame went, as the interface sees it. */
export const [UNKNOWN_WAY, INBOUND, OUTBOUND] = [0, 1, 2];

/** A frame and what is said of it; a writer of many may keep one of these and change it. */
export interface Packet extends Time {
  /** The interface, by the order of their blocks in the section. */
  readonly interfaceId: number;
  /** The bytes that were kept are from[start … start + kept - 1]. */
  readonly from: Uint8Array;
  readonly start: number;
  readonly kept: number;
  /** Bytes that the frame had on the wire. */
  readonly originalLength: number;
  /** UNKNOWN_WAY, INBOUND or OUTBOUND. */
  readonly way: number;
  /** Frames lost between the interface's last one and this (epb_dropcount); 0: left out. */
  readonly lost: number;
  /** `opt_comment`, UTF-8, at most 65,535 bytes; empty: none. */
  readonly comment: Uint8Array;
}

/** An interface's counts so far. */
export interface Statistics extends Time {
  readonly interfaceId: number;
  /** Frames that the interface saw (isb_ifrecv), and those of them that the file lacks for want of room (isb_ifdrop). */
  readonly received: number;
  readonly dropped: number;
}

export const STATISTICS = 5;

// Options, by the block that they stand in.
const COMMENT = 1;
const [SECTION_APPLICATION, INTERFACE_NAME, INTERFACE_RESOLUTION, INTERFACE_FILTER] = [4, 2, 9, 11];
const [PACKET_FLAGS, PACKET_LOST] = [2, 4];
export const [STATISTICS_RECEIVED, STATISTICS_DROPPED] = [4, 5];
const NANOSECONDS = 9; // if_tsresol: 10^-9
const LIBPCAP_TEXT = 0; // if_filter: what kind of filter follows

const TRAILER = 4;
const OPTION = 4;
/** Where in a packet's block the frame's bytes begin: a caller may have put them there already (`from` is the target itself). */
export const PACKET_HEADER = 28;
const FLAGS_OPTION = OPTION + 4;
const LOST_OPTION = OPTION + 8;
const TWO_32 = 2 ** 32;

/** Room that suffices for any block but a packet, with texts of up to `text` bytes in all. */
export const blockSize = (text: number): number => 96 + padded(text);

const padded = (bytes: number): number => (bytes + 3) & ~3;

/** Bytes of a packet's block, with the bytes of its comment; 0: none. */
export const packetSize = (kept: number, comment: number): number =>
  PACKET_HEADER +
  padded(kept) +
  FLAGS_OPTION +
  LOST_OPTION +
  (comment === 0 ? 0 : OPTION + padded(comment)) +
  OPTION +
  TRAILER;

/** Begins a section, and a file: interfaces count from 0 again. `application`: who wrote it. */
export function putSection(to: Target, at: number, application: string): number {
  const { mem } = to;
  mem.setUint32(at + 8, BYTE_ORDER, true);
  mem.setUint16(at + 12, 1, true);
  mem.setUint16(at + 14, 0, true);
  mem.setInt32(at + 16, -1, true); // the section's length is not known
  mem.setInt32(at + 20, -1, true);
  const end = putText(to, at + 24, SECTION_APPLICATION, application);
  return close(to, at, SECTION, end);
}

/**
 * Describes the next interface of the section: Ethernet. `snapLength`: bytes of a frame that are kept at the most; 0: all.
 * `filter`: the tcpdump expression that frames had to match; empty: none.
 */
export function putInterface(to: Target, at: number, name: string, snapLength: number, filter = ''): number {
  const { mem } = to;
  mem.setUint16(at + 8, LINK_ETHERNET, true);
  mem.setUint16(at + 10, 0, true);
  mem.setUint32(at + 12, snapLength, true);
  let next = putText(to, at + 16, INTERFACE_NAME, name);
  next = option(mem, next, INTERFACE_RESOLUTION, 1);
  mem.setUint32(next - 4, NANOSECONDS, true);
  if (filter !== '') {
    const kind = String.fromCharCode(LIBPCAP_TEXT);
    next = putText(to, next, INTERFACE_FILTER, kind + filter);
  }
  return close(to, at, INTERFACE, next);
}

/** One frame. */
export function putPacket(to: Target, at: number, packet: Packet): number {
  const { bytes, mem } = to;
  const { kept, lost, comment } = packet;
  mem.setUint32(at + 8, packet.interfaceId, true);
  putTime(mem, at + 12, packet.seconds, packet.nanoseconds);
  mem.setUint32(at + 20, kept, true);
  mem.setUint32(at + 24, packet.originalLength, true);
  let next = at + PACKET_HEADER;
  if (packet.from !== bytes || packet.start !== next) copy(bytes, next, packet.from, packet.start, kept);
  next = pad(bytes, next + kept, kept);
  next = option(mem, next, PACKET_FLAGS, 4);
  mem.setUint32(next - 4, packet.way, true);
  if (lost > 0) {
    next = option(mem, next, PACKET_LOST, 8);
    putCount(mem, next - 8, lost);
  }
  if (comment.length > 0) {
    header(mem, next, COMMENT, comment.length);
    copy(bytes, next + OPTION, comment, 0, comment.length);
    next = pad(bytes, next + OPTION + comment.length, comment.length);
  }
  return close(to, at, ENHANCED_PACKET, next);
}

/** An interface's counts, all of them since its beginning. */
export function putStatistics(to: Target, at: number, counts: Statistics): number {
  const { mem } = to;
  mem.setUint32(at + 8, counts.interfaceId, true);
  putTime(mem, at + 12, counts.seconds, counts.nanoseconds);
  let next = option(mem, at + 20, STATISTICS_RECEIVED, 8);
  putCount(mem, next - 8, counts.received);
  next = option(mem, next, STATISTICS_DROPPED, 8);
  putCount(mem, next - 8, counts.dropped);
  return close(to, at, STATISTICS, next);
}

/** Seconds and nanoseconds as one number of 64 bits, the upper half first; exact, as no product passes 2^53. */
function putTime(mem: DataView, at: number, seconds: number, nanoseconds: number): void {
  const upper = Math.floor(seconds / 65_536) * 1e9;
  const low = (upper % 65_536) * 65_536 + (seconds % 65_536) * 1e9 + nanoseconds;
  mem.setUint32(at, Math.floor(upper / 65_536) + Math.floor(low / TWO_32), true);
  mem.setUint32(at + 4, low % TWO_32, true);
}

/** A whole number below 2^53 in 64 bits. */
function putCount(mem: DataView, at: number, count: number): void {
  mem.setUint32(at, count % TWO_32, true);
  mem.setUint32(at + 4, Math.floor(count / TWO_32), true);
}

/** Closes the options, and says the block's type and, twice, its length. */
function close({ mem }: Target, at: number, type: number, options: number): number {
  mem.setUint32(options, 0, true); // opt_endofopt
  const end = options + OPTION + TRAILER;
  mem.setUint32(at, type, true);
  mem.setUint32(at + 4, end - at, true);
  mem.setUint32(end - TRAILER, end - at, true);
  return end;
}

function header(mem: DataView, at: number, code: number, size: number): void {
  mem.setUint16(at, code, true);
  mem.setUint16(at + 2, size, true);
}

/** An option's header, and where it ends; its value, which the caller writes, stands before that. */
function option(mem: DataView, at: number, code: number, size: number): number {
  header(mem, at, code, size);
  return at + OPTION + padded(size);
}

function putText(to: Target, at: number, code: number, text: string): number {
  const value = Buffer.from(text);
  header(to.mem, at, code, value.length);
  to.bytes.set(value, at + OPTION);
  return pad(to.bytes, at + OPTION + value.length, value.length);
}

/** Frames are short, and a call of `set` with a view for it would allocate. */
function copy(to: Uint8Array, at: number, from: Uint8Array, start: number, count: number): void {
  for (let i = 0; i < count; i++) to[at + i] = from[start + i] as number;
}

/** Fills up to a word, after `size` bytes that end at `at`. */
function pad(bytes: Uint8Array, at: number, size: number): number {
  const end = at + (-size & 3);
  for (let i = at; i < end; i++) bytes[i] = 0;
  return end;
}
