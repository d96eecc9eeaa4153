/**
 * The data plane: ports, the stages between them, and the loop body. It knows no thread, no clock and no file: the worker
 * drives it from its epoll loop, and tests, replays and benchmarks step it by hand.
 *
 *   receive a burst ─ stages ─ sort rows into one list a port ─ transmit each list
 */
import { GONE, type Port } from '../port/port.ts';
import { Tails } from '../port/tails.ts';
import type { StormLimit } from '../settings/stormlimit.ts';
import type { Ip4, Mac } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import { fits } from '../wire/segment.ts';
import { Batch, BY_ADDRESS, DROPPED, FLOOD, GATEWAY_PORT, LOOK_UP, MAX_PORTS, type Stage } from './batch.ts';
import type { Bindings } from './bindings.ts';
import { type CaptureSpec, Captures } from './capture.ts';
import { Counters } from './counters.ts';
import { Fdb } from './fdb.ts';
import { EgressLists } from './lists.ts';
import { LoopStats, NOBODY } from './loopstats.ts';
import { UPLINK_PORT } from './messages.ts';
import { pipeline, type StageMaker } from './pipeline.ts';
import { Allowances } from './storm.ts';

/** The gateway as the data plane sees it: a stage with timers. */
export interface GatewayStage extends StageMaker {
  /** `lost` counts a frame that waited in vain, by the port that it came in on. */
  tick(nowMs: number, lost: (ingress: number, reason: Drop) => void): void;
  /** Decides where a row goes by the guest's address that its packet is for. */
  deliver(batch: Batch, row: number): void;
}

export interface DataplaneOptions {
  readonly fdbMemory: SharedArrayBuffer;
  readonly counterMemory: SharedArrayBuffer;
  /** Undefined: nobody reads how the loop fares. */
  readonly loopMemory?: SharedArrayBuffer;
  readonly maxMacs: number;
  readonly ageingS: number;
  readonly seed: number;
  readonly gateway?: GatewayStage;
  readonly gatewayMac?: Mac;
  /** Guests must speak with their own addresses, which these are; `gatewayIp` is nobody's. */
  readonly strict?: { readonly bindings: Bindings; readonly gatewayIp: Ip4 } | undefined;
  /** Addresses that a guest's port may have; undefined: as many as there is room for. */
  readonly portMacs?: number | undefined;
  /** What it may flood; undefined: as much as it likes. */
  readonly stormLimit?: StormLimit | undefined;
  /** The uplink's index: never flooded to, for only what the gateway routes goes there. -1: none. */
  readonly uplink: number;
  /** Room for received frames; the default is a burst of the largest. */
  readonly arenaBytes?: number | undefined;
  /** A port's device has vanished; it is no longer used, and waits for its `detach`. `fault`: what the port says of it. */
  onGone(index: number, fault: string | undefined): void;
}

export class Dataplane {
  readonly counters: Counters;
  readonly fdb: Fdb;
  readonly stats: LoopStats;
  readonly #batch: Batch;
  readonly #stages: readonly Stage[];
  readonly #gateway: GatewayStage | undefined;
  readonly #uplink: number;
  readonly #onGone: (index: number, fault: string | undefined) => void;
  readonly #ports: (Port | undefined)[] = new Array(MAX_PORTS).fill(undefined);
  /** Indices of the ports that a flood goes to. */
  #flooded: Int32Array = new Int32Array(0);
  /** Indices of the ports that record. */
  #recorders: Int32Array = new Int32Array(0);
  readonly #lists: EgressLists;
  readonly #tails = new Tails();
  /** Undefined while nothing is captured. */
  #captures: Captures | undefined;
  /** Indices of the ports that may keep what they took till they are flushed. */
  readonly #kept = new Int32Array(MAX_PORTS);
  #keptCount = 0;
  /** Indices of the ports that may ask to be served in every round. */
  #polled: Int32Array = new Int32Array(0);

  constructor(options: DataplaneOptions) {
    this.#batch = new Batch(options.arenaBytes);
    this.counters = new Counters(options.counterMemory);
    this.stats = new LoopStats(options.loopMemory);
    this.fdb = new Fdb(options.fdbMemory, options.maxMacs, options.ageingS, options.seed);
    if (options.portMacs !== undefined) this.fdb.portLimits.fill(options.portMacs, UPLINK_PORT + 1);
    this.#gateway = options.gateway;
    this.#uplink = options.uplink;
    this.#onGone = (index, fault) => options.onGone(index, fault);
    const { fdb } = this;
    const batch = this.#batch;
    const { gateway, gatewayMac, uplink, strict, stormLimit } = options;
    const allowances = stormLimit && new Allowances(stormLimit);
    this.#stages = pipeline({ batch, fdb, gateway, gatewayMac, uplink, strict, allowances });
    this.#lists = new EgressLists(batch, row => this.#sortSpecial(row));
  }

  /** Puts a port under a free index. */
  attach(index: number, port: Port): void {
    if (index < 0 || index >= MAX_PORTS || this.#ports[index] !== undefined)
      throw new RangeError(`port index ${index} is taken or out of range`);
    this.#ports[index] = port;
    this.#lists.open(index, port.mtu);
    this.#listFlooded();
  }

  /** Takes a port out and forgets what was learnt on it; nothing happens when there is none. */
  detach(index: number): void {
    const port = this.#ports[index];
    if (port === undefined) return;
    port.close();
    this.#ports[index] = undefined;
    this.#lists.close(index);
    this.fdb.flush(index);
    this.#listFlooded();
  }

  port(index: number): Port | undefined {
    return this.#ports[index];
  }

  /** One burst from each port; true when there was a frame. What tests and replays turn. */
  step(nowMs: number): boolean {
    let busy = false;
    for (let index = 0; index < MAX_PORTS; index++)
      if (this.#ports[index] !== undefined && this.serve(index, nowMs) > 0) busy = true;
    return busy;
  }

  /** One burst from one port, through the stages and out, and more where the port has more at hand; frames received. */
  serve(index: number, nowMs: number): number {
    const port = this.#ports[index];
    if (port === undefined) return 0;
    if (port.wake?.() === false) {
      this.#lose(index);
      return 0;
    }
    let received = this.#serveBurst(port, index, nowMs);
    while (port.holds && this.#ports[index] === port) received += this.#serveBurst(port, index, nowMs);
    this.#flush();
    return received;
  }

  #serveBurst(port: Port, index: number, nowMs: number): number {
    const batch = this.#batch;
    batch.reset(nowMs, index);
    this.stats.serving(index);
    const received = port.receive(batch, index);
    if (received === GONE) {
      this.#lose(index);
      return 0;
    }
    if (received > 0) {
      this.stats.burst(received);
      const captures = this.#captures;
      captures?.received(received);
      const stages = this.#stages;
      const last = stages.length - 1;
      const records = this.#recorders.length > 0;
      if (records) this.#record(false);
      for (let i = 0; i < last; i++) (stages[i] as Stage).run();
      if (records) this.#record(true);
      (stages[last] as Stage).run();
      this.#countReceived(index, received);
      this.#transmit();
      captures?.finish(this.#flooded);
    }
    port.settle?.();
    this.stats.serving(NOBODY);
    return received;
  }

  /** One burst from each port that waits for no file; frames received. */
  poll(nowMs: number): number {
    const polled = this.#polled;
    let received = 0;
    for (let i = 0; i < polled.length; i++) {
      const index = polled[i] as number;
      const port = this.#ports[index];
      if (port?.polls === true) received += this.#serveBurst(port, index, nowMs);
    }
    this.#flush();
    return received;
  }

  /** Is there a port that waits for no file? */
  get polls(): boolean {
    const polled = this.#polled;
    for (let i = 0; i < polled.length; i++) if (this.#ports[polled[i] as number]?.polls === true) return true;
    return false;
  }

  /** Sends a finished frame from the gateway: to a port, wherever the FDB says (LOOK_UP), or to a guest (BY_ADDRESS). */
  inject(frame: Uint8Array, egress: number, nowMs: number): void {
    const batch = this.#batch;
    batch.reset(nowMs);
    const row = batch.append(frame.length, GATEWAY_PORT);
    if (row < 0) return;
    const at = batch.offset[row] as number;
    batch.slab.set(frame, at);
    batch.l3[row] = at + ethernet.ETHERNET_SIZE; // parse does not see it
    if (egress === BY_ADDRESS) this.#gateway?.deliver(batch, row);
    else batch.egress[row] = egress;
    if (this.#recorders.length > 0) this.#record(true);
    const captures = this.#captures;
    captures?.received(0);
    const forwarding = this.#stages[this.#stages.length - 1] as Stage;
    forwarding.run();
    this.#transmit();
    captures?.finish(this.#flooded);
    this.#flush();
  }

  /** Begins to copy frames of a port, or of all. */
  capture(spec: CaptureSpec): void {
    this.#captures ??= new Captures(this.#batch, this.#tails);
    this.#captures.add(spec);
  }

  /** Ends a capture; nothing happens when there is none of that number. */
  endCapture(id: number): void {
    this.#captures?.remove(id);
    if (this.#captures?.size === 0) this.#captures = undefined;
  }

  /**
   * Gives rows to the ports that record: those that have come in, or, before the last stage, those that the gateway has `written`,
   * whose egress is decided by then.
   */
  #record(written: boolean): void {
    const { count, egress } = this.#batch;
    const recorders = this.#recorders;
    const lists = this.#lists;
    for (let i = 0; i < recorders.length; i++) {
      const index = recorders[i] as number;
      lists.dirtyCount = 0;
      for (let row = 0; row < count; row++)
        if (!written || isWritten(egress[row] as number)) lists.add(row, index);
      if (lists.dirtyCount > 0) this.#send(index, undefined);
    }
  }

  /** Ageing and timers; ten times a second is enough. */
  tick(nowMs: number): void {
    this.fdb.sweep(Math.floor(nowMs / 1000));
    const gateway = this.#gateway;
    if (gateway === undefined) return;
    gateway.tick(nowMs, this.#lost);
  }

  readonly #lost = (ingress: number, reason: Drop): void => this.counters.drop(ingress, reason, 1);

  #countReceived(index: number, received: number): void {
    const { rxFrames, rxBytes } = this.counters;
    rxFrames[index] = (rxFrames[index] as number) + received;
    rxBytes[index] = (rxBytes[index] as number) + this.#batch.bytes;
  }

  /** Two plain loops: sort, then send. */
  #transmit(): void {
    const lists = this.#lists;
    lists.dirtyCount = 0;
    lists.sort();
    for (let i = 0; i < lists.dirtyCount; i++) this.#send(lists.dirty[i] as number, this.#captures);
  }

  /** A row that is dropped, flooded, consumed, or longer than its port takes without a closer look. */
  #sortSpecial(row: number): void {
    const batch = this.#batch;
    const egress = batch.egress[row] as number;
    if (egress === DROPPED) this.counters.drop(batch.ingress[row] as number, batch.drop[row] as Drop, 1);
    else if (egress >= 0) this.#enqueue(row, egress);
    else if (egress === FLOOD) this.#flood(row);
  }

  #flood(row: number): void {
    const ingress = this.#batch.ingress[row] as number;
    let copies = 0;
    for (let i = 0; i < this.#flooded.length; i++) {
      const port = this.#flooded[i] as number;
      if (port === ingress) continue;
      this.#enqueue(row, port);
      copies++;
    }
    if (copies === 0) this.counters.drop(ingress, Drop.NoEgressPort, 1);
  }

  #enqueue(row: number, index: number): void {
    const batch = this.#batch;
    const port = this.#ports[index];
    if (port === undefined) this.#fail(row, index, Drop.PortDown);
    else if (this.#lists.fits(index, batch.length[row] as number) || this.#fits(row, port.mtu))
      this.#lists.add(row, index);
    else this.#fail(row, index, Drop.EgressMtu);
  }

  #fail(row: number, index: number, reason: Drop): void {
    this.counters.drop(index, reason, 1);
    this.#captures?.failed(row, index, reason);
  }

  #fits(row: number, mtu: number): boolean {
    const { mem, offset, l3, length } = this.#batch;
    return fits(mem, offset[row] as number, l3[row] as number, length[row] as number, mtu);
  }

  /** `captures`: who looks on; nobody does where a copy goes to a recording. */
  #send(index: number, captures: Captures | undefined): void {
    const lists = this.#lists;
    const count = lists.counts[index] as number;
    const rows = lists.rowsOf(index);
    const port = this.#ports[index];
    lists.counts[index] = 0;
    if (port === undefined) return;
    if (this.#batch.origin !== undefined && (port.gathers !== true || captures?.wants(index) === true))
      this.#tails.bringIn(this.#batch, rows, count);
    const taken = port.transmit(this.#batch, rows, count);
    if (taken === GONE) {
      captures?.sent(index, rows, count, 0, 0, Drop.PortDown);
      this.counters.drop(index, Drop.PortDown, count);
      this.#lose(index);
      return;
    }
    captures?.sent(index, rows, count, taken, port.refused, Drop.TxFull);
    if (port.flush !== undefined) this.#keep(index);
    let bytes = lists.bytes[index] as number;
    for (let i = taken; i < count; i++) bytes -= this.#batch.length[rows[i] as number] as number;
    const { txFrames, txBytes } = this.counters;
    txFrames[index] = (txFrames[index] as number) + taken - port.refused;
    txBytes[index] = (txBytes[index] as number) + bytes;
    if (port.refused > 0) this.counters.drop(index, Drop.TxRefused, port.refused);
    if (taken < count) this.counters.drop(index, Drop.TxFull, count - taken);
  }

  #keep(index: number): void {
    for (let i = 0; i < this.#keptCount; i++) if (this.#kept[i] === index) return;
    this.#kept[this.#keptCount++] = index;
  }

  #flush(): void {
    for (let i = 0; i < this.#keptCount; i++) {
      const index = this.#kept[i] as number;
      const port = this.#ports[index];
      if (port?.flush?.() !== false) continue;
      const { txFrames } = this.counters;
      txFrames[index] = (txFrames[index] as number) - port.refused;
      this.counters.drop(index, Drop.PortDown, port.refused);
      this.#lose(index);
    }
    this.#keptCount = 0;
  }

  #lose(index: number): void {
    const port = this.#ports[index];
    if (port === undefined) return;
    this.detach(index);
    this.#onGone(index, port.fault);
  }

  #listFlooded(): void {
    const indices: number[] = [];
    for (let index = 0; index < MAX_PORTS; index++)
      if (this.#ports[index] !== undefined && index !== this.#uplink) indices.push(index);
    const listens = (index: number): Port['listens'] => this.#ports[index]?.listens;
    this.#flooded = Int32Array.from(indices.filter(index => listens(index) === undefined));
    this.#recorders = Int32Array.from(indices.filter(index => listens(index) === 'all'));
    this.#polled = Int32Array.from(this.#ports.keys()).filter(
      index => this.#ports[index]?.polls !== undefined,
    );
  }
}

const isWritten = (egress: number): boolean => egress >= 0 || egress === FLOOD || egress === LOOK_UP;
