/**
 * The control API's routes, a line of the table each: what it takes, what it answers, what it does. The server asks this table, and
 * the OpenAPI document is made of it.
 */
import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import { OperatorError } from '../errors.ts';
import { METRICS_TYPE } from './exposition.ts';
import * as schemas from './schemas.ts';
import type { EventStreams } from './stream.ts';
import type { Actions, Views } from './views.ts';

/** What routes work on. */
export interface Parts {
  readonly views: Views;
  readonly actions: Actions;
  readonly streams: EventStreams;
  /** The figures' text. */
  metrics(): string;
}

/** What is asked of a route: the words in its path by their names, and its body. */
interface Asked<B> {
  readonly path: Readonly<Record<string, string>>;
  readonly body: B;
}

/** Answers for as long as the reader stays. */
type Stream = (parts: Parts, query: URLSearchParams, response: ServerResponse) => Promise<void>;

interface Described {
  /** Words in braces match one segment, and are named so. */
  readonly path: string;
  readonly summary: string;
  /** Of its good answer; 200 unless given. */
  readonly status?: number;
}

export interface Route extends Described {
  readonly method: Method;
  /** Undefined: it takes none. */
  readonly body?: z.ZodType;
  readonly answer: z.ZodType;
  /** Of an answer that is no JSON. */
  readonly type?: string;
  /** What may stand behind the question mark, by name; undefined: it takes no query. */
  readonly query?: Readonly<Record<string, string>>;
  /** In place of `act`. */
  readonly stream?: Stream;
  act?(parts: Parts, asked: Asked<unknown>): unknown;
}

const METHODS = ['GET', 'POST', 'PATCH', 'DELETE'] as const;
type Method = (typeof METHODS)[number];

const view = (resource: keyof Views, summary: string, answer: z.ZodType): Route => ({
  method: 'GET',
  path: `/v1/${resource}`,
  summary,
  answer,
  act: ({ views }) => views[resource](),
});

interface Change<B extends z.ZodType> extends Described {
  readonly body: B;
  readonly answer: z.ZodType;
  act(parts: Parts, asked: Asked<z.infer<B>>): unknown;
}

/** A route whose body has a schema; it is called with what the schema has made of the body. */
const change = <B extends z.ZodType>(method: Method, { act, ...route }: Change<B>): Route => ({
  ...route,
  method,
  act: (parts, { path, body }) => act(parts, { path, body: body as z.infer<B> }),
});

/** Makes a change, and then answers with what there is of its kind. */
const thenShow =
  <B>(resource: 'ports' | 'forwards', alter: (actions: Actions, asked: Asked<B>) => Promise<void>) =>
  async ({ views, actions }: Parts, asked: Asked<B>): Promise<unknown> => {
    await alter(actions, asked);
    return views[resource]();
  };

export const ROUTES: readonly Route[] = [
  view('status', 'The switch in figures', schemas.statusView),
  view('ports', 'Ports and what they count', schemas.ports),
  change('POST', {
    path: '/v1/ports',
    summary: 'Add a port',
    status: 201,
    body: schemas.newPort,
    answer: schemas.ports,
    act: thenShow('ports', (actions, { body }) => actions.addPort(body.port)),
  }),
  change('PATCH', {
    path: '/v1/ports/{name}',
    summary: 'Set a port up or down',
    body: schemas.portChange,
    answer: schemas.ports,
    act: thenShow('ports', (actions, { path, body }) => actions.setPort(path.name as string, body.up)),
  }),
  {
    method: 'DELETE',
    path: '/v1/ports/{name}',
    summary: 'Remove a port',
    answer: schemas.ports,
    act: thenShow('ports', (actions, { path }) => actions.removePort(path.name as string)),
  },
  view('macs', 'MAC addresses and where they are', schemas.macs),
  view('leases', 'Leases', schemas.leases),
  view('flows', 'Flows through the NAT', schemas.flows),
  view('forwards', 'Ports of the host that are forwarded to guests', schemas.forwards),
  change('POST', {
    path: '/v1/forwards',
    summary: 'Forward a port of the host',
    status: 201,
    body: schemas.newForward,
    answer: schemas.forwards,
    act: thenShow('forwards', (actions, { body }) => actions.addForward(body.forward)),
  }),
  {
    method: 'DELETE',
    path: '/v1/forwards/{protocol}/{port}',
    summary: 'Forward it no more',
    answer: schemas.forwards,
    act: thenShow('forwards', (actions, { path }) => actions.removeForward(`${path.protocol}/${path.port}`)),
  },
  view('egress', 'Egress rules and what they have hit', schemas.egressView),
  view('dhcp', 'The DHCP server in figures', schemas.dhcpOrNone),
  view('dns', 'The name service: names, upstreams, figures', schemas.dnsOrNone),
  {
    method: 'GET',
    path: '/v1/cloud-init/{port}',
    summary: 'What the guest on a port gets',
    answer: schemas.cloudInitView,
    act: ({ actions }, { path }) => actions.cloudInit(path.port as string),
  },
  {
    method: 'DELETE',
    path: '/v1/cloud-init/{port}',
    summary: "Forget the port's passwords and that its guest has phoned home",
    answer: schemas.cloudInitView,
    act: ({ actions }, { path }) => actions.resetCloudInit(path.port as string),
  },
  {
    method: 'POST',
    path: '/v1/restart',
    summary: 'Start another process, which goes on with ports, leases and flows',
    status: 202,
    answer: schemas.successor,
    act: async ({ actions }) => ({ pid: await actions.restart() }),
  },
  {
    method: 'GET',
    path: '/v1/config',
    summary: 'What the switch does, as a file would say it',
    answer: schemas.config,
    act: ({ actions }) => actions.config(),
  },
  change('POST', {
    path: '/v1/config/diff',
    summary: 'What applying a file would change',
    body: schemas.configFile,
    answer: schemas.differences,
    act: ({ actions }, { body }) => actions.diffConfig(body),
  }),
  change('POST', {
    path: '/v1/config/apply',
    summary: 'Change what differs in a file, all of it or nothing',
    body: schemas.configFile,
    answer: schemas.differences,
    act: ({ actions }, { body }) => actions.applyConfig(body),
  }),
  {
    method: 'GET',
    path: '/v1/events',
    summary: 'What happens from now on, a line each, till the reader leaves',
    answer: schemas.eventView,
    type: 'application/x-ndjson',
    stream: async ({ streams }, _query, response) => streams.open(response),
  },
  {
    method: 'GET',
    path: '/v1/capture',
    summary: 'Frames as they pass, as pcapng, till the reader leaves',
    query: {
      port: "a port's name, or all",
      filter: "as tcpdump's expressions",
      snaplen: 'bytes of a frame that are kept at the most',
    },
    answer: z.string(),
    type: 'application/x-pcapng',
    stream: ({ actions }, query, response) => actions.capture(query, response),
  },
  {
    method: 'GET',
    path: '/v1/openapi.json',
    summary: 'This document',
    answer: z.looseObject({ openapi: z.string() }),
    // On demand: nobody who only runs the switch needs it.
    act: async () => (await import('./openapi.ts')).openApi(),
  },
  {
    method: 'GET',
    path: '/metrics',
    summary: 'Figures for Prometheus',
    answer: z.string(),
    type: METRICS_TYPE,
    act: ({ metrics }) => metrics(),
  },
];

/** Where a question leads: a route and the words in its path; or which methods that path takes, none if it is not known. */
type Found =
  | { readonly route: Route; readonly path: Record<string, string> }
  | { readonly allowed: string[] };

export function find(method: string, path: string): Found {
  const words = path.split('/').map(plain);
  const allowed: string[] = [];
  for (const route of ROUTES) {
    const named = match(route.path.split('/'), words);
    if (named === undefined) continue;
    if (route.method === method) return { route, path: named };
    allowed.push(route.method);
  }
  return { allowed };
}

function match(pattern: readonly string[], words: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== words.length) return undefined;
  const found: Record<string, string> = {};
  for (const [index, part] of pattern.entries()) {
    const word = words[index] as string;
    if (part.startsWith('{') && word !== '') found[part.slice(1, -1)] = word;
    else if (part !== word) return undefined;
  }
  return found;
}

/** Without percent signs, where they are meant as such. */
function plain(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

/** What a route's schema makes of a body; throws an OperatorError that says what is wrong, and shows one that is right. */
export function bodyFor({ body: schema }: Route, text: string): unknown {
  if (schema === undefined) return undefined;
  const expected = `expected ${JSON.stringify(schema.meta()?.example)}`;
  const value = json(text, expected);
  const said = schema.safeParse(value);
  if (said.success) return said.data;
  throw new OperatorError(`${faultIn(value, said.error.issues[0])}; ${expected}`, { code: 'Usage' });
}

function json(text: string, expected: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new OperatorError(`the body is no JSON; ${expected}`, { code: 'Usage', cause });
  }
}

function faultIn(body: unknown, issue: z.core.$ZodIssue | undefined): string {
  if (typeof body !== 'object' || body === null || issue === undefined || Array.isArray(body))
    return 'the body is no object';
  if (issue.code === 'unrecognized_keys') return `the body has an unknown ${issue.keys.join(', ')}`;
  const at = String(issue.path[0]);
  return at in body ? `the body's ${at} is of the wrong kind` : `the body has no ${at}`;
}
