/**
 * ICMP that the gateway sends by itself: echo replies, made in place, and errors about packets that it could not pass on
 * (RFC 1812 §4.3.2). Errors are rate-limited and never about errors, broadcasts, later fragments or a bad source.
 */
import { type Batch, GATEWAY_PORT } from '../dataplane/batch.ts';
import type { Ip4, Mac } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmp from '../wire/icmp.ts';
import * as ip4 from '../wire/ipv4.ts';
import { setFinished, VNET_NEEDS_CSUM, vnetFlags } from '../wire/vnet.ts';

/** An error is at most 576 bytes long, RFC 1812 §4.3.2.3. */
const MAX_ERROR = 576;
const ERRORS_PER_S = 100;
const TTL = 64;

export class IcmpSender {
  readonly #ip: Ip4;
  readonly #mac: Mac;
  #tokens = ERRORS_PER_S;
  #filledMs = 0;

  constructor(ip: Ip4, mac: Mac) {
    this.#ip = ip;
    this.#mac = mac;
  }

  /** Turns an echo request for the gateway (or the NAT address) into its reply, in place, back to where it came from. */
  echo(batch: Batch, row: number, l4: number): Drop {
    const { mem } = batch;
    const at = batch.offset[row] as number;
    const l3 = batch.l3[row] as number;
    const bytes = l3 + ip4.totalLength(mem, l3) - l4;
    if (bytes < icmp.ICMP_SIZE) return Drop.IcmpTruncated;
    const unfinished = (vnetFlags(mem, at) & VNET_NEEDS_CSUM) !== 0;
    if (!unfinished && icmp.check(mem, l4, bytes) !== Drop.None) return Drop.IcmpBadChecksum;
    const sender = ip4.source(mem, l3);
    ip4.setSource(mem, l3, ip4.destination(mem, l3));
    ip4.setDestination(mem, l3, sender);
    icmp.emit(mem, l4, icmp.ECHO_REPLY, 0, mem.getInt32(l4 + 4), bytes);
    setFinished(mem, at);
    const hi = ethernet.sourceHi(mem, at);
    const lo = ethernet.sourceLo(mem, at);
    ethernet.setHeader(mem, at, hi, lo, this.#mac.hi, this.#mac.lo, ethernet.ETHERTYPE_IP4);
    batch.egress[row] = batch.ingress[row] as number;
    return Drop.None;
  }

  /** Tells a packet's sender, on the port that it came from, why it went no further. `rest`: the header's last word. */
  error(batch: Batch, row: number, kind: number, code: number, rest = 0): void {
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    if (!deserves(batch, row) || !this.#mayStill(batch.nowMs)) return;
    const header = ip4.MIN_SIZE + icmp.ICMP_SIZE;
    const quoted = Math.min(ip4.totalLength(mem, l3), MAX_ERROR - header);
    const reply = batch.append(ethernet.ETHERNET_SIZE + header + quoted, GATEWAY_PORT);
    if (reply < 0) return;
    const from = batch.offset[row] as number;
    const at = batch.offset[reply] as number;
    const ip = at + ethernet.ETHERNET_SIZE;
    ethernet.setHeader(
      mem,
      at,
      ethernet.sourceHi(mem, from),
      ethernet.sourceLo(mem, from),
      this.#mac.hi,
      this.#mac.lo,
      ethernet.ETHERTYPE_IP4,
    );
    batch.slab.copyWithin(ip + header, l3, l3 + quoted);
    ip4.emit(mem, ip, header + quoted, 0, TTL, ip4.ICMP, this.#ip, ip4.source(mem, l3));
    icmp.emit(mem, ip + ip4.MIN_SIZE, kind, code, rest, icmp.ICMP_SIZE + quoted);
    batch.etherType[reply] = ethernet.ETHERTYPE_IP4;
    batch.l3[reply] = ip;
    batch.egress[reply] = batch.ingress[row] as number;
  }

  #mayStill(nowMs: number): boolean {
    const earned = Math.floor(((nowMs - this.#filledMs) * ERRORS_PER_S) / 1000);
    if (earned > 0) {
      this.#tokens = Math.min(ERRORS_PER_S, this.#tokens + earned);
      this.#filledMs = nowMs;
    }
    if (this.#tokens === 0) return false;
    this.#tokens--;
    return true;
  }
}

/** RFC 1122 §3.2.2: what must not be answered with an error. */
function deserves(batch: Batch, row: number): boolean {
  const { mem } = batch;
  const l3 = batch.l3[row] as number;
  const at = batch.offset[row] as number;
  if (ethernet.isGroup(ethernet.destinationHi(mem, at)) || ip4.fragmentOffset(mem, l3) !== 0) return false;
  if (ip4.protocol(mem, l3) !== ip4.ICMP) return true;
  const l4 = l3 + ip4.headerLength(mem, l3);
  if (l3 + ip4.totalLength(mem, l3) < l4 + icmp.ICMP_SIZE) return false;
  const type = icmp.type(mem, l4);
  return type === icmp.ECHO_REQUEST || type === icmp.ECHO_REPLY;
}
