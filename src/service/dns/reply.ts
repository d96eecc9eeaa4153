/**
 * Responses as they are kept, and what clients get of them. Kept is the message as it came, checked from end to end,
 * without EDNS and with the places of its times to live: so an answer out of the cache is one copy and a few patches.
 *
 *   a server's response ─ readReply ─ Reply ─ emit ─ what the client gets: its id, its case, its EDNS, its size
 *
 * A response is kept for its own question and nothing else: whatever else stands in it is never used for another name.
 */
import { CLASS_IN, DNS_HEADER, type Question } from '../../wire/dns.ts';
import { Flag, type Query, Rcode, TYPE_ANY } from '../../wire/dnsquery.ts';
import {
  type RecordAt,
  readU16,
  readU32,
  recordAt,
  TYPE_OPT,
  TYPE_SOA,
  TYPE_TSIG,
  writeU16,
  writeU32,
} from '../../wire/dnsrecords.ts';

/** A day for what there is, an hour for what there is not (RFC 2308 §5: one to three), five seconds for failures. */
const MAX_TTL_S = 86_400;
const MAX_NEGATIVE_TTL_S = 3_600;
/** RFC 9520 §3.2: failures are remembered, so that nobody asks a failing server in a loop. */
export const FAILURE_TTL_S = 5;

const ANY_TTL_S = 3_600;
const TYPE_HINFO = 13;

const OPT_BYTES = 11;
const OPTION_BYTES = 4;
const DO_BIT = 0x80;
const ERROR_OPTION = 15; // extended DNS errors, RFC 8914
/** Two names and five numbers. */
const MIN_SOA_BYTES = 22;
/** What a client may send us by UDP: the size that passes everywhere, dnsflagday.net/2020. */
export const OUR_UDP_BYTES = 1_232;
/** Of an error's text no more than this goes on. */
const MAX_ERROR_BYTES = 130;

export interface Reply {
  /** The message with its question in lower case, then the offsets of its times to live, two bytes each. */
  readonly data: Buffer;
  /** Of the message. */
  readonly bytes: number;
  /** How long it may be kept; 0: not at all. */
  readonly ttlS: number;
  /** An extended error: its code, two bytes, and text. */
  readonly error: Buffer | undefined;
}

/** Sections of records: answers, authorities, the rest. */
type Section = 0 | 1 | 2;

/** A response read on; what is known after its last record. */
interface Walk {
  /** Where the records end that are kept. */
  end: number;
  counts: [number, number, number];
  records: RecordAt[];
  leastS: number;
  answered: boolean;
  /** Says how long a negative answer counts. */
  soa: RecordAt | undefined;
  error: Buffer | undefined;
}

/**
 * Checks a whole response, whose question has been compared already, and makes it ready to be kept; undefined: it is broken.
 * What follows its last record is left out, and so is EDNS with all behind it. `authority`: who answers is one, so AA stays.
 */
export function readReply(message: Uint8Array, question: Question, authority = false): Reply | undefined {
  if (message.length < question.end || readU16(message, 4) !== 1) return undefined;
  const walk = walkRecords(message, question);
  if (walk === undefined) return undefined;
  const { end, counts, records } = walk;
  const data = Buffer.allocUnsafeSlow(end + 2 * records.length);
  data.set(message.subarray(0, end));
  const flags = readU16(message, 2) & (Flag.Authentic | Flag.Rcode | (authority ? Flag.Authoritative : 0));
  writeU16(data, 2, flags);
  for (const [section, count] of counts.entries()) writeU16(data, 6 + 2 * section, count);
  lowerCase(data, DNS_HEADER, question.end - 4);
  for (const [i, record] of records.entries()) {
    writeU16(data, end + 2 * i, record.ttl);
    writeU32(data, record.ttl, boundedTtl(readU32(data, record.ttl)));
    if (isAsked(data, record, question)) lowerCase(data, record.at, record.ttl - 4);
  }
  const rcode = flags & Flag.Rcode;
  const negative = rcode === Rcode.NxDomain || !walk.answered;
  const lifeS = Math.min(walk.leastS, negative ? negativeTtl(data, walk.soa) : MAX_TTL_S);
  const kept = rcode === Rcode.NoError || rcode === Rcode.NxDomain;
  return { data, bytes: end, ttlS: kept ? lifeS : 0, error: walk.error };
}

function walkRecords(message: Uint8Array, { end, type }: Question): Walk | undefined {
  const walk: Walk = {
    end,
    counts: [0, 0, 0],
    records: [],
    leastS: MAX_TTL_S,
    answered: false,
    soa: undefined,
    error: undefined,
  };
  let [at, cut] = [end, false];
  for (const section of [0, 1, 2] as const) {
    for (let count = readU16(message, 6 + 2 * section); count > 0; count--) {
      const record = recordAt(message, at);
      if (record === undefined || (record.type === TYPE_OPT && section !== 2)) return undefined;
      at = record.end;
      if (record.type === TYPE_OPT && message[record.ttl] !== 0) return undefined; // an error of EDNS: BADVERS, BADCOOKIE
      if (record.type === TYPE_OPT) walk.error = extendedError(message, record);
      cut ||= record.type === TYPE_OPT || record.type === TYPE_TSIG;
      if (!cut) keep(walk, message, record, section, type);
    }
  }
  return walk;
}

function keep(walk: Walk, message: Uint8Array, record: RecordAt, section: Section, type: number): void {
  walk.end = record.end;
  walk.counts[section]++;
  walk.records.push(record);
  const ttlS = boundedTtl(readU32(message, record.ttl));
  walk.leastS = Math.min(walk.leastS, ttlS);
  if (section === 0 && (record.type === type || type === TYPE_ANY)) walk.answered = true;
  if (section === 1 && record.type === TYPE_SOA && record.end - record.data >= MIN_SOA_BYTES)
    walk.soa ??= record;
}

/** RFC 2181 §8: with the highest bit set it is none. */
const boundedTtl = (ttlS: number): number => Math.min(Math.max(ttlS, 0), MAX_TTL_S);

/** RFC 2308 §5: the least of the SOA record's last number and its time to live, which then says so; 0: there is none. */
function negativeTtl(data: Uint8Array, soa: RecordAt | undefined): number {
  if (soa === undefined) return 0;
  const minimumS = boundedTtl(readU32(data, soa.end - 4));
  const ttlS = Math.min(readU32(data, soa.ttl), minimumS, MAX_NEGATIVE_TTL_S);
  writeU32(data, soa.ttl, ttlS);
  return ttlS;
}

/** Is the owner the name that was asked for, written out? Then it has the case that was sent, which is nobody's but ours. */
function isAsked(data: Uint8Array, { at, ttl }: RecordAt, { end }: Question): boolean {
  const bytes = end - 4 - DNS_HEADER;
  if (ttl - 4 - at !== bytes) return false;
  for (let i = 0; i < bytes; i++) if (lower(data[at + i] as number) !== data[DNS_HEADER + i]) return false;
  return true;
}

const lower = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte);

/** Of a name that is written out; the lengths of labels are no letters. */
function lowerCase(data: Uint8Array, from: number, end: number): void {
  for (let at = from; at < end; at++) data[at] = lower(data[at] as number);
}

/** The first extended error in an OPT record, without a text that is too long; undefined: there is none. */
function extendedError(message: Uint8Array, { data, end }: RecordAt): Buffer | undefined {
  for (let at = data; at + OPTION_BYTES <= end; ) {
    const bytes = readU16(message, at + 2);
    const from = at + OPTION_BYTES;
    if (readU16(message, at) === ERROR_OPTION && bytes >= 2 && from + bytes <= end)
      return Buffer.from(message.subarray(from, from + (bytes <= MAX_ERROR_BYTES ? bytes : 2)));
    at = from + bytes;
  }
  return undefined;
}

/** An extended error of our own. */
export function errorOf(code: number, text: string): Buffer {
  const error = Buffer.alloc(2 + text.length, text, 'latin1');
  error.copyWithin(2, 0);
  error.writeUInt16BE(code);
  return error;
}

/** A reply without records, to the question of a message. */
export function bareReply(message: Uint8Array, question: Question, rcode: number, error?: Buffer): Reply {
  const data = Buffer.alloc(question.end);
  data.set(message.subarray(0, question.end));
  lowerCase(data, DNS_HEADER, question.end - 4);
  writeU16(data, 2, rcode & Flag.Rcode);
  data.fill(0, 6, DNS_HEADER);
  return { data, bytes: question.end, ttlS: 0, error };
}

/** RFC 8482 §4.2: whoever asks for all there is gets one record that says that this is not answered. */
export function minimalAny(message: Uint8Array, question: Question): Reply {
  const cpu = 'RFC8482';
  const data = [cpu.length, ...Buffer.from(cpu), 0];
  const record = [0xc0, DNS_HEADER, 0, TYPE_HINFO, 0, CLASS_IN, 0, 0, 0, 0, 0, data.length, ...data];
  const bytes = question.end + record.length;
  const whole = Buffer.concat([
    bareReply(message, question, Rcode.NoError).data,
    Buffer.from(record),
    Buffer.alloc(2),
  ]);
  writeU16(whole, 6, 1);
  writeU32(whole, question.end + 6, ANY_TTL_S);
  writeU16(whole, bytes, question.end + 6);
  return { data: whole, bytes, ttlS: 0, error: undefined };
}

/** A header alone: what could not be read has no question to repeat. */
export function bareHeader(message: Uint8Array, rcode: number): Uint8Array {
  const header = new Uint8Array(DNS_HEADER);
  header.set(message.subarray(0, 2));
  const flags = readU16(message, 2) & (Flag.Opcode | Flag.RecursionDesired);
  writeU16(header, 2, Flag.Response | flags | rcode);
  return header;
}

/**
 * What the client gets that sent `message`: `ageS` seconds after the reply came, and never longer than `limit` bytes. What of
 * the records does not fit is left out, with TC where it is missed (RFC 2181 §9). The answers that fit stay, as there are
 * clients that never ask by TCP (musl's, up to 1.2.3).
 */
export function emit(
  reply: Reply,
  message: Uint8Array,
  query: Query,
  ageS: number,
  limit: number,
): Uint8Array {
  const { data, bytes } = reply;
  let error = query.edns ? reply.error : undefined;
  const opt = query.edns ? OPT_BYTES : 0;
  if (error !== undefined && bytes + opt + OPTION_BYTES + error.length > limit) error = undefined;
  if (bytes + opt > limit)
    return emit(shorten(reply, limit - opt, query.question), message, query, ageS, limit);
  const total = bytes + opt + (error === undefined ? 0 : OPTION_BYTES + error.length);
  const out = Buffer.allocUnsafe(total);
  data.copy(out, 0, 0, bytes);
  out[0] = message[0] as number;
  out[1] = message[1] as number;
  writeU16(out, 2, flagsFor(readU16(data, 2), query));
  for (let at = DNS_HEADER; at < query.question.end - 4; at++) out[at] = message[at] as number;
  if (ageS > 0)
    for (let at = bytes; at < data.length; at += 2) {
      const ttl = readU16(data, at);
      writeU32(out, ttl, Math.max(readU32(data, ttl) - ageS, 0));
    }
  if (opt > 0) writeOpt(out, bytes, query, error);
  return out;
}

/** AD is for those who know it (RFC 6840 §5.8). */
function flagsFor(kept: number, { flags, dnssecOk }: Query): number {
  const knows = dnssecOk || (flags & Flag.Authentic) !== 0;
  const passed = Flag.Authoritative | Flag.Truncated | Flag.Rcode | (knows ? Flag.Authentic : 0);
  const echoed = Flag.RecursionDesired | Flag.CheckingDisabled;
  return Flag.Response | Flag.RecursionAvailable | (kept & passed) | (flags & echoed);
}

function writeOpt(out: Buffer, at: number, { dnssecOk, rcode }: Query, error: Buffer | undefined): void {
  out[at] = 0;
  writeU16(out, at + 1, TYPE_OPT);
  writeU16(out, at + 3, OUR_UDP_BYTES);
  out[at + 5] = rcode >> 4;
  out[at + 6] = 0; // version
  writeU16(out, at + 7, dnssecOk ? DO_BIT << 8 : 0);
  writeU16(out, at + 9, error === undefined ? 0 : OPTION_BYTES + error.length);
  writeU16(out, 10, readU16(out, 10) + 1);
  if (error === undefined) return;
  writeU16(out, at + OPT_BYTES, ERROR_OPTION);
  writeU16(out, at + OPT_BYTES + 2, error.length);
  error.copy(out, at + OPT_BYTES + OPTION_BYTES);
}

/** As much of a reply as fits `room` bytes: without its additional records, or else the first of its answers. */
function shorten({ data, bytes, error }: Reply, room: number, { end: question }: Question): Reply {
  const answers = readU16(data, 6);
  const needed = answers + readU16(data, 8);
  const endOf = (record: number): number => {
    if (record < 0) return question;
    const ttl = readU16(data, bytes + 2 * record);
    return ttl + 6 + readU16(data, ttl + 4);
  };
  let kept = needed;
  if (endOf(kept - 1) > room) {
    kept = answers;
    while (kept > 0 && endOf(kept - 1) > room) kept--;
  }
  const end = endOf(kept - 1);
  const cut = Buffer.concat([data.subarray(0, end), data.subarray(bytes, bytes + 2 * kept)]);
  writeU16(cut, 10, 0);
  if (kept < needed) {
    writeU16(cut, 2, readU16(data, 2) | Flag.Truncated);
    writeU16(cut, 6, kept);
    writeU16(cut, 8, 0);
  }
  return { data: cut, bytes: end, ttlS: 0, error };
}
