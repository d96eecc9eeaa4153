/**
 * The gateway stage: the router on the subnet's first address. What a packet's way is:
 *
 *   from a guest      to the gateway's address    DHCP, DNS → control plane │ echo → answered here │ else → the host, by the uplink,
 *                                                 through the NAT if the host began it over a port forward
 *                     to another guest's          routed back (a guest with a narrower mask), time to live counted
 *                     to the NAT address          echo → answered here │ else hairpin: NAT out and in, to the other guest
 *                     to anywhere else            NAT → uplink; without a NAT as it is
 *                     ARP, an answer to a probe     control plane, which asked
 *                     to a service of the host    its port is noted, and the host has it (hostservice.ts)
 *   from the uplink   to a guest's address        its neighbour entry; ARP if there is none, and the packet waits
 *                     of a service, to a caller   the port that called
 *                     to the NAT address          NAT back → its neighbour entry
 *                     from a DNS server, watched  control plane, which sends it on when the names in it are known
 *
 * The time to live is not counted between guests and the uplink: the host's own stack routes those packets and counts
 * them, so guests see one hop, the gateway's address, as with a bridge.
 */
import type { NatFiltering } from '../config.ts';
import {
  type Batch,
  CONSUMED,
  FLOOD,
  GATEWAY_PORT,
  KEY_OCTETS,
  LOOK_UP,
  type Stage,
  UNDECIDED,
} from '../dataplane/batch.ts';
import type { GatewayStage } from '../dataplane/dataplane.ts';
import type { Punt } from '../dataplane/punt.ts';
import { type Ip4, type Mac, UNSPECIFIED } from '../wire/address.ts';
import { DNS_PORT } from '../wire/dns.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmp from '../wire/icmp.ts';
import * as ip4 from '../wire/ipv4.ts';
import { fits } from '../wire/segment.ts';
import { finished, GSO_NONE, gsoType } from '../wire/vnet.ts';
import { ArpResponder } from './arp.ts';
import { Egress, finish, isAnswer } from './egress.ts';
import { type Express, express } from './express.ts';
import { type FlowParts, partsOf } from './flowmemory.ts';
import { Fragments, type Lost } from './fragments.ts';
import { ALIAS, HostService, NOT_OURS } from './hostservice.ts';
import { IcmpSender } from './icmp.ts';
import { isEcho, isNowhere, isOffloadOfTransport, isUdpTo, mayOpenTcp } from './kinds.ts';
import { Nat, type NatForward } from './nat.ts';
import { neighbourMemory } from './neighbourmemory.ts';
import { Neighbours } from './neighbours.ts';
import type { EgressPolicy } from './policy.ts';
import { split } from './split.ts';

const DHCP_SERVER_PORT = 67;
const ALL_ONES = -1 as Ip4;

// Imports that each row needs.
const OPEN = UNDECIDED;
const OCTETS = KEY_OCTETS;
const { isGroup } = ethernet;

export interface GatewayOptions {
  readonly network: Ip4;
  readonly mask: Ip4;
  readonly broadcast: Ip4;
  readonly gatewayIp: Ip4;
  readonly gatewayMac: Mac;
  /** The host, as the uplink's port shows it. */
  readonly uplinkMac: Mac;
  /** The uplink's port index, -1: an isolated network. */
  readonly uplink: number;
  /** Is the host behind the uplink, under the gateway's address? If not, only the NAT's packets pass there. */
  readonly hostBehind: boolean;
  /** May guests open connections to it? All else than TCP is the host's own rules' to hold, which know its connections. */
  readonly hostOpen: boolean;
  /** UNSPECIFIED: no NAT, the subnet is routed as it is. */
  readonly natAddress: Ip4;
  readonly natFiltering: NatFiltering;
  readonly maxGuestFlows: number;
  /** What every port takes, bytes. */
  readonly mtu: number;
  /** Are DHCP messages for the control plane? */
  readonly dhcp: boolean;
  /** Are DNS questions to the gateway's address? */
  readonly dns: boolean;
  readonly punt: Punt;
  readonly seed: number;
  readonly flowMemory: SharedArrayBuffer;
  /** Who is behind which address; undefined: nobody else looks at it. */
  readonly neighbourMemory?: SharedArrayBuffer | undefined;
  /** Flows that were open before (packedflows.ts). */
  readonly flows?: Int32Array | undefined;
  readonly egress: EgressPolicy;
  /** Who calls the service that the host runs for guests; without it there is none. */
  readonly callers?: SharedArrayBuffer | undefined;
  /** False: every packet is handled by itself, as the unusual ones are. For tests that hold the two against each other. */
  readonly express?: boolean;
}

export class Gateway implements GatewayStage {
  readonly egress: Egress;
  readonly #o: GatewayOptions;
  readonly #neighbours: Neighbours;
  readonly #arp: ArpResponder;
  /** For the uplink's side, where the NAT address is ours. A tun asks nothing. */
  readonly #uplinkArp: ArpResponder;
  readonly #icmp: IcmpSender;
  readonly #nat: Nat;
  readonly #flows: FlowParts;
  readonly #fragments: Fragments;
  readonly #service: HostService | undefined;

  constructor(options: GatewayOptions) {
    this.#o = options;
    this.#flows = partsOf(options.flowMemory, options.seed);
    this.#neighbours = new Neighbours(options.neighbourMemory ?? neighbourMemory(options.mask));
    const { gatewayIp, gatewayMac, natAddress, callers, seed } = options;
    this.#service = callers && new HostService(callers, gatewayIp, gatewayMac, seed);
    this.#arp = new ArpResponder(gatewayIp, natAddress, gatewayMac, this.#neighbours, ip =>
      this.#isLocal(ip),
    );
    this.#uplinkArp = new ArpResponder(natAddress, UNSPECIFIED, gatewayMac, this.#neighbours, () => false);
    this.#icmp = new IcmpSender(gatewayIp, gatewayMac);
    this.egress = new Egress(options.egress, options.seed);
    this.#nat = new Nat({
      address: natAddress,
      filtering: options.natFiltering,
      parts: this.#flows,
      maxGuestFlows: options.maxGuestFlows,
      seed: options.seed,
      egress: this.egress,
    });
    if (options.flows !== undefined) this.#nat.restore(options.flows);
    this.#fragments = new Fragments(options.uplink, options.seed);
  }

  /** Takes over flows and neighbours of a gateway before this one, packed. */
  restore(flows: Int32Array, neighbours: Int32Array): void {
    this.#nat.restore(flows);
    this.#neighbours.restore(neighbours);
  }

  tick(nowMs: number, lost: Lost): void {
    const nowS = Math.floor(nowMs / 1000);
    this.#neighbours.tick(nowS, lost);
    this.#nat.tick(nowS);
    this.#fragments.tick(nowS, lost);
  }

  /** Makes the port forwards those that are wanted. */
  setForwards(wanted: readonly NatForward[]): void {
    this.#nat.setForwards(wanted);
  }

  /** The ports at which the host serves guests: one at the gateway's address, one behind the alias. */
  forgetPort(ingress: number): void {
    this.#service?.forgetPort(ingress);
  }

  serve(port: number, aliasPort: number): void {
    this.#service?.serve(port, aliasPort);
    this.#arp.answerFor(ALIAS);
  }

  stage(batch: Batch): Stage {
    const { egress, destinationKey, destinationLo } = batch;
    const { uplink } = this.#o;
    const { hi, lo } = this.#o.gatewayMac;
    const ours = new Int32Array(batch.capacity);
    const handle = (row: number): void => {
      const mine = batch.port === uplink || !isGroup(destinationKey[row] as number);
      const reason = this.#handle(batch, row, mine);
      if (reason !== Drop.None) batch.refuse(row, reason);
    };
    const decide = this.#express(batch, handle) ?? eachBy(handle);
    return {
      name: 'gateway',
      run: () => {
        const { count } = batch;
        const all = batch.port === uplink; // nothing passes us by there
        let taken = 0;
        for (let row = 0; row < count; row++) {
          const key = destinationKey[row] as number;
          const mine = all || isGroup(key) || (destinationLo[row] === lo && (key & OCTETS) === hi);
          if (mine && egress[row] === OPEN) ours[taken++] = row;
        }
        if (taken > 0) decide(ours, taken);
      },
    };
  }

  deliver(batch: Batch, row: number): void {
    const reason = this.#toNeighbour(batch, row, ip4.destination(batch.mem, batch.l3[row] as number));
    if (reason !== Drop.None) batch.refuse(row, reason);
  }

  /** What passes the NAT as most packets do is decided together; undefined where nothing passes it. */
  #express(batch: Batch, handle: (row: number) => void): Express | undefined {
    const { uplink, mask, network, broadcast, gatewayIp, natAddress } = this.#o;
    if (uplink < 0 || natAddress === UNSPECIFIED || this.#o.express === false) return undefined;
    return express(batch, {
      ...this.#o,
      egress: this.egress,
      flows: this.#flows,
      neighbours: this.#neighbours,
      handle,
      goesOut: (source, destination) =>
        (source & mask) === network &&
        (destination & mask) !== network &&
        source !== network &&
        source !== broadcast &&
        source !== gatewayIp &&
        source !== natAddress &&
        destination !== natAddress &&
        !isNowhere(destination),
    });
  }

  /** A frame for the gateway, as are all from the uplink (mine), or for all. */
  #handle(batch: Batch, row: number, mine: boolean): Drop {
    const untagged = batch.l3[row] === (batch.offset[row] as number) + ethernet.ETHERNET_SIZE;
    const type = untagged ? (batch.etherType[row] as number) : 0;
    if (type === ethernet.ETHERTYPE_ARP) {
      if (mine) batch.egress[row] = CONSUMED;
      if (batch.ingress[row] === this.#o.uplink) return this.#uplinkArp.handle(batch, row);
      const reason = this.#arp.handle(batch, row);
      const asked = reason === Drop.None && mine && this.#o.dhcp && this.#arp.answersProbe(batch, row);
      return asked ? this.#punt(batch, row) : reason;
    }
    if (type !== ethernet.ETHERTYPE_IP4) return mine ? Drop.NotForwarded : Drop.None;
    if (mine) return this.#packet(batch, row);
    return this.#isDhcp(batch, row) ? this.#punt(batch, row) : Drop.None;
  }

  #packet(batch: Batch, row: number): Drop {
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    const reason = ip4.check(mem, l3, (batch.offset[row] as number) + (batch.length[row] as number) - l3);
    if (reason !== Drop.None) return reason;
    if (!isOffloadOfTransport(batch, row, l3)) return Drop.BadOffloadHeader;
    if (ip4.isFragment(mem, l3) && !finished(mem, batch.offset[row] as number)) return Drop.BadOffloadHeader;
    return batch.ingress[row] === this.#o.uplink ? this.#fromUplink(batch, row) : this.#fromGuest(batch, row);
  }

  #fromGuest(batch: Batch, row: number): Drop {
    const { mem } = batch;
    const { gatewayIp, broadcast, network, natAddress } = this.#o;
    const l3 = batch.l3[row] as number;
    if (this.#isDhcp(batch, row)) return this.#punt(batch, row);
    const source = ip4.source(mem, l3);
    if (!this.#isLocal(source) || source === gatewayIp || source === broadcast || source === network)
      return Drop.Ip4BadSource;
    if (source === natAddress) return Drop.Ip4BadSource;
    const to = ip4.destination(mem, l3);
    if (to === broadcast || to === network || isNowhere(to)) return Drop.Ip4BadDestination;
    if (!this.#fits(batch, row)) return this.#narrow(batch, row);
    if (this.#service !== undefined) {
      const reason = this.#service.fromGuest(batch, row, to);
      if (reason !== NOT_OURS) return reason === Drop.None ? this.#up(batch, row) : reason;
    }
    if (to === gatewayIp) return this.#toHost(batch, row, l3);
    if (to === natAddress) return this.#hairpin(batch, row, l3);
    if (this.#isLocal(to)) return this.#toGuestByGateway(batch, row, l3, to);
    return this.#outside(batch, row);
  }

  #fits({ mem, offset, l3, length }: Batch, row: number): boolean {
    return fits(mem, offset[row] as number, l3[row] as number, length[row] as number, this.#o.mtu);
  }

  /** A packet larger than what any port takes: in parts, or back with what it may be (RFC 1812 §5.3.4, RFC 1191 §4). */
  #narrow(batch: Batch, row: number): Drop {
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    if (!ip4.dontFragment(mem, l3) && gsoType(mem, batch.offset[row] as number) === GSO_NONE) {
      if (!split(batch, row, this.#o.mtu, this.#pass)) return Drop.EgressMtu;
      batch.egress[row] = CONSUMED;
      return Drop.None;
    }
    this.#icmp.error(batch, row, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, this.#o.mtu);
    return Drop.EgressMtu;
  }

  #toHost(batch: Batch, row: number, l3: number): Drop {
    const { mem } = batch;
    if (isEcho(mem, l3)) return this.#icmp.echo(batch, row, l3 + ip4.headerLength(mem, l3));
    if (this.#o.dns && isUdpTo(mem, l3, DNS_PORT)) return this.#punt(batch, row, true);
    if (!this.#o.hostBehind) {
      this.#icmp.error(batch, row, icmp.UNREACHABLE, icmp.PORT_UNREACHABLE);
      return Drop.Ip4NoRoute;
    }
    if (!this.#o.hostOpen && mayOpenTcp(mem, l3, this.#o.dns ? DNS_PORT : -1)) {
      this.#icmp.error(batch, row, icmp.UNREACHABLE, icmp.PROHIBITED);
      return Drop.HostDenied;
    }
    if (this.#o.natAddress === UNSPECIFIED) return this.#up(batch, row);
    const reason = this.#through(batch, row, this.#answered);
    return reason !== Drop.None || batch.egress[row] === CONSUMED ? reason : this.#up(batch, row);
  }

  /** To the NAT address, where other guests' mappings are; one that is there answers echoes too. */
  #hairpin(batch: Batch, row: number, l3: number): Drop {
    const { mem } = batch;
    if (isEcho(mem, l3)) return this.#icmp.echo(batch, row, l3 + ip4.headerLength(mem, l3));
    if (ip4.ttl(mem, l3) <= 1) {
      this.#icmp.error(batch, row, icmp.TIME_EXCEEDED, 0);
      return Drop.Ip4TtlExceeded;
    }
    const reason = this.#through(batch, row, this.#hairpinned);
    if (reason !== Drop.None || batch.egress[row] === CONSUMED) return reason;
    ip4.decrementTtl(mem, l3);
    return this.#toNeighbour(batch, row, ip4.destination(mem, l3));
  }

  /** Two guests of one subnet should not need us; those that do are routed. */
  #toGuestByGateway(batch: Batch, row: number, l3: number, to: Ip4): Drop {
    if (ip4.ttl(batch.mem, l3) <= 1) {
      this.#icmp.error(batch, row, icmp.TIME_EXCEEDED, 0);
      return Drop.Ip4TtlExceeded;
    }
    ip4.decrementTtl(batch.mem, l3);
    return this.#toNeighbour(batch, row, to);
  }

  #outside(batch: Batch, row: number): Drop {
    if (this.#o.uplink < 0) {
      this.#icmp.error(batch, row, icmp.UNREACHABLE, icmp.NET_UNREACHABLE);
      return Drop.Ip4NoRoute;
    }
    if (this.#o.natAddress === UNSPECIFIED) return this.#up(batch, row);
    const reason = this.#through(batch, row, this.#outbound);
    if (reason === Drop.None) return batch.egress[row] === CONSUMED ? reason : this.#up(batch, row);
    if (isProhibited(reason)) this.#icmp.error(batch, row, icmp.UNREACHABLE, icmp.PROHIBITED);
    return reason;
  }

  #fromUplink(batch: Batch, row: number): Drop {
    const l3 = batch.l3[row] as number;
    const { broadcast, natAddress } = this.#o;
    if (ip4.destination(batch.mem, l3) === natAddress) {
      const reason = this.#through(batch, row, this.#inbound);
      if (reason !== Drop.None || batch.egress[row] === CONSUMED) return reason;
    } else if (!this.#o.hostBehind) return Drop.NotForwarded;
    const to = ip4.destination(batch.mem, l3);
    if (to === broadcast || to === ALL_ONES) {
      this.#address(batch, row, 0xffff, -1);
      batch.egress[row] = FLOOD;
      return Drop.None;
    }
    if (!this.#isLocal(to) || to === natAddress) return Drop.NotForwarded;
    if (this.#service !== undefined) {
      const reason = this.#service.fromHost(batch, row);
      if (reason !== NOT_OURS) return reason;
    }
    if (!this.egress.watches || !isAnswer(batch, row)) return this.#toNeighbour(batch, row, to);
    finish(batch, row);
    return this.#punt(batch, row);
  }

  /** Through the NAT: a whole packet or a first fragment by `translate`, later fragments as their first. CONSUMED: it waits for that. */
  #through(batch: Batch, row: number, translate: Translate): Drop {
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    if (!ip4.isFragment(mem, l3)) return translate(batch, row);
    if (ip4.fragmentOffset(mem, l3) !== 0) return this.#fragments.later(batch, row);
    const datagram = this.#fragments.begin(batch, row);
    if (datagram < 0) return Drop.Ip4Fragment;
    const reason = translate(batch, row);
    this.#fragments.settle(datagram, batch, row, reason);
    this.#fragments.release(datagram, batch, this.#pass);
    return reason;
  }

  readonly #outbound: Translate = (batch, row) => this.#nat.outbound(batch, row);
  readonly #answered: Translate = (batch, row) => this.#nat.answer(batch, row);
  readonly #inbound: Translate = (batch, row) => this.#nat.inbound(batch, row);
  readonly #hairpinned: Translate = (batch, row) => this.#nat.hairpin(batch, row);

  /** What had to wait, once more. */
  readonly #pass = (batch: Batch, row: number): void => {
    const reason = this.#packet(batch, row);
    if (reason !== Drop.None) batch.refuse(row, reason);
    else batch.ingress[row] = GATEWAY_PORT; // its slot is one of ours
  };

  /** To the host's stack, which takes it in or routes it on. */
  #up(batch: Batch, row: number): Drop {
    if (this.#o.uplink < 0) return Drop.Ip4NoRoute;
    this.#address(batch, row, this.#o.uplinkMac.hi, this.#o.uplinkMac.lo);
    batch.egress[row] = this.#o.uplink;
    return Drop.None;
  }

  /** To a guest whose MAC is known; else it waits while the gateway asks. */
  #toNeighbour(batch: Batch, row: number, to: Ip4): Drop {
    const entry = this.#neighbours.find(to, batch.nowS);
    if (entry >= 0) {
      this.#address(batch, row, this.#neighbours.hi(entry), this.#neighbours.lo(entry));
      // The guest may sit behind the very port that the packet came from: that is a way, not a loop.
      batch.ingress[row] = GATEWAY_PORT;
      batch.egress[row] = LOOK_UP;
      return Drop.None;
    }
    this.#address(batch, row, 0, 0);
    const held = this.#neighbours.hold(batch, row, to);
    this.#arp.ask(batch, to);
    if (!held) return Drop.NeighbourUnresolved;
    batch.egress[row] = CONSUMED;
    return Drop.None;
  }

  #address(batch: Batch, row: number, toHi: number, toLo: number): void {
    const { hi, lo } = this.#o.gatewayMac;
    ethernet.setHeader(batch.mem, batch.offset[row] as number, toHi, toLo, hi, lo, ethernet.ETHERTYPE_IP4);
  }

  #punt(batch: Batch, row: number, bulk = false): Drop {
    if (!this.#o.punt.punt(batch, row, bulk)) return Drop.PuntFull;
    batch.egress[row] = CONSUMED;
    return Drop.None;
  }

  /** A whole DHCP message from a guest to the server: broadcast, or to the gateway's address. */
  #isDhcp(batch: Batch, row: number): boolean {
    if (!this.#o.dhcp || batch.ingress[row] === this.#o.uplink) return false;
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    const bytes = (batch.offset[row] as number) + (batch.length[row] as number) - l3;
    if (bytes < ip4.MIN_SIZE) return false;
    // Where it goes says of most packets that it is none, without a second sum of the header.
    const to = ip4.destination(mem, l3);
    if (to !== ALL_ONES && to !== this.#o.gatewayIp && to !== this.#o.broadcast) return false;
    return ip4.check(mem, l3, bytes) === Drop.None && isUdpTo(mem, l3, DHCP_SERVER_PORT);
  }

  #isLocal(ip: number): boolean {
    return (ip & this.#o.mask) === this.#o.network;
  }
}

/** Is it of the policy's or the NAT's making, so that the guest is told? */
const isProhibited = (reason: Drop): boolean =>
  reason === Drop.EgressDenied ||
  reason === Drop.NatTableFull ||
  reason === Drop.NatGuestFull ||
  reason === Drop.NatNoPort;

type Translate = (batch: Batch, row: number) => Drop;

const eachBy =
  (handle: (row: number) => void): Express =>
  (rows, count) => {
    for (let i = 0; i < count; i++) handle(rows[i] as number);
  };
