/**
 * Names that are nobody's to ask about upstream: special-use names, and the reverse zones of private addresses. What a
 * resolver must not pass on it answers itself, with what the RFC named beside each says.
 */
import { type Network, parseNetwork } from '../../wire/address.ts';
import { digitsOf, type Reverse } from '../../wire/reverse.ts';

/** No such name exists, by definition: RFC 6761, 6762 (local), 7686 (onion), 8375 (home.arpa), 9476 (alt), 9462; internal is ICANN's for private use. */
const NOWHERE = ['invalid', 'test', 'local', 'onion', 'alt', 'internal', 'home.arpa', 'resolver.arpa'];

/** RFC 6761 §6.3: the name of the host that asks, and all below it. */
export const LOCALHOST = 'localhost';

/** RFC 6303 §4.1 and §4.2, RFC 7793 (100.64/10): whose reverse zones are local. */
const PRIVATE = ['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12']
  .concat('192.0.2.0/24', '192.168.0.0/16', '198.51.100.0/24', '203.0.113.0/24', '255.255.255.255/32')
  .map(text => parseNetwork(text)!);

/** RFC 6303 §4.3 to §4.6: unspecified and loopback, unique local, link-local, documentation; as the digits begin. */
const PRIVATE6 = ['0'.repeat(32), `${'0'.repeat(31)}1`, 'fd', 'fe8', 'fe9', 'fea', 'feb', '20010db8'];

/** The special zone that a name is in; undefined: it is like any other. */
export const nowhere = (name: string): string | undefined =>
  NOWHERE.find(zone => name === zone || name.endsWith(`.${zone}`));

export const isLocalhost = (name: string): boolean => name === LOCALHOST || name.endsWith(`.${LOCALHOST}`);

/** Is all of what the name is about in a network? */
export function isWithin({ octets, ip }: Reverse, { network, mask }: Network): boolean {
  const given = octets === 4 ? -1 : ~(-1 >>> (8 * octets));
  return (ip & mask) === network && (mask & given) === mask;
}

export const isPrivate = (reverse: Reverse): boolean => PRIVATE.some(network => isWithin(reverse, network));

/** The same of a name below ip6.arpa. */
export function isPrivate6(name: string): boolean {
  const digits = digitsOf(name);
  return digits !== undefined && PRIVATE6.some(prefix => digits.startsWith(prefix));
}
