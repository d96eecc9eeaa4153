/**
 * The one place where text becomes addresses and limits: options, file and defaults into one frozen Config. What each
 * setting may be stands in options.ts; here and in config/ is what they must be together, and what they are when nobody says.
 */
import { guestFault, roleOf } from './config/addresses.ts';
import { cloudInitOf } from './config/cloudinit.ts';
import { dhcpOf } from './config/dhcp.ts';
import { type DnsConfig, dnsOf } from './config/dns.ts';
import { egressOf } from './config/egress.ts';
import { type Given, GivenSettings, type SettingsFile } from './config/given.ts';
import { hostAccessOf, lanOf, userOf } from './config/host.ts';
import { Settings } from './options.ts';
import type { PolicySettings } from './service/dhcp/options.ts';
import type { PoolSettings } from './service/dhcp/pools.ts';
import type { PortMacs } from './settings/portmacs.ts';
import { tapOf } from './settings/ports.ts';
import type { StormLimit } from './settings/stormlimit.ts';
import { MOST_PORTS } from './settings/taps.ts';
import { type Ip4, type Mac, type Network, UNSPECIFIED } from './wire/address.ts';

export interface Subnet {
  readonly network: Ip4;
  readonly prefix: number;
  readonly mask: Ip4;
  readonly broadcast: Ip4;
  /** The first address: the gateway's, and the host's on the uplink. */
  readonly gateway: Ip4;
  /** As it was written: `192.168.100.0/24`. */
  readonly text: string;
}

/** Which end of the tap to serve: `auto` is the interface end here and the device end elsewhere. */
export type TapEnd = 'auto' | 'device' | 'interface';

export interface TapConfig {
  readonly name: string;
  /** A name under /run/netns, or a path. */
  readonly netns?: string;
  readonly end: TapEnd;
}

/** Does a port listen at its path, or connect to it? */
export type SocketMode = 'server' | 'client';

interface AtPath<Kind extends string> {
  readonly kind: Kind;
  /** What it is called: as taps are, but longer. */
  readonly name: string;
  readonly path: string;
}

/** A file that frames are recorded to, or replayed from. What only the other mode has a use for is as if not given. */
export type PcapConfig = AtPath<'pcap'> & {
  readonly mode: 'record' | 'replay';
  /** Bytes that one file has at the most, and how many are kept. */
  readonly limit: number;
  readonly files: number;
  /** Bytes of a frame that are kept at the most. */
  readonly snapLength: number;
  /** Times the recorded pace; Infinity: as fast as frames are taken. */
  readonly speed: number;
  /** How often the file is played. */
  readonly loop: number;
};

/** A port that is a unix socket. */
export type SocketConfig = Exclude<PortConfig, PcapConfig>;

/** A port that is no tap. */
export type PortConfig =
  /** Of a server, `guests` may be connected at a time, each on a port of its own. */
  | (AtPath<'stream'> & { readonly mode: SocketMode; readonly guests: number })
  /** `peer`: whom frames go to; undefined: to whoever sent the last. */
  | (AtPath<'dgram'> & { readonly peer: string | undefined })
  /** `queues`: pairs of them that a guest may have. */
  | (AtPath<'vhost-user'> & { readonly mode: SocketMode; readonly queues: number })
  | PcapConfig;

/** An address that is kept for a guest. */
export interface HostReservation {
  /** A label in lower case; empty: none. */
  readonly name: string;
  readonly identity:
    | { readonly kind: 'mac'; readonly mac: Mac }
    /** Option 61 in hexadecimal. */
    | { readonly kind: 'client'; readonly id: string }
    | { readonly kind: 'port'; readonly port: string };
  readonly address: Ip4;
  readonly tags: readonly string[];
}

export interface DhcpConfig extends Pick<PolicySettings, 'hosts' | 'options' | 'tags' | 'boots'> {
  readonly first: Ip4;
  readonly last: Ip4;
  readonly leaseTimeS: number;
  /** How long a new guest's address is asked for before it is offered; 0: it is not. */
  readonly probeMs: number;
  /** As they were given; where names are served, guests are told others (`toldNames`). */
  readonly dns: readonly Ip4[];
  readonly domain: string;
  /** Networks behind relays, beside the subnet. */
  readonly pools: readonly PoolSettings[];
}

/** A port of the host that is passed on to a guest's. */
export interface Forward {
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  /** A guest's address; or its name, as its lease has it. */
  readonly guest: Ip4 | string;
  readonly guestPort: number;
}

/** Whose packets an egress rule is about. A tap is where they come in, which no guest can choose. */
export type EgressGuest =
  | { readonly kind: 'any' }
  | ({ readonly kind: 'network' } & Network)
  | { readonly kind: 'mac'; readonly mac: Mac }
  | { readonly kind: 'tap'; readonly name: string };

/** Where to. `below`: the names below a domain too. */
export type EgressTarget =
  | ({ readonly kind: 'network' } & Network)
  | { readonly kind: 'domain'; readonly name: string; readonly below: boolean }
  | { readonly kind: 'encrypted-dns' };

/** May a guest open a flow to the outside? */
export interface EgressRule {
  /** As it was written. */
  readonly text: string;
  readonly allow: boolean;
  readonly guest: EgressGuest;
  readonly protocol: 'any' | 'tcp' | 'udp' | 'icmp';
  /** 0 to 65535 where none are named. */
  readonly firstPort: number;
  readonly lastPort: number;
  readonly target: EgressTarget;
}

export interface EgressConfig {
  /** The first rule that matches decides. */
  readonly rules: readonly EgressRule[];
  /** What guests may reach where no rule says. */
  readonly otherwise: 'all' | 'internet-only' | 'none';
  /** Whose answers may allow a name; empty: the host's own resolvers. */
  readonly resolvers: readonly Ip4[];
}

/** What is served to guests' cloud-init. */
export interface CloudInitConfig {
  readonly folder: string;
  readonly port: number;
  /** A program's path, undefined: none. */
  readonly phoneHomeHook: string | undefined;
}

/**
 * The guests' way out: the host's own stack, by a tun; a passt process, which needs nothing of the host; the LAN that an
 * interface is on, of which the switch becomes a part; or none.
 */
export type UplinkConfig =
  | { readonly kind: 'tun' | 'passt' | 'none' }
  | { readonly kind: 'bridge'; readonly interface: string };

export type NatFiltering = 'endpoint' | 'address' | 'address-port';

/** An address of the host, and a TCP port. */
export interface Endpoint {
  /** IPv4, or IPv6 without brackets. */
  readonly address: string;
  readonly port: number;
}

export interface Config {
  readonly name: string;
  /** NO_SUBNET where the uplink is a LAN and nobody names one: then it is a label. */
  readonly subnet: Subnet;
  readonly taps: readonly TapConfig[];
  /** Those that are no taps. */
  readonly ports: readonly PortConfig[];
  readonly uplink: UplinkConfig;
  readonly mtu: number;
  readonly ageingS: number;
  readonly maxMacs: number;
  /** Undefined: a port may have as many as there is room for. */
  readonly portMacs: PortMacs | undefined;
  /** Undefined: a guest may flood as much as it likes. */
  readonly stormLimit: StormLimit | undefined;
  /** `strict`: guests must speak with their own addresses. */
  readonly guard: 'off' | 'strict';
  readonly dhcp: DhcpConfig | undefined;
  /** Undefined: names are not served. */
  readonly dns: DnsConfig | undefined;
  /** What guests' packets leave with; UNSPECIFIED: there is no NAT. */
  readonly natAddress: Ip4;
  readonly natFiltering: NatFiltering;
  readonly maxFlows: number;
  readonly maxGuestFlows: number;
  readonly forwards: readonly Forward[];
  /** The interface that guests get out by; undefined: whichever the host's routes say. */
  readonly lan: string | undefined;
  /** What guests reach of the host: all that it serves, the switch's own services, or not even names. */
  readonly hostAccess: 'all' | 'services' | 'none';
  readonly firewall: 'auto' | 'nft' | 'iptables' | 'ufw' | 'firewalld' | 'none';
  readonly egress: EgressConfig;
  /** A program that is run when a lease changes. */
  readonly leaseHook: string | undefined;
  /** Are leases freed when their port stays down? */
  readonly releaseOnDetach: boolean;
  readonly cloudInit: CloudInitConfig | undefined;
  /** Where figures are shown by TCP; undefined: nowhere. */
  readonly metrics: Endpoint | undefined;
  /** Who the program goes on as; undefined: as who started it. */
  readonly user: string | undefined;
  readonly stateDir: string;
  readonly runDir: string;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error';
}

/** A subset that needs no network: what finds the state and the socket of a switch. */
export type Place = Pick<Config, 'name' | 'stateDir' | 'runDir' | 'logLevel'>;

/**
 * The IPv4 dummy address of RFC 7600: in a /30 there is no address left for the NAT beside the gateway and one guest,
 * and this one never leaves the host, which masquerades it.
 */
const DUMMY = ((192 << 24) | 8) as Ip4;

/** Of a switch that is a part of a LAN: its guests have the LAN's addresses, and none is ours. */
const NO_SUBNET: Subnet = {
  network: UNSPECIFIED,
  prefix: 32,
  mask: -1 as Ip4,
  broadcast: UNSPECIFIED,
  gateway: UNSPECIFIED,
  text: '-',
};

const DEFAULT_PROBE_MS = 200;
const DEFAULT_FLOWS = 65_536;
const MOST_GUEST_FLOWS = 16_384;

/** Options over file over defaults. Throws an OperatorError that names the setting, its value and what is expected. */
export const readConfig = (options: Given, file?: SettingsFile | string): Config =>
  configOf(new GivenSettings(options, file));

/** The same of what has been read already. */
export function configOf(given: GivenSettings): Config {
  const named = given.value('uplink')?.kind === 'bridge' ? (given.value('subnet') ?? NO_SUBNET) : undefined;
  const subnet = named ?? given.need('subnet', 'the network, such as --subnet 192.168.100.0/24');
  if (given.value('port') === undefined) given.need('taps', 'one port each, such as --taps tap0,tap1');
  return complete(given, subnet);
}

/** The same where nothing need be given, as the network is the usual one: for a replay, whose ports are files, and the doctor. */
export function readReplayConfig(options: Given, file?: SettingsFile | string): Config {
  const given = new GivenSettings({ ...options }, file);
  const subnet = given.value('subnet') ?? Settings.shape.subnet.parse('192.168.100.0/24')!;
  return complete(given, subnet, 0); // captures answer what they were asked
}

/** Only where a switch of this name keeps its things, for `--undo`. */
export function readPlace(options: Given, file?: SettingsFile | string): Place {
  const given = new GivenSettings(options, file);
  return Object.freeze(place(given));
}

const place = (given: GivenSettings): Place => ({
  name: given.value('name') ?? 'vsw0',
  stateDir: given.value('state-dir') ?? '/var/lib/vswitchd',
  runDir: given.value('run-dir') ?? '/run/vswitchd',
  logLevel: given.value('log-level') ?? 'info',
});

function complete(given: GivenSettings, subnet: Subnet, usualProbeMs = DEFAULT_PROBE_MS): Config {
  const where = place(given);
  const { taps, ports } = portsOf(given);
  const names = [...taps, ...ports].map(port => port.name);
  if (names.includes(where.name))
    given.refuse('name', 'is also the name of a port; expected another name, as the uplink is called so');
  const uplink = uplinkOf(given, names);
  const natAddress = subnet === NO_SUBNET ? UNSPECIFIED : natAddressOf(given, uplink, subnet);
  const around = { subnet, natAddress, ports: names };
  const maxFlows = given.value('max-flows') ?? DEFAULT_FLOWS;
  return freeze({
    ...where,
    subnet,
    taps,
    ports,
    uplink,
    mtu: given.value('mtu') ?? 1500,
    ageingS: given.value('ageing') ?? 300,
    maxMacs: given.value('max-macs') ?? 65_536,
    portMacs: given.value('port-macs'),
    stormLimit: given.value('storm-limit'),
    dhcp: dhcpOf(given, uplink, around, usualProbeMs),
    dns: dnsOf(given, uplink, subnet),
    natAddress,
    guard: guardOf(given, uplink),
    natFiltering: given.value('nat-filtering') ?? 'address',
    maxFlows,
    maxGuestFlows: maxGuestFlowsOf(given, maxFlows),
    forwards: forwardsOf(given, uplink, subnet, natAddress),
    lan: lanOf(given, uplink, where.name),
    egress: egressOf(given, uplink, around),
    cloudInit: cloudInitOf(given, uplink),
    hostAccess: hostAccessOf(given, uplink),
    firewall: given.value('firewall') ?? 'auto',
    user: userOf(given, taps),
    leaseHook: given.value('lease-hook'),
    releaseOnDetach: given.value('release-on-detach') ?? false,
    metrics: given.value('metrics'),
  });
}

/** A quarter of the table, and of one protocol's ports: one guest can't take all. */
function maxGuestFlowsOf(given: GivenSettings, maxFlows: number): number {
  const asked = given.value('max-guest-flows');
  if (asked !== undefined && asked > maxFlows)
    given.refuse('max-guest-flows', `is more than all, which are ${maxFlows}; expected at most that`);
  return asked ?? Math.min(MOST_GUEST_FLOWS, Math.ceil(maxFlows / 4));
}

/** Taps from both settings, and the others. */
function portsOf(given: GivenSettings): Pick<Config, 'taps' | 'ports'> {
  const listed = given.value('taps') ?? [];
  const taps: TapConfig[] = [...listed];
  const ports: PortConfig[] = [];
  for (const [item, port] of (given.value('port') ?? []).entries()) {
    if (listed.some(tap => tap.name === port.name))
      given.refuse('port', `names ${port.name}, which is a tap of --taps; expected each port once`, item);
    if (port.kind === 'tap') taps.push(tapOf(port));
    else ports.push(port);
  }
  if (taps.length + ports.length > MOST_PORTS)
    given.refuse(
      'port',
      `makes ${taps.length + ports.length} ports with the taps; expected at most ${MOST_PORTS}`,
    );
  return { taps, ports };
}

function uplinkOf(given: GivenSettings, ports: readonly string[]): UplinkConfig {
  const uplink = given.value('uplink') ?? { kind: 'tun' };
  if (uplink.kind === 'bridge' && ports.includes(uplink.interface))
    given.refuse('uplink', 'is also the name of a port; expected an interface of the LAN');
  return uplink;
}

function natAddressOf(given: GivenSettings, uplink: UplinkConfig, subnet: Subnet): Ip4 {
  const asked = given.value('nat-address');
  if (given.value('no-nat') === true) {
    if (uplink.kind === 'passt')
      given.refuse(
        'no-nat',
        'is given beside uplink passt, which has one address for all; expected one of the two',
      );
    for (const name of ['nat-address', 'nat-filtering', 'forward', 'egress', 'egress-rule'] as const)
      if (given.value(name) !== undefined)
        given.refuse(name, 'is given beside no-nat; expected one of the two');
    return UNSPECIFIED;
  }
  if (asked === undefined) return subnet.prefix === 30 ? DUMMY : ((subnet.broadcast - 1) as Ip4);
  const role = roleOf(asked, subnet);
  if (role !== undefined)
    given.refuse('nat-address', `is the ${role} of ${subnet.text}; expected an address that nobody else has`);
  return asked;
}

function forwardsOf(
  given: GivenSettings,
  uplink: UplinkConfig,
  subnet: Subnet,
  natAddress: Ip4,
): readonly Forward[] {
  const forwards = given.value('forward') ?? [];
  if (forwards.length > 0 && uplink.kind !== 'tun')
    given.refuse('forward', `is given beside uplink ${uplink.kind}; expected one of the two`);
  for (const [item, { guest }] of forwards.entries()) {
    if (typeof guest === 'string') continue;
    const fault = guestFault(guest, subnet, natAddress);
    if (fault !== undefined)
      given.refuse('forward', `${fault}; expected a guest's address in ${subnet.text}`, item);
  }
  return forwards;
}

function guardOf(given: GivenSettings, uplink: UplinkConfig): Config['guard'] {
  const guard = given.value('guard') ?? 'off';
  if (guard === 'strict' && uplink.kind === 'bridge')
    given.refuse(
      'guard',
      'is given beside uplink bridge, where addresses are not ours to know; expected one of the two',
    );
  if (guard === 'strict' && given.value('no-dhcp') === true)
    given.refuse(
      'guard',
      'is given beside no-dhcp, without which nobody has an address; expected one of the two',
    );
  return guard;
}

function freeze(config: Config): Config {
  for (const value of [
    config.subnet,
    config.uplink,
    config.taps,
    ...config.taps,
    config.ports,
    ...config.ports,
    config.dhcp,
    ...Object.values(config.dhcp ?? {}).filter(Array.isArray),
    config.dns,
    config.forwards,
    config.egress,
    config.egress.rules,
    ...config.egress.rules,
    config.cloudInit,
    config.metrics,
  ])
    Object.freeze(value);
  return Object.freeze(config);
}
