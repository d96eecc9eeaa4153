/**
 * Finishing frames, for ports that take no offload: fills the checksum that the sender left open, and cuts a frame of up
 * to 64 KiB into segments as the kernel would (TCP over IPv4 and IPv6, UDP datagrams of one size). One place, so that it
 * can be held against the kernel's own output byte for byte.
 *
 * The virtio-net header is the sender's word, and the sender is hostile: all lengths are read from the packet itself and
 * checked; of the header only the kind, the segment size and where the sum belongs are used.
 */
import * as sums from '../wire/checksum.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ip4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import {
  csumOffset,
  csumStart,
  GSO_ECN,
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  gsoSize,
  gsoType,
  VNET_NEEDS_CSUM,
  vnetFlags,
} from '../wire/vnet.ts';

/** More segments than any sender makes: 64 KiB in pieces of 256 bytes. A frame that asks for more is dropped. */
export const MAX_SEGMENTS = 256;
/** Each segment repeats the headers: at most these bytes of them. */
const MAX_HEADERS = 22 + 60 + 60;
const MAX_PAYLOAD = 65_535;
const IP6_SIZE = 40;
/** Where the first finished frame stands: a port may want a header before it. */
const FRONT = 64;

export class Finisher {
  /** The finished frames: `count` of them, each `length` bytes at `offset` of `slab`. Valid until the next `finish`. */
  readonly slab = new Uint8Array(FRONT + MAX_SEGMENTS * MAX_HEADERS + MAX_PAYLOAD);
  readonly mem = new DataView(this.slab.buffer);
  readonly offset = new Int32Array(MAX_SEGMENTS);
  readonly length = new Int32Array(MAX_SEGMENTS);
  count = 0;

  /** Finishes one frame, with its virtio-net header before `at`; BadOffloadHeader when the header lies. */
  finish(from: Uint8Array, mem: DataView, at: number, bytes: number): Drop {
    this.count = 0;
    const kind = gsoType(mem, at) & ~GSO_ECN;
    if (bytes < ethernet.ETHERNET_SIZE) return Drop.BadOffloadHeader;
    if (kind !== GSO_NONE) return this.#segment(from, mem, at, bytes, kind);
    if (bytes > this.slab.length - FRONT) return Drop.FrameTooLong;
    const open = (vnetFlags(mem, at) & VNET_NEEDS_CSUM) !== 0;
    const start = csumStart(mem, at);
    const field = start + csumOffset(mem, at);
    if (open && field + 2 > bytes) return Drop.BadOffloadHeader;
    copy(from, at, this.slab, FRONT, bytes);
    this.#emit(FRONT, bytes);
    if (!open) return Drop.None;
    // The field holds the pseudo-header's sum, so summing over it completes it.
    // Zero would say of a datagram that nobody summed it; the kernel sends ones instead whatever the protocol.
    this.mem.setUint16(FRONT + field, sums.checksum(this.mem, FRONT + start, bytes - start) || 0xffff);
    return Drop.None;
  }

  #segment(from: Uint8Array, mem: DataView, at: number, bytes: number, kind: number): Drop {
    if (kind !== GSO_TCPV4 && kind !== GSO_TCPV6 && kind !== GSO_UDP_L4) return Drop.BadOffloadHeader;
    const l3 = networkHeader(mem, at, bytes);
    if (l3 < 0) return Drop.BadOffloadHeader;
    const version = (from[at + l3] as number) >> 4;
    const l4 = transportHeader(mem, at, bytes, l3, version, kind);
    if (l4 < 0) return Drop.BadOffloadHeader;
    const headers = kind === GSO_UDP_L4 ? l4 + udp.UDP_SIZE : l4 + tcp.headerLength(mem, at + l4);
    const size = gsoSize(mem, at);
    const payload = bytes - headers;
    if (size === 0 || payload <= 0 || headers > MAX_HEADERS) return Drop.BadOffloadHeader;
    const segments = Math.ceil(payload / size);
    if (segments > MAX_SEGMENTS) return Drop.BadOffloadHeader;
    let to = FRONT;
    for (let i = 0; i < segments; i++) {
      const part = Math.min(size, payload - i * size);
      copy(from, at, this.slab, to, headers);
      copy(from, at + headers + i * size, this.slab, to + headers, part);
      this.#emit(to, headers + part);
      this.#fixNetwork(to + l3, headers - l3 + part, version, i);
      if (kind === GSO_UDP_L4) this.#fixUdp(to, l3, l4, headers - l4 + part, version);
      else this.#fixTcp(to, l3, l4, headers - l4 + part, version, i, i * size, i === segments - 1);
      to += headers + part;
    }
    return Drop.None;
  }

  #emit(at: number, bytes: number): void {
    this.offset[this.count] = at;
    this.length[this.count] = bytes;
    this.count++;
  }

  #fixNetwork(at: number, bytes: number, version: number, index: number): void {
    const { mem } = this;
    if (version === 6) {
      mem.setUint16(at + 4, bytes - IP6_SIZE);
      return;
    }
    ip4.setTotalLength(mem, at, bytes);
    mem.setUint16(at + 4, (ip4.id(mem, at) + index) & 0xffff);
    ip4.setChecksum(mem, at);
  }

  #fixUdp(frame: number, l3: number, l4: number, bytes: number, version: number): void {
    const at = frame + l4;
    this.mem.setUint16(at + 4, bytes);
    this.#sum(frame + l3, at, bytes, version, 17, udp.UDP_CHECKSUM);
  }

  #fixTcp(
    frame: number,
    l3: number,
    l4: number,
    bytes: number,
    version: number,
    index: number,
    sent: number,
    last: boolean,
  ): void {
    const at = frame + l4;
    const { mem } = this;
    tcp.setSequence(mem, at, (tcp.sequence(mem, at) + sent) | 0);
    let flags = tcp.flags(mem, at);
    if (!last) flags &= ~(tcp.FIN | tcp.PSH);
    if (index > 0) flags &= ~tcp.CWR;
    tcp.setFlags(mem, at, flags);
    this.#sum(frame + l3, at, bytes, version, 6, tcp.TCP_CHECKSUM);
  }

  #sum(l3: number, l4: number, bytes: number, version: number, protocol: number, field: number): void {
    const { mem } = this;
    const addresses = version === 6 ? sums.sum(mem, l3 + 8, 32) : sums.sum(mem, l3 + 12, 8);
    mem.setUint16(l4 + field, 0);
    const sum = sums.checksum(mem, l4, bytes, addresses + protocol + bytes);
    mem.setUint16(l4 + field, sum === 0 && protocol === 17 ? 0xffff : sum);
  }
}

/** Bytes to the IP header, past VLAN tags; -1 when there is none. */
function networkHeader(mem: DataView, at: number, bytes: number): number {
  let l3 = ethernet.ETHERNET_SIZE;
  let type = ethernet.type(mem, at);
  while (type === ethernet.ETHERTYPE_TAG || type === ethernet.ETHERTYPE_STAG) {
    if (l3 + ethernet.TAG_SIZE > bytes || l3 > 18) return -1;
    type = mem.getUint16(at + l3 + 2);
    l3 += ethernet.TAG_SIZE;
  }
  if (l3 >= bytes) return -1;
  const version = mem.getUint8(at + l3) >> 4;
  return type === (version === 4 ? ethernet.ETHERTYPE_IP4 : ethernet.ETHERTYPE_IP6) ? l3 : -1;
}

/** Bytes to the TCP or UDP header; -1 when the packet is not what the header says, or does not hold one. */
function transportHeader(
  mem: DataView,
  at: number,
  bytes: number,
  l3: number,
  version: number,
  kind: number,
): number {
  const protocol = kind === GSO_UDP_L4 ? 17 : 6;
  let l4: number;
  if (version === 4 && kind !== GSO_TCPV6) {
    if (l3 + ip4.MIN_SIZE > bytes || ip4.protocol(mem, at + l3) !== protocol || ip4.isFragment(mem, at + l3))
      return -1;
    const header = ip4.headerLength(mem, at + l3);
    if (header < ip4.MIN_SIZE) return -1;
    l4 = l3 + header;
  } else if (version === 6 && kind !== GSO_TCPV4) {
    // Extension headers would have to be walked; senders that segment do not use them.
    if (l3 + IP6_SIZE > bytes || mem.getUint8(at + l3 + 6) !== protocol) return -1;
    l4 = l3 + IP6_SIZE;
  } else {
    return -1;
  }
  if (kind === GSO_UDP_L4) return l4 + udp.UDP_SIZE <= bytes ? l4 : -1;
  if (l4 + tcp.TCP_SIZE > bytes) return -1;
  const header = tcp.headerLength(mem, at + l4);
  return header >= tcp.TCP_SIZE && l4 + header <= bytes ? l4 : -1;
}

function copy(from: Uint8Array, at: number, to: Uint8Array, toAt: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) to[toAt + i] = from[at + i] as number;
}
