/**
 * The few rtnetlink messages that following a tap takes, as bytes: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h.
 * Native byte order, which here is little-endian.
 *
 *   header, 16 bytes: length 4, type 2, flags 2, sequence 4, port 4 │ body │ attributes: length 2, type 2, value, padding
 */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const RTM_NEWNSID = 88;
const RTM_GETNSID = 90;
/** Multicast group of link changes, as a bit. */
export const GROUP_LINK = 1;

const NLM_F_REQUEST = 1;
const NLM_F_DUMP = 0x300;
const HEADER = 16;
const IFINFO = 16;
const RTGENMSG = 4; // one byte and padding
const ATTRIBUTE = 4;

const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_IFALIAS = 20;
const IFLA_NEW_NETNSID = 45;
const IFLA_NEW_IFINDEX = 49;
const NETNSA_NSID = 1;
const NETNSA_FD = 3;

const IFF_UP = 0x1;
const IFF_LOWER_UP = 0x1_0000;

/** What an event says of a link. */
export interface LinkEvent {
  readonly type: typeof RTM_NEWLINK | typeof RTM_DELLINK;
  readonly ifindex: number;
  readonly name: string;
  readonly alias: string;
  readonly mtu: number;
  readonly up: boolean;
  /** Carrier: somebody holds the other end. */
  readonly lowerUp: boolean;
  /** On the RTM_DELLINK of a move: the namespace's id, as this namespace numbers it, and the index there. */
  readonly movedTo?: { readonly nsid: number; readonly ifindex: number };
}

/** The link events among the messages of one datagram; other messages are skipped. */
export function linkEvents(bytes: Uint8Array): LinkEvent[] {
  const found: LinkEvent[] = [];
  for (const { type, mem, from, to } of messages(bytes)) {
    if ((type !== RTM_NEWLINK && type !== RTM_DELLINK) || to - from < IFINFO) continue;
    // Bridges tell of their ports by the same type in another family: not the link itself.
    if (mem.getUint8(from) !== 0) continue;
    found.push(linkEvent(type, mem, bytes, from, to));
  }
  return found;
}

function linkEvent(
  type: LinkEvent['type'],
  mem: DataView,
  bytes: Uint8Array,
  from: number,
  to: number,
): LinkEvent {
  const flags = mem.getUint32(from + 8, true);
  let name = '';
  let alias = '';
  let mtu = 0;
  let nsid: number | undefined;
  let ifindex: number | undefined;
  for (const { kind, at, size } of attributes(mem, from + IFINFO, to)) {
    if (kind === IFLA_IFNAME) name = text(bytes, at, size);
    else if (kind === IFLA_IFALIAS) alias = text(bytes, at, size);
    else if (size < 4) continue;
    else if (kind === IFLA_MTU) mtu = mem.getUint32(at, true);
    else if (kind === IFLA_NEW_NETNSID) nsid = mem.getInt32(at, true);
    else if (kind === IFLA_NEW_IFINDEX) ifindex = mem.getInt32(at, true);
  }
  return {
    type,
    ifindex: mem.getInt32(from + 4, true),
    name,
    alias,
    mtu,
    up: (flags & IFF_UP) !== 0,
    lowerUp: (flags & IFF_LOWER_UP) !== 0,
    ...(nsid === undefined ? {} : { movedTo: { nsid, ifindex: ifindex ?? 0 } }),
  };
}

/** The id in the answer to `nsidRequest`; undefined when it has none (-1) or the message is another. */
export function nsidOf(bytes: Uint8Array): number | undefined {
  for (const { type, mem, from, to } of messages(bytes)) {
    if (type !== RTM_NEWNSID) continue;
    for (const { kind, at, size } of attributes(mem, from + RTGENMSG, to)) {
      if (kind !== NETNSA_NSID || size < 4) continue;
      const nsid = mem.getInt32(at, true);
      if (nsid >= 0) return nsid;
    }
  }
  return undefined;
}

/** Asks which id this namespace has for the one behind an open file. */
export function nsidRequest(fd: number): Uint8Array {
  const { bytes, mem } = request(RTM_GETNSID, NLM_F_REQUEST, RTGENMSG + ATTRIBUTE + 4);
  setAttribute(mem, HEADER + RTGENMSG, NETNSA_FD, 4);
  mem.setInt32(HEADER + RTGENMSG + ATTRIBUTE, fd, true);
  return bytes;
}

/** Asks for all links; the answers are RTM_NEWLINK. */
export const linkDump = (): Uint8Array => request(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, IFINFO).bytes;

/** Asks for one link; the answer is an RTM_NEWLINK. Unlike a dump it is never refused because another is under way. */
export function linkRequest(ifindex: number): Uint8Array {
  const { bytes, mem } = request(RTM_GETLINK, NLM_F_REQUEST, IFINFO);
  mem.setInt32(HEADER + 4, ifindex, true);
  return bytes;
}

/** Gives a link an alias (`ip link set … alias`). */
export function aliasRequest(ifindex: number, alias: string): Uint8Array {
  const value = Buffer.from(alias);
  const { bytes, mem } = request(RTM_SETLINK, NLM_F_REQUEST, IFINFO + padded(ATTRIBUTE + value.length));
  mem.setInt32(HEADER + 4, ifindex, true);
  setAttribute(mem, HEADER + IFINFO, IFLA_IFALIAS, value.length);
  bytes.set(value, HEADER + IFINFO + ATTRIBUTE);
  return bytes;
}

function request(type: number, flags: number, body: number): { bytes: Uint8Array; mem: DataView } {
  const bytes = new Uint8Array(HEADER + body);
  const mem = new DataView(bytes.buffer);
  mem.setUint32(0, bytes.length, true);
  mem.setUint16(4, type, true);
  mem.setUint16(6, flags, true);
  return { bytes, mem };
}

function setAttribute(mem: DataView, at: number, kind: number, size: number): void {
  mem.setUint16(at, ATTRIBUTE + size, true);
  mem.setUint16(at + 2, kind, true);
}

const padded = (size: number): number => (size + 3) & ~3;

function* messages(bytes: Uint8Array): Generator<{ type: number; mem: DataView; from: number; to: number }> {
  const mem = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const length = mem.getUint32(at, true);
    if (length < HEADER || at + length > bytes.length) return;
    yield { type: mem.getUint16(at + 4, true), mem, from: at + HEADER, to: at + length };
    at += padded(length);
  }
}

function* attributes(
  mem: DataView,
  from: number,
  to: number,
): Generator<{ kind: number; at: number; size: number }> {
  for (let at = from; at + ATTRIBUTE <= to; ) {
    const length = mem.getUint16(at, true);
    if (length < ATTRIBUTE || at + length > to) return;
    yield { kind: mem.getUint16(at + 2, true) & 0x3fff, at: at + ATTRIBUTE, size: length - ATTRIBUTE };
    at += padded(length);
  }
}

const text = (bytes: Uint8Array, at: number, size: number): string =>
  Buffer.from(bytes.subarray(at, at + size))
    .toString()
    .replace(/\0.*$/s, '');
