/**
 * Tags: what clients are told apart by. A rule gives a tag to those that match; a client has any number of them, and so has
 * a reservation. Patterns have `*` for any text.
 */
import type { HostReservation } from '../../config.ts';
import type { Ip4 } from '../../wire/address.ts';
import { Code, type DhcpMessage } from '../../wire/dhcp.ts';

export type TagMatch =
  | { readonly kind: 'mac' | 'vendor' | 'user-class' | 'port'; readonly pattern: string }
  /** Client system architectures, RFC 4578 §2.1. */
  | { readonly kind: 'arch'; readonly types: readonly number[] }
  /** The pool of this network. */
  | { readonly kind: 'pool'; readonly network: Ip4 }
  | { readonly kind: 'host'; readonly name: string };

export interface TagRule {
  readonly tag: string;
  readonly match: TagMatch;
}

/** What of a client a rule may look at. */
export interface Facts {
  readonly message: DhcpMessage;
  /** Colon text. */
  readonly mac: string;
  /** Empty where it is not known, since a relay is between. */
  readonly port: string;
  readonly pool: number;
  readonly host: HostReservation | undefined;
}

/** User classes that are looked at. */
const MAX_CLASSES = 16;

type Test = (facts: Facts) => boolean;

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');

/**
 * Does the whole text meet the pattern? By its pieces, each where it comes first: a guest chooses the text, and a regular
 * expression with several `.*` would take it the power of their number in steps.
 */
function meets(pieces: readonly string[], text: string): boolean {
  const [first = '', ...rest] = pieces;
  const last = rest.pop();
  if (last === undefined) return text === first;
  if (!text.startsWith(first) || !text.endsWith(last)) return false;
  let at = first.length;
  for (const piece of rest) {
    const found = text.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return at + last.length <= text.length;
}

const patternOf = (glob: string): ((text: string) => boolean) => {
  const pieces = glob.split('*');
  return text => meets(pieces, text);
};

/** Of the clients that a rule means. `networks`: of the pools, by their numbers. */
export function testOf(match: TagMatch, networks: readonly Ip4[]): Test {
  switch (match.kind) {
    case 'arch':
      return ({ message }) => architectures(message).some(type => match.types.includes(type));
    case 'pool': {
      const wanted = networks.indexOf(match.network);
      return ({ pool }) => pool === wanted;
    }
    case 'host':
      return ({ host }) => host?.name === match.name;
    case 'user-class': {
      const pattern = patternOf(match.pattern);
      return ({ message }) => userClasses(message).some(pattern);
    }
    case 'vendor': {
      const pattern = patternOf(match.pattern);
      return ({ message }) => pattern(vendorClass(message));
    }
    case 'mac': {
      const pattern = patternOf(match.pattern.toLowerCase());
      return ({ mac }) => pattern(mac);
    }
    case 'port': {
      const pattern = patternOf(match.pattern);
      return ({ port }) => port !== '' && pattern(port);
    }
  }
}

/** Option 60; empty: there is none. */
export function vendorClass(message: DhcpMessage): string {
  const value = message.options.get(Code.VendorClass);
  return value === undefined ? '' : latin1(value);
}

/** Option 93: two bytes each. */
function architectures(message: DhcpMessage): number[] {
  const value = message.options.get(Code.Architecture) ?? new Uint8Array(0);
  return Array.from({ length: value.length >> 1 }, (_, i) => (value[2 * i]! << 8) | value[2 * i + 1]!);
}

/** Option 77 as RFC 3004 has it, each behind its length; and as it is, for iPXE and others send mere text. */
function userClasses(message: DhcpMessage): string[] {
  const value = message.options.get(Code.UserClass);
  if (value === undefined) return [];
  const classes = [latin1(value)];
  for (let at = 0; at < value.length && classes.length < MAX_CLASSES; at += 1 + value[at]!)
    classes.push(latin1(value.subarray(at + 1, at + 1 + value[at]!)));
  return classes;
}
