/**
 * The NAT's table of mappings and flows.
 *
 * A *mapping* binds a guest's endpoint (protocol, address, port) to one external port, whatever it talks to: that is what
 * makes the NAT endpoint-independent (RFC 4787 REQ-1). A *flow* is one conversation over a mapping, with a remote
 * endpoint, a TCP state and a time to live. A mapping lives as long as a flow of it does.
 *
 *   out   (protocol, inside, remote) ── hash ──► flow ──► mapping ──► external port          new: inside ── hash ──► mapping
 *   in    (protocol, external port) ── index ──► mapping ──► inside; with the remote ── hash ──► flow
 *
 * Flows of one mapping with one remote address are chained a second time, in both directions, so that neither the filter's
 * question nor a flow's end walks over the others: a guest that scans a host from one port makes thousands of them.
 */
import type { Ip4 } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import {
  F_DUE,
  F_EXPIRES,
  F_EXTERNAL_PORT,
  F_INSIDE_IP,
  F_INSIDE_PORT,
  F_MAPPING,
  F_NEXT,
  F_PEER_BEFORE,
  F_PEER_NEXT,
  F_PORT,
  F_PROTOCOL,
  F_REMOTE_IP,
  F_REMOTE_PORT,
  F_SEEN,
  FLOW_WORDS,
  type Flow,
  type FlowParts,
  H_COUNT,
  H_GUEST_FULL,
  H_NO_PORT,
  H_OPENED,
  H_TABLE_FULL,
  M_EXTERNAL_PORT,
  M_FLOWS,
  M_FORWARD,
  M_INSIDE_IP,
  M_INSIDE_PORT,
  M_NEXT,
  M_PROTOCOL,
  MAPPING_WORDS,
  MAX_FORWARDS,
  NONE,
  PORTS,
  space,
} from './flowmemory.ts';
import { NO_PORT, PortShares } from './portshares.ts';
import { ExpiryWheel } from './wheel.ts';

/** Ports tried for a new mapping, from a random one on, before it is refused. */
const PORT_TRIES = 4_096;
const SPLIT = 1024; // RFC 4787 REQ-3: ports below and from here on keep to themselves
/** Guests are counted by the low bits of their addresses; in subnets larger than /16 those that share them share a quota. */
const GUESTS = 65_536;

export class FlowTable {
  readonly maxFlows: number;
  readonly #parts: FlowParts;
  readonly #header: Int32Array;
  readonly #flows: Int32Array;
  readonly #mappings: Int32Array;
  readonly #flowHeads: Int32Array;
  readonly #mappingHeads: Int32Array;
  readonly #peerHeads: Int32Array;
  readonly #external: Int32Array;
  #freeFlow = 0;
  #freeMapping = 0;
  #random: number;
  readonly #guestFlows = new Int32Array(GUESTS);
  readonly #maxGuestFlows: number;
  readonly #ports: PortShares;
  readonly #wheel: ExpiryWheel;

  /** `maxGuestFlows`: how many one guest may have. */
  constructor(parts: FlowParts, seed: number, maxGuestFlows: number = parts.maxFlows) {
    this.#parts = parts;
    this.#maxGuestFlows = maxGuestFlows;
    this.#ports = new PortShares(parts.maxFlows, maxGuestFlows);
    this.#wheel = new ExpiryWheel(parts.flows, parts.maxFlows);
    this.maxFlows = parts.maxFlows;
    this.#header = parts.header;
    this.#flows = parts.flows;
    this.#mappings = parts.mappings;
    this.#flowHeads = parts.flowHeads.fill(NONE);
    this.#mappingHeads = parts.mappingHeads.fill(NONE);
    this.#peerHeads = parts.peerHeads.fill(NONE);
    this.#external = parts.external.fill(NONE);
    listFree(this.#flows, FLOW_WORDS, F_NEXT, this.maxFlows);
    listFree(this.#mappings, MAPPING_WORDS, M_NEXT, this.maxFlows + MAX_FORWARDS);
    this.#random = seed | 1;
  }

  get count(): number {
    return this.#header[H_COUNT] as number;
  }

  externalPort = (flow: number): number => this.#flows[flow * FLOW_WORDS + F_EXTERNAL_PORT] as number;
  insideIp = (mapping: number): Ip4 => this.#mappings[mapping * MAPPING_WORDS + M_INSIDE_IP] as Ip4;
  insidePort = (mapping: number): number => this.#mappings[mapping * MAPPING_WORDS + M_INSIDE_PORT] as number;
  mappingPort = (mapping: number): number =>
    this.#mappings[mapping * MAPPING_WORDS + M_EXTERNAL_PORT] as number;
  tcpState = (flow: number): number => (this.#flows[flow * FLOW_WORDS + F_PROTOCOL] as number) >> 8;

  setTcpState(flow: number, state: number): void {
    const at = flow * FLOW_WORDS + F_PROTOCOL;
    this.#flows[at] = ((this.#flows[at] as number) & 0xff) | (state << 8);
  }

  /** The flow lives for `seconds` from now on. */
  refresh(flow: number, nowS: number, seconds: number): void {
    const at = flow * FLOW_WORDS;
    this.#flows[at + F_EXPIRES] = nowS + seconds;
    this.#flows[at + F_SEEN] = nowS;
    this.#wheel.schedule(flow);
  }

  /** The flow lives for `seconds` at the most: what an RST does, which must not lengthen its life, and gives a new flow none. */
  shorten(flow: number, nowS: number, seconds: number): void {
    const at = flow * FLOW_WORDS + F_EXPIRES;
    const end = this.isNew(flow) ? nowS : Math.min(this.#flows[at] as number, nowS + seconds);
    this.#flows[at] = end;
    this.#wheel.schedule(flow);
  }

  /** Has the flow just been opened, without a time to live yet? */
  isNew = (flow: number): boolean => this.#flows[flow * FLOW_WORDS + F_EXPIRES] === 0;

  /** The live flow of these endpoints, or -1; one that has run out is removed on the way. */
  find(
    protocol: number,
    insideIp: Ip4,
    insidePort: number,
    remoteIp: Ip4,
    remotePort: number,
    nowS: number,
  ): number {
    const head = this.#parts.flowHead(protocol, insideIp, insidePort, remoteIp, remotePort);
    const flows = this.#flows;
    for (let flow = this.#flowHeads[head] as number; flow !== NONE; ) {
      const at = flow * FLOW_WORDS;
      if (
        flows[at + F_INSIDE_IP] === insideIp &&
        flows[at + F_REMOTE_IP] === remoteIp &&
        flows[at + F_INSIDE_PORT] === insidePort &&
        flows[at + F_REMOTE_PORT] === remotePort &&
        ((flows[at + F_PROTOCOL] as number) & 0xff) === protocol
      ) {
        if ((flows[at + F_EXPIRES] as number) > nowS) return flow;
        this.remove(flow);
        return NONE;
      }
      flow = flows[at + F_NEXT] as number;
    }
    return NONE;
  }

  /** The mapping behind an external port, or -1. Its flows may have run out: then it is gone at their next sweep. */
  mappingAt(protocol: number, externalPort: number): number {
    return this.#external[space(protocol) + externalPort] as number;
  }

  /** The mapping of a guest's endpoint, or -1. */
  mappingOf(protocol: number, insideIp: Ip4, insidePort: number): number {
    const mappings = this.#mappings;
    let mapping = this.#mappingHeads[this.#parts.mappingHead(protocol, insideIp, insidePort)] as number;
    for (; mapping !== NONE; mapping = mappings[mapping * MAPPING_WORDS + M_NEXT] as number) {
      const at = mapping * MAPPING_WORDS;
      if (
        mappings[at + M_INSIDE_IP] === insideIp &&
        mappings[at + M_INSIDE_PORT] === insidePort &&
        mappings[at + M_PROTOCOL] === protocol
      )
        return mapping;
    }
    return NONE;
  }

  /** Has any conversation of the mapping been with this remote address? (address-dependent filtering) */
  hasRemote(mapping: number, remoteIp: Ip4, nowS: number): boolean {
    const flows = this.#flows;
    let flow = this.#peerHeads[this.#parts.peerHead(mapping, remoteIp)] as number;
    while (flow !== NONE) {
      const at = flow * FLOW_WORDS;
      const next = flows[at + F_PEER_NEXT] as number;
      if (flows[at + F_MAPPING] === mapping && flows[at + F_REMOTE_IP] === remoteIp) {
        if ((flows[at + F_EXPIRES] as number) > nowS) return true;
        this.remove(flow); // so that the next question need not pass it
      }
      flow = next;
    }
    return false;
  }

  /** A new mapping with the guest's own port if that is free outside, else another of its range; -1: none is free. */
  map(protocol: number, insideIp: Ip4, insidePort: number): number {
    return this.#map(protocol, insideIp, insidePort, this.#freePort(protocol, insidePort));
  }

  #map(protocol: number, insideIp: Ip4, insidePort: number, external: number): number {
    const mapping = this.#freeMapping;
    if (mapping === NONE || external === NONE) return NONE;
    const at = mapping * MAPPING_WORDS;
    const head = this.#parts.mappingHead(protocol, insideIp, insidePort);
    this.#freeMapping = this.#mappings[at + M_NEXT] as number;
    this.#mappings[at + M_PROTOCOL] = protocol;
    this.#mappings[at + M_INSIDE_IP] = insideIp;
    this.#mappings[at + M_INSIDE_PORT] = insidePort;
    this.#mappings[at + M_EXTERNAL_PORT] = external;
    this.#mappings[at + M_FLOWS] = 0;
    this.#mappings[at + M_FORWARD] = 0;
    this.#mappings[at + M_NEXT] = this.#mappingHeads[head] as number;
    this.#mappingHeads[head] = mapping;
    this.#external[space(protocol) + external] = mapping;
    return mapping;
  }

  /**
   * A mapping that stays, from an external port to a guest's: what was on either before ends. The caller sees to it that
   * no other forward has the port and that there are at most MAX_FORWARDS.
   */
  forward(protocol: number, externalPort: number, insideIp: Ip4, insidePort: number): number {
    const there = this.mappingAt(protocol, externalPort);
    if (there !== NONE && this.#isOf(there, insideIp, insidePort)) {
      this.#mappings[there * MAPPING_WORDS + M_FORWARD] = 1; // one that was restored, or just what the guest got
      return there;
    }
    this.#endMapping(there);
    const other = this.mappingOf(protocol, insideIp, insidePort);
    if (other !== NONE && !this.isForward(other)) this.#endMapping(other);
    const mapping = this.#map(protocol, insideIp, insidePort, externalPort);
    this.#mappings[mapping * MAPPING_WORDS + M_FORWARD] = 1;
    return mapping;
  }

  /** Ends a forward and the conversations over it. */
  endForward(mapping: number): void {
    this.#mappings[mapping * MAPPING_WORDS + M_FORWARD] = 0;
    if (this.#mappings[mapping * MAPPING_WORDS + M_FLOWS] === 0) this.unmap(mapping);
    else this.#endMapping(mapping);
  }

  #isOf(mapping: number, insideIp: Ip4, insidePort: number): boolean {
    const at = mapping * MAPPING_WORDS;
    return this.#mappings[at + M_INSIDE_IP] === insideIp && this.#mappings[at + M_INSIDE_PORT] === insidePort;
  }

  /**
   * Takes over a flow of another table, with its external port. False: it has one already, there is no room, or the port or the
   * guest's endpoint is taken otherwise.
   */
  restore(flow: Flow): boolean {
    const { protocol, externalPort, expiresS } = flow;
    const [insideIp, remoteIp] = [flow.insideIp as Ip4, flow.remoteIp as Ip4];
    const { insidePort, remotePort } = flow;
    const before = this.find(protocol, insideIp, insidePort, remoteIp, remotePort, 0);
    if (before !== NONE || this.full || this.guestFull(insideIp, NO_PORT) || expiresS <= 0) return false;
    let mapping = this.mappingOf(protocol, insideIp, insidePort);
    if (mapping === NONE && this.mappingAt(protocol, externalPort) === NONE)
      mapping = this.#map(protocol, insideIp, insidePort, externalPort);
    if (mapping === NONE || this.mappingPort(mapping) !== externalPort) return false;
    const opened = this.open(mapping, remoteIp, remotePort);
    this.setTcpState(opened, flow.tcpState);
    const at = opened * FLOW_WORDS;
    this.#flows[at + F_EXPIRES] = expiresS;
    this.#flows[at + F_SEEN] = flow.seenS;
    this.#wheel.schedule(opened);
    return true;
  }

  isForward = (mapping: number): boolean => this.#mappings[mapping * MAPPING_WORDS + M_FORWARD] === 1;

  /** Ends all flows of a mapping, and so the mapping. It looks at every flow: for the operator's changes only. */
  #endMapping(mapping: number): void {
    if (mapping === NONE) return;
    for (let flow = 0; flow < this.maxFlows; flow++) {
      const at = flow * FLOW_WORDS;
      if (this.#flows[at + F_PROTOCOL] !== 0 && this.#flows[at + F_MAPPING] === mapping) this.remove(flow);
    }
  }

  get full(): boolean {
    return this.#freeFlow === NONE;
  }

  /** Has the guest as many flows as one may have, or its port? */
  guestFull = (insideIp: Ip4, port: number = NO_PORT): boolean =>
    (this.#guestFlows[insideIp & (GUESTS - 1)] as number) >= this.#maxGuestFlows || this.#ports.isFull(port);

  /** Why no flow can be opened for a guest, which is counted. */
  refuse(insideIp: Ip4, port: number = NO_PORT): Drop {
    if (this.full) {
      this.#count(H_TABLE_FULL);
      return Drop.NatTableFull;
    }
    const guest = this.guestFull(insideIp, port);
    this.#count(guest ? H_GUEST_FULL : H_NO_PORT);
    return guest ? Drop.NatGuestFull : Drop.NatNoPort;
  }

  #count(what: number): void {
    this.#header[what] = (this.#header[what] as number) + 1;
  }

  /** A new flow over a mapping, to be given a time to live; the caller has seen that neither table nor guest is full. */
  open(mapping: number, remoteIp: Ip4, remotePort: number, port: number = NO_PORT): number {
    const flow = this.#freeFlow;
    const flows = this.#flows;
    const at = flow * FLOW_WORDS;
    const from = mapping * MAPPING_WORDS;
    const protocol = this.#mappings[from + M_PROTOCOL] as number;
    this.#freeFlow = flows[at + F_NEXT] as number;
    flows[at + F_INSIDE_IP] = this.#mappings[from + M_INSIDE_IP] as number;
    flows[at + F_INSIDE_PORT] = this.#mappings[from + M_INSIDE_PORT] as number;
    flows[at + F_REMOTE_IP] = remoteIp;
    flows[at + F_REMOTE_PORT] = remotePort;
    flows[at + F_MAPPING] = mapping;
    flows[at + F_EXPIRES] = 0;
    flows[at + F_DUE] = 0;
    flows[at + F_PORT] = port;
    this.#ports.count(port, 1);
    flows[at + F_EXTERNAL_PORT] = this.#mappings[from + M_EXTERNAL_PORT] as number;
    const head = this.#headOf(at, protocol);
    flows[at + F_NEXT] = this.#flowHeads[head] as number;
    flows[at + F_PROTOCOL] = protocol;
    this.#flowHeads[head] = flow;
    this.#linkPeer(flow, at);
    this.#mappings[from + M_FLOWS] = (this.#mappings[from + M_FLOWS] as number) + 1;
    this.#countGuest(flows[at + F_INSIDE_IP] as number, 1);
    this.#header[H_COUNT] = this.count + 1;
    this.#count(H_OPENED);
    return flow;
  }

  /** Ends a flow, and its mapping with the last one. */
  remove(flow: number): void {
    const flows = this.#flows;
    const at = flow * FLOW_WORDS;
    const head = this.#headOf(at, (flows[at + F_PROTOCOL] as number) & 0xff);
    unlink(this.#flowHeads, head, flows, FLOW_WORDS, F_NEXT, flow);
    this.#unlinkPeer(at);
    this.#wheel.remove(flow);
    this.#countGuest(flows[at + F_INSIDE_IP] as number, -1);
    this.#ports.count(flows[at + F_PORT] as number, -1);
    flows[at + F_PROTOCOL] = 0;
    flows[at + F_NEXT] = this.#freeFlow;
    this.#freeFlow = flow;
    this.#header[H_COUNT] = this.count - 1;
    const mapping = flows[at + F_MAPPING] as number;
    const count = mapping * MAPPING_WORDS + M_FLOWS;
    this.#mappings[count] = (this.#mappings[count] as number) - 1;
    if (this.#mappings[count] === 0 && !this.isForward(mapping)) this.unmap(mapping);
  }

  #countGuest(ip: number, by: number): void {
    const guest = ip & (GUESTS - 1);
    this.#guestFlows[guest] = (this.#guestFlows[guest] as number) + by;
  }

  #linkPeer(flow: number, at: number): void {
    const flows = this.#flows;
    const head = this.#parts.peerHead(flows[at + F_MAPPING] as number, flows[at + F_REMOTE_IP] as number);
    const next = this.#peerHeads[head] as number;
    flows[at + F_PEER_NEXT] = next;
    flows[at + F_PEER_BEFORE] = NONE;
    if (next !== NONE) flows[next * FLOW_WORDS + F_PEER_BEFORE] = flow;
    this.#peerHeads[head] = flow;
  }

  #unlinkPeer(at: number): void {
    const flows = this.#flows;
    const next = flows[at + F_PEER_NEXT] as number;
    const before = flows[at + F_PEER_BEFORE] as number;
    if (next !== NONE) flows[next * FLOW_WORDS + F_PEER_BEFORE] = before;
    if (before !== NONE) flows[before * FLOW_WORDS + F_PEER_NEXT] = next;
    else
      this.#peerHeads[
        this.#parts.peerHead(flows[at + F_MAPPING] as number, flows[at + F_REMOTE_IP] as number)
      ] = next;
  }

  /** Gives a mapping without flows back. */
  unmap(mapping: number): void {
    const mappings = this.#mappings;
    const at = mapping * MAPPING_WORDS;
    const protocol = mappings[at + M_PROTOCOL] as number;
    const head = this.#parts.mappingHead(
      protocol,
      mappings[at + M_INSIDE_IP] as number,
      mappings[at + M_INSIDE_PORT] as number,
    );
    unlink(this.#mappingHeads, head, mappings, MAPPING_WORDS, M_NEXT, mapping);
    this.#external[space(protocol) + (mappings[at + M_EXTERNAL_PORT] as number)] = NONE;
    mappings[at + M_PROTOCOL] = 0;
    mappings[at + M_NEXT] = this.#freeMapping;
    this.#freeMapping = mapping;
  }

  /** Removes flows that have run out. */
  sweep(nowS: number): void {
    this.#wheel.turn(nowS, this.#end);
  }

  readonly #end = (flow: number): void => this.remove(flow);

  #freePort(protocol: number, wanted: number): number {
    const base = space(protocol);
    if (wanted !== 0 && this.#external[base + wanted] === NONE) return wanted;
    const low = wanted < SPLIT && wanted !== 0 ? 1 : SPLIT;
    const size = low === 1 ? SPLIT - 1 : PORTS - SPLIT;
    let port = low + (this.#next() % size);
    for (let tries = Math.min(size, PORT_TRIES); tries > 0; tries--) {
      if (this.#external[base + port] === NONE) return port;
      port = port + 1 === low + size ? low : port + 1;
    }
    return NONE;
  }

  /** Xorshift: ports must not be guessable by their neighbours', and never need a system call. 0 … 2^31 - 1. */
  #next(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return x & 0x7fffffff;
  }

  #headOf(at: number, protocol: number): number {
    const flows = this.#flows;
    return this.#parts.flowHead(
      protocol,
      flows[at + F_INSIDE_IP] as number,
      flows[at + F_INSIDE_PORT] as number,
      flows[at + F_REMOTE_IP] as number,
      flows[at + F_REMOTE_PORT] as number,
    );
  }
}

/** Chains all entries of a table as free. */
function listFree(table: Int32Array, words: number, next: number, entries: number): void {
  for (let i = 0; i < entries; i++) table[i * words + next] = i + 1 < entries ? i + 1 : NONE;
}

function unlink(
  headsOf: Int32Array,
  head: number,
  table: Int32Array,
  words: number,
  next: number,
  entry: number,
): void {
  let before = NONE;
  let at = headsOf[head] as number;
  while (at !== entry) {
    before = at;
    at = table[at * words + next] as number;
  }
  const behind = table[entry * words + next] as number;
  if (before === NONE) headsOf[head] = behind;
  else table[before * words + next] = behind;
}
