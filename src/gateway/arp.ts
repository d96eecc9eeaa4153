/**
 * ARP at the gateway, RFC 826 and 5227: answers for its own addresses, the gateway's and the NAT's, and no other (blanket
 * proxy ARP would make every client decline its address), defends them, learns who is where, and asks. Guests ask for the
 * NAT address when they send to one another's mappings: it stands in their subnet; and for the metadata service's, where
 * they have a link-local route, if there is such a service.
 */
import { type Batch, FLOOD, GATEWAY_PORT } from '../dataplane/batch.ts';
import { type Ip4, type Mac, UNSPECIFIED } from '../wire/address.ts';
import * as arp from '../wire/arp.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import type { Neighbours } from './neighbours.ts';

/** RFC 5227 §2.4 (c): one announcement in this time at the most. */
const DEFEND_INTERVAL_MS = 10_000;
const ARP_FRAME = ethernet.ETHERNET_SIZE + arp.ARP_SIZE;

export class ArpResponder {
  readonly #ip: Ip4;
  readonly #natAddress: Ip4;
  readonly #mac: Mac;
  readonly #neighbours: Neighbours;
  readonly #inSubnet: (ip: number) => boolean;
  /** Of the metadata service; UNSPECIFIED: there is none. */
  #alias = UNSPECIFIED;
  /** When the gateway's address, the NAT's and the alias were defended last. */
  readonly #defendedMs = new Float64Array(3).fill(Number.NEGATIVE_INFINITY);

  /** `natAddress`: UNSPECIFIED without a NAT. */
  constructor(ip: Ip4, natAddress: Ip4, mac: Mac, neighbours: Neighbours, inSubnet: (ip: number) => boolean) {
    this.#ip = ip;
    this.#natAddress = natAddress;
    this.#mac = mac;
    this.#neighbours = neighbours;
    this.#inSubnet = inSubnet;
  }

  /** One more address that is ours, outside the subnet. */
  answerFor(alias: Ip4): void {
    this.#alias = alias;
  }

  /** Takes in one ARP frame. The frame itself goes on as the bridge would have it. */
  handle(batch: Batch, row: number): Drop {
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    const at = batch.offset[row] as number;
    const reason = arp.check(mem, l3, at + (batch.length[row] as number) - l3);
    if (reason !== Drop.None) return reason;
    const sender = arp.senderIp(mem, l3);
    if (this.#isOurs(sender)) {
      this.#defend(batch, sender);
      return Drop.None;
    }
    const hi = arp.senderMacHi(mem, l3);
    const lo = arp.senderMacLo(mem, l3);
    // A probe's sender is 0.0.0.0, which is nobody's.
    if (sender !== 0 && this.#inSubnet(sender) && !ethernet.isGroup(hi)) {
      this.#neighbours.learn(sender, hi, lo, batch.nowS);
      this.#neighbours.release(batch, sender, hi, lo, GATEWAY_PORT);
    }
    const asked = arp.targetIp(mem, l3);
    if (arp.operation(mem, l3) === arp.REQUEST && this.#isOurs(asked) && !ethernet.isGroup(hi))
      this.#send(batch, batch.ingress[row] as number, arp.REPLY, asked, hi, lo, hi, lo, sender);
    return Drop.None;
  }

  /**
   * Is a frame that was taken in an answer to a probe? The DHCP server asks so, with no address of its own, whether an
   * address is in use (RFC 5227 §2.1.1).
   */
  answersProbe({ mem, l3 }: Batch, row: number): boolean {
    const at = l3[row] as number;
    return arp.operation(mem, at) === arp.REPLY && arp.targetIp(mem, at) === UNSPECIFIED;
  }

  /** Broadcasts a request for an address of the subnet, if it has not just been asked for. */
  ask(batch: Batch, ip: Ip4): void {
    if (!this.#neighbours.mayAsk(ip, batch.nowS)) return;
    this.#send(batch, FLOOD, arp.REQUEST, this.#ip, 0xffff, -1, 0, 0, ip);
  }

  #isOurs(ip: Ip4): boolean {
    return ip === this.#ip || (ip !== UNSPECIFIED && (ip === this.#natAddress || ip === this.#alias));
  }

  /** Somebody else claims an address of ours: say once that it is. */
  #defend(batch: Batch, ip: Ip4): void {
    const which = ip === this.#ip ? 0 : ip === this.#natAddress ? 1 : 2;
    if (batch.nowMs - (this.#defendedMs[which] as number) < DEFEND_INTERVAL_MS) return;
    this.#defendedMs[which] = batch.nowMs;
    this.#send(batch, FLOOD, arp.REQUEST, ip, 0xffff, -1, 0, 0, ip);
  }

  #send(
    batch: Batch,
    egress: number,
    operation: number,
    sender: Ip4,
    toHi: number,
    toLo: number,
    targetHi: number,
    targetLo: number,
    target: Ip4,
  ): void {
    const row = batch.append(ARP_FRAME, GATEWAY_PORT);
    if (row < 0) return;
    const at = batch.offset[row] as number;
    const { hi, lo } = this.#mac;
    ethernet.setHeader(batch.mem, at, toHi, toLo, hi, lo, ethernet.ETHERTYPE_ARP);
    batch.etherType[row] = ethernet.ETHERTYPE_ARP;
    batch.l3[row] = at + ethernet.ETHERNET_SIZE;
    arp.emit(batch.mem, at + ethernet.ETHERNET_SIZE, operation, hi, lo, sender, targetHi, targetLo, target);
    batch.egress[row] = egress;
  }
}
