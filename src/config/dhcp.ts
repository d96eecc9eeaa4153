/**
 * What the settings of the DHCP service must be together: the range, reservations, pools, tags, options and boot files,
 * each held against the subnet, the taps, and each other; and the range when none is named.
 */
import type { DhcpConfig, HostReservation, Subnet, UplinkConfig } from '../config.ts';
import { GATEWAY_NAME } from '../service/dhcp/hostnames.ts';
import type { Scope } from '../service/dhcp/options.ts';
import type { PoolSettings } from '../service/dhcp/pools.ts';
import type { TagRule } from '../service/dhcp/tags.ts';
import { LOCALHOST } from '../service/dns/special.ts';
import type { AddressRange } from '../settings/network.ts';
import type { GivenPool } from '../settings/reservations.ts';
import { formatIp4, type Ip4 } from '../wire/address.ts';
import type { Surroundings } from './addresses.ts';
import type { GivenSettings } from './given.ts';

/** Settings that say nothing where no address is handed out. */
const ONLY_WITH_DHCP = [
  ...(['dhcp-range', 'dhcp-probe', 'lease-hook', 'release-on-detach'] as const),
  ...(['host', 'pool', 'dhcp-option', 'dhcp-tag', 'boot'] as const),
];

type Reserving = Pick<DhcpConfig, 'hosts' | 'pools' | 'options' | 'tags' | 'boots'>;

const DEFAULT_LEASE_S = 12 * 3600;

/** Undefined: no addresses are handed out. `usualProbeMs`: how long one is asked for where nobody says. */
export function dhcpOf(
  given: GivenSettings,
  uplink: UplinkConfig,
  around: Surroundings,
  usualProbeMs: number,
): DhcpConfig | undefined {
  if (uplink.kind === 'bridge') {
    // A LAN has a DHCP server of its own; two would hand out addresses against each other.
    refuseDhcp(given, "uplink bridge, where the LAN's own server serves");
    return undefined;
  }
  if (given.value('no-dhcp') === true) {
    refuseDhcp(given, 'no-dhcp');
    return undefined;
  }
  const asked = given.value('dhcp-range');
  if (asked !== undefined) checkRange(given, asked, around);
  return {
    ...(asked ?? usualRange(around)),
    leaseTimeS: given.value('lease-time') ?? DEFAULT_LEASE_S,
    probeMs: given.value('dhcp-probe') ?? usualProbeMs,
    dns: given.value('dns') ?? [],
    domain: given.value('domain') ?? '',
    ...reservingOf(given, around),
  };
}

/** Addresses one to nine are left to hosts that are set up by hand, where the subnet has that many to spare. */
function usualRange({ subnet, natAddress }: Surroundings): AddressRange {
  const first = (subnet.network + (subnet.prefix <= 27 ? 10 : 2)) as Ip4;
  const last = (subnet.broadcast - 1) as Ip4;
  if (!between(natAddress, first, last)) return { first, last };
  // one range has to do: the longer of those before and behind the NAT address
  return natAddress - first >= last - natAddress
    ? { first, last: (natAddress - 1) as Ip4 }
    : { first: (natAddress + 1) as Ip4, last };
}

function checkRange(given: GivenSettings, range: AddressRange, { subnet, natAddress }: Surroundings): void {
  if (!between(range.first, subnet.network, subnet.broadcast))
    given.refuse('dhcp-range', `begins outside ${subnet.text}; expected addresses of the subnet`);
  if (!between(range.last, subnet.network, subnet.broadcast))
    given.refuse('dhcp-range', `ends outside ${subnet.text}; expected addresses of the subnet`);
  const reserved: readonly (readonly [string, Ip4])[] = [
    ['network address', subnet.network],
    ['gateway', subnet.gateway],
    ['broadcast address', subnet.broadcast],
    ['NAT address', natAddress],
  ];
  for (const [role, ip] of reserved) {
    if (between(ip, range.first, range.last))
      given.refuse('dhcp-range', `holds the ${role} ${formatIp4(ip)}; expected a range without it`);
  }
}

/** Within one subnet signed comparison is right: no subnet from /8 on spans the sign. */
const between = (ip: number, first: number, last: number): boolean => ip >= first && ip <= last;

/** Throws an OperatorError when any of it is given beside what hands out no addresses. */
function refuseDhcp(given: GivenSettings, what: string): void {
  for (const name of ONLY_WITH_DHCP)
    if (given.value(name) !== undefined)
      given.refuse(name, `is given beside ${what}; expected one of the two`);
}

/** Throws an OperatorError for what can't be. */
function reservingOf(given: GivenSettings, around: Surroundings): Reserving {
  const networks = given.value('pool') ?? [];
  const pools = networks.map((_, index) => poolOf(given, index, networks, around));
  const hosts = given.value('host') ?? [];
  const tags = given.value('dhcp-tag') ?? [];
  const options = given.value('dhcp-option') ?? [];
  const boots = given.value('boot') ?? [];
  for (const [item, host] of hosts.entries()) checkHost(given, item, host, networks, around);
  for (const [item, rule] of tags.entries()) checkTag(given, item, rule, hosts, networks, around);
  const known = new Set([...tags.map(({ tag }) => tag), ...hosts.flatMap(host => host.tags)]);
  for (const [name, list] of [['dhcp-option', options] as const, ['boot', boots] as const])
    for (const [item, { scope }] of list.entries()) {
      const fault = scopeFault(scope, known, hosts);
      if (fault !== undefined) given.refuse(name, fault, item);
    }
  return { hosts, pools, options, tags, boots };
}

const has = (subnet: Subnet, ip: Ip4): boolean => (ip & subnet.mask) === subnet.network;
const overlap = (a: Subnet, b: Subnet): boolean => has(a, b.network) || has(b, a.network);

function poolOf(
  given: GivenSettings,
  item: number,
  all: readonly GivenPool[],
  around: Surroundings,
): PoolSettings {
  const { subnet, range, router } = all[item] as GivenPool;
  const refuse = (why: string): never => given.refuse('pool', why, item);
  const before = all.slice(0, item).map(pool => pool.subnet);
  const other = [around.subnet, ...before].find(each => overlap(each, subnet));
  if (other !== undefined)
    refuse(`names ${subnet.text}, which overlaps ${other.text}; expected networks apart from each other`);
  const fault = hostFault(router, subnet);
  if (fault !== undefined)
    refuse(`names the router ${formatIp4(router)}, which is ${fault}; expected an address of ${subnet.text}`);
  // As in the subnet itself: the first nine are left to hosts that are set up by hand, where there are that many to spare.
  const first = (subnet.network + (subnet.prefix <= 27 ? 10 : 1)) as Ip4;
  const { first: from, last: to } = range ?? { first, last: (subnet.broadcast - 1) as Ip4 };
  for (const end of [from, to])
    if (!has(subnet, end))
      refuse(`has a range with ${formatIp4(end)}, outside ${subnet.text}; expected addresses of the pool`);
  if (range !== undefined)
    for (const [role, ip] of [
      ['network address', subnet.network],
      ['router', router],
      ['broadcast address', subnet.broadcast],
    ] as const)
      if (ip >= from && ip <= to)
        refuse(`has a range with the ${role} ${formatIp4(ip)}; expected a range without it`);
  const { network, mask, broadcast } = subnet;
  return { network, mask, broadcast, router, first: from, last: to };
}

/** Why an address is no host's; undefined: it may be one. */
function hostFault(ip: Ip4, subnet: Subnet): string | undefined {
  if (!has(subnet, ip)) return `outside ${subnet.text}`;
  if (ip === subnet.network) return 'the network address';
  return ip === subnet.broadcast ? 'the broadcast address' : undefined;
}

function checkHost(
  given: GivenSettings,
  item: number,
  { name, address, identity }: HostReservation,
  pools: readonly GivenPool[],
  { subnet, natAddress, ports }: Surroundings,
): void {
  const refuse = (why: string): never => given.refuse('host', why, item);
  if (name === GATEWAY_NAME || name === LOCALHOST)
    refuse(`names a guest ${name}, which is another's name to all others; expected one of its own`);
  const text = formatIp4(address);
  const pool = pools.find(each => has(each.subnet, address));
  const where = pool?.subnet ?? subnet;
  const fault =
    hostFault(address, where) ??
    (address === (pool?.router ?? subnet.gateway)
      ? pool === undefined
        ? 'the gateway'
        : 'the router'
      : undefined) ??
    (address === natAddress ? 'the NAT address' : undefined);
  if (fault !== undefined) {
    const places = [subnet, ...pools.map(each => each.subnet)].map(each => each.text).join(' or ');
    refuse(`reserves ${text}, which is ${fault}; expected an address for a guest in ${places}`);
  }
  if (identity.kind !== 'port') return;
  if (!ports.includes(identity.port))
    refuse(
      `names the port ${identity.port}, which is none of the ports; expected one of them, a MAC or id:HEX`,
    );
  if (pool !== undefined)
    refuse(
      `reserves ${text} for the port ${identity.port}, but ${where.text} is behind a relay; expected an address in ${subnet.text}`,
    );
}

function checkTag(
  given: GivenSettings,
  item: number,
  { match }: TagRule,
  hosts: readonly HostReservation[],
  pools: readonly GivenPool[],
  { subnet, ports }: Surroundings,
): void {
  const refuse = (why: string): never => given.refuse('dhcp-tag', why, item);
  if (match.kind === 'host' && !hosts.some(host => host.name === match.name))
    refuse(`names the host ${match.name}; expected one that a host setting names`);
  if (match.kind === 'port' && !match.pattern.includes('*') && !ports.includes(match.pattern))
    refuse(`names the port ${match.pattern}; expected one of the ports`);
  if (
    match.kind === 'pool' &&
    ![subnet, ...pools.map(pool => pool.subnet)].some(each => each.network === match.network)
  )
    refuse(`names the pool ${formatIp4(match.network)}; expected the subnet or one of the pools`);
}

function scopeFault(
  scope: Scope,
  tags: ReadonlySet<string>,
  hosts: readonly HostReservation[],
): string | undefined {
  if (scope.kind === 'tag' && !tags.has(scope.tag))
    return `is for the tag ${scope.tag}, which nothing gives; expected one of a dhcp-tag or host setting`;
  if (scope.kind === 'host' && !hosts.some(host => host.name === scope.name))
    return `is for the host ${scope.name}; expected one that a host setting names`;
  return undefined;
}
