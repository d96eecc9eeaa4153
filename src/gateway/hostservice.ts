/**
 * The service that the host runs for guests, at the gateway's address and one TCP port, and its alias 169.254.169.254:80.
 * The connections are the host's; what stands here sees to it that each is one port's alone (callers.ts).
 *
 *   guest to GATEWAY:port          admitted or dropped, then to the host as it is
 *   guest to 169.254.169.254:80    the same, with GATEWAY:aliasPort as its destination
 *   host  from GATEWAY:port        to the port and the MAC that called, whoever else claims the address
 *   host  from GATEWAY:aliasPort   the same, with 169.254.169.254:80 as its source
 *
 * So the host never has the alias's address: a host that is a cloud's guest has a metadata service of its own there.
 */
import { type Batch, GATEWAY_PORT } from '../dataplane/batch.ts';
import type { Ip4, Mac } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmp from '../wire/icmp.ts';
import * as ip4 from '../wire/ipv4.ts';
import * as tcp from '../wire/tcp.ts';
import { Callers, callerKey } from './callers.ts';
import { rewrite } from './nat.ts';

/** Where cloud images look for their metadata. */
export const ALIAS = ((169 << 24) | (254 << 16) | (169 << 8) | 254) as Ip4;
const ALIAS_PORT = 80;
/** In place of a reason: the packet is none of the service's. */
export const NOT_OURS = -1;
/** Of a quoted transport header: the ports, and what an error must hold at least. */
const QUOTED = 8;

export class HostService {
  readonly #callers: Callers;
  readonly #gatewayIp: Ip4;
  readonly #gatewayMac: Mac;
  /** Of the host; 0: nobody serves yet. */
  #port = 0;
  #aliasPort = 0;

  constructor(memory: SharedArrayBuffer, gatewayIp: Ip4, gatewayMac: Mac, seed: number) {
    this.#callers = new Callers(memory, seed);
    this.#gatewayIp = gatewayIp;
    this.#gatewayMac = gatewayMac;
  }

  /** The ports that the host serves at. */
  /** A port is another's from now on. */
  forgetPort(ingress: number): void {
    this.#callers.forgetPort(ingress);
  }

  serve(port: number, aliasPort: number): void {
    this.#port = port;
    this.#aliasPort = aliasPort;
  }

  /** A checked packet of a guest's: NOT_OURS, why it is dropped, or None: it is for the host. */
  fromGuest(batch: Batch, row: number, to: Ip4): Drop | typeof NOT_OURS {
    if (this.#port === 0) return NOT_OURS;
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    const protocol = ip4.protocol(mem, l3);
    if (protocol === ip4.ICMP) return this.#aboutOthers(batch, row, l3) ? Drop.CallerUnknown : NOT_OURS;
    if (protocol !== ip4.TCP || (to !== this.#gatewayIp && to !== ALIAS)) return NOT_OURS;
    // Ports stand in the first fragment alone; no TCP sends any.
    if (ip4.isFragment(mem, l3)) return Drop.Ip4Fragment;
    const l4 = l3 + ip4.headerLength(mem, l3);
    const reason = tcp.check(mem, l4, l3 + ip4.totalLength(mem, l3) - l4);
    if (reason !== Drop.None) return reason;
    const port = tcp.destinationPort(mem, l4);
    const aliased = to === ALIAS;
    if (!aliased && port === this.#aliasPort) return Drop.CallerUnknown;
    if (port !== (aliased ? ALIAS_PORT : this.#port)) return NOT_OURS;
    return this.#call(batch, row, l3, l4, aliased);
  }

  #call(batch: Batch, row: number, l3: number, l4: number, aliased: boolean): Drop {
    const { mem } = batch;
    const at = batch.offset[row] as number;
    const reason = this.#callers.admit(
      ip4.source(mem, l3),
      callerKey(tcp.sourcePort(mem, l4), aliased),
      batch.ingress[row] as number,
      ethernet.sourceHi(mem, at),
      ethernet.sourceLo(mem, at),
      tcp.flags(mem, l4),
      tcp.acknowledgement(mem, l4),
      batch.nowS,
    );
    if (reason === Drop.None && aliased)
      rewrite(batch, row, l3, l4, ip4.TCP, this.#gatewayIp, this.#aliasPort, false);
    return reason;
  }

  /** A checked packet of the host's to a guest: NOT_OURS, why it is dropped, or None: its way is decided. */
  fromHost(batch: Batch, row: number): Drop | typeof NOT_OURS {
    if (this.#port === 0) return NOT_OURS;
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    if (ip4.protocol(mem, l3) !== ip4.TCP || ip4.source(mem, l3) !== this.#gatewayIp) return NOT_OURS;
    if (ip4.isFragment(mem, l3)) return Drop.Ip4Fragment;
    const l4 = l3 + ip4.headerLength(mem, l3);
    const end = l3 + ip4.totalLength(mem, l3);
    if (tcp.check(mem, l4, end - l4) !== Drop.None) return NOT_OURS;
    const port = tcp.sourcePort(mem, l4);
    const aliased = port === this.#aliasPort;
    if (port !== this.#port && !aliased) return NOT_OURS;
    const entry = this.#callers.find(
      ip4.destination(mem, l3),
      callerKey(tcp.destinationPort(mem, l4), aliased),
    );
    if (entry < 0) return Drop.CallerUnknown;
    const next = (tcp.sequence(mem, l4) + end - l4 - tcp.headerLength(mem, l4) + 1) | 0;
    this.#callers.answered(entry, tcp.flags(mem, l4), next, batch.nowS);
    if (aliased) rewrite(batch, row, l3, l4, ip4.TCP, ALIAS, ALIAS_PORT, true);
    this.#send(batch, row, entry);
    return Drop.None;
  }

  #send(batch: Batch, row: number, entry: number): void {
    const { hi, lo } = this.#gatewayMac;
    const callers = this.#callers;
    const at = batch.offset[row] as number;
    const type = ethernet.ETHERTYPE_IP4;
    ethernet.setHeader(batch.mem, at, callers.hi(entry), callers.lo(entry), hi, lo, type);
    batch.ingress[row] = GATEWAY_PORT;
    batch.egress[row] = callers.ingress(entry);
  }

  /** Is it an error about a segment of the service's to another port's caller? The host would believe it. */
  #aboutOthers(batch: Batch, row: number, l3: number): boolean {
    const { mem } = batch;
    const l4 = l3 + ip4.headerLength(mem, l3);
    const inner = l4 + icmp.ICMP_SIZE;
    const end = l3 + ip4.totalLength(mem, l3);
    if (inner + ip4.MIN_SIZE + QUOTED > end || !icmp.isError(mem, l4)) return false;
    if (ip4.protocol(mem, inner) !== ip4.TCP || ip4.source(mem, inner) !== this.#gatewayIp) return false;
    const inner4 = inner + ip4.headerLength(mem, inner);
    if (inner4 + QUOTED > end) return false;
    const port = tcp.sourcePort(mem, inner4);
    if (port !== this.#port && port !== this.#aliasPort) return false;
    const key = callerKey(tcp.destinationPort(mem, inner4), port === this.#aliasPort);
    const entry = this.#callers.find(ip4.destination(mem, inner), key);
    return entry < 0 || this.#callers.ingress(entry) !== batch.ingress[row];
  }
}
