/**
 * Responses that are made here: header and question as they were asked, in the asker's own letters, then records, then
 * EDNS(0) if it was asked with. RFC 1035 §4.1, RFC 6891.
 */
import dnsPacket, { type Answer } from 'dns-packet';

export const NO_ERROR = 0,
  NAME_ERROR = 3,
  REFUSED = 5; // RFC 1035 §4.1.1
const BAD_VERSION = 16; // RFC 6891 §9

const FLAGS = 2,
  ANSWERS = 6,
  AUTHORITIES = 8,
  ADDITIONALS = 10,
  HEADER = 12; // byte offsets
const OPCODE_RD_CD = 0x7910;
const RESPONSE = 0x8000;
const AUTHORITATIVE = 0x0400;
const TRUNCATED = 0x0200;
const AVAILABLE = 0x0080;
const TYPE_OPT = 41;
const DNSSEC_OK = 0x8000;
/** Bytes of an OPT record without options: name, type, size, extended code and version, flags, length. */
const OPT_SIZE = 11;
/** What is offered to take by UDP: the size of the DNS flag day of 2020, which no path has to fragment. */
const OUR_SIZE = 1_232;
/** RFC 1035 §4.2.1. */
const PLAIN_SIZE = 512;

/** What is answered to a question. */
export interface Said {
  readonly rcode: number;
  readonly answers: readonly Answer[];
  readonly authorities: readonly Answer[];
}

interface Edns {
  readonly size: number;
  readonly version: number;
  readonly dnssecOk: boolean;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Where the first question ends; undefined: there is none that is whole. A first name has nothing to point to. */
export function endOfQuestion(message: Uint8Array): number | undefined {
  let at = HEADER;
  for (let label = message[at]; label !== 0; label = message[at]) {
    if (label === undefined || label > 63) return undefined;
    at += label + 1;
  }
  return at + 5 <= message.length ? at + 5 : undefined;
}

/** The OPT record, where it stands right behind the question, as in every query that is not signed. */
function ednsOf(query: Uint8Array, end: number): Edns | undefined {
  const mem = viewOf(query);
  if (mem.getUint32(ANSWERS) !== 0 || mem.getUint16(ADDITIONALS) === 0) return undefined;
  if (end + OPT_SIZE > query.length || query[end] !== 0 || mem.getUint16(end + 1) !== TYPE_OPT)
    return undefined;
  return {
    size: mem.getUint16(end + 3),
    version: mem.getUint8(end + 6),
    dnssecOk: (mem.getUint16(end + 7) & DNSSEC_OK) !== 0,
  };
}

/** Puts a response to a whole query together. */
export function respond(query: Uint8Array, said: Said): Uint8Array | undefined {
  const end = endOfQuestion(query);
  if (end === undefined) return undefined;
  const edns = ednsOf(query, end);
  const bad = edns !== undefined && edns.version !== 0;
  const { answers, authorities, rcode } = bad ? { answers: [], authorities: [], rcode: BAD_VERSION } : said;
  const records =
    answers.length + authorities.length === 0
      ? new Uint8Array(HEADER)
      : dnsPacket.encode({ answers: [...answers], authorities: [...authorities] });
  const body = records.length - HEADER; // dns-packet points to no other name, so records may be moved
  const response = new Uint8Array(end + body + (edns === undefined ? 0 : OPT_SIZE));
  response.set(query.subarray(0, end));
  response.set(records.subarray(HEADER), end);
  const mem = viewOf(response);
  const flags = mem.getUint16(FLAGS) & OPCODE_RD_CD;
  mem.setUint16(FLAGS, flags | RESPONSE | AUTHORITATIVE | AVAILABLE | (rcode & 15));
  mem.setUint16(ANSWERS, answers.length);
  mem.setUint16(AUTHORITIES, authorities.length);
  mem.setUint16(ADDITIONALS, edns === undefined ? 0 : 1);
  if (edns !== undefined) setOpt(mem, end + body, rcode, edns.dnssecOk);
  return response;
}

function setOpt(mem: DataView, at: number, rcode: number, dnssecOk: boolean): void {
  mem.setUint16(at + 1, TYPE_OPT);
  mem.setUint16(at + 3, OUR_SIZE);
  mem.setUint8(at + 5, rcode >> 4);
  mem.setUint16(at + 7, dnssecOk ? DNSSEC_OK : 0);
}

/**
 * A response as it may go by UDP: as it is, or cut down to its question with the word to ask again by TCP. `most` is what a
 * datagram may hold on the way.
 */
export function fitted(query: Uint8Array, response: Uint8Array, most: number): Uint8Array {
  if (response.length <= PLAIN_SIZE) return response;
  const end = endOfQuestion(query);
  if (end === undefined) return response;
  const edns = ednsOf(query, end);
  if (response.length <= Math.min(Math.max(edns?.size ?? 0, PLAIN_SIZE), most)) return response;
  const cut = new Uint8Array(end + (edns === undefined ? 0 : OPT_SIZE));
  cut.set(response.subarray(0, end));
  const mem = viewOf(cut);
  mem.setUint16(FLAGS, mem.getUint16(FLAGS) | TRUNCATED);
  mem.setUint32(ANSWERS, 0);
  mem.setUint16(ADDITIONALS, edns === undefined ? 0 : 1);
  if (edns !== undefined) setOpt(mem, end, 0, edns.dnssecOk);
  return cut;
}
