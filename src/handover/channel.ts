/**
 * What a switch and its successor tell each other, a line of JSON each over a socket that the successor has from its start:
 *
 *   old                                        new
 *   hello: what it does, its open files ─────►  starts, looks at the host
 *                                       ◄─────  ready
 *   ends its control plane, control ─────────►  takes locks, leases, names; makes the host's rules its own
 *                                       ◄─────  data
 *   lets go of its ports, data: flows … ─────►  serves the ports
 */
import type { Socket } from 'node:net';
import type { Given } from '../config/given.ts';

/** In the environment of a successor. */
export const SUCCEEDS = 'VSWITCHD_SUCCEEDS';
/** Of the messages; another one each time that they change, as the two may be different programs: an upgrade. */
export const FORM = 2;
/** A successor's files: the channel, and behind it what its predecessor had open. */
export const CHANNEL_FILE = 3;

/** A socket's port. Files are the successor's own. */
export interface LeftSocket {
  readonly name: string;
  /** Listening, or of datagrams; -1: none. */
  readonly file: number;
  readonly guests: readonly LeftGuest[];
}

/** A connection that can be gone on with. */
export interface LeftGuest {
  readonly name: string;
  readonly file: number;
  /** A socket that its front end's session is written into; -1: it has none. */
  readonly transcript: number;
}

/** What a port held: a stream's, bytes that it has not made frames of, and such as the peer has not taken; of datagrams, the peer. base64. */
export interface LeftBytes {
  readonly name: string;
  readonly received: string;
  readonly unsent: string;
  readonly peer?: string | undefined;
}

export interface LeftTap {
  readonly name: string;
  readonly end: 'interface' | 'device';
  readonly ifindex: number;
  readonly netns: string | undefined;
  /** -1: to be opened anew. */
  readonly file: number;
}

/** A MAC's key and last four octets as the FDB has them, the port, and when it was seen, seconds of the monotonic clock. */
export type LeftMac = readonly [key: number, lo: number, port: string, seenS: number];

export interface Hello {
  readonly say: 'hello';
  readonly form: number;
  readonly pid: number;
  /** The settings that hold by now. */
  readonly written: Given;
  /** The tun's; -1: there is none. */
  readonly tun: number;
  readonly sockets: readonly LeftSocket[];
}

export interface Data {
  readonly say: 'data';
  /** Packed, base64. */
  readonly flows: string;
  readonly neighbours: string;
  readonly macs: readonly LeftMac[];
  readonly taps: readonly LeftTap[];
  readonly bytes: readonly LeftBytes[];
  /** Guests whose transcript is whole. The others' connections have to end. */
  readonly transcribed: readonly string[];
  /** When ports were let go of, ms of the monotonic clock. */
  readonly stoppedMs: number;
}

interface Ready {
  readonly say: 'ready';
  readonly pid: number;
}

export type Message = Hello | Ready | Data | { readonly say: 'control' | 'give' } | Failed;
interface Failed {
  readonly say: 'failed';
  readonly why: string;
}

type Say = Message['say'];

export class Channel {
  readonly #socket: Socket;
  readonly #received: Message[] = [];
  #rest = '';
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      const lines = (this.#rest + chunk).split('\n');
      this.#rest = lines.pop() as string;
      for (const line of lines) this.#received.push(JSON.parse(line) as Message);
      this.#wake();
    });
    socket.on('error', () => undefined); // its end follows
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** Resolves when it has been written. */
  send(message: Message): Promise<void> {
    return new Promise(resolve => this.#socket.write(`${JSON.stringify(message)}\n`, () => resolve()));
  }

  /** The next message, which must be this; throws when the other side fails, ends or says nothing in time. */
  async expect<S extends Exclude<Say, 'failed'>>(say: S, ms: number): Promise<Extract<Message, { say: S }>> {
    const deadline = performance.now() + ms;
    while (this.#received.length === 0) {
      const left = deadline - performance.now();
      if (this.#ended) throw new Error('the other process has ended');
      if (left <= 0) throw new Error(`the other process does not say '${say}' within ${ms} ms`);
      await this.#woken(left);
    }
    const message = this.#received.shift() as Message;
    if (message.say === 'failed') throw new Error(message.why);
    if (message.say !== say)
      throw new Error(`expected '${say}' of the other process, which says '${message.say}'`);
    return message as Extract<Message, { say: S }>;
  }

  close(): void {
    this.#socket.destroy();
  }

  #woken(ms: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
