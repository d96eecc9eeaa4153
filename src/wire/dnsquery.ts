/**
 * What a client asks, RFC 1035 §4.1 and RFC 6891, read strictly: one question, no answers, at most one OPT record and
 * nothing behind the last one. Of EDNS the size and the DO bit are taken; cookies, the client's subnet and other options
 * are nobody's business behind us, and are not read.
 */
import { CLASS_IN, DNS_HEADER, type Question, readQuestion } from './dns.ts';
import { readU16, recordAt, TYPE_OPT } from './dnsrecords.ts';

/** Response codes, RFC 1035 §4.1.1 and RFC 6891 §9. */
export const Rcode = {
  NoError: 0,
  FormErr: 1,
  ServFail: 2,
  NxDomain: 3,
  NotImp: 4,
  Refused: 5,
  BadVers: 16,
} as const;

/** Of the 16 bits of flags. */
export const Flag = {
  Response: 0x8000,
  Opcode: 0x7800,
  Authoritative: 0x0400,
  Truncated: 0x0200,
  RecursionDesired: 0x0100,
  RecursionAvailable: 0x0080,
  Authentic: 0x0020,
  CheckingDisabled: 0x0010,
  Rcode: 0x000f,
} as const;

export const TYPE_ANY = 255;
const TYPE_IXFR = 251;
/** RFC 6895 §3.1: types of questions and of messages, not of data; ANY (255) is answered. */
const FIRST_META = 128;
const LAST_META = 254;

/** RFC 1035 §4.2.1: what a client takes that says nothing else; nobody is believed who says less. */
export const MIN_UDP_BYTES = 512;
const DO_BIT = 0x80;

/** There is nobody to answer: a response, or no header. */
export const DROP = -1;

export interface Query {
  readonly id: number;
  readonly flags: number;
  readonly question: Question;
  /** It has an OPT record, and so has its response. */
  readonly edns: boolean;
  /** What the client takes by UDP, bytes. */
  readonly maxUdpBytes: number;
  readonly dnssecOk: boolean;
  /** Why it is not answered otherwise: `Refused` or `BadVers`; `NoError`: it is. */
  readonly rcode: number;
}

/** Reads a query; a number: the rcode of a response that is a header alone, or DROP. */
export function readQuery(message: Uint8Array): Query | number {
  if (message.length < DNS_HEADER) return DROP;
  const flags = readU16(message, 2);
  if ((flags & Flag.Response) !== 0) return DROP;
  if ((flags & Flag.Opcode) !== 0) return Rcode.NotImp;
  if (readU16(message, 4) !== 1) return Rcode.FormErr; // RFC 9619: one question
  const question = readQuestion(message);
  if (question === undefined || question.type === TYPE_OPT) return Rcode.FormErr;
  const [answers, authorities, additionals] = [
    readU16(message, 6),
    readU16(message, 8),
    readU16(message, 10),
  ];
  if (answers !== 0 || (authorities !== 0 && question.type !== TYPE_IXFR)) return Rcode.FormErr;
  let [at, opt] = [question.end, 0]; // 0: there is none
  for (let record = 0; record < authorities + additionals; record++) {
    const found = recordAt(message, at);
    if (found === undefined) return Rcode.FormErr;
    if (found.type === TYPE_OPT) {
      const misplaced = opt !== 0 || record < authorities || message[at] !== 0;
      if (misplaced || !areOptions(message, found.data, found.end)) return Rcode.FormErr;
      opt = found.ttl;
    }
    at = found.end;
  }
  if (at !== message.length) return Rcode.FormErr;
  return {
    id: readU16(message, 0),
    flags,
    question,
    edns: opt !== 0,
    maxUdpBytes: opt === 0 ? MIN_UDP_BYTES : Math.max(readU16(message, opt - 2), MIN_UDP_BYTES),
    dnssecOk: opt !== 0 && ((message[opt + 2] as number) & DO_BIT) !== 0,
    rcode: opt !== 0 && message[opt + 1] !== 0 ? Rcode.BadVers : refusal(question),
  };
}

/** RFC 6891 §6.1.2: a code, a length and as many bytes. */
function areOptions(message: Uint8Array, from: number, end: number): boolean {
  let at = from;
  while (at + 4 <= end) at += 4 + readU16(message, at + 2);
  return at === end;
}

const refusal = ({ type, class: of }: Question): number =>
  of !== CLASS_IN || (type >= FIRST_META && type <= LAST_META) || type === 0 ? Rcode.Refused : Rcode.NoError;
