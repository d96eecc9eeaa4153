/**
 * The egress policy at work: may a guest's packet open a flow to the outside? Asked once a flow, and for every packet of
 * those that are denied; what belongs to an open flow is never asked about, so a flow outlives the name that allowed it.
 *
 * Domains are known by the answers that guests get from DNS servers. Where rules name any, such answers go to the control
 * plane first, which puts the addresses into the table here and only then sends the answer on: no guest can be faster.
 */
import { type Batch, HEADROOM, RESERVED_SLOT } from '../dataplane/batch.ts';
import * as sums from '../wire/checksum.ts';
import { DNS_PORT } from '../wire/dns.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ip4 from '../wire/ipv4.ts';
import * as udp from '../wire/udp.ts';
import { GSO_NONE, gsoType, setFinished, VNET_NEEDS_CSUM, vnetFlags } from '../wire/vnet.ts';
import { NameTable } from './nametable.ts';
import {
  ANY,
  type EgressPolicy,
  R_ALLOW,
  R_DOMAIN,
  R_GUEST,
  R_GUEST_MASK,
  R_HITS,
  R_MAC_HI,
  R_MAC_LO,
  R_PORT,
  R_PORTS,
  R_PROTOCOL,
  R_TARGET,
  R_TARGET_MASK,
  RULE_WORDS,
} from './policy.ts';

/** Bytes of the largest answer that is shown to the control plane: what it sends back must fit a slot of ours. */
const LONGEST_ANSWER = RESERVED_SLOT - HEADROOM;

/** Words of an entry in a list of names: guest, address, domain, and when it ends, in seconds of the monotonic clock. */
const NAME_WORDS = 4;

export class Egress {
  readonly #names: NameTable;
  #rows: Int32Array = new Int32Array(0);
  #hits: Float64Array = new Float64Array(0);
  #watches = false;

  constructor(policy: EgressPolicy, seed: number) {
    this.#names = new NameTable(seed);
    this.set(policy);
  }

  /** From now on another policy holds. Flows that are open stay so. `knows`: it has the same domains, whose names stay known. */
  set(policy: EgressPolicy, knows = false): void {
    this.#rows = policy.rows;
    this.#hits = new Float64Array(policy.hits);
    this.#watches = policy.domains.length > 0;
    if (!knows) this.#names.clear();
  }

  /** Are there rules with domains, so that answers must be seen? */
  get watches(): boolean {
    return this.#watches;
  }

  /** May the guest's packet open a flow? Counts it. `row`: before the NAT has changed it. */
  admits(batch: Batch, row: number, protocol: number, remoteIp: number, remotePort: number): boolean {
    const rows = this.#rows;
    for (let at = 0; at < rows.length; at += RULE_WORDS) {
      if (!this.#matches(at, batch, row, protocol, remoteIp, remotePort)) continue;
      const hits = rows[at + R_HITS] as number;
      this.#hits[hits] = (this.#hits[hits] as number) + 1;
      return rows[at + R_ALLOW] === 1;
    }
    return false;
  }

  /** Takes in what the control plane has learnt and forgotten; NAME_WORDS words each. */
  learn(learnt: Int32Array, forgotten: Int32Array): void {
    for (let at = 0; at < forgotten.length; at += NAME_WORDS)
      this.#names.forget(forgotten[at] as number, forgotten[at + 1] as number, forgotten[at + 2] as number);
    for (let at = 0; at < learnt.length; at += NAME_WORDS)
      this.#names.learn(
        learnt[at] as number,
        learnt[at + 1] as number,
        learnt[at + 2] as number,
        learnt[at + 3] as number,
      );
  }

  #matches(
    at: number,
    batch: Batch,
    row: number,
    protocol: number,
    remoteIp: number,
    remotePort: number,
  ): boolean {
    const rows = this.#rows;
    const { mem, nowS } = batch;
    const guest = ip4.source(mem, batch.l3[row] as number);
    const ports = rows[at + R_PORTS] as number;
    if ((remoteIp & (rows[at + R_TARGET_MASK] as number)) !== rows[at + R_TARGET]) return false;
    if (rows[at + R_PROTOCOL] !== ANY && rows[at + R_PROTOCOL] !== protocol) return false;
    if (remotePort < ports >>> 16 || remotePort > (ports & 0xffff)) return false;
    if ((guest & (rows[at + R_GUEST_MASK] as number)) !== rows[at + R_GUEST]) return false;
    if (rows[at + R_PORT] !== ANY && rows[at + R_PORT] !== batch.ingress[row]) return false;
    if (rows[at + R_MAC_HI] !== ANY && !isFrom(batch, row, rows, at)) return false;
    const domain = rows[at + R_DOMAIN] as number;
    return domain === ANY || this.#names.has(guest, remoteIp, domain, nowS);
  }
}

function isFrom({ mem, offset }: Batch, row: number, rows: Int32Array, at: number): boolean {
  const frame = offset[row] as number;
  return (
    ethernet.sourceHi(mem, frame) === rows[at + R_MAC_HI] &&
    ethernet.sourceLo(mem, frame) === rows[at + R_MAC_LO]
  );
}

/** A whole datagram from a DNS server's port, small enough to be sent again? The packet and its UDP header are checked. */
export function isAnswer(batch: Batch, row: number): boolean {
  const { mem } = batch;
  const l3 = batch.l3[row] as number;
  if (ip4.protocol(mem, l3) !== ip4.UDP || ip4.isFragment(mem, l3)) return false;
  const l4 = l3 + ip4.headerLength(mem, l3);
  if (l4 + udp.UDP_SIZE > l3 + ip4.totalLength(mem, l3) || udp.sourcePort(mem, l4) !== DNS_PORT) return false;
  return (
    gsoType(mem, batch.offset[row] as number) === GSO_NONE && (batch.length[row] as number) <= LONGEST_ANSWER
  );
}

/** Fills in a checksum that the sender left unfinished: what takes the frame takes no offload state with it. */
export function finish(batch: Batch, row: number): void {
  const { mem } = batch;
  const at = batch.offset[row] as number;
  if ((vnetFlags(mem, at) & VNET_NEEDS_CSUM) === 0) return;
  const l3 = batch.l3[row] as number;
  const l4 = l3 + ip4.headerLength(mem, l3);
  // The field holds the pseudo-header's sum, which the sum over the datagram takes in.
  const sum = sums.checksum(mem, l4, l3 + ip4.totalLength(mem, l3) - l4);
  mem.setUint16(l4 + udp.UDP_CHECKSUM, sum === 0 ? 0xffff : sum);
  setFinished(mem, at);
}
