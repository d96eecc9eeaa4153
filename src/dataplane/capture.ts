/**
 * The worker's end of captures: copies of the frames of a port, or of all, as they come and go, with what the stages have
 * made of them. The data plane calls it only while there is a capture; a burst goes by it so:
 *
 *   received ─ stages ─ sort: failed ─ transmit: sent ─ finish
 *   frames as they came                frames as they    decisions are known: records are
 *   are copied into records            left are copied   completed, and shown to the reader
 *
 * Nothing is allocated for a frame. Where a ring has no room its capture loses frames; the others and the traffic go on.
 */
import { Copies } from '../port/copies.ts';
import { loadNative } from '../port/native.ts';
import type { Tails } from '../port/tails.ts';
import { type Filter, filterOf } from '../wire/bpf.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmp from '../wire/icmp.ts';
import * as ip4 from '../wire/ipv4.ts';
import * as udp from '../wire/udp.ts';
import { gsoSize, gsoType, vnetFlags } from '../wire/vnet.ts';
import { type Batch, CONSUMED, DROPPED, FLOOD, GATEWAY_PORT, MAX_PORTS } from './batch.ts';
import * as ring from './capturering.ts';
import { answersArp, whyConsumed } from './captureverdict.ts';

const { CaptureRing, Outcome } = ring;

/** A capture of all ports. */
export const ALL_PORTS = -1;

export interface CaptureSpec {
  readonly id: number;
  /** A port's index, or ALL_PORTS. */
  readonly port: number;
  /** Bytes of a frame that are kept at the most. */
  readonly snapLength: number;
  /** A program for wire/bpf.ts, checked; undefined: every frame. */
  readonly program: Int32Array | undefined;
  readonly memory: SharedArrayBuffer;
}

interface Capture {
  readonly id: number;
  readonly port: number;
  readonly snapLength: number;
  readonly filter: Filter | undefined;
  readonly ring: ring.CaptureRing;
  /** By row of the burst: where the record of the frame that came in begins, -1: it has none. */
  readonly records: Int32Array;
}

export class Captures {
  readonly #batch: Batch;
  readonly #tails: Tails;
  readonly #copies = new Copies(loadNative());
  readonly #captures: Capture[] = [];
  /** By port: how many captures it is in. */
  readonly #wanted = new Uint8Array(MAX_PORTS + 1);
  /** Rows that the burst came in with; stages append others. */
  #received = 0;
  readonly #rows: Int32Array;
  readonly #one = new Int32Array(1);

  // By row, of an untagged IPv4 packet as it came; protocol -1: it is none.
  readonly #protocol: Int32Array;
  readonly #source: Int32Array;
  readonly #destination: Int32Array;
  readonly #ports: Int32Array;
  /** By row: at how many ports it failed, and why the last time. */
  readonly #failed: Uint8Array;
  readonly #reason: Uint8Array;

  constructor(batch: Batch, tails: Tails) {
    const { capacity } = batch;
    this.#batch = batch;
    this.#tails = tails;
    this.#rows = Int32Array.from({ length: capacity }, (_, row) => row);
    this.#protocol = new Int32Array(capacity);
    this.#source = new Int32Array(capacity);
    this.#destination = new Int32Array(capacity);
    this.#ports = new Int32Array(capacity);
    this.#failed = new Uint8Array(capacity);
    this.#reason = new Uint8Array(capacity);
  }

  get size(): number {
    return this.#captures.length;
  }

  add({ id, port, snapLength, program, memory }: CaptureSpec): void {
    this.#captures.push({
      ...{ id, port, snapLength },
      filter: program && filterOf(program),
      ring: new CaptureRing(memory),
      records: new Int32Array(this.#batch.capacity),
    });
    this.#count();
  }

  remove(id: number): void {
    const at = this.#captures.findIndex(capture => capture.id === id);
    if (at >= 0) this.#captures.splice(at, 1);
    this.#copies.clear(); // it would keep the ring's memory
    this.#count();
  }

  #count(): void {
    this.#wanted.fill(0);
    for (const { port } of this.#captures)
      for (let index = 0; index <= MAX_PORTS; index++)
        if (covers(port, index)) this.#wanted[index] = (this.#wanted[index] as number) + 1;
  }

  /** Is a port captured, so that its frames must be whole? */
  wants(index: number): boolean {
    return this.#wanted[index] !== 0;
  }

  /** Before the stages: copies what has come in; `received` rows, 0: the control plane gives a frame of its own. */
  received(received: number): void {
    const batch = this.#batch;
    const { port } = batch;
    this.#received = received;
    this.#failed.fill(0);
    if (received > 0 && this.wants(port)) this.#tails.bringIn(batch, this.#rows, received);
    for (let row = 0; row < received; row++) this.#note(row);
    for (let i = 0; i < this.#captures.length; i++) {
      const capture = this.#captures[i] as Capture;
      for (let row = 0; row < received; row++)
        capture.records[row] = covers(capture.port, port) ? this.#copy(capture, row, port, false) : -1;
    }
    this.#copies.finish(); // before the stages change what they stand in
  }

  /** A row finds no way to a port: there is none, or it takes no frame of that length. */
  failed(row: number, index: number, reason: Drop): void {
    this.#one[0] = row;
    if (index < MAX_PORTS && this.wants(index)) this.#tails.bringIn(this.#batch, this.#one, 1);
    this.#goes(index, row, reason, false);
    this.#copies.finish();
  }

  /**
   * A port has taken the first `taken` of its rows; the rest failed for `reason`. `refused`: so many of those that it took
   * its device did not want.
   */
  sent(index: number, rows: Int32Array, count: number, taken: number, refused: number, reason: Drop): void {
    const doubtful = refused > 0 && refused < taken;
    const otherwise = refused > 0 && refused >= taken ? Drop.TxRefused : Drop.None;
    for (let i = 0; i < count; i++)
      if (i < taken) this.#goes(index, rows[i] as number, otherwise, doubtful);
      else this.#goes(index, rows[i] as number, reason, false);
    this.#copies.finish();
  }

  /** All has gone where it goes: says of what came in what became of it. `flooded`: the ports that a flood goes to. */
  finish(flooded: Int32Array): void {
    for (let i = 0; i < this.#captures.length; i++) {
      const capture = this.#captures[i] as Capture;
      for (let row = 0; row < this.#received; row++) {
        const record = capture.records[row] as number;
        if (record >= 0) this.#decide(capture.ring.words, record >> 2, row, flooded);
      }
      capture.ring.commit();
    }
  }

  /** Notes a row's addresses before the gateway changes them. */
  #note(row: number): void {
    const { mem, offset, length } = this.#batch;
    const at = offset[row] as number;
    const l3 = at + ethernet.ETHERNET_SIZE;
    const protocol = protocolAt(mem, at, length[row] as number);
    this.#protocol[row] = protocol;
    if (protocol < 0) return;
    this.#source[row] = ip4.source(mem, l3);
    this.#destination[row] = ip4.destination(mem, l3);
    this.#ports[row] = portsAt(mem, l3, at + (length[row] as number), protocol);
  }

  /** A row goes out by a port, or fails there. */
  #goes(index: number, row: number, reason: Drop, doubtful: boolean): void {
    if (reason !== Drop.None) {
      this.#failed[row] = (this.#failed[row] as number) + 1;
      this.#reason[row] = reason;
    }
    if (index >= MAX_PORTS || !this.wants(index)) return;
    for (let i = 0; i < this.#captures.length; i++) {
      const capture = this.#captures[i] as Capture;
      if (!covers(capture.port, index)) continue;
      const record = this.#copy(capture, row, index, true);
      if (record < 0) continue;
      const { words } = capture.ring;
      const word = record >> 2;
      words[word + ring.REASON] = reason;
      if (doubtful) mark(words, word, ring.MARK_REFUSED);
      this.#origin(words, word, row);
    }
  }

  /** Where a frame that goes out is from. */
  #origin(words: Int32Array, word: number, row: number): void {
    const { port, egress } = this.#batch;
    const came = row < this.#received;
    words[word + ring.OTHER] = port;
    // What the control plane gives is the first row; what else there is then, the gateway asks for it.
    if (port === GATEWAY_PORT && row === 0) words[word + ring.OUTCOME] = Outcome.FromControl;
    else if (!came || this.#isEcho(row, egress[row] as number))
      words[word + ring.OUTCOME] = Outcome.FromGateway;
    else {
      words[word + ring.OUTCOME] = Outcome.FromPort;
      this.#rewritten(words, word, row);
    }
  }

  /** Completes the record of a frame that came in. */
  #decide(words: Int32Array, word: number, row: number, flooded: Int32Array): void {
    const batch = this.#batch;
    const egress = batch.egress[row] as number;
    words[word + ring.OTHER] = egress;
    words[word + ring.FAILED] = this.#failed[row] as number;
    words[word + ring.REASON] = this.#reason[row] as number;
    if (answersArp(batch, row, this.#received)) mark(words, word, ring.MARK_ANSWERED);
    if (egress === DROPPED) {
      words[word + ring.OUTCOME] = Outcome.Dropped;
      words[word + ring.REASON] = batch.drop[row] as number;
    } else if (egress === CONSUMED) words[word + ring.OUTCOME] = whyConsumed(batch, row);
    else if (egress === FLOOD) {
      words[word + ring.OUTCOME] = Outcome.Flooded;
      words[word + ring.COPIES] = copies(flooded, batch.ingress[row] as number);
    } else if (this.#isEcho(row, egress)) words[word + ring.OUTCOME] = Outcome.Echo;
    else {
      words[word + ring.OUTCOME] = Outcome.Forwarded;
      this.#rewritten(words, word, row);
    }
  }

  /** Has the gateway turned the row into an answer? It goes back by its port, from which all else is filtered or routed. */
  #isEcho(row: number, egress: number): boolean {
    const { ingress, port } = this.#batch;
    return egress === port && ingress[row] === port && this.#protocol[row] === ip4.ICMP;
  }

  /** Says what has been changed of a row's addresses, if anything was. */
  #rewritten(words: Int32Array, word: number, row: number): void {
    const { mem, offset, length } = this.#batch;
    const protocol = this.#protocol[row] as number;
    if (protocol < 0) return;
    const at = offset[row] as number;
    const l3 = at + ethernet.ETHERNET_SIZE;
    const [source, destination] = [ip4.source(mem, l3), ip4.destination(mem, l3)];
    const ports = portsAt(mem, l3, at + (length[row] as number), protocol);
    const same =
      source === this.#source[row] && destination === this.#destination[row] && ports === this.#ports[row];
    if (same) return;
    mark(words, word, ring.MARK_REWRITTEN);
    words[word + ring.WAY] = (words[word + ring.WAY] as number) | (protocol << 8);
    words[word + ring.SOURCE] = this.#source[row] as number;
    words[word + ring.DESTINATION] = this.#destination[row] as number;
    words[word + ring.PORTS_OF] = this.#ports[row] as number;
    words[word + ring.SOURCE_NOW] = source;
    words[word + ring.DESTINATION_NOW] = destination;
    words[word + ring.PORTS_NOW] = ports;
  }

  /** Begins to copy a row as it is now, if the filter accepts it; where its record begins, -1: it has none. */
  #copy(capture: Capture, row: number, port: number, outgoing: boolean): number {
    const { mem, slab, offset, length, nowMs } = this.#batch;
    const at = offset[row] as number;
    const bytes = length[row] as number;
    if (capture.filter !== undefined && !capture.filter(mem, at, bytes, outgoing)) return -1;
    const kept = Math.min(bytes, capture.snapLength);
    const record = capture.ring.reserve(kept, port);
    if (record < 0) return -1;
    const { words, doubles, lost } = capture.ring;
    const word = record >> 2;
    words[word + ring.PORT] = port;
    words[word + ring.WAY] = outgoing ? ring.OUT : ring.IN;
    words[word + ring.REASON] = Drop.None;
    words[word + ring.FAILED] = 0;
    words[word + ring.LENGTH] = bytes;
    words[word + ring.KEPT] = kept;
    words[word + ring.LOST] = (lost[port] as number) | 0;
    words[word + ring.OFFLOAD] = vnetFlags(mem, at) | (gsoType(mem, at) << 8) | (gsoSize(mem, at) << 16);
    doubles[(word + ring.TIME) >> 1] = nowMs;
    this.#copies.add(slab, at, capture.ring.bytes, record + ring.FRAME_AT, kept);
    return record;
  }
}

/** Is a port in a capture of this one, or of all? */
const covers = (captured: number, index: number): boolean => captured === ALL_PORTS || captured === index;

function mark(words: Int32Array, word: number, marks: number): void {
  words[word + ring.WAY] = (words[word + ring.WAY] as number) | (marks << 16);
}

function copies(flooded: Int32Array, ingress: number): number {
  let count = 0;
  for (let i = 0; i < flooded.length; i++) if (flooded[i] !== ingress) count++;
  return count;
}

/** The protocol of an untagged IPv4 packet that has its header; -1: it is none. */
function protocolAt(mem: DataView, at: number, length: number): number {
  const l3 = at + ethernet.ETHERNET_SIZE;
  if (length < ethernet.ETHERNET_SIZE + ip4.MIN_SIZE) return -1;
  if (ethernet.type(mem, at) !== ethernet.ETHERTYPE_IP4 || ip4.version(mem, l3) !== 4) return -1;
  return ip4.protocol(mem, l3);
}

/** Source port << 16 | destination port; of an echo its identifier, twice; 0 where there is none. */
function portsAt(mem: DataView, l3: number, end: number, protocol: number): number {
  const l4 = l3 + ip4.headerLength(mem, l3);
  if (ip4.fragmentOffset(mem, l3) !== 0 || l4 + 8 > end) return 0;
  if (protocol === ip4.TCP || protocol === ip4.UDP)
    return (udp.sourcePort(mem, l4) << 16) | udp.destinationPort(mem, l4);
  if (protocol !== ip4.ICMP) return 0;
  const type = icmp.type(mem, l4);
  const isEcho = type === icmp.ECHO_REQUEST || type === icmp.ECHO_REPLY;
  return isEcho ? (icmp.echoId(mem, l4) << 16) | icmp.echoId(mem, l4) : 0;
}
