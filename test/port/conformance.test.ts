// timeout: 60 s
/** Ports that are sockets or captures, held to what every port owes (conformance.ts). A new kind is one more entry of the table. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import type { SocketConfig } from '../../src/config.ts';
import type { PortSpec } from '../../src/dataplane/messages.ts';
import { GuestSockets } from '../../src/host/guestsockets.ts';
import { DgramPort } from '../../src/port/dgram.ts';
import { loadNative } from '../../src/port/native.ts';
import { RecordPort } from '../../src/port/pcap/record.ts';
import { ReplayPort } from '../../src/port/pcap/replay.ts';
import { PcapRing, pcapRingMemory } from '../../src/port/pcap/ring.ts';
import { StreamPort } from '../../src/port/stream.ts';
import { VhostPort } from '../../src/port/vhost/port.ts';
import { conforms, type Kind, type Opened, type Peer, type Socket } from './conformance.ts';
import { DgramGuest } from './dgram-guest.ts';
import { hostThat } from './host.ts';
import { VhostGuest } from './vhost/guest.ts';

const native = loadNative();
/** So that the largest frames pass unsegmented. */
const MTU = 65_500;
/** Of a capture's ring, and of a frame in it. */
const [PCAP_BYTES, SNAP_LENGTH] = [1 << 22, 1 << 18];

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

/** The switch's end of a socket, as the switch keeps it. */
function openSocket(config: SocketConfig, socket: Socket): Opened {
  const sockets = new GuestSockets({
    native,
    mtu: MTU,
    group: undefined,
    listener: {
      attach: (_, spec) => socket.attach(portOf(spec)),
      detach: () => socket.detach(),
      added: () => false,
      removed: () => undefined,
      warn: () => undefined,
    },
  });
  sockets.open(config);
  return { gone: fault => void sockets.gone(config.name, fault), close: () => sockets.closeAll() };
}

const ofSockets = { ways: 'both', counts: true, largest: 65_514 } as const;

const stream = (mode: Mode): Kind => ({
  ...ofSockets,
  name: `stream, ${mode}`,
  offloads: false,
  open: (folder, socket) =>
    openSocket({ kind: 'stream', name: 'g', path: at(folder), mode, guests: 1 }, socket),
  peer: folder => new StreamPeer(folder, mode),
});

const vhost = (mode: Mode): Kind => ({
  ...ofSockets,
  name: `vhost-user, ${mode}`,
  offloads: true,
  open: (folder, socket) =>
    openSocket({ kind: 'vhost-user', name: 'g', path: at(folder), mode, queues: 1 }, socket),
  peer: folder => new VhostPeer(folder, mode),
});

const dgram = (named: boolean): Kind => ({
  ...ofSockets,
  name: `dgram, peer ${named ? 'named' : 'learnt'}`,
  offloads: false,
  open: (folder, socket) => {
    const peer = named ? join(folder, 'guest.sock') : undefined;
    return openSocket({ kind: 'dgram', name: 'g', path: at(folder), peer }, socket);
  },
  peer: folder => new DgramPeer(folder),
});

/** A capture file's thread has the other end of a ring; here the test has. */
class PcapPeer implements Peer {
  readonly memory = pcapRingMemory(PCAP_BYTES);
  readonly #ring = new PcapRing(this.memory);
  #turn = (): void => undefined;

  arrive(turn: () => void): boolean {
    this.#turn = turn;
    return true;
  }

  send(frame: Uint8Array): void {
    const reserve = (): number => this.#ring.reserve(frame.length, frame.length, 1, 0);
    let place = reserve();
    for (; place < 0; place = reserve()) this.#turn();
    this.#ring.bytes.set(frame, place);
    this.#ring.commit();
  }

  received(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    while (this.#ring.next())
      frames.push(this.#ring.bytes.slice(this.#ring.at, this.#ring.at + this.#ring.kept));
    this.#ring.release();
    return frames;
  }

  kill(): void {}
}

function pcap(mode: 'record' | 'replay'): Kind {
  let peer = new PcapPeer();
  return {
    name: `pcap, ${mode}`,
    ways: mode === 'record' ? 'out' : 'in',
    counts: true,
    offloads: false,
    largest: 65_514,
    open(_, socket) {
      let fd = native.eventCreate();
      socket.attach(
        mode === 'record'
          ? new RecordPort('g', fd, peer.memory, SNAP_LENGTH)
          : new ReplayPort('g', fd, MTU, peer.memory, host),
      );
      return {
        gone: () => undefined,
        close() {
          if (fd < 0) return;
          socket.detach();
          native.close(fd);
          fd = -1;
        },
      };
    },
    peer: () => (peer = new PcapPeer()),
  };
}

for (const kind of [
  stream('server'),
  stream('client'),
  dgram(true),
  dgram(false),
  vhost('server'),
  vhost('client'),
  pcap('record'),
  pcap('replay'),
])
  conforms(kind);

test.run();
