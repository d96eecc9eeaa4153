/**
 * Names that are nobody's to ask about upstream: special-use names, and the reverse zones of private addresses. What a
 * resolver must not pass on it answers itself, with what the RFC named beside each says.
 */
import { type Ip4, type Network, parseNetwork } from '../../wire/address.ts';

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

const IN_ADDR = '.in-addr.arpa';
const IP6 = '.ip6.arpa';

/** The special zone that a name is in; undefined: it is like any other. */
export const nowhere = (name: string): string | undefined =>
  NOWHERE.find(zone => name === zone || name.endsWith(`.${zone}`));

export const isLocalhost = (name: string): boolean => name === LOCALHOST || name.endsWith(`.${LOCALHOST}`);

/** What a name in a reverse zone is about. */
export interface Reverse {
  /** How many of its octets the name gives: 4 are an address. */
  readonly octets: number;
  /** With zeros for what it does not give. */
  readonly ip: Ip4;
  /** Are there labels before it that are no octets? Then it is the name of nothing. */
  readonly stray: boolean;
}

/** Reads `9.100.168.192.in-addr.arpa` and shorter ones; undefined: it is no such name. */
export function readReverse(name: string): Reverse | undefined {
  if (!name.endsWith(IN_ADDR)) return undefined;
  const labels = name.slice(0, -IN_ADDR.length).split('.').reverse();
  let ip = 0;
  let octets = 0;
  for (const label of labels.slice(0, 4)) {
    if (!/^(0|[1-9]\d{0,2})$/.test(label) || Number(label) > 255) break;
    ip |= Number(label) << (24 - 8 * octets++);
  }
  return octets === 0 ? undefined : { octets, ip: ip as Ip4, stray: octets < labels.length };
}

/** Is all of what the name is about in a network? */
export function isWithin({ octets, ip }: Reverse, { network, mask }: Network): boolean {
  const given = octets === 4 ? -1 : ~(-1 >>> (8 * octets));
  return (ip & mask) === network && (mask & given) === mask;
}

export const isPrivate = (reverse: Reverse): boolean => PRIVATE.some(network => isWithin(reverse, network));

/** The same of a name below ip6.arpa. */
export function isPrivate6(name: string): boolean {
  if (!name.endsWith(IP6)) return false;
  const digits = name.slice(0, -IP6.length).split('.').reverse().join('');
  return PRIVATE6.some(prefix => digits.startsWith(prefix));
}

/** `9.100.168.192.in-addr.arpa` */
export const reverseName = (ip: number, octets = 4): string =>
  [24, 16, 8, 0]
    .slice(0, octets)
    .reverse()
    .map(bits => (ip >>> bits) & 255)
    .join('.') + IN_ADDR;

/** The same of an IPv6 address as text, in any of its forms; a tail in dotted decimal is two groups. */
export function reverseName6(address: string): string {
  const groups = (part: string): string[] =>
    part === ''
      ? []
      : part.split(':').flatMap(group => {
          const octets = group.split('.').map(Number);
          if (octets.length !== 4) return [group.padStart(4, '0')];
          return [0, 2].map(at => ((octets[at]! << 8) | octets[at + 1]!).toString(16).padStart(4, '0'));
        });
  const [head = '', tail] = address.toLowerCase().split('::');
  const [first, last] = [groups(head), groups(tail ?? '')];
  const zeros = new Array<string>(8 - first.length - last.length).fill('0000');
  const digits = [...first, ...(tail === undefined ? [] : zeros), ...last].join('');
  return [...digits].reverse().join('.') + IP6;
}

/** The zones that a network's reverse names fill, cut at whole octets: one, or up to 128 of the next longer. */
export function reverseZones(network: Ip4, prefix: number): string[] {
  const octets = Math.ceil(prefix / 8);
  const step = 2 ** (32 - 8 * octets);
  return Array.from({ length: 2 ** (8 * octets - prefix) }, (_, i) =>
    reverseName((network + i * step) | 0, octets),
  );
}
