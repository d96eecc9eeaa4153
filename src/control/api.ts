/** The control API: HTTP and JSON over a unix socket. It only reads, so far: `GET /v1/<resource>`. */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { dirname } from 'node:path';
import type { Views } from './views.ts';

/** Who may connect: the owner and the socket's group. */
const SOCKET_MODE = 0o660;

export class Api {
  readonly #server: Server;

  constructor(
    readonly path: string,
    views: Views,
  ) {
    this.#server = createServer((request, response) => {
      request.resume();
      answer(response, request.method ?? '', request.url ?? '/', views);
    });
  }

  /** Takes the path; a socket file that a killed instance left there is replaced (the instance lock is held by now). */
  async listen(): Promise<void> {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o755 });
    rmSync(this.path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.path, resolve);
    });
    chmodSync(this.path, SOCKET_MODE);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>(resolve => this.#server.close(() => resolve()));
  }
}

const isResource = (views: Views, name: string): name is keyof Views => Object.hasOwn(views, name);

function answer(response: ServerResponse, method: string, url: string, views: Views): void {
  const resource = /^\/v1\/(\w+)$/.exec(url)?.[1];
  if (resource === undefined || !isResource(views, resource)) {
    send(response, 404, { code: 'not_found', message: `there is no ${url}; try /v1/status` });
  } else if (method !== 'GET') {
    send(response, 405, { code: 'method_not_allowed', message: `${url} takes GET, not ${method}` });
  } else {
    send(response, 200, views[resource]());
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}
