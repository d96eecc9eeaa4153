/** Names of addresses in the DNS: in-addr.arpa, RFC 1035 §3.5, and ip6.arpa, RFC 3596 §2.5. */
import { isIPv4 } from 'node:net';
import { type Ip4, parseIp4 } from './address.ts';

const IN_ADDR = '.in-addr.arpa';
const IP6 = '.ip6.arpa';

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

/** The digits of a name below ip6.arpa, in the address's order, up to a label that is none; undefined: it is no such name. */
export function digitsOf(name: string): string | undefined {
  if (!name.endsWith(IP6)) return undefined;
  const labels = name.slice(0, -IP6.length).split('.').reverse();
  const end = labels.findIndex(label => !/^[0-9a-f]$/.test(label));
  return labels.slice(0, end < 0 ? labels.length : end).join('');
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

/** The name by which an address is asked for. */
export const reverseOf = (address: string): string =>
  isIPv4(address) ? reverseName(parseIp4(address)!) : reverseName6(address);
