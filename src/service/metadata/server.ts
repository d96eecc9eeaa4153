/**
 * The sockets of the metadata service: HTTP at the gateway's address, at the port that guests know and at one behind the
 * alias. Everybody who connects is asked for in the data plane's table of callers; who is not there (the host itself, the
 * LAN) is reset. One request a connection, and none lasts LIFE_MS, so that the table's entry outlives it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { MAX_FORM_BYTES } from './phonehome.ts';
import type { Guest, MetadataService, Reply } from './service.ts';

const LIFE_MS = 30_000;
const HEADERS_MS = 10_000;
const REQUEST_MS = 15_000;
const CHECK_MS = 1_000;
const MAX_HEADERS = 8_192;

export interface ServerOptions {
  readonly address: string;
  readonly port: number;
  readonly service: MetadataService;
  /** Is a port of the host's another's, though nobody listens there? */
  isTaken(port: number): boolean;
  /** Who calls from there: by the alias, or straight. */
  callerOf(address: string, port: number, aliased: boolean): Guest | undefined;
}

export class MetadataServer {
  readonly #o: ServerOptions;
  readonly #servers: Server[] = [];

  constructor(options: ServerOptions) {
    this.#o = options;
  }

  /** Listens; the alias's port, which the system has chosen. Rejects with the system's error when the port is taken. */
  async listen(): Promise<number> {
    await this.#open(this.#o.port, false);
    let aliasPort = await this.#open(0, true);
    while (this.#o.isTaken(aliasPort)) aliasPort = await this.#open(0, true); // it stays open, so another is chosen
    return aliasPort;
  }

  async close(): Promise<void> {
    for (const server of this.#servers.splice(0)) {
      server.closeAllConnections();
      await new Promise<void>(resolve => server.close(() => resolve()));
    }
  }

  async #open(port: number, aliased: boolean): Promise<number> {
    const server = createServer(
      {
        maxHeaderSize: MAX_HEADERS,
        headersTimeout: HEADERS_MS,
        requestTimeout: REQUEST_MS,
        connectionsCheckingInterval: CHECK_MS,
      },
      (request, response) => void this.#handle(request, response, aliased),
    );
    server.on('connection', (socket: Socket) => this.#meet(socket, aliased));
    server.on('clientError', (_error, socket) => {
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
      else socket.destroy();
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, this.#o.address, resolve);
    });
    this.#servers.push(server);
    return (server.address() as AddressInfo).port;
  }

  #callerOf({ remoteAddress, remotePort }: Socket, aliased: boolean): Guest | undefined {
    if (remoteAddress === undefined || remotePort === undefined) return undefined;
    return this.#o.callerOf(remoteAddress, remotePort, aliased);
  }

  #meet(socket: Socket, aliased: boolean): void {
    socket.on('error', () => socket.destroy());
    if (this.#callerOf(socket, aliased) === undefined) {
      socket.resetAndDestroy();
      return;
    }
    const timer = setTimeout(() => socket.resetAndDestroy(), LIFE_MS);
    socket.once('close', () => clearTimeout(timer));
  }

  async #handle(request: IncomingMessage, response: ServerResponse, aliased: boolean): Promise<void> {
    const guest = this.#callerOf(request.socket, aliased);
    if (guest === undefined) {
      request.socket.resetAndDestroy();
      return;
    }
    const { method = '', url = '' } = request;
    let tooLong = false;
    const body = async (): Promise<string> => {
      const text = await bodyOf(request);
      tooLong = text === undefined;
      if (text === undefined) throw new Error(`more than ${MAX_FORM_BYTES} bytes were posted`);
      return text;
    };
    const reply = await this.#o.service.answer(guest, method, url, body);
    send(response, tooLong ? { status: 413, body: `expected at most ${MAX_FORM_BYTES} bytes\n` } : reply);
  }
}

/** What is posted; undefined: too much. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // left early it must not be destroyed: the answer takes the same way
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_FORM_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function send(response: ServerResponse, { status, body }: Reply): void {
  if (response.destroyed) return;
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    connection: 'close',
  });
  response.end(body);
}
