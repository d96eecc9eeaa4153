/** Ports of all kinds as the operator writes them: `KIND:ARGS[,name=NAME][,key=value …]`. */
import { basename, extname } from 'node:path';
import type { PortConfig, SocketMode, TapConfig } from '../config.ts';
import { type Keys, PCAP_KEYS, pcapIn, pcapWords } from './pcapport.ts';
import { Refusal } from './schema.ts';
import { MOST_PORTS, parsePortName, parseTaps } from './taps.ts';

export const PORT_TEXT =
  'expected KIND:WHERE, such as tap:tap0, stream:/run/vm1.sock, dgram:/run/vm1.sock, vhost-user:/run/vm1.sock,name=vm1 or pcap:/tmp/all.pcapng,mode=record';

/** A tap, or what is no tap. */
export type AnyPort = ({ readonly kind: 'tap' } & TapConfig) | PortConfig;

/** Of a unix socket's address, less the closing zero: unix(7). */
const MAX_PATH_BYTES = 107;
const MAX_QUEUES = 8;
const MAX_GUESTS = 64;

/** The keys that a kind has beside its name. */
const KEYS = {
  tap: [],
  stream: ['mode', 'guests'],
  dgram: ['peer'],
  'vhost-user': ['mode', 'queues'],
  pcap: ['mode', ...PCAP_KEYS.record, ...PCAP_KEYS.replay],
} as const satisfies Record<AnyPort['kind'], readonly string[]>;

const isKind = (word: string): word is AnyPort['kind'] => Object.hasOwn(KEYS, word);

/** One port; throws a Refusal. */
function parsePort(item: string): AnyPort {
  const colon = item.indexOf(':');
  const kind = item.slice(0, Math.max(colon, 0));
  if (colon < 0) throw new Refusal(`has no kind; ${PORT_TEXT}`);
  if (!isKind(kind))
    throw new Refusal(
      `is of the kind ${JSON.stringify(kind)}; expected one of ${Object.keys(KEYS).join(', ')}`,
    );
  const [where = '', ...words] = item.slice(colon + 1).split(',');
  const keys = keysOf(words, kind);
  if (kind === 'tap') return tapIn(where);
  const path = pathOf(where, kind);
  const name = nameOf(keys.get('name') ?? basename(path, extname(path)), keys.has('name'));
  switch (kind) {
    case 'stream': {
      const mode = modeOf(keys);
      if (mode === 'client' && keys.has('guests'))
        throw new Refusal('asks for guests of a client; expected mode=server beside guests=');
      return {
        kind,
        name,
        path,
        mode,
        guests: mode === 'client' ? 1 : wholeOf(keys, 'guests', MAX_GUESTS, MAX_GUESTS),
      };
    }
    case 'dgram': {
      const peer = keys.get('peer');
      return {
        kind,
        name,
        path,
        peer: peer === undefined ? undefined : pathOf(peer, 'dgram', 'peer=/run/guest.sock'),
      };
    }
    case 'pcap':
      return { kind, name, path, ...pcapIn(keys) };
    case 'vhost-user':
      return { kind, name, path, mode: modeOf(keys), queues: wholeOf(keys, 'queues', MAX_QUEUES, 1) };
  }
}

function keysOf(words: readonly string[], kind: AnyPort['kind']): Keys {
  const known: readonly string[] = kind === 'tap' ? KEYS.tap : ['name', ...KEYS[kind]];
  const keys = new Map<string, string>();
  for (const word of words) {
    const equals = word.indexOf('=');
    const key = equals < 0 ? word : word.slice(0, equals);
    if (!known.includes(key))
      throw new Refusal(
        `has ${JSON.stringify(word)}, which no ${kind} port takes; expected ${known.length === 0 ? 'nothing' : known.map(name => `${name}=`).join(', ')} behind it`,
      );
    if (keys.has(key)) throw new Refusal(`has ${key}= twice; expected each once`);
    keys.set(key, equals < 0 ? '' : word.slice(equals + 1));
  }
  return keys;
}

function tapIn(where: string): AnyPort {
  const taps = parseTaps([where]);
  if (taps instanceof Refusal) throw taps;
  return { kind: 'tap', ...(taps[0] as TapConfig) };
}

function pathOf(
  path: string,
  kind: PortConfig['kind'],
  example = kind === 'pcap' ? 'pcap:/tmp/all.pcapng' : `${kind}:/run/vm1.sock`,
): string {
  if (!path.startsWith('/') || path.endsWith('/') || path.includes('\0'))
    throw new Refusal(
      `has the path ${JSON.stringify(path)}; expected one from the root on, such as ${example}`,
    );
  const bytes = Buffer.byteLength(path);
  if (kind !== 'pcap' && bytes > MAX_PATH_BYTES)
    throw new Refusal(
      `has a path of ${bytes} bytes; expected at most ${MAX_PATH_BYTES}, which is what a unix socket takes`,
    );
  return path;
}

function nameOf(text: string, given: boolean): string {
  const name = parsePortName(text);
  if (name instanceof Refusal) throw new Refusal(`${given ? 'is named' : 'would be named'} ${name.why}`);
  return name;
}

function modeOf(keys: Keys): SocketMode {
  const mode = keys.get('mode') ?? 'server';
  if (mode === 'server' || mode === 'client') return mode;
  throw new Refusal(`has mode=${mode}; expected mode=server, which listens, or mode=client, which connects`);
}

function wholeOf(keys: Keys, key: string, most: number, usual: number): number {
  const text = keys.get(key);
  if (text === undefined) return usual;
  const value = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= most) return value;
  throw new Refusal(`has ${key}=${text}; expected a whole number from 1 to ${most}`);
}

export function parsePorts(items: readonly string[]): readonly AnyPort[] | Refusal {
  const ports: AnyPort[] = [];
  for (const item of items) {
    const port = parseOne(item.trim());
    if (port instanceof Refusal) return port;
    if (ports.some(other => other.name === port.name))
      return new Refusal(
        `names ${port.name} twice; expected each port once, and name= where paths end alike`,
      );
    ports.push(port);
  }
  return ports.length <= MOST_PORTS
    ? ports
    : new Refusal(`names ${ports.length} ports; expected at most ${MOST_PORTS}`);
}

/** A port, or why the text is none. */
export function parseOne(item: string): AnyPort | Refusal {
  try {
    return parsePort(item);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

/** A port that is a tap, as taps are configured. */
export function tapOf({ kind: _tap, ...tap }: Extract<AnyPort, { kind: 'tap' }>): TapConfig {
  return tap;
}

/** As it could have been written. */
export function portText(port: AnyPort): string {
  if (port.kind === 'tap') {
    const { name, netns, end } = port;
    return `tap:${name}${netns === undefined ? '' : `@${netns}`}${end === 'auto' ? '' : `:${end}`}`;
  }
  const words = [`${port.kind}:${port.path}`, `name=${port.name}`];
  if (port.kind === 'pcap') return [...words, ...pcapWords(port)].join(',');
  if (port.kind === 'dgram') words.push(...(port.peer === undefined ? [] : [`peer=${port.peer}`]));
  else words.push(`mode=${port.mode}`);
  if (port.kind === 'stream' && port.mode === 'server') words.push(`guests=${port.guests}`);
  if (port.kind === 'vhost-user') words.push(`queues=${port.queues}`);
  return words.join(',');
}
