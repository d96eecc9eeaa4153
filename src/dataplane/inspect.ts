/**
 * `--guard strict`: does a guest speak with its own addresses? What a guest on a port may send is
 *
 *   DHCP to servers, from 0.0.0.0        that is how it gets an address
 *   ARP from its own MAC                 asking without an address (a probe, RFC 5227 §2.1.1), or with a bound one
 *   IPv4 from a bound address            bound: by a lease or a reservation, to its MAC and port
 *
 * and nothing else: no tags, no IPv6, no answers of a DHCP server, and no word of the gateway's address. In the list of stages only
 * where it was asked for; the uplink is not a guest.
 */
import { type Ip4, UNSPECIFIED } from '../wire/address.ts';
import * as arp from '../wire/arp.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ip4 from '../wire/ipv4.ts';
import * as udp from '../wire/udp.ts';
import { type Batch, DROPPED, KEY_OCTETS, type Stage } from './batch.ts';
import type { Bindings } from './bindings.ts';

const [SERVER_PORT, CLIENT_PORT] = [67, 68];
/** BOOTREPLY, the first byte of a message, RFC 2131 §2. */
const REPLY = 2;
const SHA = 8;
const SPA = 14;

export interface InspectParts {
  readonly bindings: Bindings;
  readonly gatewayIp: Ip4;
  /** The uplink's port, -1: none. */
  readonly uplink: number;
}

export const inspect = (batch: Batch, { bindings, gatewayIp, uplink }: InspectParts): Stage => {
  const { egress, mem, offset, length, l3, etherType, sourceKey, sourceLo } = batch;

  const ofArp = (row: number, at: number, end: number): Drop => {
    if (at + arp.ARP_SIZE > end) return Drop.ArpTruncated;
    const [hi, lo] = [(sourceKey[row] as number) & KEY_OCTETS, sourceLo[row] as number];
    if (mem.getUint16(at + SHA) !== hi || mem.getInt32(at + SHA + 2) !== lo) return Drop.GuardAddress;
    const sender = mem.getInt32(at + SPA);
    if (sender === gatewayIp) return Drop.GuardGateway;
    const known = sender === UNSPECIFIED || bindings.allows(batch.port, hi, lo, sender);
    return known ? Drop.None : Drop.GuardAddress;
  };

  const ofIp4 = (row: number, at: number, end: number): Drop => {
    if (at + ip4.MIN_SIZE > end) return Drop.Ip4Truncated;
    const source = ip4.source(mem, at);
    const l4 = at + ip4.headerLength(mem, at);
    if (ip4.protocol(mem, at) === ip4.UDP && !ip4.isFragment(mem, at) && l4 + udp.UDP_SIZE < end) {
      const [from, to] = [udp.sourcePort(mem, l4), udp.destinationPort(mem, l4)];
      if (from === SERVER_PORT && mem.getUint8(l4 + udp.UDP_SIZE) === REPLY) return Drop.GuardServer;
      if (source === UNSPECIFIED && from === CLIENT_PORT && to === SERVER_PORT) return Drop.None;
    }
    const [hi, lo] = [(sourceKey[row] as number) & KEY_OCTETS, sourceLo[row] as number];
    return bindings.allows(batch.port, hi, lo, source) ? Drop.None : Drop.GuardAddress;
  };

  return {
    name: 'inspect',
    run(): void {
      const { count, port } = batch;
      if (port === uplink) return;
      for (let row = 0; row < count; row++) {
        if (egress[row] === DROPPED) continue;
        const frame = offset[row] as number;
        const at = l3[row] as number;
        const end = frame + (length[row] as number);
        const kind = at === frame + ethernet.ETHERNET_SIZE ? (etherType[row] as number) : 0;
        let reason = Drop.GuardProtocol;
        if (kind === ethernet.ETHERTYPE_IP4) reason = ofIp4(row, at, end);
        else if (kind === ethernet.ETHERTYPE_ARP) reason = ofArp(row, at, end);
        if (reason !== Drop.None) batch.refuse(row, reason);
      }
    },
  };
};
