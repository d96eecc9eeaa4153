/**
 * DHCPv4 messages as bytes: RFC 2131 (format), 2132 (options), 3396 (long options), 3046 (relay agent).
 *
 *   0 op htype hlen hops │ 4 xid │ 8 secs flags │ 12 ciaddr │ 16 yiaddr │ 20 siaddr │ 24 giaddr
 *   28 chaddr (16) │ 44 sname (64) │ 108 file (128) │ 236 cookie │ 240 options …
 *
 * What arrives here was written by a guest, so `parse` trusts nothing: whatever is wrong comes back as a fault, and what
 * it returns holds for everybody behind it: options joined, each of the length that its code asks for. An option may come
 * in pieces and in three places (options, file, sname); nobody else needs to know.
 */
import type { Ip4 } from './address.ts';

export enum MessageType {
  Discover = 1,
  Offer,
  Request,
  Decline,
  Ack,
  Nak,
  Release,
  Inform,
}

/** Option codes that the server itself has to do with: RFC 2132, 3004 (77), 4702 (81), 3046 (82), 4578 (93, 97), 3442 (121). */
export enum Code {
  Pad = 0,
  Mask = 1,
  Router = 3,
  Dns = 6,
  HostName = 12,
  DomainName = 15,
  Mtu = 26,
  Broadcast = 28,
  RequestedAddress = 50,
  LeaseTime = 51,
  Overload = 52,
  Type = 53,
  ServerId = 54,
  ParameterList = 55,
  Message = 56,
  MaxSize = 57,
  RenewalTime = 58,
  RebindingTime = 59,
  VendorClass = 60,
  ClientId = 61,
  TftpServer = 66,
  BootFile = 67,
  UserClass = 77,
  ClientName = 81,
  RelayAgent = 82,
  Architecture = 93,
  MachineId = 97,
  SearchList = 119,
  Routes = 121,
  MicrosoftRoutes = 249,
  End = 255,
}

/** Why a message was not understood: each is a counter. */
export enum Fault {
  Truncated = 1,
  NotRequest,
  BadCookie,
  BadHardware,
  OptionTruncated,
  OptionLength,
  BadOverload,
  /** BOOTP, or a type that does not exist. */
  NoType,
}

export interface DhcpMessage {
  /** 1 from a client, 2 from a server. */
  op: number;
  htype: number;
  hops: number;
  /** Signed, like every 32-bit field: it is only ever copied. */
  xid: number;
  secs: number;
  flags: number;
  ciaddr: Ip4;
  yiaddr: Ip4;
  siaddr: Ip4;
  giaddr: Ip4;
  /** The hardware address, `hlen` bytes of it. */
  chaddr: Uint8Array;
  type: MessageType;
  /** Code → value, joined. The type (53), overload (52), pad and end are not among them. */
  options: Map<number, Uint8Array>;
  /** What a reply says in these fields, at most 63 and 127 bytes; `parse` leaves them out, as nobody reads a client's. */
  sname?: Uint8Array;
  file?: Uint8Array;
}

export const REQUEST = 1;
export const REPLY = 2;
export const ETHERNET = 1;
export const BROADCAST_FLAG = 0x8000;
export const SERVER_PORT = 67;
export const CLIENT_PORT = 68;

const CHADDR = 28;
const CHADDR_SIZE = 16;
const SNAME = 44;
const FILE = 108;
const COOKIE = 236;
const OPTIONS = 240;
const MAGIC = 0x63825363;
/** RFC 1542 §2.1: relays and clients of BOOTP's time drop what is shorter. */
const MIN_SIZE = 300;
const MAX_PIECE = 255;

/** Bytes that the value of an option has, where its code fixes them. */
const FIXED_LENGTH = new Map<number, number>([
  [Code.RequestedAddress, 4],
  [Code.LeaseTime, 4],
  [Code.Overload, 1],
  [Code.Type, 1],
  [Code.ServerId, 4],
  [Code.MaxSize, 2],
]);

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The value of an option that `parse` has seen to have four bytes. */
export const int32 = (value: Uint8Array): number =>
  ((value[0] as number) << 24) |
  ((value[1] as number) << 16) |
  ((value[2] as number) << 8) |
  (value[3] as number);
export const uint32 = (value: Uint8Array): number => int32(value) >>> 0;
export const uint16 = (value: Uint8Array): number => ((value[0] as number) << 8) | (value[1] as number);

/** Four bytes, big-endian, of any 32-bit number, signed or not. */
export const bytes32 = (value: number): Uint8Array =>
  Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
export const bytes16 = (value: number): Uint8Array => Uint8Array.of(value >>> 8, value);

const encoder = new TextEncoder();
/** A text in UTF-8, without an end: options have a length. */
export const bytesOf = (text: string): Uint8Array => encoder.encode(text);

/** Bytes from … to - 1 of their own; `slice` would not do, since a Buffer's shares memory, and costs more for a few bytes. */
function copy(bytes: Uint8Array, from: number, to: number): Uint8Array {
  const own = new Uint8Array(to - from);
  for (let i = from; i < to; i++) own[i - from] = bytes[i] as number;
  return own;
}

/** Adds the options in bytes[from … to - 1], RFC 3396 §7: one that was there already is continued. */
function collect(bytes: Uint8Array, from: number, to: number, into: Map<number, Uint8Array>): boolean {
  let at = from;
  // A missing end is forgiven where the field ends too, as other servers do: nothing is ambiguous about it.
  while (at < to) {
    const code = bytes[at++]!;
    if (code === Code.Pad) continue;
    if (code === Code.End) return true;
    if (at === to) return false;
    const length = bytes[at++]!;
    if (at + length > to) return false;
    const piece = copy(bytes, at, at + length);
    const before = into.get(code);
    into.set(code, before === undefined ? piece : join(before, piece));
    at += length;
  }
  return true;
}

function join(before: Uint8Array, after: Uint8Array): Uint8Array {
  const both = new Uint8Array(before.length + after.length);
  both.set(before);
  both.set(after, before.length);
  return both;
}

/** A unicast Ethernet address, or any address of another medium: it becomes the destination of a frame. */
function hardwareFits(htype: number, chaddr: Uint8Array): boolean {
  if (htype !== ETHERNET) return chaddr.length <= CHADDR_SIZE;
  return chaddr.length === 6 && (chaddr[0]! & 1) === 0 && chaddr.some(octet => octet !== 0);
}

/** All options of a message; RFC 2131 §4.1 gives the order of the fields: options, file, sname. */
function readOptions(bytes: Uint8Array): Map<number, Uint8Array> | Fault {
  const options = new Map<number, Uint8Array>();
  if (!collect(bytes, OPTIONS, bytes.length, options)) return Fault.OptionTruncated;
  const overload = options.get(Code.Overload);
  if (overload !== undefined) {
    const fields = overload.length === 1 ? overload[0]! : 0;
    if (fields < 1 || fields > 3) return Fault.BadOverload;
    if ((fields & 1) !== 0 && !collect(bytes, FILE, COOKIE, options)) return Fault.OptionTruncated;
    if ((fields & 2) !== 0 && !collect(bytes, SNAME, FILE, options)) return Fault.OptionTruncated;
  }
  for (const [code, length] of FIXED_LENGTH) {
    const value = options.get(code);
    if (value !== undefined && value.length !== length) return Fault.OptionLength;
  }
  return options;
}

/**
 * Takes a message apart: the payload of a UDP datagram. The result shares no memory with `bytes`.
 * Either direction is read; `op` says which. Boot file and server name are not kept: nothing here serves them.
 */
export function parse(bytes: Uint8Array): DhcpMessage | Fault {
  if (bytes.length < OPTIONS) return Fault.Truncated;
  const mem = view(bytes);
  if (mem.getUint32(COOKIE) !== MAGIC) return Fault.BadCookie;
  const hlen = mem.getUint8(2);
  if (hlen > CHADDR_SIZE) return Fault.BadHardware;
  const htype = mem.getUint8(1);
  const chaddr = copy(bytes, CHADDR, CHADDR + hlen);
  if (!hardwareFits(htype, chaddr)) return Fault.BadHardware;
  const options = readOptions(bytes);
  if (typeof options === 'number') return options;
  const type = options.get(Code.Type)?.[0] ?? 0;
  if (type < MessageType.Discover || type > MessageType.Inform) return Fault.NoType;
  options.delete(Code.Type);
  options.delete(Code.Overload);
  return {
    op: mem.getUint8(0),
    htype,
    hops: mem.getUint8(3),
    xid: mem.getInt32(4),
    secs: mem.getUint16(8),
    flags: mem.getUint16(10),
    ciaddr: mem.getInt32(12) as Ip4,
    yiaddr: mem.getInt32(16) as Ip4,
    siaddr: mem.getInt32(20) as Ip4,
    giaddr: mem.getInt32(24) as Ip4,
    chaddr,
    type,
    options,
  };
}

/** A stretch of a message that options are written to; one byte of it is kept for the end. */
interface Field {
  at: number;
  readonly end: number;
  readonly overload: number;
}

const encodedLength = (value: Uint8Array): number =>
  value.length + (value.length <= MAX_PIECE ? 2 : 2 * Math.ceil(value.length / MAX_PIECE));

/** Values are a few bytes long, so a loop is quicker than a copy by `set` of a `subarray`. */
function put(bytes: Uint8Array, field: Field, code: number, value: Uint8Array): void {
  let at = field.at;
  let from = 0;
  do {
    const end = Math.min(from + MAX_PIECE, value.length);
    bytes[at++] = code;
    bytes[at++] = end - from;
    while (from < end) bytes[at++] = value[from++] as number;
  } while (from < value.length);
  field.at = at;
}

/**
 * Puts a message together, at most `limit` bytes and at least 300. Options are written in the map's order, so the
 * important ones come first: what does not fit goes to file and sname (option 52), and what fits nowhere is left out.
 * Option 82 has its place kept and stands last, as RFC 3046 §2.2 wants it.
 */
export const emit = (message: DhcpMessage, limit: number): Uint8Array => emitShared(message, limit).slice();

/** The message that is being put together: one at a time, so one stretch of memory does for all. */
let shared = new Uint8Array(2_048);
let sharedView = view(shared);

/** The same, but only till the next message is put together: for those who copy it at once. */
export function emitShared(message: DhcpMessage, limit: number): Uint8Array {
  const size = Math.max(limit, MIN_SIZE);
  if (size > shared.length) {
    shared = new Uint8Array(size);
    sharedView = view(shared);
  }
  const [bytes, mem] = [shared, sharedView];
  bytes.fill(0, 0, size);
  bytes[0] = message.op;
  bytes[1] = message.htype;
  bytes[2] = message.chaddr.length;
  bytes[3] = message.hops;
  mem.setInt32(4, message.xid);
  mem.setUint16(8, message.secs);
  mem.setUint16(10, message.flags);
  mem.setInt32(12, message.ciaddr);
  mem.setInt32(16, message.yiaddr);
  mem.setInt32(20, message.siaddr);
  mem.setInt32(24, message.giaddr);
  bytes.set(message.chaddr.subarray(0, CHADDR_SIZE), CHADDR);
  mem.setUint32(COOKIE, MAGIC);

  if (message.sname !== undefined) bytes.set(message.sname.subarray(0, FILE - SNAME - 1), SNAME);
  if (message.file !== undefined) bytes.set(message.file.subarray(0, COOKIE - FILE - 1), FILE);

  const main: Field = { at: OPTIONS, end: size - 1, overload: 0 };
  put(bytes, main, Code.Type, Uint8Array.of(message.type));
  // A field that says something itself can't hold options beside it.
  const spare: Field[] = [];
  if (message.file === undefined) spare.push({ at: FILE, end: COOKIE - 1, overload: 1 });
  if (message.sname === undefined) spare.push({ at: SNAME, end: FILE - 1, overload: 2 });
  writeOptions(bytes, main, spare, message.options);
  bytes[main.at++] = Code.End;
  return bytes.subarray(0, Math.max(main.at, MIN_SIZE));
}

function writeOptions(
  bytes: Uint8Array,
  main: Field,
  spare: readonly Field[],
  options: ReadonlyMap<number, Uint8Array>,
): void {
  const relay = options.get(Code.RelayAgent);
  let needed = 0;
  for (const value of options.values()) needed += encodedLength(value);
  const room = main.end - main.at;
  if (needed <= room) {
    for (const [code, value] of options) if (code !== Code.RelayAgent) put(bytes, main, code, value);
  } else {
    const kept = relay === undefined ? 0 : encodedLength(relay);
    writeWherever(bytes, main, kept, spare, options);
  }
  if (relay !== undefined && main.at + encodedLength(relay) <= main.end)
    put(bytes, main, Code.RelayAgent, relay);
}

/** Fills the main field but for `kept` bytes, and then the spare ones. */
function writeWherever(
  bytes: Uint8Array,
  main: Field,
  kept: number,
  spare: readonly Field[],
  options: ReadonlyMap<number, Uint8Array>,
): void {
  // The three bytes of option 52 come out of the same space.
  const first: Field = { at: main.at, end: main.end - kept - (spare.length > 0 ? 3 : 0), overload: 0 };
  const fields = [first, ...spare];
  let used = 0;
  for (const [code, value] of options) {
    if (code === Code.RelayAgent) continue;
    const field = fields.find(each => each.at + encodedLength(value) <= each.end);
    if (field === undefined) continue;
    put(bytes, field, code, value);
    used |= field.overload;
  }
  main.at = first.at;
  for (const field of fields) if ((used & field.overload) !== 0) bytes[field.at] = Code.End;
  if (used !== 0) put(bytes, main, Code.Overload, Uint8Array.of(used));
}
