/**
 * DNS at the gateway's address as the host has it: by TCP for guests whose answer was cut, and both ways for the host's own
 * programs. What comes from elsewhere is not answered: whoever may be asked by anybody is used to flood others.
 *
 * A connection costs memory till it ends, so there are few of an address and not many in all; one that says nothing for ten
 * seconds is closed, as is one that does not read what it asked for. A guest may have many addresses: where there are too many
 * connections the one that has been quiet for longest makes room. RFC 7766.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { DNS_PORT } from '../../wire/dns.ts';
import type { Answering } from './service.ts';

const IDLE_MS = 10_000;
const MAX_CONNECTIONS = 128;
const MAX_OF_ONE = 8;
/** Questions of a connection that wait for their answers; then it is not read any further. */
const MAX_PIPELINED = 32;
/** Bytes of the longest question that is taken, and of answers that wait for their reader. */
const [MAX_QUERY, MAX_UNREAD] = [4_096, 262_144];
const LENGTH = 2;

export interface ListenOptions {
  readonly address: string;
  readonly resolver: Answering;
  /** Other ports for tests. */
  readonly port?: number;
  readonly idleMs?: number;
  /** Who it is, for the resolver's shares: guests or the host itself; undefined: neither. */
  client(address: string): number | undefined;
  /** Sees what a guest is told, before it is sent. */
  answered(address: string, response: Uint8Array): void;
}

export type ListenCounters = Record<
  'queries' | 'udpQueries' | 'connections' | 'strangers' | 'tooMany' | 'ended' | 'slow' | 'broken',
  number
>;

interface Connection {
  readonly address: string;
  /** Questions without an answer yet. */
  waiting: number;
}

export class DnsListener {
  readonly counters: ListenCounters = {
    ...{ queries: 0, udpQueries: 0, connections: 0, strangers: 0, tooMany: 0, ended: 0, slow: 0, broken: 0 },
  };
  readonly #options: ListenOptions;
  readonly #server: Server;
  readonly #udp: UdpSocket;
  /** The one that spoke last comes last. */
  readonly #open = new Map<Socket, Connection>();
  #closed = false;

  constructor(options: ListenOptions) {
    this.#options = options;
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, socket => this.#accept(socket));
    this.#udp = createSocket('udp4', (query, from) => this.#datagram(query, from));
    this.#udp.on('error', () => undefined); // nobody reads what was sent to him
  }

  /** Takes the address; rejects when somebody else has it. */
  async listen(): Promise<void> {
    const { address, port = DNS_PORT } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: address, port }, resolve);
    });
    await new Promise<void>((resolve, reject) => {
      this.#udp.once('error', reject);
      this.#udp.bind({ address, port: this.port, exclusive: true }, resolve);
    });
    this.#server.on('error', () => undefined); // one connection that could not be taken
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const socket of this.#open.keys()) socket.destroy();
    await new Promise<void>(resolve => this.#server.close(() => resolve()));
    await new Promise<void>(resolve => {
      try {
        this.#udp.close(() => resolve());
      } catch {
        resolve(); // it was never open
      }
    });
  }

  #datagram(query: Uint8Array, { address, port }: RemoteInfo): void {
    const client = this.#options.client(address);
    if (client === undefined) {
      this.counters.strangers++;
      return;
    }
    this.counters.udpQueries++;
    const send = (response: Uint8Array | undefined): void => {
      if (response === undefined || this.#closed) return;
      this.#options.answered(address, response);
      this.#udp.send(response, port, address, () => undefined);
    };
    this.#options.resolver.resolve(query, false, send, client);
  }

  #accept(socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    socket.on('error', () => undefined); // it closes then
    const refuse = (why: 'strangers' | 'tooMany'): void => {
      this.counters[why]++;
      socket.destroy();
    };
    const client = this.#options.client(address);
    if (client === undefined) {
      refuse('strangers');
      return;
    }
    const same = [...this.#open.values()].filter(other => other.address === address).length;
    if (same >= MAX_OF_ONE || (this.#open.size >= MAX_CONNECTIONS && !this.#makeRoom())) {
      refuse('tooMany');
      return;
    }
    this.counters.connections++;
    const connection = { address, waiting: 0 };
    this.#open.set(socket, connection);
    socket.on('close', () => this.#open.delete(socket));
    socket.setTimeout(this.#options.idleMs ?? IDLE_MS, () => socket.destroy());
    this.#converse(socket, connection, client);
  }

  /** Ends the connection that has been quiet for longest, of those where nobody waits for an answer; is there one? */
  #makeRoom(): boolean {
    for (const [socket, { waiting }] of this.#open) {
      if (waiting > 0) continue;
      this.counters.ended++;
      this.#open.delete(socket);
      socket.destroy();
      return true;
    }
    return false;
  }

  /** Questions are answered as their answers come, in whatever order (RFC 7766 §7). */
  #converse(socket: Socket, connection: Connection, client: number): void {
    let unread: Buffer = Buffer.alloc(0);
    let ended = false;
    const answered = (response: Uint8Array | undefined): void => {
      connection.waiting--;
      this.#send(socket, connection.address, response);
      if (ended && connection.waiting === 0) socket.end();
      else if (socket.isPaused()) setImmediate(go);
    };
    const go = (): void => {
      while (connection.waiting < MAX_PIPELINED && unread.length >= LENGTH && !socket.destroyed) {
        const bytes = unread.readUInt16BE(0);
        if (bytes > MAX_QUERY) {
          this.counters.broken++;
          socket.destroy();
          return;
        }
        if (unread.length < LENGTH + bytes) break;
        const query = unread.subarray(LENGTH, LENGTH + bytes);
        unread = unread.subarray(LENGTH + bytes);
        this.counters.queries++;
        connection.waiting++;
        this.#options.resolver.resolve(query, true, answered, client);
      }
      if (connection.waiting >= MAX_PIPELINED) socket.pause();
      else if (socket.isPaused()) socket.resume();
    };
    socket.on('data', (chunk: Buffer) => {
      if (this.#open.delete(socket)) this.#open.set(socket, connection);
      unread = unread.length === 0 ? chunk : Buffer.concat([unread, chunk]);
      go();
    });
    socket.on('end', () => {
      ended = true;
      if (connection.waiting === 0) socket.end();
    });
  }

  #send(socket: Socket, address: string, response: Uint8Array | undefined): void {
    if (socket.destroyed) return;
    if (response === undefined) {
      socket.destroy(); // what was asked was no question
      return;
    }
    this.#options.answered(address, response);
    const length = Buffer.alloc(LENGTH);
    length.writeUInt16BE(response.length);
    socket.write(Buffer.concat([length, response])); // one segment
    if (socket.writableLength <= MAX_UNREAD) return;
    this.counters.slow++;
    socket.destroy();
  }
}
