/**
 * Between what a service says (a DHCP or DNS message) and the frame around it: Ethernet II, IPv4 (RFC 791), UDP (RFC 768).
 *
 * What comes in was punted by the gateway, which has checked the IPv4 header; the lengths are checked again, since this
 * code must hold by itself. The UDP checksum is not: a guest whose driver leaves checksums to the device sends an
 * unfinished one, and the wire behind it is memory. What goes out is finished: clients drop an unfilled checksum.
 */
import type { Ip4, Mac } from '../wire/address.ts';
import { checksum, pseudo } from '../wire/checksum.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as udp from '../wire/udp.ts';

const L3 = ethernet.ETHERNET_SIZE;
const TTL = 64;

/** Bytes of IPv4 and UDP header around a message: what the MTU and DHCP's option 57 count, but a message does not. */
export const PACKET_OVERHEAD = ipv4.MIN_SIZE + udp.UDP_SIZE;

/** A datagram: where it came from and goes, and its payload, which shares the frame's memory. */
export interface Datagram {
  readonly sourceMac: Mac;
  readonly source: Ip4;
  readonly destination: Ip4;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
}

/** Takes an untagged frame apart; undefined when it is not a whole UDP datagram. */
export function openDatagram(frame: Uint8Array): Datagram | undefined {
  const mem = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < L3 || ethernet.type(mem, 0) !== ethernet.ETHERTYPE_IP4) return undefined;
  if (ipv4.check(mem, L3, frame.length - L3) !== Drop.None) return undefined;
  if (ipv4.isFragment(mem, L3) || ipv4.protocol(mem, L3) !== ipv4.UDP) return undefined;
  const header = ipv4.headerLength(mem, L3);
  const l4 = L3 + header;
  if (udp.check(mem, l4, ipv4.totalLength(mem, L3) - header) !== Drop.None) return undefined;
  return {
    sourceMac: { hi: ethernet.sourceHi(mem, 0), lo: ethernet.sourceLo(mem, 0) },
    source: ipv4.source(mem, L3),
    destination: ipv4.destination(mem, L3),
    sourcePort: udp.sourcePort(mem, l4),
    destinationPort: udp.destinationPort(mem, l4),
    payload: frame.subarray(l4 + udp.UDP_SIZE, l4 + udp.length(mem, l4)),
  };
}

/** Where a datagram goes. */
export interface Envelope {
  readonly sourceMac: Mac;
  readonly destinationMac: Mac;
  readonly source: Ip4;
  readonly destination: Ip4;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** The finished frame of a datagram; datagrams are never fragmented, so `payload` must fit the MTU. */
export function sealFrame(envelope: Envelope, payload: Uint8Array): Uint8Array {
  const udpLength = udp.UDP_SIZE + payload.length;
  const frame = new Uint8Array(L3 + ipv4.MIN_SIZE + udpLength);
  const mem = new DataView(frame.buffer);
  const { destinationMac: to, sourceMac: from } = envelope;
  ethernet.setHeader(mem, 0, to.hi, to.lo, from.hi, from.lo, ethernet.ETHERTYPE_IP4);
  const total = ipv4.MIN_SIZE + udpLength;
  ipv4.emit(mem, L3, total, 0, TTL, ipv4.UDP, envelope.source, envelope.destination);

  const l4 = L3 + ipv4.MIN_SIZE;
  mem.setUint16(l4, envelope.sourcePort);
  mem.setUint16(l4 + 2, envelope.destinationPort);
  mem.setUint16(l4 + 4, udpLength);
  frame.set(payload, l4 + udp.UDP_SIZE);
  const start = pseudo(envelope.source, envelope.destination, ipv4.UDP, udpLength);
  const sum = checksum(mem, l4, udpLength, start);
  mem.setUint16(l4 + udp.UDP_CHECKSUM, sum === 0 ? 0xffff : sum); // 0 would mean: none
  return frame;
}
