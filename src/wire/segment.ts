/** Does a frame fit a link, whole or in the segments that it asks for? */
import * as tcp from './tcp.ts';
import { UDP_SIZE } from './udp.ts';
import { csumStart, GSO_ECN, GSO_NONE, GSO_UDP_L4, gsoSize, gsoType } from './vnet.ts';

/** An Ethernet header with two VLAN tags: what a frame may have beyond the link's IP MTU. */
const LINK_BYTES = 22;

/**
 * The frame stands at `at`, its IP header at `l3`. Tags come on top of the MTU. Of a frame to be segmented each segment
 * must fit: IP and transport header with gso_size bytes. The transport header begins where the sum does. A sender that
 * lies about it gets past this test at the most, and no further: whoever segments reads the packet itself.
 */
export function fits(mem: DataView, at: number, l3: number, length: number, mtu: number): boolean {
  const end = at + length;
  const kind = gsoType(mem, at) & ~GSO_ECN;
  if (kind === GSO_NONE) return length <= mtu + Math.min(l3 - at, LINK_BYTES);
  const l4 = at + csumStart(mem, at);
  if (l4 + tcp.TCP_SIZE > end) return false; // no header stands there
  const header = kind === GSO_UDP_L4 ? UDP_SIZE : tcp.headerLength(mem, l4);
  return l4 - l3 + header + gsoSize(mem, at) <= mtu;
}
