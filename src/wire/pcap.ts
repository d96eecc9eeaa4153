/**
 * Capture files as bytes: classic pcap in all four forms (either byte order, micro- or nanoseconds) and pcapng
 * (draft-ietf-opsawg-pcapng), read in one pass; classic nanosecond pcap written. Times are seconds and nanoseconds.
 */

export interface Captured {
  readonly seconds: number;
  readonly nanoseconds: number;
  /** The bytes that were kept; a view of the file's. */
  readonly data: Uint8Array;
  /** Bytes that the frame had on the wire. */
  readonly originalLength: number;
}

export const LINK_ETHERNET = 1;
const MICRO = 0xa1b2c3d4;
const NANO = 0xa1b23c4d;
export const SECTION = 0x0a0d0d0a;
export const INTERFACE = 1;
export const OLD_PACKET = 2;
export const SIMPLE_PACKET = 3;
export const ENHANCED_PACKET = 6;
export const BYTE_ORDER = 0x1a2b3c4d;
const TSRESOL = 9;
export const FILE_HEADER = 24;
export const RECORD_HEADER = 16;
/** A record that claims more than this is no frame: the file is broken. */
export const MAX_CAPTURED = 262_144;

export type PcapForm = 'micro' | 'nano' | 'pcapng';

/** What kind of file begins with these bytes; undefined when none that we read. */
export function formOf(bytes: Uint8Array): { form: PcapForm; little: boolean } | undefined {
  if (bytes.length < 4) return undefined;
  const mem = viewOf(bytes);
  for (const little of [true, false]) {
    const magic = mem.getUint32(0, little);
    if (magic === MICRO) return { form: 'micro', little };
    if (magic === NANO) return { form: 'nano', little };
    if (magic === SECTION) return { form: 'pcapng', little };
  }
  return undefined;
}

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** All frames of a file. Throws an Error of one sentence that says where it is broken, and what was expected. */
export function parse(bytes: Uint8Array): Captured[] {
  const kind = formOf(bytes);
  if (kind === undefined) throw broken(0, 'the magic number of a pcap or pcapng file');
  return kind.form === 'pcapng' ? parseBlocks(bytes) : parseRecords(bytes, kind.little, kind.form === 'nano');
}

export const broken = (at: number, expected: string): Error =>
  new Error(`at byte ${at}: expected ${expected}`);

function parseRecords(bytes: Uint8Array, little: boolean, nano: boolean): Captured[] {
  const mem = viewOf(bytes);
  if (bytes.length < FILE_HEADER) throw broken(bytes.length, `a file header of ${FILE_HEADER} bytes`);
  const link = mem.getUint32(20, little) & 0xfff_ffff;
  if (link !== LINK_ETHERNET) throw broken(20, `Ethernet frames (link type 1), not type ${link}`);
  const found: Captured[] = [];
  for (let at = FILE_HEADER; at < bytes.length; ) {
    if (at + RECORD_HEADER > bytes.length) throw broken(at, 'a record header of 16 bytes');
    const kept = mem.getUint32(at + 8, little);
    const end = at + RECORD_HEADER + kept;
    if (kept > MAX_CAPTURED || end > bytes.length)
      throw broken(at, `a record that fits, not one of ${kept} bytes`);
    found.push({
      seconds: mem.getUint32(at, little),
      nanoseconds: mem.getUint32(at + 4, little) * (nano ? 1 : 1000),
      data: bytes.subarray(at + RECORD_HEADER, end),
      originalLength: mem.getUint32(at + 12, little),
    });
    at = end;
  }
  return found;
}

export interface Interface {
  readonly link: number;
  /** Bytes of a frame that were kept at the most; 0: all. */
  readonly snapLength: number;
  /** Ticks a second. A tick of a nanosecond since 1970 is more than a double holds exactly. */
  readonly resolution: bigint;
}

function parseBlocks(bytes: Uint8Array): Captured[] {
  const mem = viewOf(bytes);
  const found: Captured[] = [];
  let interfaces: Interface[] = [];
  let little = true;
  for (let at = 0; at < bytes.length; ) {
    if (at + 12 > bytes.length) throw broken(at, 'a block of at least 12 bytes');
    if (mem.getUint32(at, true) === SECTION) {
      little = mem.getUint32(at + 8, true) === BYTE_ORDER;
      if (mem.getUint32(at + 8, little) !== BYTE_ORDER)
        throw broken(at + 8, 'the byte-order magic of a section');
      interfaces = [];
    }
    const type = mem.getUint32(at, little);
    const size = mem.getUint32(at + 4, little);
    if (size < 12 || size % 4 !== 0 || at + size > bytes.length)
      throw broken(at, `a block that fits, not one of ${size} bytes`);
    if (mem.getUint32(at + size - 4, little) !== size)
      throw broken(at + size - 4, `the block's length ${size} once more`);
    const block = { bytes, mem, little, at, end: at + size - 4, base: 0 };
    if (type === INTERFACE) interfaces.push(parseInterface(block));
    else if (type === ENHANCED_PACKET || type === OLD_PACKET || type === SIMPLE_PACKET) {
      const frame = parsePacket(block, type, interfaces);
      if (frame !== undefined) found.push(frame);
    }
    at += size;
  }
  return found;
}

interface Block {
  readonly bytes: Uint8Array;
  readonly mem: DataView;
  readonly little: boolean;
  readonly at: number;
  /** Where its trailing length begins. */
  readonly end: number;
  /** Where in the file `bytes` begins. */
  readonly base: number;
}

export function parseInterface({ mem, little, at, end, base }: Block): Interface {
  if (at + 16 > end) throw broken(base + at, 'an interface block with its header');
  let resolution = 1_000_000n;
  for (let option = at + 16; option + 4 <= end; ) {
    const code = mem.getUint16(option, little);
    const size = mem.getUint16(option + 2, little);
    if (code === 0) break;
    if (code === TSRESOL && size === 1 && option + 4 < end) {
      const power = mem.getUint8(option + 4);
      resolution = power & 0x80 ? 2n ** BigInt(power & 0x7f) : 10n ** BigInt(power);
    }
    option += 4 + ((size + 3) & ~3);
  }
  return {
    link: mem.getUint16(at + 8, little),
    snapLength: mem.getUint32(at + 12, little),
    resolution,
  };
}

/** The frame of a packet block, undefined when it is none of Ethernet's. A simple block has no time: it says 0. */
export function parsePacket(
  block: Block,
  type: number,
  interfaces: readonly Interface[],
): Captured | undefined {
  const { bytes, mem, little, at, end, base } = block;
  const simple = type === SIMPLE_PACKET;
  const body = at + (simple ? 12 : 28);
  if (body > end) throw broken(base + at, 'a packet block with its header');
  const which = simple
    ? 0
    : type === OLD_PACKET
      ? mem.getUint16(at + 8, little)
      : mem.getUint32(at + 8, little);
  const captor = interfaces[which];
  if (captor === undefined) throw broken(base + at, `interface ${which} to have been described before`);
  if (captor.link !== LINK_ETHERNET) return undefined;
  const originalLength = mem.getUint32(at + (simple ? 8 : 24), little);
  // A simple block does not say how much was kept: all, up to the interface's limit; padding may follow.
  const kept = simple
    ? Math.min(originalLength, captor.snapLength || originalLength)
    : mem.getUint32(at + 20, little);
  if (kept > MAX_CAPTURED || body + kept > end)
    throw broken(base + at, `a frame that fits its block, not ${kept} bytes`);
  const ticks = simple
    ? 0n
    : (BigInt(mem.getUint32(at + 12, little)) << 32n) | BigInt(mem.getUint32(at + 16, little));
  return {
    seconds: Number(ticks / captor.resolution),
    nanoseconds: Number(((ticks % captor.resolution) * 1_000_000_000n) / captor.resolution),
    data: bytes.subarray(body, body + kept),
    originalLength,
  };
}

/** A little-endian nanosecond pcap of Ethernet frames. */
export function emit(frames: readonly Pick<Captured, 'seconds' | 'nanoseconds' | 'data'>[]): Uint8Array {
  const size = frames.reduce((sum, frame) => sum + RECORD_HEADER + frame.data.length, FILE_HEADER);
  const bytes = new Uint8Array(size);
  const mem = viewOf(bytes);
  mem.setUint32(0, NANO, true);
  mem.setUint16(4, 2, true);
  mem.setUint16(6, 4, true);
  mem.setUint32(16, MAX_CAPTURED, true);
  mem.setUint32(20, LINK_ETHERNET, true);
  let at = FILE_HEADER;
  for (const { seconds, nanoseconds, data } of frames) {
    mem.setUint32(at, seconds, true);
    mem.setUint32(at + 4, nanoseconds, true);
    mem.setUint32(at + 8, data.length, true);
    mem.setUint32(at + 12, data.length, true);
    bytes.set(data, at + RECORD_HEADER);
    at += RECORD_HEADER + data.length;
  }
  return bytes;
}
