/**
 * The control API's server: HTTP and JSON over a unix socket. `routes.ts` has what it answers; `GET /v1/openapi.json` shows
 * that to programs.
 */
import { chmodSync, chownSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { OperatorError } from '../errors.ts';
import { makeFolder } from '../folder.ts';
import type { ApiFigures } from './figures.ts';
import { RequestCounts } from './requests.ts';
import { bodyFor, find, type Parts } from './routes.ts';
import { EventStreams, type StreamLimits, type Subscribe } from './stream.ts';
import type { Actions, Views } from './views.ts';

/** Who may connect: the owner and the socket's group. */
const SOCKET_MODE = 0o660;
/** A configuration file may be long. */
const MAX_BODY = 1_048_576;

/** An answer: its status and its body. */
interface Answer {
  readonly status: number;
  readonly body: unknown;
  /** Of a body that is text already; undefined: it is sent as JSON. */
  readonly type?: string;
  /** The methods that the path takes. */
  readonly allow?: string;
}

export class Api {
  readonly #server: Server;
  readonly #streams: EventStreams;
  readonly #requests = new RequestCounts();

  constructor(
    readonly path: string,
    views: Views,
    actions: Actions,
    events: Subscribe = () => () => undefined,
    limits?: StreamLimits,
    metrics: (api: ApiFigures) => string = () => '',
    refusal: (connection: Socket) => string | undefined = () => undefined,
  ) {
    this.#streams = new EventStreams(events, limits);
    this.#server = createServer((request, response) => {
      const why = refusal(request.socket);
      if (why !== undefined) {
        send(response, fault(403, 'forbidden', why));
        request.socket.end();
        return;
      }
      response.on('close', () => this.#requests.add(request.method, response.statusCode));
      const parts = { views, actions, streams: this.#streams, metrics: () => metrics(this.figures()) };
      answer(request, response, parts).then(
        said => said && send(response, said),
        (error: unknown) => {
          // What is left of a body that is too long would be read as the next question.
          response.shouldKeepAlive &&= request.complete;
          request.resume();
          send(response, refused(error));
        },
      );
    });
  }

  /**
   * Takes the path; a socket file that a killed instance left there is replaced (the instance lock is held by now).
   * `group`: whose members may connect too; undefined: those of the switch's own.
   */
  async listen(group?: number): Promise<void> {
    this.#makeFolder();
    rmSync(this.path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.path, resolve);
    });
    try {
      if (group !== undefined) chownSync(this.path, -1, group);
      chmodSync(this.path, SOCKET_MODE);
    } catch (error) {
      await this.close(); // the server takes its file along
      throw error;
    }
  }

  #makeFolder(): void {
    const folder = dirname(this.path);
    try {
      makeFolder(folder, 0o755);
    } catch (cause) {
      throw new OperatorError(
        `--run-dir ${folder} can't be made: ${(cause as Error).message}; name a folder that can be written`,
        { code: 'State', cause },
      );
    }
  }

  /** What it has answered, and to how many it tells what happens. */
  figures(): ApiFigures {
    return { requests: this.#requests.list(), readers: this.#streams.readers };
  }

  async close(): Promise<void> {
    this.#streams.close();
    await new Promise(resolve => setImmediate(resolve)); // so that their ends are seen as such
    this.#server.closeAllConnections();
    await new Promise<void>(resolve => this.#server.close(() => resolve()));
  }
}

/** Undefined: a stream has begun, which is the answer. */
async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  parts: Parts,
): Promise<Answer | undefined> {
  const { method = '', url = '/' } = request;
  const text = await bodyOf(request);
  const [at = '', behind] = url.split('?', 2);
  const found = find(method, at);
  if (!('route' in found))
    return found.allowed.length === 0
      ? fault(404, 'not_found', `there is no ${at}; try /v1/status, or /v1/openapi.json for all`)
      : {
          ...fault(405, 'method_not_allowed', `${at} does not take ${method}`),
          allow: found.allowed.join(', '),
        };
  const { route, path } = found;
  const query = new URLSearchParams(behind);
  const known = Object.keys(route.query ?? {});
  const unknown = [...query.keys()].find(name => !known.includes(name));
  if (unknown !== undefined)
    return fault(400, 'refused', `${at} takes no ${unknown}=; expected ${known.join(', ') || 'no query'}`);
  await route.stream?.(parts, query, response);
  if (route.stream !== undefined) return undefined;
  const body = await route.act?.(parts, { path, body: bodyFor(route, text) });
  return { status: route.status ?? 200, body, ...(route.type === undefined ? {} : { type: route.type }) };
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

function send(response: ServerResponse, { status, body, type, allow }: Answer): void {
  const allowed = allow === undefined ? {} : { allow };
  response.writeHead(status, { 'content-type': type ?? 'application/json', ...allowed });
  response.end(type === undefined ? `${JSON.stringify(body)}\n` : body);
}
