/**
 * DNS messages, RFC 1035 §4: names, the question of a message, and as much of a response as says which IPv4 addresses a
 * name has. What resolvers and zones need of records and of EDNS stands in dnsrecords.ts and dnsquery.ts.
 */
import type { Ip4 } from './address.ts';
import { MAX_LABEL, MAX_NAME, MAX_POINTERS, POINTER } from './dnsrecords.ts';

export const DNS_PORT = 53;

/** Bytes of a header; the question stands behind it. */
export const DNS_HEADER = 12;
export const CLASS_IN = 1;

const FLAGS = 2,
  QUESTIONS = 4,
  ANSWERS = 6,
  HEADER = DNS_HEADER; // byte offsets
const RESPONSE = 0x8000;
const OPCODE_AND_RCODE = 0x780f;
const TYPE_A = 1;
const TYPE_CNAME = 5;
/** Aliases of aliases; resolvers follow fewer. */
const MAX_CHAIN = 16;

export interface NamedAddress {
  readonly ip: Ip4;
  /** The least on the way from the name that was asked for. */
  readonly ttlS: number;
}

export interface Answer {
  /** The name that was asked for, in lower case, without the dot at the end. */
  readonly name: string;
  /** What it is an alias of, and that of, in order. */
  readonly aliases: readonly string[];
  readonly addresses: readonly NamedAddress[];
}

interface Alias {
  readonly target: string;
  readonly ttlS: number;
}

interface Found {
  readonly aliases: Map<string, Alias>;
  readonly addresses: { readonly owner: string; readonly ip: Ip4; readonly ttlS: number }[];
}

/** Reads a response without an error, to one question; undefined: it is something else, or broken. Never throws. */
export function readAnswer(message: Uint8Array): Answer | undefined {
  const mem = new DataView(message.buffer, message.byteOffset, message.byteLength);
  if (message.length < HEADER) return undefined;
  const flags = mem.getUint16(FLAGS);
  if ((flags & RESPONSE) === 0 || (flags & OPCODE_AND_RCODE) !== 0) return undefined;
  if (mem.getUint16(QUESTIONS) !== 1) return undefined;
  const question = readName(message, HEADER);
  if (question === undefined || question.end + 4 > message.length) return undefined;
  const found = readRecords(message, mem, question.end + 4, mem.getUint16(ANSWERS));
  return found === undefined ? undefined : follow(question.name, found);
}

/** The aliases and addresses among `count` records; undefined: there are fewer, or one is broken. */
function readRecords(message: Uint8Array, mem: DataView, from: number, count: number): Found | undefined {
  const found: Found = { aliases: new Map(), addresses: [] };
  let at = from;
  for (let record = 0; record < count; record++) {
    const owner = readName(message, at);
    if (owner === undefined || owner.end + 10 > message.length) return undefined;
    const type = mem.getUint16(owner.end);
    const bytes = mem.getUint16(owner.end + 8);
    const data = owner.end + 10;
    at = data + bytes;
    if (at > message.length) return undefined;
    if (mem.getUint16(owner.end + 2) !== CLASS_IN) continue;
    const ttlS = Math.max(mem.getInt32(owner.end + 4), 0); // RFC 2181 §8: with the highest bit it is none
    if (type === TYPE_A && bytes === 4)
      found.addresses.push({ owner: owner.name, ip: mem.getInt32(data) as Ip4, ttlS });
    if (type !== TYPE_CNAME) continue;
    const target = readName(message, data);
    if (target === undefined || target.end !== at) return undefined;
    found.aliases.set(owner.name, { target: target.name, ttlS });
  }
  return found;
}

/** From the name that was asked for along its aliases to their addresses. */
function follow(name: string, { aliases, addresses }: Found): Answer {
  const chain = new Map([[name, Number.POSITIVE_INFINITY]]); // name → the least time to live so far
  let last = name;
  for (let step = 0; step < MAX_CHAIN; step++) {
    const alias = aliases.get(last);
    if (alias === undefined || chain.has(alias.target)) break;
    chain.set(alias.target, Math.min(chain.get(last) as number, alias.ttlS));
    last = alias.target;
  }
  return {
    name,
    aliases: [...chain.keys()].slice(1),
    addresses: addresses.flatMap(({ owner, ip, ttlS }) => {
      const least = chain.get(owner);
      return least === undefined ? [] : [{ ip, ttlS: Math.min(least, ttlS) }];
    }),
  };
}

/**
 * A name in lower case, and where what follows it begins; undefined when it is broken. Pointers must go backwards, so that
 * they end (RFC 1035 §4.1.4). A byte that no host name has is written as its number, so that a label with a dot in it is
 * not taken for two: `\\DDD`, RFC 1035 §5.1.
 */
export function readName(message: Uint8Array, from: number): { name: string; end: number } | undefined {
  const labels: string[] = [];
  let [at, begin, end, bytes, pointers] = [from, from, -1, 1, 0];
  for (;;) {
    const length = message[at];
    if (length === undefined) return undefined;
    if (length === 0) return { name: labels.join('.'), end: end < 0 ? at + 1 : end };
    if (length <= MAX_LABEL) {
      bytes += length + 1;
      if (at + length >= message.length || bytes > MAX_NAME) return undefined;
      labels.push(textOf(message, at + 1, length));
      at += length + 1;
      continue;
    }
    const low = message[at + 1];
    if ((length & POINTER) !== POINTER || low === undefined) return undefined;
    if (end < 0) end = at + 2;
    at = ((length & ~POINTER) << 8) | low;
    if (at >= begin || ++pointers > MAX_POINTERS) return undefined;
    begin = at;
  }
}

/** Bytes of host names, in lower case; 0: a byte that none has. Of ASCII alone: RFC 4343. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) => {
  const lower = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
  return /[a-z0-9_-]/.test(String.fromCharCode(lower)) ? lower : 0;
});

/** A label in lower case. */
function textOf(message: Uint8Array, from: number, bytes: number): string {
  let text = '';
  for (const byte of message.subarray(from, from + bytes)) {
    const plain = PLAIN[byte] as number;
    text += plain !== 0 ? String.fromCharCode(plain) : `\\${String(byte).padStart(3, '0')}`;
  }
  return text;
}

export interface Question {
  /** As readName writes it: in lower case, without the dot at the end; the root is empty. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** Where what follows the question begins. */
  readonly end: number;
}

const DOT = 0x2e;
const letters = Buffer.alloc(MAX_NAME);

/** The first question of a message; undefined: it is broken, or its name has a pointer, which can only point to nothing. */
export function readQuestion(message: Uint8Array): Question | undefined {
  let [at, length, plain] = [HEADER, 0, true];
  for (;;) {
    const label = message[at++];
    if (label === undefined || label > MAX_LABEL) return undefined;
    if (label === 0) break;
    const end = at + label;
    if (end > message.length || end - HEADER >= MAX_NAME) return undefined;
    if (length > 0) letters[length++] = DOT;
    while (at < end) {
      const letter = PLAIN[message[at++] as number] as number;
      if (letter === 0) plain = false;
      letters[length++] = letter;
    }
  }
  if (at + 4 > message.length) return undefined;
  const name = plain ? letters.toString('latin1', 0, length) : (readName(message, HEADER)?.name ?? '');
  const type = ((message[at] as number) << 8) | (message[at + 1] as number);
  return { name, type, class: ((message[at + 2] as number) << 8) | (message[at + 3] as number), end: at + 4 };
}
