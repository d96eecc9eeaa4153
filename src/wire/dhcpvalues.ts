/**
 * Values of DHCP options that are more than numbers and text: routes (121, RFC 3442), search lists (119, RFC 3397), the
 * client's own name (81, RFC 4702), and what relays add (82, RFC 3046).
 */
import type { Ip4 } from './address.ts';
import { bytes32, bytesOf } from './dhcp.ts';

export interface Route {
  readonly network: Ip4;
  readonly prefix: number;
  readonly router: Ip4;
}

/** RFC 3442: prefix length, the significant octets of the network, the router; again for each. */
export function emitRoutes(routes: readonly Route[]): Uint8Array {
  const bytes: number[] = [];
  for (const { network, prefix, router } of routes) {
    bytes.push(prefix, ...bytes32(network).subarray(0, Math.ceil(prefix / 8)), ...bytes32(router));
  }
  return Uint8Array.from(bytes);
}

/** Is 0.0.0.0/0 among the routes? Of bytes that are none, as far as they can be read. */
export function hasDefaultRoute(value: Uint8Array): boolean {
  for (let at = 0; at < value.length; at += 5 + Math.ceil(value[at]! / 8)) if (value[at] === 0) return true;
  return false;
}

const POINTER = 0xc000;

/** A domain name as labels, RFC 1035 §3.1; `complete`: with the root at its end. */
export function emitName(name: string, complete: boolean): Uint8Array {
  const bytes: number[] = [];
  for (const label of name === '' ? [] : name.split('.')) {
    const text = bytesOf(label);
    bytes.push(text.length, ...text);
  }
  if (complete) bytes.push(0);
  return Uint8Array.from(bytes);
}

/** Names one after the other, RFC 3397: an ending that was written before is pointed to (RFC 1035 §4.1.4). */
export function emitSearchList(names: readonly string[]): Uint8Array {
  const bytes: number[] = [];
  const written = new Map<string, number>();
  for (const name of names) {
    const labels = name.toLowerCase().split('.');
    for (let i = 0; i <= labels.length; i++) {
      const rest = labels.slice(i).join('.');
      const before = written.get(rest);
      if (i === labels.length) bytes.push(0);
      else if (before !== undefined) {
        bytes.push((POINTER | before) >> 8, before & 0xff);
        break;
      } else {
        if (bytes.length < POINTER >> 2) written.set(rest, bytes.length);
        bytes.push(...emitName(labels[i]!, false));
      }
    }
  }
  return Uint8Array.from(bytes);
}

/** Flags of option 81: the server updates A records, it overrides what the client wanted, wire format, no updates at all. */
export const FQDN = { S: 1, O: 2, E: 4, N: 8 } as const;
/** Flags and the two response codes of old. */
const FQDN_HEADER = 3;
const MAX_LABEL = 63;
const MAX_NAME = 255;

export interface ClientName {
  readonly flags: number;
  /** The first label, as it was written; empty: the client leaves its name to the server. */
  readonly label: string;
}

/** What a client says in option 81; undefined when that is broken, or says both "you" and "nobody" (S and N). */
export function parseClientName(value: Uint8Array): ClientName | undefined {
  if (value.length < FQDN_HEADER) return undefined;
  const flags = value[0]!;
  if ((flags & FQDN.S) !== 0 && (flags & FQDN.N) !== 0) return undefined;
  const name = value.subarray(FQDN_HEADER);
  const label = (flags & FQDN.E) === 0 ? textLabel(name) : wireLabel(name);
  return label === undefined ? undefined : { flags, label };
}

const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

const textLabel = (name: Uint8Array): string | undefined =>
  name.length > MAX_NAME ? undefined : /^[^.\0]*/.exec(text(name))?.[0];

/** Labels without compression; the root at the end may be left out (RFC 4702 §2.3.1: a partial name). */
function wireLabel(name: Uint8Array): string | undefined {
  if (name.length > MAX_NAME) return undefined;
  let first = '';
  for (let at = 0; at < name.length; at += 1 + name[at]!) {
    const length = name[at]!;
    if (length === 0) return at === name.length - 1 ? first : undefined;
    if (length > MAX_LABEL || at + length >= name.length) return undefined;
    if (at === 0) first = text(name.subarray(1, 1 + length));
  }
  return first;
}

/** The server's option 81; its response codes are 255 (RFC 4702 §2.2). `name` as text, `complete`: it ends at the root. */
export function emitClientName(flags: number, name: string, complete: boolean): Uint8Array {
  const value = (flags & FQDN.E) === 0 ? bytesOf(name) : emitName(name, complete);
  const bytes = new Uint8Array(FQDN_HEADER + value.length);
  bytes.set([flags, 255, 255]);
  bytes.set(value, FQDN_HEADER);
  return bytes;
}

/** Sub-options of option 82 that a server acts upon. */
export const LINK_SELECTION = 5; // RFC 3527
export const SERVER_ID_OVERRIDE = 11; // RFC 5107

/** An address in a sub-option of option 82; undefined: it is not there, or broken. */
export function relayAddress(value: Uint8Array, code: number): Ip4 | undefined {
  for (let at = 0; at + 1 < value.length; at += 2 + value[at + 1]!) {
    if (value[at] !== code) continue;
    if (value[at + 1] !== 4 || at + 6 > value.length) return undefined;
    return new DataView(value.buffer, value.byteOffset + at + 2, 4).getInt32(0) as Ip4;
  }
  return undefined;
}
