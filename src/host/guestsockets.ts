/**
 * Unix sockets that guests' monitors plug into: made and listened on, or connected to, and again when they are gone. Each
 * connection that carries frames is a port's file for the data plane.
 *
 *   server     listens ──guest connects──► served ──it leaves──► listens     several on one path: NAME, NAME.2, NAME.3 …
 *   client     tries every second ──────► served ──it leaves──► tries
 *   datagrams  bound, and served from then on
 */
import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import type { SocketConfig } from '../config.ts';
import type { PortSpec } from '../dataplane/messages.ts';
import { OperatorError } from '../errors.ts';
import type { Native } from '../port/native.ts';
import type { Rest } from '../port/port.ts';

/** Who may connect: the owner and the socket's group. */
const SOCKET_MODE = 0o660;
/** How long, and how many, wait for a port whose last guest may have gone already. */
const WAIT_MS = 500;
const MOST_WAITING = 8;
const RETRY_MS = 1_000;

export interface SocketListener {
  /** A guest is there: its port is served from now on; the file stays open till `detach` has returned. */
  attach(name: string, port: PortSpec): void;
  detach(name: string, reason: string): void;
  /** A further guest of a server needs a port of this name; false: that can't be had. */
  added(name: string, kind: SocketConfig['kind']): boolean;
  removed(name: string): void;
  warn(sentence: string): void;
}

export interface SocketParts {
  readonly native: Native;
  readonly mtu: number;
  /** Whose group the sockets get; undefined: the switch's own. */
  readonly group: number | undefined;
  readonly listener: SocketListener;
}

interface Opened {
  readonly config: SocketConfig;
  /** Listening; -1: none. */
  readonly fd: number;
  /** What was made at the path, so that nothing else is removed from there. */
  readonly inode: bigint | undefined;
  watch: { close(): void } | undefined;
  retry: NodeJS.Timeout | undefined;
  /** By port name. */
  readonly guests: Map<string, number>;
  /** Connections for which there is no port yet, the first first, each with when it is sent away. */
  readonly waiting: Map<number, NodeJS.Timeout>;
}

/** A socket that is open already, and its guests' connections. */
export interface HeldSocket {
  readonly name: string;
  /** Listening, or of datagrams; -1: none. */
  readonly fd: number;
  readonly guests: readonly HeldGuest[];
  /** Of a socket for datagrams. */
  readonly rest?: Rest | undefined;
}

/** A connection, with what its port held: by its kind bytes, or a socket with a transcript. */
export interface HeldGuest {
  readonly name: string;
  readonly fd: number;
  readonly rest?: Rest | undefined;
  readonly transcript?: number | undefined;
}

export class GuestSockets {
  readonly #parts: SocketParts;
  readonly #opened = new Map<string, Opened>();
  /** Which of them a port belongs to. */
  readonly #owners = new Map<string, Opened>();
  readonly #warned = new Set<string>();

  constructor(parts: SocketParts) {
    this.#parts = parts;
  }

  /** Makes a port's socket, or begins to look for its peer; throws a sentence when the path can't be had. */
  open(config: SocketConfig, held?: HeldSocket): void {
    const { native } = this.#parts;
    const nothing = {
      ...{ config, watch: undefined, retry: undefined },
      ...{ guests: new Map<string, number>(), waiting: new Map<number, NodeJS.Timeout>() },
    };
    if (config.kind !== 'dgram' && config.mode === 'client') {
      const opened: Opened = { ...nothing, fd: -1, inode: undefined };
      this.#opened.set(config.name, opened);
      const [guest] = held?.guests ?? [];
      if (guest === undefined) this.#connect(opened);
      else this.#serve(opened, guest.name, guest.fd, guest);
      return;
    }
    const fd = held?.fd ?? this.#make(config);
    const opened: Opened = { ...nothing, fd, inode: inodeOf(config.path) };
    this.#opened.set(config.name, opened);
    if (config.kind === 'dgram')
      this.#serve(opened, config.name, fd, { name: config.name, fd, rest: held?.rest });
    else {
      for (const guest of held?.guests ?? [])
        if (guest.name === config.name || this.#parts.listener.added(guest.name, config.kind))
          this.#serve(opened, guest.name, guest.fd, guest);
        else native.close(guest.fd);
      this.#watch(opened);
    }
  }

  #watch(opened: Opened): void {
    opened.watch = this.#parts.native.watch(opened.fd, () => this.#accept(opened));
  }

  /** Lets nobody in any more, and tells what is open. */
  hold(): HeldSocket[] {
    return [...this.#opened.values()].map(opened => {
      const { config, fd, guests, watch } = opened;
      watch?.close();
      this.#forget(opened);
      const kept = config.kind === 'dgram' ? [] : [...guests];
      return { name: config.name, fd, guests: kept.map(([name, fd]) => ({ name, fd })) };
    });
  }

  /** Lets guests in again. */
  goOn(): void {
    for (const opened of this.#opened.values()) if (opened.watch !== undefined) this.#watch(opened);
  }

  /** Ends all ports, and leaves their sockets to who has them too. */
  release(): void {
    for (const opened of this.#opened.values()) {
      clearTimeout(opened.retry);
      for (const name of [...opened.guests.keys()])
        this.#end(opened, name, 'another process goes on with it');
    }
    this.#opened.clear();
  }

  /** Ends a port, with all its guests' connections. */
  close(name: string): void {
    const opened = this.#opened.get(name);
    if (opened === undefined) return;
    this.#opened.delete(name);
    opened.watch?.close();
    clearTimeout(opened.retry);
    this.#forget(opened);
    for (const port of [...opened.guests.keys()]) this.#end(opened, port, 'it was removed');
    if (opened.config.kind !== 'dgram' && opened.fd >= 0) this.#parts.native.close(opened.fd);
    if (opened.inode !== undefined && inodeOf(opened.config.path) === opened.inode)
      unlinkSync(opened.config.path);
  }

  closeAll(): void {
    for (const name of [...this.#opened.keys()]) this.close(name);
  }

  /** The data plane has lost a port's connection. `fault`: what the port says of that. False: it is none of these. */
  gone(name: string, fault: string | undefined): boolean {
    const opened = this.#owners.get(name);
    if (opened === undefined) return false;
    this.#end(opened, name, fault ?? 'its connection is gone');
    this.#admit(opened);
    if (opened.config.kind === 'dgram') this.#again(opened);
    else if (opened.config.mode === 'client') this.#later(opened);
    return true;
  }

  #serve(opened: Opened, name: string, fd: number, held?: HeldGuest): void {
    const { config } = opened;
    const { mtu, listener } = this.#parts;
    opened.guests.set(name, fd);
    this.#owners.set(name, opened);
    this.#warned.delete(config.name);
    const file = { name, fd, mtu };
    if (config.kind === 'dgram')
      listener.attach(name, { ...file, kind: 'dgram', peer: config.peer, rest: held?.rest });
    else if (config.kind === 'stream') listener.attach(name, { ...file, kind: 'stream', rest: held?.rest });
    else {
      const { queues } = config;
      listener.attach(name, { ...file, kind: 'vhost-user', queues, transcript: held?.transcript });
    }
  }

  #end(opened: Opened, name: string, reason: string): void {
    const fd = opened.guests.get(name);
    if (fd === undefined) return;
    opened.guests.delete(name);
    this.#owners.delete(name);
    this.#parts.listener.detach(name, reason);
    this.#parts.native.close(fd);
    if (name !== opened.config.name) this.#parts.listener.removed(name);
  }

  #accept(opened: Opened): void {
    const { native } = this.#parts;
    for (;;) {
      const fd = native.acceptUnix(opened.fd);
      if (fd < 0) return;
      const name = this.#place(opened);
      if (name !== undefined) this.#serve(opened, name, fd);
      else if (opened.waiting.size >= MOST_WAITING) this.#sendAway(opened, fd);
      else opened.waiting.set(fd, setTimeout(() => this.#sendAway(opened, fd), WAIT_MS).unref());
    }
  }

  /** A guest that comes back may be here before the end of its last connection is known: it gets the port that is free then. */
  #admit(opened: Opened): void {
    const [next] = opened.waiting;
    const name = next && this.#place(opened);
    if (next === undefined || name === undefined) return;
    const [fd, timer] = next;
    clearTimeout(timer);
    opened.waiting.delete(fd);
    this.#serve(opened, name, fd);
  }

  #sendAway(opened: Opened, fd: number): void {
    const { native, listener } = this.#parts;
    opened.waiting.delete(fd);
    native.close(fd);
    const { name, path } = opened.config;
    if (!this.#warned.has(name))
      listener.warn(`${name}: a guest at ${path} was sent away: there are as many as may be`);
    this.#warned.add(name);
  }

  /** Of a port that ends: without a word, as the path is gone. */
  #forget({ waiting }: Opened): void {
    for (const [fd, timer] of waiting) {
      clearTimeout(timer);
      this.#parts.native.close(fd);
    }
    waiting.clear();
  }

  /** The name of the port that the next guest gets; undefined: there is none. */
  #place({ config, guests }: Opened): string | undefined {
    if (!guests.has(config.name)) return config.name;
    const most = config.kind === 'stream' ? config.guests : 1;
    for (let number = 2; guests.size < most; number++) {
      const name = `${config.name}.${number}`;
      if (guests.has(name)) continue;
      if (this.#parts.listener.added(name, config.kind)) return name;
      if (number > most) return undefined;
    }
    return undefined;
  }

  #connect(opened: Opened): void {
    const { config } = opened;
    try {
      this.#serve(opened, config.name, this.#parts.native.connectUnix(config.path));
    } catch (error) {
      if (!this.#warned.has(config.name))
        this.#parts.listener.warn(
          `${config.name}: nobody answers at ${config.path} (${(error as NodeJS.ErrnoException).code}); it is tried every second`,
        );
      this.#warned.add(config.name);
      this.#later(opened);
    }
  }

  #later(opened: Opened): void {
    if (this.#opened.get(opened.config.name) !== opened) return;
    opened.retry = setTimeout(() => this.#connect(opened), RETRY_MS);
    opened.retry.unref();
  }

  /** A socket for datagrams that failed is made anew. */
  #again({ config }: Opened): void {
    try {
      this.close(config.name);
      this.open(config);
    } catch (error) {
      this.#parts.listener.warn((error as Error).message);
    }
  }

  #make(config: SocketConfig): number {
    const { native } = this.#parts;
    const make = (): number =>
      config.kind === 'dgram' ? native.bindDatagrams(config.path) : native.listenUnix(config.path);
    try {
      const fd = this.#pastTheStale(config.path, make);
      this.#own(fd, config.path);
      return fd;
    } catch (cause) {
      const { code = '' } = cause as NodeJS.ErrnoException;
      const taken = code === 'EADDRINUSE';
      throw new OperatorError(
        `--port ${config.kind}:${config.path}: ${taken ? `${config.path} is in use` : `no socket can be made at ${config.path} (${code})`}; ` +
          `expected ${EXPECTED[code] ?? 'a path that a socket can be made at'}`,
        { code: taken ? 'Busy' : 'Usage', cause },
      );
    }
  }

  /** For the owner and the group; where that can't be had, nothing is left of the socket. */
  #own(fd: number, path: string): void {
    const { native, group } = this.#parts;
    try {
      chmodSync(path, SOCKET_MODE);
      if (group !== undefined) chownSync(path, -1, group);
    } catch (error) {
      native.close(fd);
      unlinkSync(path);
      throw error;
    }
  }

  /** A socket file that nobody listens at any more is replaced; anything else at the path stays. */
  #pastTheStale(path: string, make: () => number): number {
    try {
      return make();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !this.#isStale(path)) throw error;
      unlinkSync(path);
      return make();
    }
  }

  #isStale(path: string): boolean {
    if (!lstatSync(path).isSocket()) return false;
    try {
      this.#parts.native.close(this.#parts.native.connectUnix(path));
      return false;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
    }
  }
}

const EXPECTED: Readonly<Record<string, string>> = {
  EADDRINUSE: 'a path that nothing else has',
  ENOENT: 'its folder to be there',
  ENOTDIR: 'its folder to be one',
  EACCES: 'a folder that can be written',
  EROFS: 'a folder that can be written',
};

function inodeOf(path: string): bigint | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}
