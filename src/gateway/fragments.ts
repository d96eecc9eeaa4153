/**
 * Fragments of datagrams that pass the NAT. Only the first names the ports, so what becomes of it settles what becomes of
 * the others: the same addresses, or the same refusal. Those that come before it wait for it, a few and for a short time.
 *
 *   free ── a later one comes ──► waiting ── the first ──► passed or refused ── all bytes seen, or silence ──► free
 *     └──────── the first ──────────────────────────────────────▲                    silence ──► free, held ones counted
 *
 * Memory is fixed, and each port has its share of it. Nothing is put together: overlaps are the receiver's to judge, but no
 * later fragment may reach into a TCP header that has been judged (RFC 1858 §3, RFC 3128).
 */
import { type Batch, CONSUMED, MAX_PORTS } from '../dataplane/batch.ts';
import type { Ip4 } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import { multiplier, spread } from '../wire/hash.ts';
import * as ip4 from '../wire/ipv4.ts';
import { TCP_SIZE } from '../wire/tcp.ts';
import { HeldFrames } from './held.ts';

const NONE = -1;
const WAYS = 4;
const SETS_BITS = 8;
const DATAGRAMS = WAYS << SETS_BITS;
const HELD = 128;
/** Shares of a guest's port and of the uplink, which speaks for everybody outside. */
const GUEST_DATAGRAMS = DATAGRAMS / 16;
const UPLINK_DATAGRAMS = DATAGRAMS / 2;
const GUEST_HELD = HELD / 8;
const UPLINK_HELD = HELD / 2;
/** How long a datagram's fragments may come apart: RFC 791 §3.2 asks for 15 s. */
const SILENCE_S = 15;

/** States of a datagram. */
const FREE = 0;
const WAITING = 1;
const PASSED = 2;
const REFUSED = 3;

/** Fragments that were held in vain, to be counted: the port that they came from. */
export type Lost = (ingress: number, reason: Drop) => void;

export class Fragments {
  readonly #state = new Uint8Array(DATAGRAMS);
  readonly #port = new Uint8Array(DATAGRAMS);
  readonly #source = new Int32Array(DATAGRAMS);
  readonly #destination = new Int32Array(DATAGRAMS);
  readonly #name = new Int32Array(DATAGRAMS); // identification << 8 | protocol
  readonly #toSource = new Int32Array(DATAGRAMS);
  readonly #toDestination = new Int32Array(DATAGRAMS);
  readonly #reason = new Uint8Array(DATAGRAMS);
  readonly #seenS = new Int32Array(DATAGRAMS);
  /** Payload bytes seen, and in all: known when the last fragment has come, else NONE. */
  readonly #bytes = new Int32Array(DATAGRAMS);
  readonly #total = new Int32Array(DATAGRAMS);
  readonly #waiting = new Uint8Array(DATAGRAMS); // fragments held for it
  readonly #perPort = new Int32Array(MAX_PORTS + 1);

  readonly #held = new HeldFrames(HELD);
  readonly #heldFor = new Int32Array(HELD).fill(NONE); // the datagram, NONE: free
  readonly #heldPerPort = new Int32Array(MAX_PORTS + 1);

  readonly #uplink: number;
  readonly #bySource: number;
  readonly #byDestination: number;
  readonly #byName: number;

  constructor(uplink: number, seed: number) {
    this.#uplink = uplink;
    this.#bySource = multiplier(seed, 4);
    this.#byDestination = multiplier(seed, 5);
    this.#byName = multiplier(seed, 6);
  }

  /** The datagram of a first fragment which is about to be translated; to be `settle`d. NONE: there is no room. */
  begin(batch: Batch, row: number): number {
    const l3 = batch.l3[row] as number;
    const known = this.#find(batch.mem, l3);
    if (known === NONE) return this.#take(batch, row);
    // The same identification again: another datagram, unless the first one is still waited for.
    if (this.#state[known] !== WAITING) this.#restart(known);
    return known;
  }

  /** What has become of the first fragment: its addresses now, or the reason that it was refused for. */
  settle(datagram: number, batch: Batch, row: number, reason: Drop): void {
    const l3 = batch.l3[row] as number;
    this.#seenS[datagram] = batch.nowS;
    this.#state[datagram] = reason === Drop.None ? PASSED : REFUSED;
    this.#reason[datagram] = reason;
    this.#toSource[datagram] = ip4.source(batch.mem, l3);
    this.#toDestination[datagram] = ip4.destination(batch.mem, l3);
    this.#count(datagram, batch.mem, l3);
  }

  /** A later fragment: gets the first one's addresses, or waits for it (CONSUMED), or goes where that went. */
  later(batch: Batch, row: number): Drop {
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    if (ip4.protocol(mem, l3) === ip4.TCP && ip4.fragmentOffset(mem, l3) < TCP_SIZE) return Drop.Ip4Fragment;
    let datagram = this.#find(mem, l3);
    if (datagram === NONE) datagram = this.#take(batch, row);
    if (datagram === NONE) return Drop.Ip4Fragment;
    this.#seenS[datagram] = batch.nowS;
    if (this.#state[datagram] === WAITING) return this.#hold(datagram, batch, row);
    const reason = this.#reason[datagram] as Drop;
    if (reason === Drop.None) {
      ip4.setSource(mem, l3, this.#toSource[datagram] as Ip4);
      ip4.setDestination(mem, l3, this.#toDestination[datagram] as Ip4);
    }
    this.#count(datagram, mem, l3);
    return reason;
  }

  /** Appends to the batch what has waited for the first fragment, as far as there is room, and hands each row to `pass`. */
  release(datagram: number, batch: Batch, pass: (batch: Batch, row: number) => void): void {
    for (let slot = 0; this.#waiting[datagram] !== 0 && slot < HELD; slot++) {
      if (this.#heldFor[slot] !== datagram) continue;
      const row = this.#held.append(slot, batch, this.#port[datagram] as number);
      if (row < 0) return;
      this.#unhold(slot, datagram);
      pass(batch, row);
    }
  }

  /** Gives up datagrams of which nothing has come for long. */
  tick(nowS: number, lost: Lost): void {
    for (let datagram = 0; datagram < DATAGRAMS; datagram++)
      if (this.#state[datagram] !== FREE && nowS - (this.#seenS[datagram] as number) >= SILENCE_S)
        this.#free(datagram, lost);
  }

  #free(datagram: number, lost: Lost): void {
    const port = this.#port[datagram] as number;
    for (let slot = 0; this.#waiting[datagram] !== 0 && slot < HELD; slot++) {
      if (this.#heldFor[slot] !== datagram) continue;
      this.#unhold(slot, datagram);
      lost(port, Drop.Ip4Fragment);
    }
    this.#state[datagram] = FREE;
    this.#perPort[port] = (this.#perPort[port] as number) - 1;
  }

  #unhold(slot: number, datagram: number): void {
    const port = this.#port[datagram] as number;
    this.#held.free(slot);
    this.#heldFor[slot] = NONE;
    this.#waiting[datagram] = (this.#waiting[datagram] as number) - 1;
    this.#heldPerPort[port] = (this.#heldPerPort[port] as number) - 1;
  }

  #hold(datagram: number, batch: Batch, row: number): Drop {
    const port = this.#port[datagram] as number;
    const share = port === this.#uplink ? UPLINK_HELD : GUEST_HELD;
    if ((this.#heldPerPort[port] as number) >= share) return Drop.Ip4Fragment;
    const slot = this.#held.keep(batch, row);
    if (slot < 0) return Drop.Ip4Fragment;
    this.#heldFor[slot] = datagram;
    this.#heldPerPort[port] = (this.#heldPerPort[port] as number) + 1;
    this.#waiting[datagram] = (this.#waiting[datagram] as number) + 1;
    batch.egress[row] = CONSUMED;
    return Drop.None;
  }

  /** Frees the datagram when all its bytes have passed: its identification may come again soon. */
  #count(datagram: number, mem: DataView, l3: number): void {
    const bytes = ip4.totalLength(mem, l3) - ip4.headerLength(mem, l3);
    const seen = (this.#bytes[datagram] as number) + bytes;
    this.#bytes[datagram] = seen;
    if (!ip4.moreFragments(mem, l3)) this.#total[datagram] = ip4.fragmentOffset(mem, l3) + bytes;
    const total = this.#total[datagram] as number;
    if (total !== NONE && seen >= total && this.#waiting[datagram] === 0) this.#free(datagram, nothingLost);
  }

  #find(mem: DataView, l3: number): number {
    const source = ip4.source(mem, l3);
    const destination = ip4.destination(mem, l3);
    const name = nameOf(mem, l3);
    const first = this.#setOf(source, destination, name);
    for (let i = first; i < first + WAYS; i++)
      if (
        this.#state[i] !== FREE &&
        this.#source[i] === source &&
        this.#destination[i] === destination &&
        this.#name[i] === name
      )
        return i;
    return NONE;
  }

  /** A free place for the row's datagram, in which it waits; NONE where its set or its port's share is full. */
  #take(batch: Batch, row: number): number {
    const { mem } = batch;
    const l3 = batch.l3[row] as number;
    const port = batch.ingress[row] as number;
    const share = port === this.#uplink ? UPLINK_DATAGRAMS : GUEST_DATAGRAMS;
    if ((this.#perPort[port] as number) >= share) return NONE;
    const source = ip4.source(mem, l3);
    const destination = ip4.destination(mem, l3);
    const name = nameOf(mem, l3);
    const first = this.#setOf(source, destination, name);
    let free = first;
    while (free < first + WAYS && this.#state[free] !== FREE) free++;
    if (free === first + WAYS) return NONE;
    this.#perPort[port] = (this.#perPort[port] as number) + 1;
    this.#port[free] = port;
    this.#source[free] = source;
    this.#destination[free] = destination;
    this.#name[free] = name;
    this.#seenS[free] = batch.nowS;
    this.#restart(free);
    return free;
  }

  #restart(datagram: number): void {
    this.#state[datagram] = WAITING;
    this.#bytes[datagram] = 0;
    this.#total[datagram] = NONE;
  }

  #setOf(source: number, destination: number, name: number): number {
    const mixed =
      Math.imul(source, this.#bySource) ^
      Math.imul(destination, this.#byDestination) ^
      Math.imul(name, this.#byName);
    return spread(mixed, 32 - SETS_BITS) * WAYS;
  }
}

const nameOf = (mem: DataView, l3: number): number => (ip4.id(mem, l3) << 8) | ip4.protocol(mem, l3);

const nothingLost: Lost = () => undefined;
