/**
 * The guests' ports, from the start and at run time: taps, which host/taps.ts follows, and sockets, which host/guestsockets.ts
 * opens. Both say what is there; here it goes to the data plane, into the table and into the log.
 *
 * A port that the operator has set down is held, but not served: a tap's frames wait and are lost, a socket is closed.
 */
import type { Config, PortConfig } from './config.ts';
import type { PortSpec } from './dataplane/messages.ts';
import type { Plane } from './dataplane/plane.ts';
import { OperatorError } from './errors.ts';
import { groupId, SOCKET_GROUP } from './host/group.ts';
import { GuestSockets, type HeldSocket, type SocketListener } from './host/guestsockets.ts';
import type { Journal } from './host/journal.ts';
import type { Locks } from './host/locks.ts';
import type { Shields } from './host/shield.ts';
import { TapFollower } from './host/taps.ts';
import type { HeldTap, TapListener } from './host/tapstate.ts';
import type { Log } from './log.ts';
import { PcapPorts } from './pcapports.ts';
import type { Native } from './port/native.ts';
import type { PortEntry, PortTable } from './porttable.ts';
import { type AnyPort, parseOne, portText, tapOf } from './settings/ports.ts';
import { Refusal } from './settings/schema.ts';

export interface PortsParts {
  readonly config: Config;
  readonly native: Native;
  readonly plane: Plane;
  readonly table: PortTable;
  readonly journal: Journal;
  readonly shields: Shields;
  readonly locks: Locks;
  readonly log: Log;
  /** What is open already, from a switch before this one. */
  readonly held?: HeldFiles | undefined;
  told(event: { readonly event: 'port-added' | 'port-removed'; readonly port: string }): void;
}

/** Open files of sockets and taps. */
export interface HeldFiles {
  readonly sockets: readonly HeldSocket[];
  readonly taps: readonly HeldTap[];
}

/** What a port is held by, though it may be set down. */
interface Held {
  readonly spec: PortSpec;
  carrier: boolean;
}

const HOW: Readonly<Record<string, string>> = {
  tap: 'served at its device end',
  packet: 'served at its interface end',
  stream: 'a guest has connected',
  dgram: 'served',
  'vhost-user': 'a front end has connected',
  pcap: 'its file is open',
};

/** Ports whose guests are there when their files are; the others say when. */
const THERE: readonly string[] = ['stream', 'pcap'];

export class Ports {
  readonly #parts: PortsParts;
  readonly #taps: TapFollower;
  readonly #sockets: GuestSockets;
  readonly #captures: PcapPorts;
  readonly #held = new Map<string, Held>();
  /** What the ports were made from, by name. */
  readonly #made = new Map<string, AnyPort>();
  readonly #adopted = new Set<string>();
  /** Changes go one after the other. */
  #work: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(parts: PortsParts) {
    this.#parts = parts;
    const { config, native, journal, shields, log } = parts;
    const warn = (sentence: string): void => log.warn(sentence);
    const taps: TapListener = {
      attach: (name, port, netns) => this.#attach(name, port, netns),
      detach: (name, reason) => this.#detach(name, reason),
      carrier: (name, up) => this.#carrier(name, up),
      located: (name, netns) => {
        parts.table.attached(name, 'tap', netns);
        log.info(`${name}: now in namespace ${netns}`);
      },
      warn,
    };
    const sockets: SocketListener = {
      attach: (name, port) => this.#attach(name, port, undefined),
      detach: (name, reason) => this.#detach(name, reason),
      added: (name, kind) => this.#enter(name, kind),
      removed: name => this.#leave(name),
      warn,
    };
    this.#taps = new TapFollower(native, config, journal, shields, taps, parts.held?.taps);
    this.#sockets = new GuestSockets({
      ...{ native, mtu: config.mtu, listener: sockets },
      group: groupId(SOCKET_GROUP),
    });
    this.#captures = new PcapPorts({ native, mtu: config.mtu, listener: sockets });
    for (const tap of config.taps) this.#made.set(tap.name, { kind: 'tap', ...tap });
    for (const port of config.ports) this.#made.set(port.name, port);
  }

  /** Opens all that the configuration names; throws when one can't be had. */
  async start(): Promise<void> {
    const { plane, table, config } = this.#parts;
    plane.on('gone', (index, fault) => {
      const name = table.nameOf(index);
      if (!this.#sockets.gone(name, fault) && !this.#captures.gone(name, fault)) this.#taps.gone(name);
    });
    plane.on('carrier', (index, up) => this.#carrier(table.nameOf(index), up));
    for (const port of config.ports) this.#start(port);
    await this.#taps.start();
  }

  /** What is open, for a process that is to go on with it; no guest is let in, no port comes or goes till `goOn`. */
  hold(): HeldFiles {
    this.#stopped = true;
    return { sockets: this.#sockets.hold(), taps: this.#taps.held() };
  }

  goOn(): void {
    this.#stopped = false;
    this.#sockets.goOn();
  }

  /** Ends all ports, and leaves as it is what they stand on; the taps that were open. */
  release(): HeldTap[] {
    this.#sockets.release();
    const taps = this.#taps.release();
    this.#captures.closeAll();
    return taps;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#work;
    this.#sockets.closeAll();
    this.#captures.closeAll();
    await this.#taps.stop();
  }

  /** One more port, as `--port` takes it. Throws a sentence, and nothing has changed. */
  add(text: string): Promise<void> {
    return this.#next(async () => {
      const port = parseOne(text);
      if (port instanceof Refusal) throw usage(`port ${JSON.stringify(text)}: ${port.why}`);
      const { table, log } = this.#parts;
      const { name } = port;
      if (table.has(name))
        throw usage(`port ${text}: there is a port ${name} already; expected another name`);
      if (name === this.#parts.config.name)
        throw usage(`port ${text}: ${name} is the switch's own name; expected another`);
      if (!this.#enter(name, port.kind))
        throw usage(`port ${text}: there are as many ports as a switch can have`);
      this.#made.set(name, port);
      try {
        await this.#open(port);
      } catch (error) {
        this.#leave(name);
        throw error;
      }
      log.info(`${name}: added, ${portText(port)}`);
    });
  }

  /** One less; a tap that the switch made is deleted. Throws a sentence, and nothing has changed. */
  remove(name: string): Promise<void> {
    return this.#next(async () => {
      const port = this.#known(name);
      await this.#close(port);
      this.#leave(name);
      this.#parts.log.info(`${name}: removed`);
    });
  }

  /** Up again, or down: no frame in or out, whatever the guest does. */
  set(name: string, up: boolean): Promise<void> {
    return this.#next(async () => {
      const port = this.#known(name);
      const entry = this.#entry(name);
      if (entry.disabled === !up) return;
      this.#parts.log.info(`${name}: set ${up ? 'up' : 'down'}`);
      entry.disabled = !up;
      if (port.kind === 'tap') this.#turn(entry, up);
      else if (up) this.#reopen(entry, port);
      else this.#end(port);
    });
  }

  /** The port that a guest of this name came by: itself, or the one that has several guests. */
  holderOf = (name: string): string => (this.#made.has(name) ? name : name.replace(/\.\d+$/, ''));

  /** As `--port` could have made it; undefined: it is the uplink, or one of several guests. */
  textOf(name: string): string | undefined {
    const port = this.#made.get(name);
    return port && portText(port);
  }

  /** All of them, as `--port` could have made them. */
  texts(): string[] {
    return [...this.#made.values()].map(portText);
  }

  #next<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#work.then(() => {
      if (this.#stopped) throw usage('the switch stops; expected one that runs');
      return task();
    });
    this.#work = done.catch(() => undefined);
    return done;
  }

  async #open(port: AnyPort): Promise<void> {
    if (port.kind !== 'tap') {
      this.#start(port);
      return;
    }
    const { locks, config } = this.#parts;
    if (port.netns === undefined) await locks.takeTap(port.name, config.name);
    try {
      await this.#taps.add(tapOf(port));
    } catch (error) {
      await locks.releaseTap(port.name);
      throw error;
    }
  }

  async #close(port: AnyPort): Promise<void> {
    if (port.kind !== 'tap') {
      this.#end(port);
      return;
    }
    await this.#taps.remove(port.name);
    await this.#parts.locks.releaseTap(port.name);
  }

  #start(port: PortConfig): void {
    if (port.kind === 'pcap') this.#captures.open(port);
    else this.#sockets.open(port, this.#heldSocket(port.name));
  }

  /** Once: what is opened again is opened anew. */
  #heldSocket(name: string): HeldSocket | undefined {
    const found = this.#parts.held?.sockets.find(held => held.name === name);
    if (found === undefined || this.#adopted.has(name)) return undefined;
    this.#adopted.add(name);
    return found;
  }

  #end({ kind, name }: PortConfig): void {
    if (kind === 'pcap') this.#captures.close(name);
    else this.#sockets.close(name);
  }

  #reopen(entry: PortEntry, port: PortConfig): void {
    try {
      this.#start(port);
    } catch (error) {
      entry.disabled = true;
      throw error;
    }
  }

  /** A tap's file stays open, whoever serves it. */
  #turn(entry: PortEntry, up: boolean): void {
    const { plane, table } = this.#parts;
    const held = this.#held.get(entry.name);
    if (held === undefined) return;
    if (up) plane.attach(entry.index, held.spec);
    else plane.detach(entry.index);
    table.carrier(entry.name, up && held.carrier);
  }

  #known(name: string): AnyPort {
    const port = this.#made.get(name);
    if (port !== undefined) return port;
    const { table, config } = this.#parts;
    const entry = table.find(name);
    if (entry === undefined)
      throw usage(
        `there is no port ${name}; expected one of ${table.guests().join(', ') || 'none, as there are none'}`,
      );
    if (entry.origin === 'uplink')
      throw usage(`${name} is the uplink of ${config.name}; expected a guest's port`);
    throw usage(`${name} is a further guest of ${this.holderOf(name)}; expected that port`);
  }

  #entry(name: string): PortEntry {
    return this.#parts.table.find(name)!;
  }

  #attach(name: string, spec: PortSpec, netns: string | undefined): void {
    const { plane, table, log } = this.#parts;
    const entry = this.#entry(name);
    this.#held.set(name, { spec, carrier: false });
    if (!entry.disabled) plane.attach(entry.index, spec);
    table.attached(name, spec.kind, netns);
    log.info(`${name}: ${HOW[spec.kind]}${netns === undefined ? '' : ` in namespace ${netns}`}`);
    if (THERE.includes(spec.kind)) this.#carrier(name, true);
  }

  #detach(name: string, reason: string): void {
    const { plane, table, log } = this.#parts;
    this.#held.delete(name);
    plane.detach(table.indexOf(name));
    table.detached(name);
    log.info(`${name}: down, ${reason}`);
  }

  #carrier(name: string, up: boolean): void {
    const { plane, table, log } = this.#parts;
    const held = this.#held.get(name);
    const entry = table.find(name);
    if (held === undefined || entry === undefined) return;
    held.carrier = up;
    if (table.carrier(name, up && !entry.disabled)) log.info(`${name}: ${up ? 'up' : 'no guest'}`);
    if (!up && !entry.disabled) plane.flush(entry.index);
  }

  #enter(name: string, kind: AnyPort['kind']): boolean {
    const { table, plane, told } = this.#parts;
    if (!table.add(name, kind)) return false;
    plane.clear(table.indexOf(name));
    told({ event: 'port-added', port: name });
    return true;
  }

  #leave(name: string): void {
    const { table, told } = this.#parts;
    this.#made.delete(name);
    table.remove(name);
    told({ event: 'port-removed', port: name });
  }
}

const usage = (message: string): OperatorError => new OperatorError(message, { code: 'Usage' });
