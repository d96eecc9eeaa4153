// timeout: 60 s
/** Kinds of ports that are sockets, held to what every port owes (conformance.ts). A new kind is one more entry of the table. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import type { SocketConfig } from '../../src/config.ts';
import type { PortSpec } from '../../src/dataplane/messages.ts';
import { DgramPort } from '../../src/port/dgram.ts';
import { loadNative } from '../../src/port/native.ts';
import { StreamPort } from '../../src/port/stream.ts';
import { VhostPort } from '../../src/port/vhost/port.ts';
import { conforms, type Kind, type Peer } from './conformance.ts';
import { DgramGuest } from './dgram-guest.ts';
import { hostThat } from './host.ts';
import { VhostGuest } from './vhost/guest.ts';

const native = loadNative();

type Mode = 'server' | 'client';
const at = (folder: string): string => join(folder, 'port.sock');

/** The peer's end of a connection: made to the switch's socket, or taken at one that the switch connects to. */
class Connection {
  #listening = -1;
  fd = -1;
  readonly #path: string;

  constructor(folder: string, mode: Mode) {
    this.#path = at(folder);
    if (mode === 'client') this.#listening = native.listenUnix(this.#path);
  }

  made(): boolean {
    if (this.fd < 0)
      this.fd = this.#listening < 0 ? native.connectUnix(this.#path) : native.acceptUnix(this.#listening);
    return this.fd >= 0;
  }

  /** `own`: the connection is closed by its user. */
  close(own = false): void {
    if (this.fd >= 0 && !own) native.close(this.fd);
    this.fd = -1;
    if (this.#listening < 0) return;
    native.close(this.#listening);
    this.#listening = -1;
    rmSync(this.#path);
  }
}

class StreamPeer implements Peer {
  readonly #connection: Connection;
  readonly #buffer = new Uint8Array(1 << 20);
  #rest: Buffer = Buffer.alloc(0);
  #turn = (): void => undefined;

  constructor(folder: string, mode: Mode) {
    this.#connection = new Connection(folder, mode);
  }

  arrive(turn: () => void): boolean {
    this.#turn = turn;
    return this.#connection.made();
  }

  send(frame: Uint8Array): void {
    const bytes = Buffer.alloc(4 + frame.length);
    bytes.writeUInt32BE(frame.length);
    bytes.set(frame, 4);
    for (let sent = 0; sent < bytes.length; ) {
      const took = native.sendBytes(this.#connection.fd, bytes, sent, bytes.length);
      if (took < 0) throw new Error(`errno ${-took}`);
      sent += took;
      if (took === 0) this.#turn();
    }
  }

  received(): Uint8Array[] {
    const parts = [this.#rest];
    for (;;) {
      const got = native.receiveBytes(this.#connection.fd, this.#buffer, 0, this.#buffer.length);
      if (got <= 0) break;
      parts.push(Buffer.from(this.#buffer.slice(0, got)));
    }
    let all = Buffer.concat(parts);
    const frames: Uint8Array[] = [];
    while (all.length >= 4 && all.length >= 4 + all.readUInt32BE()) {
      const end = 4 + all.readUInt32BE();
      frames.push(all.subarray(4, end));
      all = all.subarray(end);
    }
    this.#rest = all;
    return frames;
  }

  kill(): void {
    this.#connection.close();
  }
}

class VhostPeer implements Peer {
  readonly #connection: Connection;
  #guest: VhostGuest | undefined;

  constructor(folder: string, mode: Mode) {
    this.#connection = new Connection(folder, mode);
  }

  arrive(turn: () => void): boolean {
    if (!this.#connection.made()) return false;
    if (this.#guest !== undefined) return true;
    // What it says waits in the socket till the switch has the connection.
    this.#guest = new VhostGuest({}, this.#connection.fd);
    this.#guest.start(turn);
    this.#offer();
    return true;
  }

  send(frame: Uint8Array): void {
    this.#guest?.send(frame);
  }

  received(): Uint8Array[] {
    const frames = this.#guest?.received().map(({ frame }) => frame) ?? [];
    this.#offer();
    return frames;
  }

  kill(): void {
    this.#guest?.close();
    this.#connection.close(this.#guest !== undefined);
    this.#guest = undefined;
  }

  #offer(): void {
    this.#guest?.fill(this.#guest.queues[0]!.free.length);
  }
}

class DgramPeer implements Peer {
  readonly #guest: DgramGuest;
  #turn = (): void => undefined;

  constructor(folder: string) {
    this.#guest = new DgramGuest(join(folder, 'guest.sock'), at(folder));
  }

  arrive(turn: () => void): boolean {
    this.#turn = turn;
    return true;
  }

  send(frame: Uint8Array): void {
    while (!this.#guest.send(frame)) this.#turn();
  }

  received(): Uint8Array[] {
    return this.#guest.received();
  }

  kill(): void {
    this.#guest.close();
  }
}

const host = hostThat();

function portOf(spec: PortSpec): StreamPort | DgramPort | VhostPort {
  if (spec.kind === 'stream') return new StreamPort(spec.name, spec.fd, spec.mtu, host);
  if (spec.kind === 'dgram') return new DgramPort(spec.name, spec.fd, spec.mtu, spec.peer, host);
  if (spec.kind === 'vhost-user')
    return new VhostPort(spec.name, spec.fd, spec.mtu, spec.queues, undefined, host);
  throw new Error(`no ${spec.kind} here`);
}

const stream = (mode: Mode): Kind => ({
  name: `stream, ${mode}`,
  offloads: false,
  largest: 65_514,
  config: (folder): SocketConfig => ({ kind: 'stream', name: 'g', path: at(folder), mode, guests: 1 }),
  portOf,
  peer: folder => new StreamPeer(folder, mode),
});

const vhost = (mode: Mode): Kind => ({
  name: `vhost-user, ${mode}`,
  offloads: true,
  largest: 65_514,
  config: (folder): SocketConfig => ({ kind: 'vhost-user', name: 'g', path: at(folder), mode, queues: 1 }),
  portOf,
  peer: folder => new VhostPeer(folder, mode),
});

const dgram = (named: boolean): Kind => ({
  name: `dgram, peer ${named ? 'named' : 'learnt'}`,
  offloads: false,
  largest: 65_514,
  config: (folder): SocketConfig => ({
    kind: 'dgram',
    name: 'g',
    path: at(folder),
    peer: named ? join(folder, 'guest.sock') : undefined,
  }),
  portOf,
  peer: folder => new DgramPeer(folder),
});

for (const kind of [
  stream('server'),
  stream('client'),
  dgram(true),
  dgram(false),
  vhost('server'),
  vhost('client'),
])
  conforms(kind);

test.run();
