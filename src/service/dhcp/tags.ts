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

type Test = (facts: Facts) => boolean;

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');

const patternOf = (glob: string, flags = ''): RegExp =>
  new RegExp(`^${glob.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`, `s${flags}`);

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
      return ({ message }) => userClasses(message).some(name => pattern.test(name));
    }
    case 'vendor': {
      const pattern = patternOf(match.pattern);
      return ({ message }) => pattern.test(vendorClass(message));
    }
    case 'mac': {
      const pattern = patternOf(match.pattern, 'i');
      return ({ mac }) => pattern.test(mac);
    }
    case 'port': {
      const pattern = patternOf(match.pattern);
      return ({ port }) => port !== '' && pattern.test(port);
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
  for (let at = 0; at < value.length; at += 1 + value[at]!)
    classes.push(latin1(value.subarray(at + 1, at + 1 + value[at]!)));
  return classes;
}
