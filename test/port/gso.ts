/** Frames as a guest with offloads sends them: one large packet, its checksum open, and the virtio-net header for it. */
import * as sums from '../../src/wire/checksum.ts';
import * as ip4 from '../../src/wire/ipv4.ts';
import {
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  VNET_NEEDS_CSUM,
  VNET_SIZE,
} from '../../src/wire/vnet.ts';

export interface Large {
  readonly version: 4 | 6;
  readonly protocol: 'tcp' | 'udp';
  /** Bytes. */
  readonly payload: number;
  /** Payload bytes a segment; 0: not to be cut, only summed. */
  readonly size: number;
  readonly flags?: number;
  readonly sequence?: number;
  readonly id?: number;
  /** Bytes, multiples of four. */
  readonly ipOptions?: number;
  readonly tcpOptions?: number;
  /** TPIDs of VLAN tags, outermost first. */
  readonly tags?: readonly number[];
  /** What the payload is filled with. */
  readonly seed?: number;
}

export interface Unfinished {
  /** The virtio-net header and the frame behind it. */
  readonly bytes: Uint8Array;
  readonly l3: number;
  readonly l4: number;
  /** Where the payload begins, from the frame's start. */
  readonly headers: number;
}

const MACS = [0x02, 0x4c, 0x40, 0x5b, 0xf7, 0x3c, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01];

export function unfinished(large: Large): Unfinished {
  const { version, protocol, payload, size, tags = [], ipOptions = 0, tcpOptions = 0 } = large;
  const l3 = 14 + 4 * tags.length;
  const l4 = l3 + (version === 4 ? 20 + ipOptions : 40);
  const headers = l4 + (protocol === 'tcp' ? 20 + tcpOptions : 8);
  const bytes = new Uint8Array(VNET_SIZE + headers + payload);
  const frame = bytes.subarray(VNET_SIZE);
  const mem = new DataView(bytes.buffer, VNET_SIZE);
  frame.set(MACS);
  for (const [i, tpid] of tags.entries()) mem.setUint32(12 + 4 * i, tpid * 0x10000 + 100 + i);
  mem.setUint16(l3 - 2, version === 4 ? 0x0800 : 0x86dd);
  let random = (large.seed ?? 1) | 0;
  for (let i = headers; i < frame.length; i++) {
    random = (Math.imul(random, 1_103_515_245) + 12_345) | 0;
    frame[i] = random >>> 16;
  }
  const number = protocol === 'tcp' ? ip4.TCP : ip4.UDP;
  if (version === 4) setIp4(mem, l3, frame.length - l3, number, large);
  else setIp6(mem, l3, frame.length - l4, number);
  const field = protocol === 'tcp' ? setTcp(mem, l4, large) : setUdp(mem, l4, frame.length - l4);
  const addresses = version === 4 ? sums.sum(mem, l3 + 12, 8) : sums.sum(mem, l3 + 8, 32);
  mem.setUint16(l4 + field, sums.fold(addresses + number + frame.length - l4));
  const header = new DataView(bytes.buffer);
  const kind = protocol === 'udp' ? GSO_UDP_L4 : version === 4 ? GSO_TCPV4 : GSO_TCPV6;
  header.setUint8(0, VNET_NEEDS_CSUM);
  header.setUint8(1, size === 0 ? GSO_NONE : kind);
  header.setUint16(2, headers, true);
  header.setUint16(4, size, true);
  header.setUint16(6, l4, true);
  header.setUint16(8, field, true);
  return { bytes, l3, l4, headers };
}

function setIp4(mem: DataView, at: number, bytes: number, protocol: number, large: Large): void {
  const options = large.ipOptions ?? 0;
  mem.setUint16(at, 0x4500 + ((options / 4) << 8));
  mem.setUint16(at + 2, bytes);
  mem.setUint16(at + 4, large.id ?? 0x1000);
  mem.setUint16(at + 6, 0x4000);
  mem.setUint8(at + 8, 64);
  mem.setUint8(at + 9, protocol);
  mem.setUint32(at + 12, 0xc0a8640a);
  mem.setUint32(at + 16, 0xc0a8640b);
  for (let i = 20; i < 20 + options; i++) mem.setUint8(at + i, 1); // no operation, RFC 791 §3.1
  ip4.setChecksum(mem, at);
}

function setIp6(mem: DataView, at: number, payload: number, protocol: number): void {
  mem.setUint32(at, 0x6000_0000);
  mem.setUint16(at + 4, payload);
  mem.setUint8(at + 6, protocol);
  mem.setUint8(at + 7, 64);
  mem.setUint32(at + 8, 0xfd000000);
  mem.setUint32(at + 20, 0x0a);
  mem.setUint32(at + 24, 0xfd000000);
  mem.setUint32(at + 36, 0x0b);
}

function setTcp(mem: DataView, at: number, large: Large): number {
  const options = large.tcpOptions ?? 0;
  mem.setUint16(at, 50_000);
  mem.setUint16(at + 2, 80);
  mem.setUint32(at + 4, large.sequence ?? 0x0102_0304);
  mem.setUint32(at + 8, 0x0506_0708);
  mem.setUint8(at + 12, ((20 + options) / 4) << 4);
  mem.setUint8(at + 13, large.flags ?? 0x10);
  mem.setUint16(at + 14, 0xffff);
  for (let i = 20; i < 20 + options; i++) mem.setUint8(at + i, 1);
  return 16;
}

function setUdp(mem: DataView, at: number, bytes: number): number {
  mem.setUint16(at, 50_000);
  mem.setUint16(at + 2, 53);
  mem.setUint16(at + 4, bytes);
  return 6;
}
