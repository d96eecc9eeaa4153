/**
 * The sockets of the resolver, and nothing else: messages go out and come in. A datagram's socket is its own, with a port of
 * the kernel's choice, and connected: so the kernel lets nothing in but what the asked server sent from the asked port, and
 * says at once when nobody is there.
 */
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { TcpLinks } from './tcp.ts';
import type { Upstream } from './upstream.ts';

/** Nothing of it is called from within the call that asks. */
export interface Replies {
  /** A message from the server, by its address and port. Others may follow, till the call is closed. */
  message(message: Uint8Array): void;
  /** Nothing will come. Called once at most. */
  failed(reason: string): void;
}

export interface Call {
  /** May be called again. Nothing is handed over afterwards. */
  close(): void;
}

export interface Exchange {
  udp(upstream: Upstream, message: Uint8Array, replies: Replies): Call;
  tcp(upstream: Upstream, message: Uint8Array, replies: Replies): Call;
  close(): void;
}

/** Addresses are addresses: there is nothing to look up. */
const lookup = (
  address: string,
  _options: unknown,
  found: (error: null, address: string, family: number) => void,
): void => found(null, address, isIPv6(address) ? 6 : 4);

export class SocketExchange implements Exchange {
  readonly #links = new TcpLinks();
  readonly #calls = new Set<Call>();

  udp({ address, port }: Upstream, message: Uint8Array, replies: Replies): Call {
    const socket = createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4', lookup: lookup as never });
    let open = true;
    const call = {
      close: (): void => {
        if (!open) return;
        open = false;
        this.#calls.delete(call);
        socket.close();
      },
    };
    const fail = (error: Error): void => {
      if (!open) return;
      call.close();
      replies.failed(error.message);
    };
    this.#calls.add(call);
    socket.on('error', fail);
    socket.on('message', received => {
      if (open) replies.message(received);
    });
    socket.connect(port, address, ((error?: Error) => {
      if (error !== undefined && error !== null) setImmediate(fail, error);
      else if (open) socket.send(message, failure => failure !== null && fail(failure));
    }) as () => void);
    return call;
  }

  tcp(upstream: Upstream, message: Uint8Array, replies: Replies): Call {
    return this.#links.ask(upstream, message, replies);
  }

  close(): void {
    for (const call of [...this.#calls]) call.close();
    this.#links.close();
  }
}
