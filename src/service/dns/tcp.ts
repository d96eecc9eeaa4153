/**
 * DNS over TCP as RFC 7766 has it: one connection a server, on which questions do not wait for one another and answers come
 * in any order. A server may close it when it likes; what was under way is asked once more then, on a new one.
 */
import { connect, type Socket } from 'node:net';
import type { Call, Replies } from './exchange.ts';
import type { Upstream } from './upstream.ts';

/** RFC 7766 §6.2.3: a client closes what it does not use. */
const IDLE_MS = 2_000;
/** A connection on which nothing has come for so long, while something should, is left for a new one. */
const STUCK_MS = 2_500;
const LENGTH_BYTES = 2;

interface Asked extends Call {
  readonly message: Uint8Array;
  readonly replies: Replies;
  again: boolean;
}

class TcpLink {
  readonly calls = new Set<Asked>();
  /** Messages that came. */
  answers = 0;
  readonly #socket: Socket;
  #pending: Buffer = Buffer.alloc(0);
  #waitingSinceMs = 0;

  constructor({ address, port }: Upstream, ended: (reason: string) => void) {
    this.#socket = connect({ host: address, port, noDelay: true });
    let reason = 'the connection was closed';
    this.#socket.on('error', error => {
      reason = error.message;
    });
    this.#socket.on('close', () => ended(reason));
    this.#socket.on('end', () => this.#socket.destroy());
    this.#socket.on('data', chunk => this.#read(chunk));
    this.#socket.setTimeout(IDLE_MS, () => {
      if (this.calls.size === 0) this.#socket.destroy();
    });
  }

  get isStuck(): boolean {
    return this.calls.size > 0 && performance.now() - this.#waitingSinceMs > STUCK_MS;
  }

  ask(call: Asked): void {
    if (this.calls.size === 0) this.#waitingSinceMs = performance.now();
    this.calls.add(call);
    this.#socket.ref();
    const framed = Buffer.allocUnsafe(LENGTH_BYTES + call.message.length);
    framed.writeUInt16BE(call.message.length);
    framed.set(call.message, LENGTH_BYTES);
    this.#socket.write(framed);
  }

  /** Nobody waits for it: it keeps no process running. */
  forget(call: Asked): void {
    this.calls.delete(call);
    if (this.calls.size === 0) this.#socket.unref();
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= LENGTH_BYTES) {
      const end = LENGTH_BYTES + this.#pending.readUInt16BE();
      if (this.#pending.length < end) return;
      const message = this.#pending.subarray(LENGTH_BYTES, end);
      this.#pending = this.#pending.subarray(end);
      this.#deliver(message);
    }
  }

  /** By its id; what else it must match its asker knows. */
  #deliver(message: Buffer): void {
    this.answers++;
    this.#waitingSinceMs = performance.now();
    for (const call of [...this.calls])
      if (call.message[0] === message[0] && call.message[1] === message[1]) call.replies.message(message);
  }
}

export class TcpLinks {
  readonly #links = new Map<string, TcpLink>();
  /** Those that have been left for another too. */
  readonly #all = new Set<TcpLink>();

  ask(upstream: Upstream, message: Uint8Array, replies: Replies): Call {
    let open = true;
    const call: Asked = {
      message,
      again: false,
      replies: {
        message: received => {
          if (open) replies.message(received);
        },
        failed: reason => {
          if (open) replies.failed(reason);
        },
      },
      close: () => {
        open = false;
        for (const link of this.#all) if (link.calls.has(call)) link.forget(call);
      },
    };
    this.#linkTo(upstream).ask(call);
    return call;
  }

  close(): void {
    for (const link of this.#all) {
      link.calls.clear();
      link.close();
    }
    this.#links.clear();
  }

  #linkTo(upstream: Upstream): TcpLink {
    const key = `${upstream.address} ${upstream.port}`;
    const present = this.#links.get(key);
    if (present !== undefined && !present.isStuck) return present;
    const link: TcpLink = new TcpLink(upstream, reason => {
      this.#all.delete(link);
      if (this.#links.get(key) === link) this.#links.delete(key);
      this.#ended(upstream, link, reason);
    });
    this.#links.set(key, link);
    this.#all.add(link);
    return link;
  }

  /** A connection that has answered before may just have been idle for too long: what is open on it gets another. */
  #ended(upstream: Upstream, link: TcpLink, reason: string): void {
    for (const call of [...link.calls]) {
      link.forget(call);
      if (link.answers === 0 || call.again) call.replies.failed(reason);
      else {
        call.again = true;
        this.#linkTo(upstream).ask(call);
      }
    }
  }
}
