/**
 * Responses that are made here: header and question as they were asked, then records. What a response must have beside for
 * the one who asked, such as EDNS, and whether it fits a datagram, is the resolver's to see to. RFC 1035 §4.1.
 */
import dnsPacket, { type Answer } from 'dns-packet';
import { DNS_HEADER } from '../../wire/dns.ts';
import { Flag } from '../../wire/dnsquery.ts';

const FLAGS = 2,
  ANSWERS = 6,
  AUTHORITIES = 8,
  ADDITIONALS = 10; // byte offsets

/** What is answered to a question. */
export interface Said {
  readonly rcode: number;
  readonly answers: readonly Answer[];
  readonly authorities: readonly Answer[];
}

/** The same in bytes, for whoever asks. */
export interface Encoded {
  readonly rcode: number;
  readonly answers: number;
  readonly authorities: number;
  readonly records: Uint8Array;
}

/** dns-packet points to no other name, so that its records may stand anywhere. */
export const encode = ({ rcode, answers, authorities }: Said): Encoded => ({
  rcode,
  answers: answers.length,
  authorities: authorities.length,
  records:
    answers.length + authorities.length === 0
      ? new Uint8Array(0)
      : dnsPacket.encode({ answers: [...answers], authorities: [...authorities] }).subarray(DNS_HEADER),
});

/** Puts a response to a query together whose question ends at `end`. */
export function respond(query: Uint8Array, end: number, encoded: Encoded): Uint8Array {
  const { rcode, answers, authorities, records } = encoded;
  const response = new Uint8Array(end + records.length);
  response.set(query.subarray(0, end));
  response.set(records, end);
  const mem = new DataView(response.buffer);
  const desired = mem.getUint16(FLAGS) & Flag.RecursionDesired;
  mem.setUint16(FLAGS, Flag.Response | Flag.Authoritative | desired | Flag.RecursionAvailable | rcode);
  mem.setUint16(ANSWERS, answers);
  mem.setUint16(AUTHORITIES, authorities);
  mem.setUint16(ADDITIONALS, 0);
  return response;
}
