/**
 * Questions to a server, and whether a message is its answer. What a forger has to guess, who can't see the question, is the
 * id (16 bits), the port (the kernel's choice) and the case of every letter (draft-vixie-dnsext-dns0x20).
 */
import { DNS_HEADER } from '../../wire/dns.ts';
import { Flag } from '../../wire/dnsquery.ts';
import { readU16, TYPE_OPT, writeU16 } from '../../wire/dnsrecords.ts';

export const DO = 1;
export const CD = 2;

const OPT_BYTES = 11;
const DO_BIT = 0x8000;
/** What passes everywhere unfragmented (dnsflagday.net/2020), and what passes on the host itself. */
const UDP_BYTES = 1_232;
const LOOPBACK_UDP_BYTES = 4_096;

const isLetter = (byte: number): boolean => (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);

export interface Asking {
  /** Name, type and class as they stand in a message, in lower case. */
  readonly question: Uint8Array;
  /** DO and CD. */
  readonly bits: number;
  readonly edns: boolean;
  readonly mixed: boolean;
  readonly loopback: boolean;
}

/** A question for a server; `random` gives 32 bits. */
export function questionMessage(
  { question, bits, edns, mixed, loopback }: Asking,
  random: () => number,
): Uint8Array {
  const end = DNS_HEADER + question.length;
  const message = new Uint8Array(end + (edns ? OPT_BYTES : 0));
  writeU16(message, 0, random() & 0xffff);
  const checking = (bits & CD) !== 0 ? Flag.CheckingDisabled : 0;
  // AD asks for AD, RFC 6840 §5.7
  writeU16(message, 2, Flag.RecursionDesired | Flag.Authentic | checking);
  writeU16(message, 4, 1);
  message.set(question, DNS_HEADER);
  if (mixed) mixCase(message, end - 4, random);
  if (!edns) return message;
  writeU16(message, 10, 1);
  writeU16(message, end + 1, TYPE_OPT);
  writeU16(message, end + 3, loopback ? LOOPBACK_UDP_BYTES : UDP_BYTES);
  writeU16(message, end + 7, (bits & DO) !== 0 ? DO_BIT : 0);
  return message;
}

function mixCase(message: Uint8Array, end: number, random: () => number): void {
  let [bits, left] = [0, 0];
  for (let at = DNS_HEADER; at < end; at++) {
    const byte = message[at] as number;
    if (!isLetter(byte)) continue;
    if (left === 0) [bits, left] = [random(), 32];
    message[at] = byte ^ ((bits & 1) << 5);
    bits >>>= 1;
    left--;
  }
}

/** `bare`: it repeats no question, as some servers do with errors. `mangled`: it is the answer but for the name's case. */
export type Match = 'none' | 'bare' | 'mangled' | 'exact';

/** Is a message the answer to what was sent, whose question ends at `end`? */
export function matchOf(message: Uint8Array, sent: Uint8Array, end: number): Match {
  if (message.length < DNS_HEADER || message[0] !== sent[0] || message[1] !== sent[1]) return 'none';
  const flags = readU16(message, 2);
  if ((flags & Flag.Response) === 0 || (flags & Flag.Opcode) !== 0) return 'none';
  const questions = readU16(message, 4);
  if (questions === 0 && (flags & Flag.Rcode) !== 0) return 'bare';
  if (questions !== 1 || message.length < end) return 'none';
  let match: Match = 'exact';
  for (let at = DNS_HEADER; at < end; at++) {
    const [got, wanted] = [message[at] as number, sent[at] as number];
    if (got === wanted) continue;
    if (at >= end - 4 || (got ^ wanted) !== 0x20 || !isLetter(got)) return 'none';
    match = 'mangled';
  }
  return match;
}
