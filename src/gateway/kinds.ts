/** What kind of packet one is, as the gateway must know before it decides: of headers that have passed their checks. */
import type { Batch } from '../dataplane/batch.ts';
import { Drop } from '../wire/drop.ts';
import * as icmp from '../wire/icmp.ts';
import * as ip4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { csumOffset, csumStart, VNET_NEEDS_CSUM, vnetFlags } from '../wire/vnet.ts';

/** Multicast, reserved and broadcast (224 … 255), "this network" and loopback: no guest's packet goes there. */
export const isNowhere = (ip: number): boolean => ip >> 29 === -1 || ip >> 24 === 0 || ip >> 24 === 127;

/** A whole packet with an echo request? */
export function isEcho(mem: DataView, l3: number): boolean {
  if (ip4.protocol(mem, l3) !== ip4.ICMP || ip4.isFragment(mem, l3)) return false;
  const header = ip4.headerLength(mem, l3);
  return (
    header + icmp.ICMP_SIZE <= ip4.totalLength(mem, l3) && icmp.type(mem, l3 + header) === icmp.ECHO_REQUEST
  );
}

/** Might the packet open a TCP connection, but to port `but`? Nobody needs fragments for that, whose flags may be elsewhere. */
export function mayOpenTcp(mem: DataView, l3: number, but: number): boolean {
  if (ip4.protocol(mem, l3) !== ip4.TCP) return false;
  if (ip4.isFragment(mem, l3)) return true;
  const l4 = l3 + ip4.headerLength(mem, l3);
  if (tcp.check(mem, l4, l3 + ip4.totalLength(mem, l3) - l4) !== Drop.None) return true;
  return tcp.opens(mem, l4) && tcp.destinationPort(mem, l4) !== but;
}

/** A whole datagram to a port? Of a packet that has passed the check of its header. */
export function isUdpTo(mem: DataView, l3: number, port: number): boolean {
  if (ip4.protocol(mem, l3) !== ip4.UDP || ip4.isFragment(mem, l3)) return false;
  const l4 = l3 + ip4.headerLength(mem, l3);
  if (udp.check(mem, l4, l3 + ip4.totalLength(mem, l3) - l4) !== Drop.None) return false;
  return udp.destinationPort(mem, l4) === port;
}

/**
 * Does an unfinished checksum belong to the packet's own UDP or TCP header? Whoever finishes the frame writes where the
 * virtio-net header says: any other place would let a guest change the addresses after they were checked.
 */
export function isOffloadOfTransport(batch: Batch, row: number, l3: number): boolean {
  const { mem } = batch;
  const at = batch.offset[row] as number;
  if ((vnetFlags(mem, at) & VNET_NEEDS_CSUM) === 0) return true;
  if (csumStart(mem, at) !== l3 - at + ip4.headerLength(mem, l3)) return false;
  const protocol = ip4.protocol(mem, l3);
  const field = csumOffset(mem, at);
  return protocol === ip4.TCP
    ? field === tcp.TCP_CHECKSUM
    : protocol === ip4.UDP && field === udp.UDP_CHECKSUM;
}
