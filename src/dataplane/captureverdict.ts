/**
 * What the gateway has done with a frame, read from what it has left of it: for captures alone, so that the stages need not
 * say it. Valid after the stages.
 */
import * as arp from '../wire/arp.ts';
import { SERVER_PORT } from '../wire/dhcp.ts';
import { DNS_PORT } from '../wire/dns.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ip4 from '../wire/ipv4.ts';
import * as udp from '../wire/udp.ts';
import type { Batch } from './batch.ts';
import { Outcome } from './capturering.ts';

/** Bytes of a frame with a message of either service at the most: what is longer was too long for its way. */
const LONGEST_MESSAGE = 1_514;

/** Of a row that is CONSUMED, and was so by the gateway: ARP or IPv4, checked by it. */
export function whyConsumed({ mem, offset, length, etherType, l3 }: Batch, row: number): Outcome {
  const at = offset[row] as number;
  const packet = l3[row] as number;
  if (etherType[row] === ethernet.ETHERTYPE_ARP) return Outcome.Arp;
  // What waits for a neighbour is addressed to nobody.
  if (ethernet.destinationHi(mem, at) === 0 && ethernet.destinationLo(mem, at) === 0)
    return Outcome.WaitsForNeighbour;
  if (ip4.fragmentOffset(mem, packet) !== 0) return Outcome.WaitsForFragment;
  if (ip4.protocol(mem, packet) !== ip4.UDP || ip4.moreFragments(mem, packet)) return Outcome.Split;
  if ((length[row] as number) > LONGEST_MESSAGE) return Outcome.Split;
  const l4 = packet + ip4.headerLength(mem, packet);
  if (udp.destinationPort(mem, l4) === SERVER_PORT) return Outcome.Dhcp;
  const isDns = udp.destinationPort(mem, l4) === DNS_PORT || udp.sourcePort(mem, l4) === DNS_PORT;
  return isDns ? Outcome.Dns : Outcome.Split;
}

/** Has the gateway answered a row, one of `received`, that asks for a MAC? */
export function answersArp(batch: Batch, row: number, received: number): boolean {
  const { mem, offset, length, count, etherType } = batch;
  const at = offset[row] as number;
  const packet = at + ethernet.ETHERNET_SIZE;
  if ((length[row] as number) < ethernet.ETHERNET_SIZE + arp.ARP_SIZE) return false;
  if (ethernet.type(mem, at) !== ethernet.ETHERTYPE_ARP || arp.operation(mem, packet) !== arp.REQUEST)
    return false;
  for (let other = received; other < count; other++) {
    const reply = (offset[other] as number) + ethernet.ETHERNET_SIZE;
    if (
      etherType[other] === ethernet.ETHERTYPE_ARP &&
      arp.operation(mem, reply) === arp.REPLY &&
      arp.senderIp(mem, reply) === arp.targetIp(mem, packet) &&
      arp.targetIp(mem, reply) === arp.senderIp(mem, packet)
    )
      return true;
  }
  return false;
}
