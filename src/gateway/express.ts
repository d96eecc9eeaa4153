/**
 * The NAT's usual packets: untagged, whole and finished UDP and TCP of flows that are open and stay as they are. Whatever is
 * unusual in any way is left undecided, for the gateway to handle as it handles everything; so what stands here decides
 * nothing that the gateway would not decide alike.
 *
 * A look-up among 100,000 flows is a chain of cache misses. So the burst is looked up first, by column: a loop that does
 * nothing but one step of it (check and hash, head of the chain, first flow) has the misses of many packets under way at
 * once. Then the rows are passed one by one, in order. Made for one batch, like a stage.
 */
import { type Batch, GATEWAY_PORT, LOOK_UP } from '../dataplane/batch.ts';
import type { Ip4, Mac } from '../wire/address.ts';
import * as sums from '../wire/checksum.ts';
import { DNS_PORT } from '../wire/dns.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ip4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import type { Egress } from './egress.ts';
import {
  F_EXPIRES,
  F_EXTERNAL_PORT,
  F_INSIDE_IP,
  F_INSIDE_PORT,
  F_NEXT,
  F_PROTOCOL,
  F_REMOTE_IP,
  F_REMOTE_PORT,
  F_SEEN,
  FLOW_WORDS,
  type FlowParts,
  M_INSIDE_IP,
  M_INSIDE_PORT,
  MAPPING_WORDS,
  NONE,
  space,
} from './flowmemory.ts';
import { UDP_S } from './nat.ts';
import type { Neighbours } from './neighbours.ts';
import * as tcpState from './tcpstate.ts';

export interface ExpressParts {
  readonly egress: Egress;
  readonly flows: FlowParts;
  readonly neighbours: Neighbours;
  readonly natAddress: Ip4;
  /** What every port takes, bytes. */
  readonly mtu: number;
  readonly gatewayMac: Mac;
  readonly uplinkMac: Mac;
  readonly uplink: number;
  /** May a guest's packet from here go there, by the NAT? */
  goesOut(source: Ip4, destination: Ip4): boolean;
  /** What is done with the rest. */
  handle(row: number): void;
}

/** Decides on `rows[0 … count - 1]`, frames for the gateway or for all, in order: all from guests or all from the uplink. */
export type Express = (rows: Int32Array, count: number) => void;

/** Bytes of an IPv4 header without options. */
const HEADER = ip4.MIN_SIZE;

// Imports that each row needs.
const { ETHERNET_SIZE, ETHERTYPE_IP4, isGroup } = ethernet;
const { TCP, UDP } = ip4;
const { RST, TCP_CHECKSUM } = tcp;
const { UDP_CHECKSUM } = udp;
/** In `heads`: not one for the express; an unmapped port is none either. */
const UNUSUAL = NONE;
const [GOOD, READ_AGAIN, NOBODY, UDP_LIFE_S] = [Drop.None, LOOK_UP, NONE, UDP_S];
const { delta16, delta32, moved } = sums;

export function express(batch: Batch, parts: ExpressParts): Express {
  const { mem, halves, offset, length, l3, etherType, destinationKey, egress, ingress } = batch;
  const { egress: policy, neighbours, natAddress, gatewayMac, uplinkMac, uplink, goesOut, handle } = parts;
  const { flows, mappings, flowHeads, external, flowHead } = parts.flows;
  /** By index among the rows looked at: the head of the flow's chain, or UNUSUAL; and the chain's first flow. */
  const heads = new Int32Array(batch.capacity);
  const first = new Int32Array(batch.capacity);
  const witness = new Int32Array(1);

  const widest = ETHERNET_SIZE + parts.mtu;

  /** TCP or UDP, if the row is a whole, sound and finished packet of either to the gateway, without tags, options or fragments; else -1. */
  const usualProtocol = (row: number): number => {
    const at = offset[row] as number;
    const packet = at + ETHERNET_SIZE;
    if (l3[row] !== packet || etherType[row] !== ETHERTYPE_IP4 || halves[(at - 10) >> 1] !== 0) return -1;
    if (isGroup(destinationKey[row] as number) || (length[row] as number) > widest) return -1;
    const protocol = ip4.plainProtocol(mem, packet, (length[row] as number) - ETHERNET_SIZE);
    if (protocol !== UDP && protocol !== TCP) return -1;
    const bytes = ip4.totalLength(mem, packet) - HEADER;
    const reason =
      protocol === UDP ? udp.check(mem, packet + HEADER, bytes) : tcp.check(mem, packet + HEADER, bytes);
    return reason === GOOD ? protocol : -1;
  };

  /** The flow's state and time to live after the packet; false: it is not what it was, so nothing has been done. */
  const refresh = (at: number, l4: number, outbound: boolean): boolean => {
    const { nowS } = batch;
    const protocol = flows[at + F_PROTOCOL] as number;
    if ((protocol & 0xff) === UDP) {
      // Only what the guest sends keeps a mapping alive: RFC 4787 REQ-6.
      if (outbound && flows[at + F_SEEN] !== nowS) {
        flows[at + F_EXPIRES] = nowS + UDP_LIFE_S;
        flows[at + F_SEEN] = nowS;
      }
      return true;
    }
    const state = protocol >> 8;
    const flags = tcp.flags(mem, l4);
    if ((flags & RST) !== 0 || tcpState.after(state, flags, outbound) !== state) return false;
    if (flows[at + F_SEEN] !== nowS) {
      flows[at + F_EXPIRES] = nowS + tcpState.timeoutS(state);
      flows[at + F_SEEN] = nowS;
    }
    return true;
  };

  /** Brings the transport's sum along, when the addresses and a port change the pseudo-header and the header by `delta`. */
  const resum = (packet: number, delta: number): void => {
    if (ip4.protocol(mem, packet) === TCP) {
      const field = packet + HEADER + TCP_CHECKSUM;
      mem.setUint16(field, moved(mem.getUint16(field), delta));
      return;
    }
    const field = packet + HEADER + UDP_CHECKSUM;
    const before = mem.getUint16(field);
    if (before === 0) return; // RFC 768: not summed, and a sum of zero would say so
    const after = moved(before, delta);
    mem.setUint16(field, after === 0 ? 0xffff : after);
  };

  /** Where the words of a packet's flow stand; NOBODY: there is none, or its time is up. `near`: which word is `nearPort`. */
  const find = (
    head: number,
    packet: number,
    near: number,
    nearPort: number,
    far: number,
    farPort: number,
  ): number => {
    const protocol = ip4.protocol(mem, packet);
    for (let flow = flowHeads[head] as number; flow !== NOBODY; ) {
      const at = flow * FLOW_WORDS;
      if (
        flows[at + F_REMOTE_IP] === far &&
        flows[at + near] === nearPort &&
        flows[at + F_REMOTE_PORT] === farPort &&
        ((flows[at + F_PROTOCOL] as number) & 0xff) === protocol
      )
        return (flows[at + F_EXPIRES] as number) > batch.nowS ? at : NOBODY;
      flow = flows[at + F_NEXT] as number;
    }
    return NOBODY;
  };

  const sendOut = (row: number, head: number): boolean => {
    const packet = l3[row] as number;
    const l4 = packet + HEADER;
    const source = ip4.source(mem, packet);
    const port = udp.sourcePort(mem, l4);
    const farPort = udp.destinationPort(mem, l4);
    const at = find(head, packet, F_INSIDE_PORT, port, ip4.destination(mem, packet), farPort);
    if (at === NOBODY || flows[at + F_INSIDE_IP] !== source || !refresh(at, l4, true)) return false;
    const outside = flows[at + F_EXTERNAL_PORT] as number;
    const delta = delta32(source, natAddress);
    ip4.moveSource(mem, packet, natAddress, delta);
    resum(packet, delta + delta16(port, outside));
    mem.setUint16(l4, outside);
    address(packet - ETHERNET_SIZE, uplinkMac.hi, uplinkMac.lo);
    egress[row] = uplink;
    return true;
  };

  const sendIn = (row: number, head: number): boolean => {
    const packet = l3[row] as number;
    const l4 = packet + HEADER;
    const outside = udp.destinationPort(mem, l4);
    const at = find(head, packet, F_EXTERNAL_PORT, outside, ip4.source(mem, packet), udp.sourcePort(mem, l4));
    if (at === NOBODY) return false;
    const guest = flows[at + F_INSIDE_IP] as Ip4;
    const neighbour = neighbours.find(guest, batch.nowS);
    if (neighbour < 0 || !refresh(at, l4, false)) return false;
    const port = flows[at + F_INSIDE_PORT] as number;
    const delta = delta32(natAddress, guest);
    ip4.moveDestination(mem, packet, guest, delta);
    resum(packet, delta + delta16(outside, port));
    mem.setUint16(l4 + 2, port);
    address(packet - ETHERNET_SIZE, neighbours.hi(neighbour), neighbours.lo(neighbour));
    ingress[row] = GATEWAY_PORT;
    egress[row] = READ_AGAIN;
    return true;
  };

  const address = (at: number, hi: number, lo: number): void => {
    ethernet.setDestination(mem, at, hi, lo);
    ethernet.setSource(mem, at, gatewayMac.hi, gatewayMac.lo);
  };

  /** Where packets of guests begin to look. */
  const headsOut = (rows: Int32Array, count: number): void => {
    for (let i = 0; i < count; i++) {
      const row = rows[i] as number;
      const packet = l3[row] as number;
      heads[i] = UNUSUAL;
      const protocol = usualProtocol(row);
      if (protocol < 0) continue;
      const source = ip4.source(mem, packet);
      const destination = ip4.destination(mem, packet);
      if (!goesOut(source, destination)) continue;
      const l4 = packet + HEADER;
      const from = udp.sourcePort(mem, l4);
      heads[i] = flowHead(protocol, source, from, destination, udp.destinationPort(mem, l4));
    }
  };

  /** Where packets from the uplink begin to look: by way of the mapping behind their port. */
  const headsIn = (rows: Int32Array, count: number): void => {
    for (let i = 0; i < count; i++) {
      const row = rows[i] as number;
      const packet = l3[row] as number;
      heads[i] = UNUSUAL;
      const protocol = usualProtocol(row);
      if (protocol < 0 || ip4.destination(mem, packet) !== natAddress) continue;
      if (policy.watches && udp.sourcePort(mem, packet + HEADER) === DNS_PORT) continue;
      heads[i] = space(protocol) + udp.destinationPort(mem, packet + HEADER);
    }
    for (let i = 0; i < count; i++)
      if (heads[i] !== UNUSUAL) heads[i] = external[heads[i] as number] as number; // none is UNUSUAL
    for (let i = 0; i < count; i++) {
      const mapping = heads[i] as number;
      if (mapping === UNUSUAL) continue;
      const packet = l3[rows[i] as number] as number;
      const at = mapping * MAPPING_WORDS;
      const port = mappings[at + M_INSIDE_PORT] as number;
      const farPort = udp.sourcePort(mem, packet + HEADER);
      const protocol = ip4.protocol(mem, packet);
      const guest = mappings[at + M_INSIDE_IP] as number;
      heads[i] = flowHead(protocol, guest, port, ip4.source(mem, packet), farPort);
    }
  };

  /** Sets the words of all chains' first flows on their way. */
  const fetch = (count: number): void => {
    for (let i = 0; i < count; i++)
      first[i] = heads[i] === UNUSUAL ? NOBODY : (flowHeads[heads[i] as number] as number);
    let seen = 0;
    for (let i = 0; i < count; i++) {
      if (first[i] === NOBODY) continue;
      const at = (first[i] as number) * FLOW_WORDS;
      seen ^= (flows[at] as number) ^ (flows[at + F_EXTERNAL_PORT] as number);
    }
    witness[0] = seen; // or the compiler would leave the loads out
  };

  return (rows, count) => {
    if (batch.port === uplink) {
      headsIn(rows, count);
      fetch(count);
      for (let i = 0; i < count; i++) {
        const row = rows[i] as number;
        if (heads[i] === UNUSUAL || !sendIn(row, heads[i] as number)) handle(row);
      }
    } else {
      headsOut(rows, count);
      fetch(count);
      for (let i = 0; i < count; i++) {
        const row = rows[i] as number;
        if (heads[i] === UNUSUAL || !sendOut(row, heads[i] as number)) handle(row);
      }
    }
  };
}
