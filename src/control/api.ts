/**
 * The control API: HTTP and JSON over a unix socket.
 *
 *   GET    /v1/<resource>             a view: status, ports, macs, leases, flows, forwards, egress, dhcp, dns
 *   GET    /v1/capture?port=tap0      frames as pcapng, till the reader leaves; filter=, snaplen=
 *   GET    /v1/events                 what happens, a line each, till the reader leaves
 *   POST   /v1/forwards               {"forward": "8080:192.168.100.10:80"}
 *   DELETE /v1/forwards/tcp/8080
 *   POST   /v1/ports                  {"port": "stream:/run/vm1.sock"}
 *   PATCH  /v1/ports/vm1              {"up": false}
 *   DELETE /v1/ports/vm1
 *   GET    /v1/cloud-init/tap0        what the guest on that port gets
 *   DELETE /v1/cloud-init/tap0        it gets a new password
 *   GET    /metrics                   figures for Prometheus
 */
import { chmodSync, chownSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { dirname } from 'node:path';
import { OperatorError } from '../errors.ts';
import { METRICS_TYPE, metricsText } from './metrics.ts';
import { EventStreams, type StreamLimits, type Subscribe } from './stream.ts';
import type { Actions, Views } from './views.ts';

/** Who may connect: the owner and the socket's group. */
const SOCKET_MODE = 0o660;
const MAX_BODY = 65_536;

/** An answer: its status and its body. */
interface Answer {
  readonly status: number;
  readonly body: unknown;
  /** Of a body that is text already; undefined: it is sent as JSON. */
  readonly type?: string;
}

export class Api {
  readonly #server: Server;
  readonly #streams: EventStreams;

  constructor(
    readonly path: string,
    views: Views,
    actions: Actions,
    events: Subscribe = () => () => undefined,
    limits?: StreamLimits,
  ) {
    this.#streams = new EventStreams(events, limits);
    this.#server = createServer((request, response) => {
      if (request.method === 'GET' && request.url === '/v1/events') {
        this.#stream(response);
        return;
      }
      if (request.method === 'GET' && /^\/v1\/capture(\?|$)/.test(request.url ?? '')) {
        const { searchParams } = new URL(request.url ?? '', 'http://localhost');
        actions.capture(searchParams, response).catch((error: unknown) => send(response, refused(error)));
        return;
      }
      answer(request, views, actions).then(
        said => send(response, said),
        (error: unknown) => send(response, refused(error)),
      );
    });
  }

  /**
   * Takes the path; a socket file that a killed instance left there is replaced (the instance lock is held by now).
   * `group`: whose members may connect too; undefined: those of the switch's own.
   */
  async listen(group?: number): Promise<void> {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o755 });
    rmSync(this.path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.path, resolve);
    });
    if (group !== undefined) chownSync(this.path, -1, group);
    chmodSync(this.path, SOCKET_MODE);
  }

  #stream(response: ServerResponse): void {
    try {
      this.#streams.open(response);
    } catch (error) {
      send(response, refused(error));
    }
  }

  async close(): Promise<void> {
    this.#streams.close();
    await new Promise(resolve => setImmediate(resolve)); // so that their ends are seen as such
    this.#server.closeAllConnections();
    await new Promise<void>(resolve => this.#server.close(() => resolve()));
  }
}

const isResource = (views: Views, name: string): name is keyof Views => Object.hasOwn(views, name);

async function answer(request: IncomingMessage, views: Views, actions: Actions): Promise<Answer> {
  const { method = '', url = '/' } = request;
  const body = await bodyOf(request);
  if (url === '/metrics' && method === 'GET')
    return { status: 200, body: metricsText(views), type: METRICS_TYPE };
  const forward = /^\/v1\/forwards\/([\w/]+)$/.exec(url)?.[1];
  if (forward !== undefined && method === 'DELETE') {
    await actions.removeForward(forward);
    return { status: 200, body: views.forwards() };
  }
  const plugged = /^\/v1\/ports\/([^/?]+)$/.exec(url)?.[1];
  if (plugged !== undefined && (method === 'DELETE' || method === 'PATCH')) {
    if (method === 'DELETE') await actions.removePort(plain(plugged));
    else await actions.setPort(plain(plugged), upIn(body));
    return { status: 200, body: views.ports() };
  }
  const port = /^\/v1\/cloud-init\/([^/?]+)$/.exec(url)?.[1];
  if (port !== undefined && (method === 'GET' || method === 'DELETE')) {
    const act = method === 'GET' ? actions.cloudInit : actions.resetCloudInit;
    return { status: 200, body: await act(plain(port)) };
  }
  const resource = /^\/v1\/(\w+)$/.exec(url)?.[1];
  if (resource === undefined || !isResource(views, resource))
    return fault(404, 'not_found', `there is no ${url}; try /v1/status`);
  if (resource === 'forwards' && method === 'POST') {
    await actions.addForward(textIn(body, 'forward', 'PORT:GUEST:PORT'));
    return { status: 201, body: views.forwards() };
  }
  if (resource === 'ports' && method === 'POST') {
    await actions.addPort(textIn(body, 'port', 'KIND:WHERE'));
    return { status: 201, body: views.ports() };
  }
  if (method !== 'GET') return fault(405, 'method_not_allowed', `${url} does not take ${method}`);
  return { status: 200, body: views[resource]() };
}

/** Without percent signs, where they are meant as such. */
function plain(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

/** The text under a name. */
function textIn(body: string, name: string, example: string): string {
  const expected = `expected {"${name}": "${example}"}`;
  const value = (objectIn(body, expected) as Record<string, unknown>)[name];
  if (typeof value === 'string') return value;
  throw new OperatorError(`the body names no ${name}; ${expected}`, { code: 'Usage' });
}

function upIn(body: string): boolean {
  const expected = 'expected {"up": true} or {"up": false}';
  const { up } = objectIn(body, expected) as { up?: unknown };
  if (typeof up === 'boolean') return up;
  throw new OperatorError(`the body does not say up; ${expected}`, { code: 'Usage' });
}

function objectIn(body: string, expected: string): object {
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw new OperatorError(`the body is no JSON; ${expected}`, { code: 'Usage', cause });
  }
  throw new OperatorError(`the body is no object; ${expected}`, { code: 'Usage' });
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY)
      throw new OperatorError(`the body is too long; expected at most ${MAX_BODY} bytes`, { code: 'Usage' });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

const fault = (status: number, code: string, message: string): Answer => ({
  status,
  body: { code, message },
});

/** What can't be done is told with its reason; a fault of ours with its message. */
function refused(error: unknown): Answer {
  if (!(error instanceof OperatorError)) return fault(500, 'fault', String(error));
  return error.code === 'Usage'
    ? fault(400, 'refused', error.message)
    : fault(409, 'conflict', error.message);
}

function send(response: ServerResponse, { status, body, type }: Answer): void {
  response.writeHead(status, { 'content-type': type ?? 'application/json' });
  response.end(type === undefined ? `${JSON.stringify(body)}\n` : body);
}
