/**
 * Records of the DNS service as the operator writes them, in the words of a zone file: `www CNAME nas`, `@ MX 10 mail`; and
 * for the most common kind `nas=192.168.100.9`. Names are as written here: what they mean depends on the domain.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { Refusal } from './schema.ts';

/** A record whose names are not whole yet. */
export type WrittenRecord =
  | { readonly name: string; readonly type: 'A' | 'AAAA'; readonly data: string }
  | { readonly name: string; readonly type: 'CNAME' | 'PTR'; readonly data: string }
  | { readonly name: string; readonly type: 'TXT'; readonly data: string[] }
  | { readonly name: string; readonly type: 'MX'; readonly numbers: readonly [number]; readonly data: string }
  | {
      readonly name: string;
      readonly type: 'SRV';
      readonly numbers: readonly [number, number, number];
      readonly data: string;
    };

export const RECORD =
  'expected NAME=ADDRESS, or NAME with A, AAAA, CNAME, PTR, MX, SRV or TXT and its data, such as "www CNAME nas" or "@ MX 10 mail"';

/** RFC 1035 §3.3.14: a string of a TXT record. */
const MAX_STRING = 255;
/** Whole answers stay within what goes by UDP or a message by TCP. */
const MAX_TEXT = 4_000;
/** A wildcard would be taken for a name. */
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** In lower case; undefined: it is none. `@` is the domain itself, a dot at the end says that it is whole. */
function nameIn(text: string): string | undefined {
  const name = text.toLowerCase();
  const bare = name.endsWith('.') ? name.slice(0, -1) : name;
  const fine = name === '@' || (name.length <= 253 && bare.split('.').every(label => LABEL.test(label)));
  return fine ? name : undefined;
}

function parseRecord(text: string): WrittenRecord | Refusal {
  const [, host, address] = /^([^\s=]+)\s*=\s*([0-9A-Fa-f:.]+)$/.exec(text.trim()) ?? [];
  if (host !== undefined && address !== undefined)
    return recordOf(host, isIPv6(address) ? 'AAAA' : 'A', address, text);
  const [, owner = '', type = '', rest = ''] = /^(\S+)\s+([A-Za-z]+)\s+(.+)$/.exec(text.trim()) ?? [];
  return recordOf(owner, type.toUpperCase(), rest, text);
}

function recordOf(owner: string, type: string, rest: string, text: string): WrittenRecord | Refusal {
  const wrong = (why: string): Refusal => new Refusal(`${JSON.stringify(text)} ${why}`);
  const name = type === 'PTR' && (isIPv4(owner) || isIPv6(owner)) ? owner.toLowerCase() : nameIn(owner);
  if (name === undefined || (type !== 'PTR' && isIPv4(owner)))
    return wrong(owner === '' ? `is no record; ${RECORD}` : `names ${owner}; expected a DNS name`);
  switch (type) {
    case 'A':
      return isIPv4(rest) ? { name, type, data: rest } : wrong('has no IPv4 address; expected one');
    case 'AAAA':
      return isIPv6(rest) && !rest.includes('%')
        ? { name, type, data: rest }
        : wrong('has no IPv6 address; expected one');
    case 'TXT':
      return textOf(name, rest) ?? wrong(`has a text that is too long; expected at most ${MAX_TEXT} bytes`);
  }
  const words = rest.split(/\s+/);
  const data = nameIn(words.pop() ?? '');
  const numbers = words.map(word => (/^\d{1,5}$/.test(word) ? Number(word) : Number.NaN));
  if (data === undefined || data === '@' || !numbers.every(number => number <= 0xffff))
    return wrong(`is no record; ${RECORD}`);
  const [first, second, third] = numbers;
  if ((type === 'CNAME' || type === 'PTR') && first === undefined) return { name, type, data };
  if (type === 'MX' && first !== undefined && second === undefined)
    return { name, type, numbers: [first], data };
  if (type === 'SRV' && numbers.length === 3) return { name, type, numbers: [first!, second!, third!], data };
  return wrong(`is no record; ${RECORD}`);
}

/** With or without quotes around it; longer than one string holds it is several. */
function textOf(name: string, rest: string): WrittenRecord | undefined {
  const bytes = Buffer.from(/^"(.*)"$/s.exec(rest)?.[1] ?? rest);
  if (bytes.length > MAX_TEXT) return undefined;
  const data: string[] = [];
  let string = '';
  for (const letter of bytes.toString()) {
    if (Buffer.byteLength(string + letter) > MAX_STRING) {
      data.push(string);
      string = '';
    }
    string += letter;
  }
  return { name, type: 'TXT', data: [...data, string] };
}

export function parseRecords(items: readonly string[]): readonly WrittenRecord[] | Refusal {
  const records: WrittenRecord[] = [];
  for (const item of items) {
    const record = parseRecord(item);
    if (record instanceof Refusal) return record;
    records.push(record);
  }
  return records;
}
