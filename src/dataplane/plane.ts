/**
 * The control thread's handle on the data plane: starts the worker, tells it of ports, passes frames both ways and reads
 * its tables from shared memory. A worker that dies is replaced: the new one has the old one's flows and ports.
 */

import { EventEmitter } from 'node:events';
import { Worker } from 'node:worker_threads';
import { monotonicMs } from '../clock.ts';
import { clearCallers } from '../gateway/callers.ts';
import { clearFlows, flowMemory } from '../gateway/flowmemory.ts';
import type { NatForward } from '../gateway/nat.ts';
import { clearNeighbours, neighbourMemory } from '../gateway/neighbourmemory.ts';
import { packFlows } from '../gateway/packedflows.ts';
import type { EgressPolicy } from '../gateway/policy.ts';
import { loadNative } from '../port/native.ts';
import type { Rest } from '../port/port.ts';
import type { CaptureSpec } from './capture.ts';
import { counterMemory } from './counters.ts';
import { clearFdb, fdbMemory } from './fdb.ts';
import { loopMemory, servedIn } from './loopstats.ts';
import type {
  AttachedPort,
  Event,
  Order,
  PortSpec,
  SharedMemory,
  WorkerSettings,
  YieldedPort,
} from './messages.ts';
import { FrameRing, ringMemory } from './ring.ts';
import { Standing } from './standing.ts';

/** Frames that wait for the control thread, of which one port has half, and answers that wait for the data plane. */
const [PUNT_SLOTS, INJECT_SLOTS] = [4_096, 2_048];
/** Frames that are taken from the worker in one turn of the event loop, whose other work a flood must not hold up. */
const MAX_TAKEN = 256;
/** Answers after which the worker is woken while more are being worked out. */
const FEW_ANSWERS = 32;
/** A round of the worker takes microseconds; one that takes this long is a worker that has died. */
const COMMAND_TIMEOUT_MS = 2_000;
/** Workers that may die within a minute before the switch gives up. */
const MAX_DEATHS = 5;
const DEATHS_MS = 60_000;

export type PlaneSettings = Omit<WorkerSettings, 'memory' | 'wakeFd' | 'puntFd'>;

interface PlaneEvents {
  /** A frame for the control plane, and the index of the port that it came in on. */
  punt: [frame: Uint8Array<ArrayBuffer>, ingress: number];
  /** The device behind a port is gone; detach it. `fault`: what the port says of it, if that is more. */
  gone: [index: number, fault: string | undefined];
  /** The guest behind a port has come or gone, though the port stays. */
  carrier: [index: number, up: boolean];
  /** The worker ended without having been told to, and another goes on. `served`: the port whose frames it had, -1: none. */
  revived: [cause: Error, served: number];
  /** It has ended too often. */
  failed: [cause: Error];
}

export class Plane extends EventEmitter<PlaneEvents> {
  readonly memory: SharedMemory;
  readonly #native = loadNative();
  readonly #settings: WorkerSettings;
  readonly #standing = new Standing();
  #worker: Worker;
  /** When workers died, ms. */
  #deaths: number[] = [];
  readonly #inject: FrameRing;
  readonly #acknowledged: Int32Array;
  readonly #wakeFd = this.#native.eventCreate();
  readonly #puntFd = this.#native.eventCreate();
  readonly #watch: { close(): void };
  #commands = 0;
  /** The number of the last command that asked for no more than an answer. */
  #asked = 0;
  /** Injected frames that the worker was not asked to take yet; -1: it is asked for each. */
  #unsignalled = -1;
  /** Ports that wait for others; undefined: none do. */
  #gathered: Map<number, PortSpec> | undefined;
  /** By port index: the number of the command that attached what is there now. */
  readonly #attachments = new Map<number, number>();
  readonly #yielded = new Map<number, (rest: Rest | undefined) => void>();
  #stopping = false;
  #dead = false;

  constructor(settings: PlaneSettings) {
    super();
    this.memory = {
      counters: counterMemory(),
      loop: loopMemory(),
      fdb: fdbMemory(settings.maxMacs),
      flows: flowMemory(settings.gateway.maxFlows),
      neighbours: neighbourMemory(settings.gateway.mask),
      punt: ringMemory(PUNT_SLOTS),
      inject: ringMemory(INJECT_SLOTS),
      acknowledged: new SharedArrayBuffer(4),
    };
    this.#inject = new FrameRing(this.memory.inject);
    this.#acknowledged = new Int32Array(this.memory.acknowledged);
    this.#settings = { ...settings, memory: this.memory, wakeFd: this.#wakeFd, puntFd: this.#puntFd };
    this.#worker = this.#start(this.#settings);
    const punted = new FrameRing(this.memory.punt);
    punted.rest();
    this.#watch = this.#native.watch(this.#puntFd, () => this.#take(punted));
  }

  #start(workerData: WorkerSettings): Worker {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData });
    worker.on('message', (event: Event) => {
      if (this.#attachments.get(event.index) !== event.attachment) return;
      if (event.what === 'gone') this.emit('gone', event.index, event.fault);
      else if (event.what === 'carrier') this.emit('carrier', event.index, event.up);
      else this.#yielded.get(event.index)?.(event.rest);
    });
    worker.on('error', error => this.#end(worker, error));
    worker.on('exit', code =>
      this.#end(worker, new Error(`the data plane's thread ended with code ${code}`)),
    );
    return worker;
  }

  /**
   * Adds a port under a free index. The file stays the caller's; it must stay open till `detach` has returned. A transcript is closed
   * when it has been read.
   */
  attach(index: number, port: PortSpec): void {
    if (this.#gathered !== undefined) this.#gathered.set(index, port);
    else this.#attach([{ index, port }], new Int32Array(0));
  }

  /** Ports that are attached from now on wait for `begin`: else what one brings would find that others are not there yet. */
  gather(): void {
    this.#gathered = new Map();
  }

  /** Puts in all ports that wait, with what is known of MACs behind them (see the command), and serves them. */
  begin(macs: Int32Array): void {
    const ports = [...(this.#gathered ?? [])].map(([index, port]) => ({ index, port }));
    this.#gathered = undefined;
    this.#attach(ports, macs);
  }

  #attach(ports: readonly AttachedPort[], macs: Int32Array): void {
    this.#command({ do: 'attach', ports, macs });
    for (const { port } of ports) this.#closeTranscript(port);
  }

  #closeTranscript(port: PortSpec): void {
    if (port.kind === 'vhost-user' && port.transcript !== undefined) this.#native.close(port.transcript);
  }

  /** Takes a port out, with its FDB entries; when it returns, the worker no longer touches the port's file. */
  detach(index: number): void {
    const waiting = this.#gathered?.get(index);
    if (waiting !== undefined) {
      this.#gathered?.delete(index);
      this.#closeTranscript(waiting);
      return;
    }
    this.#attachments.delete(index);
    this.#standing.note({ do: 'detach', index });
    this.#command({ do: 'detach', index });
  }

  /**
   * Takes all ports out at one moment, so that none sends to one that has gone, and resolves with what these hold of their peers'
   * bytes; undefined: that one's connection can't be gone on with.
   */
  yield(ports: readonly YieldedPort[]): Promise<(Rest | undefined)[]> {
    const rests = ports.map(
      ({ index }) =>
        new Promise<Rest | undefined>(resolve => {
          this.#yielded.set(index, resolve);
        }),
    );
    this.#command({ do: 'yield', ports });
    return Promise.all(rests);
  }

  /** Flows and neighbours of a switch before this one, packed. */
  restore(flows: Int32Array, neighbours: Int32Array): void {
    this.#command({ do: 'restore', flows, neighbours });
  }

  /** Forgets what was learnt on a port. */
  flush(index: number): void {
    this.#command({ do: 'flush', index });
  }

  /** A port's index is another's from now on; nothing is attached there. */
  clear(index: number): void {
    this.#command({ do: 'clear', index });
  }

  /** Makes the gateway's port forwards those that are wanted. */
  forward(forwards: readonly NatForward[]): void {
    this.#command({ do: 'forward', forwards });
  }

  /** Makes another egress policy hold, with the same domains. Flows that are open stay so. */
  egress(policy: EgressPolicy): void {
    this.#command({ do: 'egress', policy });
  }

  /** Tells the gateway of names; when it returns, the addresses may be reached, or no longer. */
  names(learnt: Int32Array, forgotten: Int32Array): void {
    this.#command({ do: 'names', learnt, forgotten });
  }

  /** Tells whose addresses have come and gone; when it returns, they hold. See Bindings. */
  bind(added: Int32Array, removed: Int32Array): void {
    this.#command({ do: 'bind', added, removed });
  }

  /** Tells the gateway at which ports the host serves guests. */
  serve(port: number, aliasPort: number): void {
    this.#command({ do: 'serve', port, aliasPort });
  }

  /**
   * Asks the worker for a sign of life, without waiting for it. True when what was asked for by the call before has come;
   * till then nothing more is asked.
   */
  answers(): boolean {
    if (this.#stopping || this.#dead || Atomics.load(this.#acknowledged, 0) < this.#asked) return false;
    this.#asked = this.#post({ do: 'answer' });
    return true;
  }

  /** Begins to copy frames of a port, or of all, into a ring. */
  capture(capture: CaptureSpec): void {
    this.#command({ do: 'capture', capture });
  }

  endCapture(id: number): void {
    this.#command({ do: 'endCapture', id });
  }

  /** Hands out what the worker has punted. Answers that are given meanwhile wake it together. */
  #take(punted: FrameRing): void {
    this.#native.eventClear(this.#puntFd);
    const hand = (frame: Uint8Array<ArrayBuffer>, ingress: number): boolean =>
      this.emit('punt', frame, ingress);
    this.#unsignalled = 0;
    punted.look();
    let left = MAX_TAKEN;
    do {
      for (; left > 0 && punted.pop(hand); left--) if (this.#unsignalled >= FEW_ANSWERS) this.#wake();
    } while (left > 0 && !punted.rest());
    if (left === 0) this.#native.eventSignal(this.#puntFd); // go on in the next turn
    if (this.#unsignalled > 0) this.#wake();
    this.#unsignalled = -1;
  }

  /** A worker that is at work looks by itself. */
  #wake(): void {
    if (this.#unsignalled > 0) this.#unsignalled = 0;
    if (this.#inject.waits) this.#native.eventSignal(this.#wakeFd);
  }

  /** Sends a finished frame from the gateway: to one port, by the FDB (LOOK_UP) or to a guest (BY_ADDRESS). False: no room. */
  inject(frame: Uint8Array, egress: number): boolean {
    const taken = this.#inject.push(frame, 0, frame.length, egress);
    if (this.#unsignalled < 0) this.#wake();
    else this.#unsignalled++;
    return taken;
  }

  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const ended = new Promise<void>(resolve => this.#worker.once('exit', () => resolve()));
    this.#command({ do: 'stop' });
    await ended;
    this.#watch.close();
    this.#native.close(this.#wakeFd);
    this.#native.close(this.#puntFd);
  }

  #post(command: Order): number {
    const number = ++this.#commands;
    if (command.do === 'attach') for (const { index } of command.ports) this.#attachments.set(index, number);
    this.#worker.postMessage({ ...command, number });
    this.#native.eventSignal(this.#wakeFd);
    return number;
  }

  #command(command: Order): void {
    const number = this.#post(command);
    const deadline = performance.now() + COMMAND_TIMEOUT_MS;
    for (let seen = Atomics.load(this.#acknowledged, 0); seen < number; ) {
      const left = deadline - performance.now();
      if (left <= 0 || this.#dead) {
        this.#dead = true; // no later command need wait for it
        void this.#worker.terminate(); // nothing happens to one that is dead; one that is stuck is replaced
        throw new Error(`the data plane did not carry out '${command.do}' in ${COMMAND_TIMEOUT_MS} ms`);
      }
      Atomics.wait(this.#acknowledged, 0, seen, left);
      seen = Atomics.load(this.#acknowledged, 0);
    }
    this.#standing.note(command);
  }

  /** A worker has ended: of its own, or after an error that has been told already. */
  #end(worker: Worker, cause: Error): void {
    if (worker !== this.#worker || this.#stopping) return;
    const now = performance.now();
    this.#deaths = [...this.#deaths.filter(at => now - at < DEATHS_MS), now];
    if (this.#deaths.length > MAX_DEATHS) this.#fail(cause);
    else this.#revive(cause);
  }

  /** Tables that the worker may have left half written are made new, from what of them is whole. */
  #revive(cause: Error): void {
    const { memory } = this;
    const served = servedIn(memory.loop);
    const flows = packFlows(memory.flows, Math.floor(monotonicMs() / 1000));
    clearFlows(memory.flows);
    clearFdb(memory.fdb);
    clearNeighbours(memory.neighbours);
    if (this.#settings.gateway.callers !== undefined) clearCallers(this.#settings.gateway.callers);
    this.#inject.clear();
    this.#dead = false;
    this.#worker = this.#start({ ...this.#settings, flows });
    for (const order of this.#standing.orders()) this.#post(order);
    for (const index of this.#standing.lost())
      this.emit('gone', index, 'the data plane was started again, and has lost its place in it');
    this.emit('revived', cause, served);
  }

  #fail(cause: Error): void {
    this.#stopping = true;
    this.#dead = true;
    this.#watch.close();
    this.emit('failed', cause);
  }
}
