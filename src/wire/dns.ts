/** DNS messages, RFC 1035 §4: as much of a response as says which IPv4 addresses a name has. */
import type { Ip4 } from './address.ts';

export const DNS_PORT = 53;

const FLAGS = 2,
  QUESTIONS = 4,
  ANSWERS = 6,
  HEADER = 12; // byte offsets
const RESPONSE = 0x8000;
const OPCODE_AND_RCODE = 0x780f;
const TYPE_A = 1;
const TYPE_CNAME = 5;
const CLASS_IN = 1;
const POINTER = 0xc0;
const MAX_LABEL = 63;
/** RFC 1035 §2.3.4. */
const MAX_NAME = 255;
/** Pointers in one name; those who write messages need one or two. */
const MAX_POINTERS = 32;
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
 * not taken for two.
 */
function readName(message: Uint8Array, from: number): { name: string; end: number } | undefined {
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

/** A label in lower case. */
function textOf(message: Uint8Array, from: number, bytes: number): string {
  const text = String.fromCharCode(...message.subarray(from, from + bytes)).toLowerCase();
  return /^[a-z0-9_-]+$/.test(text)
    ? text
    : text.replace(/[^a-z0-9_-]/g, letter => `\\${letter.charCodeAt(0)}`);
}
