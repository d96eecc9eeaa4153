/**
 * The NAT: guests' packets leave with the NAT address and an external port, the answers come back. RFC 4787 (UDP), 5382
 * (TCP), 5508 (ICMP), 7857. Packets are changed where they stand, headers whole; both directions see checked packets, and
 * of a datagram in fragments the first one alone.
 *
 * A checksum that the sender left unfinished holds the pseudo-header's sum, so only the address counts in it; in a
 * finished one, address and port do.
 */
import type { NatFiltering } from '../config.ts';
import type { Batch } from '../dataplane/batch.ts';
import type { Ip4 } from '../wire/address.ts';
import * as sums from '../wire/checksum.ts';
import { Drop } from '../wire/drop.ts';
import * as icmp from '../wire/icmp.ts';
import * as ip4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { VNET_NEEDS_CSUM, vnetFlags } from '../wire/vnet.ts';
import type { Egress } from './egress.ts';
import { type Flow, type FlowParts, PORTS } from './flowmemory.ts';
import { FlowTable } from './flows.ts';
import { unpackFlows } from './packedflows.ts';
import { NO_PORT } from './portshares.ts';
import * as tcpState from './tcpstate.ts';

export const UDP_S = 300;
const ICMP_S = 60;
/** In place of a flow: the egress policy is against it. */
const DENIED = -2;

export interface NatOptions {
  readonly address: Ip4;
  readonly filtering: NatFiltering;
  readonly parts: FlowParts;
  /** How many flows one guest may have. */
  readonly maxGuestFlows: number;
  readonly seed: number;
  readonly egress: Egress;
}

/** A port of the NAT address that is passed on to a guest's. */
export interface NatForward {
  /** As in IP. */
  readonly protocol: number;
  readonly port: number;
  readonly guest: Ip4;
  readonly guestPort: number;
}

const isSame = (left: NatForward, right: NatForward): boolean =>
  left.protocol === right.protocol &&
  left.port === right.port &&
  left.guest === right.guest &&
  left.guestPort === right.guestPort;

/** What was read from a file may be anything. */
const isNattable = ({ protocol, insidePort, externalPort, remotePort }: Flow): boolean =>
  [ip4.ICMP, ip4.TCP, ip4.UDP].includes(protocol) &&
  [insidePort, externalPort, remotePort].every(port => port >= 0 && port < PORTS);

export class Nat {
  readonly #flows: FlowTable;
  readonly #address: Ip4;
  readonly #filtering: NatFiltering;
  #forwards: readonly NatForward[] = [];
  readonly #egress: Egress;

  constructor(options: NatOptions) {
    this.#flows = new FlowTable(options.parts, options.seed, options.maxGuestFlows);
    this.#address = options.address;
    this.#filtering = options.filtering;
    this.#egress = options.egress;
  }

  /** Takes over flows of a table before this one, as far as they have their places here. */
  restore(packed: Int32Array): void {
    for (const flow of unpackFlows(packed)) if (isNattable(flow)) this.#flows.restore(flow);
  }

  tick(nowS: number): void {
    this.#flows.sweep(nowS);
  }

  /** Makes the forwards those that are wanted; conversations over others end. At most MAX_FORWARDS, each port once. */
  setForwards(wanted: readonly NatForward[]): void {
    const flows = this.#flows;
    for (const forward of this.#forwards)
      if (!wanted.some(other => isSame(other, forward)))
        flows.endForward(flows.mappingAt(forward.protocol, forward.port));
    for (const forward of wanted)
      if (!this.#forwards.some(other => isSame(other, forward)))
        flows.forward(forward.protocol, forward.port, forward.guest, forward.guestPort);
    this.#forwards = wanted;
  }

  /** A guest's packet on its way out: its source becomes the NAT's. */
  outbound(batch: Batch, row: number): Drop {
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    const protocol = ip4.protocol(mem, l3);
    const l4 = l3 + ip4.headerLength(mem, l3);
    const reason = checkTransport(batch, row, l3, l4, protocol);
    if (reason !== Drop.None) return reason;
    if (protocol === ip4.ICMP && icmp.type(mem, l4) !== icmp.ECHO_REQUEST)
      return this.#errorOut(batch, l3, l4);
    const insideIp = ip4.source(mem, l3);
    const insidePort = protocol === ip4.ICMP ? icmp.echoId(mem, l4) : udp.sourcePort(mem, l4);
    const remoteIp = ip4.destination(mem, l3);
    const remotePort = protocol === ip4.ICMP ? 0 : udp.destinationPort(mem, l4);
    const flow = this.#flowOut(batch, row, protocol, insideIp, insidePort, remoteIp, remotePort);
    if (flow === DENIED) return Drop.EgressDenied;
    if (flow < 0) return this.#flows.refuse(insideIp, batch.ingress[row] as number);
    this.#refresh(flow, protocol, mem, l4, batch.nowS, true);
    rewrite(batch, row, l3, l4, protocol, this.#address, this.#flows.externalPort(flow), true);
    return Drop.None;
  }

  /**
   * From a guest to the gateway's address, which is the host's: an answer in a conversation that the host began by way of
   * the NAT, over a forward, leaves as that. Anything else is none of the NAT's business and stays as it is.
   */
  answer(batch: Batch, row: number): Drop {
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    const l4 = l3 + ip4.headerLength(mem, l3);
    const protocol = ip4.protocol(mem, l3);
    if (checkTransport(batch, row, l3, l4, protocol) !== Drop.None) return Drop.None;
    const [guest, host] = [ip4.source(mem, l3), ip4.destination(mem, l3)];
    if (protocol !== ip4.ICMP) {
      const [port, hostPort] = [udp.sourcePort(mem, l4), udp.destinationPort(mem, l4)];
      const flow = this.#flows.find(protocol, guest, port, host, hostPort, batch.nowS);
      return flow < 0 ? Drop.None : this.outbound(batch, row);
    }
    const inner = l4 + icmp.ICMP_SIZE;
    if (!icmp.isError(mem, l4) || !quotes(mem, inner, l3 + ip4.totalLength(mem, l3) - inner))
      return Drop.None;
    const inner4 = inner + ip4.headerLength(mem, inner);
    const [hostPort, port] = [udp.sourcePort(mem, inner4), udp.destinationPort(mem, inner4)];
    const flow = this.#flows.find(ip4.protocol(mem, inner), guest, port, host, hostPort, batch.nowS);
    if (flow >= 0) this.#errorOut(batch, l3, l4);
    return Drop.None;
  }

  /** From a guest to the NAT address: out and in again, so that it shows its external source. RFC 4787 REQ-9. */
  hairpin(batch: Batch, row: number): Drop {
    if (ip4.protocol(batch.mem, batch.l3[row] as number) === ip4.ICMP) return this.#hairpinError(batch, row);
    const reason = this.outbound(batch, row);
    return reason === Drop.None ? this.inbound(batch, row) : reason;
  }

  /** RFC 5508 REQ-7: errors about hairpinned packets take the same way. */
  #hairpinError(batch: Batch, row: number): Drop {
    const l3 = batch.l3[row] as number;
    const l4 = l3 + ip4.headerLength(batch.mem, l3);
    const reason = checkTransport(batch, row, l3, l4, ip4.ICMP);
    if (reason !== Drop.None) return reason;
    if (!icmp.isError(batch.mem, l4)) return Drop.NatUnsupported;
    const out = this.#errorOut(batch, l3, l4);
    return out === Drop.None ? this.#errorIn(batch, l3, l4) : out;
  }

  /**
   * A packet to the NAT address from outside: its destination becomes the guest's. A stranger's datagram that the filter lets
   * in opens no flow: it must neither keep the mapping (RFC 4787 REQ-6) nor fill the table. Over a forward it does, so that
   * the guest may answer whatever the policy says of what it begins itself.
   */
  inbound(batch: Batch, row: number): Drop {
    const { mem, nowS } = batch;
    const l3 = batch.l3[row] as number;
    const protocol = ip4.protocol(mem, l3);
    const l4 = l3 + ip4.headerLength(mem, l3);
    const reason = checkTransport(batch, row, l3, l4, protocol);
    if (reason !== Drop.None) return reason;
    if (protocol === ip4.ICMP && icmp.type(mem, l4) !== icmp.ECHO_REPLY) return this.#errorIn(batch, l3, l4);
    const externalPort = protocol === ip4.ICMP ? icmp.echoId(mem, l4) : udp.destinationPort(mem, l4);
    const mapping = this.#flows.mappingAt(protocol, externalPort);
    if (mapping < 0) return Drop.NatNoMapping;
    const remoteIp = ip4.source(mem, l3);
    const remotePort = protocol === ip4.ICMP ? 0 : udp.sourcePort(mem, l4);
    const insideIp = this.#flows.insideIp(mapping);
    const insidePort = this.#flows.insidePort(mapping);
    let flow = this.#flows.find(protocol, insideIp, insidePort, remoteIp, remotePort, nowS);
    if (flow < 0) {
      // The look-up may just have ended the mapping's last flow, and with it the mapping.
      if (this.#flows.mappingAt(protocol, externalPort) !== mapping) return Drop.NatNoMapping;
      if (!this.#admits(mapping, protocol, remoteIp, nowS)) return Drop.NatFiltered;
      if (protocol === ip4.TCP || this.#flows.isForward(mapping)) {
        if (this.#flows.full || this.#flows.guestFull(insideIp, NO_PORT))
          return this.#flows.refuse(insideIp, NO_PORT);
        flow = this.#flows.open(mapping, remoteIp, remotePort);
      }
    } else if (this.#flows.externalPort(flow) !== externalPort) return Drop.NatNoPort; // its answers would come from there
    if (flow >= 0) this.#refresh(flow, protocol, mem, l4, nowS, false);
    rewrite(batch, row, l3, l4, protocol, insideIp, insidePort, false);
    return Drop.None;
  }

  #flowOut(
    batch: Batch,
    row: number,
    protocol: number,
    insideIp: Ip4,
    insidePort: number,
    remoteIp: Ip4,
    remotePort: number,
  ): number {
    const flows = this.#flows;
    const flow = flows.find(protocol, insideIp, insidePort, remoteIp, remotePort, batch.nowS);
    if (flow >= 0) return flow;
    // What goes to the NAT address is another guest's in the end.
    if (remoteIp !== this.#address && !this.#egress.admits(batch, row, protocol, remoteIp, remotePort))
      return DENIED;
    const port = batch.ingress[row] as number;
    if (flows.full || flows.guestFull(insideIp, port)) return -1;
    let mapping = flows.mappingOf(protocol, insideIp, insidePort);
    if (mapping < 0) mapping = flows.map(protocol, insideIp, insidePort);
    return mapping < 0 ? -1 : flows.open(mapping, remoteIp, remotePort, port);
  }

  /** May a remote endpoint that the guest has not spoken to send to the mapping? RFC 4787 §5. */
  #admits(mapping: number, protocol: number, remoteIp: Ip4, nowS: number): boolean {
    if (protocol === ip4.ICMP) return false;
    if (this.#filtering === 'endpoint' || this.#flows.isForward(mapping)) return true;
    return this.#filtering === 'address' && this.#flows.hasRemote(mapping, remoteIp, nowS);
  }

  /**
   * UDP and echoes live on by what the guest sends (RFC 4787 REQ-6), TCP by segments of both, an RST apart: a stranger could
   * keep a mapping open by what the guest answers him (RFC 7857 §7.1).
   */
  #refresh(flow: number, protocol: number, mem: DataView, l4: number, nowS: number, outbound: boolean): void {
    if (protocol === ip4.TCP) {
      const before = this.#flows.tcpState(flow);
      const state = tcpState.after(before, tcp.flags(mem, l4), outbound);
      if (state !== before) this.#flows.setTcpState(flow, state);
      if ((tcp.flags(mem, l4) & tcp.RST) === 0) this.#flows.refresh(flow, nowS, tcpState.timeoutS(state));
      else this.#flows.shorten(flow, nowS, tcpState.timeoutS(state));
    } else if (outbound || protocol === ip4.ICMP) {
      this.#flows.refresh(flow, nowS, protocol === ip4.UDP ? UDP_S : ICMP_S);
    } else if (this.#flows.isNew(flow)) {
      this.#flows.refresh(flow, nowS, UDP_S);
    }
  }

  /** An ICMP error from outside about a packet that the NAT sent: the packet in it is turned back too. RFC 5508 REQ-4. */
  #errorIn(batch: Batch, l3: number, l4: number): Drop {
    const { mem } = batch;
    if (!icmp.isError(mem, l4)) return Drop.NatUnsupported;
    const inner = l4 + icmp.ICMP_SIZE;
    const quoted = l3 + ip4.totalLength(mem, l3) - inner;
    if (!quotes(mem, inner, quoted) || ip4.source(mem, inner) !== this.#address) return Drop.NatNoMapping;
    const protocol = ip4.protocol(mem, inner);
    const inside4 = inner + ip4.headerLength(mem, inner);
    const port = protocol === ip4.ICMP ? icmp.echoId(mem, inside4) : udp.sourcePort(mem, inside4);
    const mapping = this.#flows.mappingAt(protocol, port);
    if (mapping < 0) return Drop.NatNoMapping;
    if (protocol === ip4.ICMP && icmp.type(mem, inside4) !== icmp.ECHO_REQUEST) return Drop.NatNoMapping;
    const [guest, guestPort] = [this.#flows.insideIp(mapping), this.#flows.insidePort(mapping)];
    // Whoever guesses a mapping's port knows no session by that: the packet must be one that could have been sent.
    const remotePort = protocol === ip4.ICMP ? 0 : udp.destinationPort(mem, inside4);
    const remoteIp = ip4.destination(mem, inner);
    if (this.#flows.find(protocol, guest, guestPort, remoteIp, remotePort, batch.nowS) < 0)
      return Drop.NatFiltered;
    rewriteQuoted(mem, inner, inside4, quoted, guest, guestPort, true);
    ip4.setDestination(mem, l3, guest);
    sumIcmp(mem, l3, l4);
    return Drop.None;
  }

  /** A guest's ICMP error about a packet that came in through the NAT: outside it must quote what was sent there. */
  #errorOut(batch: Batch, l3: number, l4: number): Drop {
    const { mem } = batch;
    if (!icmp.isError(mem, l4)) return Drop.NatUnsupported;
    const inner = l4 + icmp.ICMP_SIZE;
    const quoted = l3 + ip4.totalLength(mem, l3) - inner;
    if (!quotes(mem, inner, quoted) || ip4.destination(mem, inner) !== ip4.source(mem, l3))
      return Drop.NatNoMapping;
    const protocol = ip4.protocol(mem, inner);
    const inside4 = inner + ip4.headerLength(mem, inner);
    const port = protocol === ip4.ICMP ? icmp.echoId(mem, inside4) : udp.destinationPort(mem, inside4);
    const mapping = this.#flows.mappingOf(protocol, ip4.destination(mem, inner), port);
    if (mapping < 0) return Drop.NatNoMapping;
    rewriteQuoted(mem, inner, inside4, quoted, this.#address, this.#flows.mappingPort(mapping), false);
    ip4.setSource(mem, l3, this.#address);
    sumIcmp(mem, l3, l4);
    return Drop.None;
  }
}

/** Is the transport's header whole? After Drop.None the ports may be read. */
function checkTransport(batch: Batch, row: number, l3: number, l4: number, protocol: number): Drop {
  const { mem } = batch;
  const bytes = l3 + ip4.totalLength(mem, l3) - l4;
  if (protocol === ip4.TCP) return tcp.check(mem, l4, bytes);
  const first = ip4.isFragment(mem, l3); // what it says of its length and its sum is about more than there is
  // A datagram that the kernel segments for the sender carries the length of the whole, which fits 16 bits too.
  if (protocol === ip4.UDP && !first) return udp.check(mem, l4, bytes);
  if (protocol === ip4.UDP) return bytes < udp.UDP_SIZE ? Drop.UdpTruncated : Drop.None;
  if (protocol !== ip4.ICMP) return Drop.NatUnsupported;
  if (bytes < icmp.ICMP_SIZE) return Drop.IcmpTruncated;
  if (first) return icmp.isError(mem, l4) ? Drop.Ip4Fragment : Drop.None;
  if (vnetFlags(mem, batch.offset[row] as number) & VNET_NEEDS_CSUM) return Drop.None;
  return icmp.check(mem, l4, bytes);
}

/** Replaces source (outbound) or destination address and port, with all checksums that cover them. */
export function rewrite(
  batch: Batch,
  row: number,
  l3: number,
  l4: number,
  protocol: number,
  ip: Ip4,
  port: number,
  source: boolean,
): void {
  const { mem } = batch;
  const before = source ? ip4.source(mem, l3) : ip4.destination(mem, l3);
  if (source) ip4.setSource(mem, l3, ip);
  else ip4.setDestination(mem, l3, ip);
  if (protocol === ip4.ICMP) {
    const field = l4 + icmp.ICMP_CHECKSUM;
    mem.setUint16(field, sums.adjusted(mem.getUint16(field), icmp.echoId(mem, l4), port));
    mem.setUint16(l4 + icmp.ECHO_ID, port);
    return;
  }
  const portAt = source ? l4 : l4 + 2;
  const field = l4 + (protocol === ip4.TCP ? tcp.TCP_CHECKSUM : udp.UDP_CHECKSUM);
  const sum = mem.getUint16(field);
  if (vnetFlags(mem, batch.offset[row] as number) & VNET_NEEDS_CSUM) {
    mem.setUint16(field, sums.adjustedUnfinished32(sum, before, ip));
  } else if (protocol === ip4.TCP || sum !== 0) {
    const after = sums.adjusted(sums.adjusted32(sum, before, ip), mem.getUint16(portAt), port);
    // RFC 768: a UDP sum of zero would say that there is none.
    mem.setUint16(field, after === 0 && protocol === ip4.UDP ? 0xffff : after);
  }
  mem.setUint16(portAt, port);
}

/** Does an ICMP error quote enough: an IPv4 header that is right, and eight bytes behind it, of a first fragment? */
function quotes(mem: DataView, at: number, bytes: number): boolean {
  if (bytes < ip4.MIN_SIZE + 8 || ip4.version(mem, at) !== 4) return false;
  const header = ip4.headerLength(mem, at);
  if (header < ip4.MIN_SIZE || header + 8 > bytes || !sums.valid(mem, at, header)) return false;
  const protocol = ip4.protocol(mem, at);
  if (ip4.fragmentOffset(mem, at) !== 0) return false;
  return protocol === ip4.UDP || protocol === ip4.TCP || protocol === ip4.ICMP;
}

/** The same as `rewrite` in a quoted packet, of whose transport header there may be only eight bytes. */
function rewriteQuoted(
  mem: DataView,
  l3: number,
  l4: number,
  quoted: number,
  ip: Ip4,
  port: number,
  source: boolean,
): void {
  const protocol = ip4.protocol(mem, l3);
  const before = source ? ip4.source(mem, l3) : ip4.destination(mem, l3);
  if (source) ip4.setSource(mem, l3, ip);
  else ip4.setDestination(mem, l3, ip);
  const portAt = protocol === ip4.ICMP ? l4 + icmp.ECHO_ID : source ? l4 : l4 + 2;
  const offset =
    protocol === ip4.TCP ? tcp.TCP_CHECKSUM : protocol === ip4.UDP ? udp.UDP_CHECKSUM : icmp.ICMP_CHECKSUM;
  if (l4 + offset + 2 <= l3 + quoted) {
    const sum = mem.getUint16(l4 + offset);
    const ported = sums.adjusted(sum, mem.getUint16(portAt), port);
    if (protocol === ip4.ICMP) mem.setUint16(l4 + offset, ported);
    else if (protocol === ip4.TCP || sum !== 0) {
      const after = sums.adjusted32(ported, before, ip);
      mem.setUint16(l4 + offset, after === 0 && protocol === ip4.UDP ? 0xffff : after); // as in `rewrite`
    }
  }
  mem.setUint16(portAt, port);
}

function sumIcmp(mem: DataView, l3: number, l4: number): void {
  mem.setUint16(l4 + icmp.ICMP_CHECKSUM, 0);
  mem.setUint16(l4 + icmp.ICMP_CHECKSUM, sums.checksum(mem, l4, l3 + ip4.totalLength(mem, l3) - l4));
}
