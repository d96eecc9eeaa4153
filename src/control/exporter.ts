/**
 * `--metrics`: the figures by HTTP over TCP, for a Prometheus that does not read unix sockets. It shows them and takes
 * nothing: GET and HEAD of /metrics alone, no body, few connections at a time, none that dawdles.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { isIPv6 } from 'node:net';
import type { Endpoint } from '../config.ts';
import { OperatorError } from '../errors.ts';
import { METRICS_TYPE } from './exposition.ts';

const MAX_CONNECTIONS = 32;
/** For a request's head, and for all of it. */
const REQUEST_MS = 5_000;
/** A connection that says nothing ends; scrapes are 15 s to a minute apart. */
const SILENCE_MS = 75_000;
const MAX_HEADER_BYTES = 8_192;

export class Exporter {
  readonly #server;
  readonly #at: Endpoint;
  readonly #metrics: () => string;

  constructor(at: Endpoint, metrics: () => string) {
    this.#at = at;
    this.#metrics = metrics;
    this.#server = createServer(
      {
        headersTimeout: REQUEST_MS,
        requestTimeout: REQUEST_MS,
        keepAliveTimeout: SILENCE_MS,
        connectionsCheckingInterval: REQUEST_MS,
        maxHeaderSize: MAX_HEADER_BYTES,
      },
      (request, response) => this.#answer(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.timeout = SILENCE_MS;
  }

  /** The port that it listens at. Throws one sentence where the address can't be had. */
  async listen(): Promise<number> {
    const { address, port } = this.#at;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause: NodeJS.ErrnoException) => reject(refusal(this.#at, cause)));
      this.#server.listen({ host: address, port, ipv6Only: isIPv6(address) }, resolve);
    });
    return (this.#server.address() as { port: number }).port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>(resolve => this.#server.close(() => resolve()));
  }

  /** A fault of ours is told: thrown here it would end the switch. */
  #show(response: ServerResponse): void {
    try {
      const text = this.#metrics();
      response.writeHead(200, { 'content-type': METRICS_TYPE });
      response.end(text);
    } catch (error) {
      end(response, 500, `${String(error)}\n`);
    }
  }

  #answer({ method, url = '/' }: IncomingMessage, response: ServerResponse): void {
    if (url !== '/metrics' && !url.startsWith('/metrics?')) {
      end(response, 404, 'there is nothing here but /metrics\n');
    } else if (method === 'GET' || method === 'HEAD') {
      this.#show(response);
    } else {
      response.setHeader('allow', 'GET, HEAD');
      end(response, 405, `/metrics does not take ${method}\n`);
    }
  }
}

/** What was asked with a body is not read to its end. */
function end(response: ServerResponse, status: number, sentence: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' });
  response.end(sentence);
}

const WHY: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use already; expected a port that is free',
  EADDRNOTAVAIL: 'is no address of this host; expected one that is, such as 127.0.0.1',
  EACCES: 'is not for this user to listen at; expected a port from 1024 on',
};

function refusal({ address, port }: Endpoint, cause: NodeJS.ErrnoException): OperatorError {
  const shown = isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
  const why = WHY[cause.code ?? ''] ?? `can't be listened at (${cause.message}); expected another`;
  return new OperatorError(`--metrics ${shown}: ${why}`, { code: 'Busy', cause });
}
