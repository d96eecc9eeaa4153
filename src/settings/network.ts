/** Networks, ranges and addresses as the operator writes them. */
import { IPv4CidrRange, RangedSet } from 'ip-num';
import type { Subnet } from '../config.ts';
import { formatIp4, type Ip4, parseIp4 } from '../wire/address.ts';
import { Refusal } from './schema.ts';

export const CIDR = 'expected an IPv4 network as ADDRESS/PREFIX, such as 192.168.100.0/24';

/** ip-num takes host bits and `/08`, so the shape is settled before it is asked. */
export function parseSubnet(value: string): Subnet | Refusal {
  const [address = '', length = '', ...rest] = value.split('/');
  const ip = parseIp4(address);
  if (ip === undefined || !/^([1-9]?\d)$/.test(length) || Number(length) > 32 || rest.length > 0)
    return new Refusal(CIDR);
  const prefix = Number(length);
  if (prefix > 30)
    return new Refusal('has no room for a gateway and a guest; expected a prefix from /8 to /30');
  if (prefix < 8) return new Refusal('is larger than any private network; expected a prefix from /8 to /30');
  const range = IPv4CidrRange.fromCidr(value);
  const network = toInt32(range.getFirst().getValue());
  if (network !== ip)
    return new Refusal(`has host bits set; expected a network, such as ${formatIp4(network)}/${prefix}`);
  const firstOctet = network >>> 24;
  if (firstOctet === 0 || firstOctet === 127 || firstOctet >= 224)
    return new Refusal(
      'is not a network that hosts can be on; expected a private one, such as 192.168.100.0/24',
    );
  return {
    network,
    prefix,
    mask: (-1 << (32 - prefix)) as Ip4,
    broadcast: toInt32(range.getLast().getValue()),
    gateway: (network + 1) as Ip4,
    text: value,
  };
}

const toInt32 = (value: bigint): Ip4 => Number(BigInt.asIntN(32, value)) as Ip4;

export interface AddressRange {
  readonly first: Ip4;
  readonly last: Ip4;
}

export const RANGE = 'expected two IPv4 addresses as FIRST-LAST, such as 192.168.100.10-192.168.100.200';

export function parseRange(value: string): AddressRange | Refusal {
  const ends = value.split('-').map(end => end.trim());
  if (ends.length !== 2 || ends.some(end => parseIp4(end) === undefined)) return new Refusal(RANGE);
  try {
    const range = RangedSet.fromRangeString(ends.join('-'));
    return { first: toInt32(range.getFirst().getValue()), last: toInt32(range.getLast().getValue()) };
  } catch {
    if (ends[0] === ends[1]) return { first: parseIp4(ends[0]!)!, last: parseIp4(ends[1]!)! };
    return new Refusal('ends before it begins; expected FIRST-LAST with the lower address first');
  }
}

export const ADDRESS = 'expected an IPv4 address, such as 192.168.100.254';

const isHost = (ip: Ip4): boolean => {
  const octet = ip >>> 24;
  return octet !== 0 && octet !== 127 && octet < 224;
};

/** Of use to the DNS service, as that is on the host. */
export const isLoopback = (ip: Ip4): boolean => ip >>> 24 === 127;

export function parseAddress(value: string): Ip4 | Refusal {
  const ip = parseIp4(value);
  return ip === undefined || !isHost(ip) ? new Refusal(ADDRESS) : ip;
}

export const RESOLVERS = 'expected IPv4 addresses with commas between, such as 9.9.9.9,1.1.1.1';
const MAX_RESOLVERS = 63; // one DHCP option holds 255 bytes

export function parseResolvers(items: readonly string[]): readonly Ip4[] | Refusal {
  const addresses: Ip4[] = [];
  for (const item of items) {
    const ip = parseIp4(item.trim());
    if (ip === undefined || !(isHost(ip) || isLoopback(ip))) return new Refusal(RESOLVERS);
    addresses.push(ip);
  }
  return addresses.length <= MAX_RESOLVERS
    ? addresses
    : new Refusal(`names ${addresses.length} resolvers; expected at most ${MAX_RESOLVERS}`);
}
