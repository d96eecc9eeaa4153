/**
 * The one place where text becomes addresses and limits: options, file and defaults into one frozen Config. What each
 * setting may be stands in options.ts; here is what they must be together, and what they are when nobody says.
 */
import { readFileSync } from 'node:fs';
import { parse as parseToml } from 'smol-toml';
import { OperatorError } from './errors.ts';
import { type SettingName, Settings } from './options.ts';
import type { AddressRange } from './settings/network.ts';
import { formatIp4, type Ip4 } from './wire/address.ts';

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

export interface DhcpConfig {
  readonly first: Ip4;
  readonly last: Ip4;
  readonly leaseTimeS: number;
  /** Empty: the host's own resolvers, read from resolv.conf when it is asked for. */
  readonly dns: readonly Ip4[];
  readonly domain: string;
}

/** A port of the host that is passed on to a guest's. */
export interface Forward {
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  /** A guest's address; or its name, as its lease has it. */
  readonly guest: Ip4 | string;
  readonly guestPort: number;
}

export type NatFiltering = 'endpoint' | 'address' | 'address-port';

export interface Config {
  readonly name: string;
  readonly subnet: Subnet;
  readonly taps: readonly TapConfig[];
  readonly uplink: 'tun' | 'none';
  readonly mtu: number;
  readonly ageingS: number;
  readonly maxMacs: number;
  readonly dhcp: DhcpConfig | undefined;
  readonly natAddress: Ip4;
  readonly natFiltering: NatFiltering;
  readonly maxFlows: number;
  readonly forwards: readonly Forward[];
  readonly firewall: 'auto' | 'nft' | 'none';
  readonly stateDir: string;
  readonly runDir: string;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error';
}

/** What the options and the file say, as it was written: the settings' names with text, or with the file's values. */
export type Given = Readonly<Record<string, unknown>>;

/** A subset that needs no network: what finds the state and the socket of a switch. */
export type Place = Pick<Config, 'name' | 'stateDir' | 'runDir' | 'logLevel'>;

/**
 * The IPv4 dummy address of RFC 7600: in a /30 there is no address left for the NAT beside the gateway and one guest,
 * and this one never leaves the host, which masquerades it.
 */
const DUMMY = ((192 << 24) | 8) as Ip4;

const DEFAULT_LEASE_S = 12 * 3600;

/** Options over file over defaults. Throws an OperatorError that names the setting, its value and what is expected. */
export function readConfig(options: Given, file?: string): Config {
  const given = new GivenSettings(options, file);
  const subnet = given.need('subnet', 'the network, such as --subnet 192.168.100.0/24');
  const taps = given.need('taps', 'one port each, such as --taps tap0,tap1');
  return complete(given, subnet, taps);
}

/** The same where nothing need be given, as the network is the usual one: for a replay, whose ports are files, and the doctor. */
export function readReplayConfig(options: Given, file?: string): Config {
  const given = new GivenSettings({ ...options }, file);
  const subnet = given.value('subnet') ?? Settings.shape.subnet.parse('192.168.100.0/24')!;
  return complete(given, subnet, given.value('taps') ?? []);
}

/** Only where a switch of this name keeps its things, for `--undo`. */
export function readPlace(options: Given, file?: string): Place {
  const given = new GivenSettings(options, file);
  return Object.freeze(place(given));
}

const place = (given: GivenSettings): Place => ({
  name: given.value('name') ?? 'vsw0',
  stateDir: given.value('state-dir') ?? '/var/lib/vswitchd',
  runDir: given.value('run-dir') ?? '/run/vswitchd',
  logLevel: given.value('log-level') ?? 'info',
});

function complete(given: GivenSettings, subnet: Subnet, taps: readonly TapConfig[]): Config {
  const where = place(given);
  if (taps.some(tap => tap.name === where.name))
    given.refuse('name', 'is also the name of a tap; expected another name, as the uplink is called so');
  const natAddress = natAddressOf(given, subnet);
  return freeze({
    ...where,
    subnet,
    taps,
    uplink: given.value('uplink') ?? 'tun',
    mtu: given.value('mtu') ?? 1500,
    ageingS: given.value('ageing') ?? 300,
    maxMacs: given.value('max-macs') ?? 65_536,
    dhcp: dhcpOf(given, subnet, natAddress),
    natAddress,
    natFiltering: given.value('nat-filtering') ?? 'address',
    maxFlows: given.value('max-flows') ?? 65_536,
    forwards: forwardsOf(given, subnet, natAddress),
    firewall: given.value('firewall') ?? 'auto',
  });
}

function natAddressOf(given: GivenSettings, subnet: Subnet): Ip4 {
  const asked = given.value('nat-address');
  if (asked === undefined) return subnet.prefix === 30 ? DUMMY : ((subnet.broadcast - 1) as Ip4);
  const role = roleOf(asked, subnet);
  if (role !== undefined)
    given.refuse('nat-address', `is the ${role} of ${subnet.text}; expected an address that nobody else has`);
  return asked;
}

function forwardsOf(given: GivenSettings, subnet: Subnet, natAddress: Ip4): readonly Forward[] {
  const forwards = given.value('forward') ?? [];
  if (forwards.length > 0 && given.value('uplink') === 'none')
    given.refuse('forward', 'is given beside uplink none; expected one of the two');
  for (const { guest } of forwards) {
    if (typeof guest === 'string') continue;
    const fault = guestFault(guest, subnet, natAddress);
    if (fault !== undefined)
      given.refuse('forward', `${fault}; expected a guest's address in ${subnet.text}`);
  }
  return forwards;
}

/** Why an address can't be a guest's; undefined when it can. */
export function guestFault(ip: Ip4, subnet: Subnet, natAddress: Ip4): string | undefined {
  if ((ip & subnet.mask) !== subnet.network) return `names ${formatIp4(ip)}, which is outside ${subnet.text}`;
  const role = ip === natAddress ? 'NAT address' : roleOf(ip, subnet);
  return role === undefined ? undefined : `names ${formatIp4(ip)}, which is the ${role}`;
}

function dhcpOf(given: GivenSettings, subnet: Subnet, natAddress: Ip4): DhcpConfig | undefined {
  const asked = given.value('dhcp-range');
  if (given.value('no-dhcp') === true) {
    if (asked !== undefined) given.refuse('dhcp-range', 'is given beside no-dhcp; expected one of the two');
    return undefined;
  }
  if (asked !== undefined) checkRange(given, asked, subnet, natAddress);
  const range = asked ?? usualRange(subnet, natAddress);
  return {
    ...range,
    leaseTimeS: given.value('lease-time') ?? DEFAULT_LEASE_S,
    dns: given.value('dns') ?? [],
    domain: given.value('domain') ?? '',
  };
}

/** Addresses one to nine are left to hosts that are set up by hand, where the subnet has that many to spare. */
function usualRange(subnet: Subnet, natAddress: Ip4): AddressRange {
  const first = (subnet.network + (subnet.prefix <= 27 ? 10 : 2)) as Ip4;
  const last = (subnet.broadcast - 1) as Ip4;
  if (!between(natAddress, first, last)) return { first, last };
  // one range has to do: the longer of those before and behind the NAT address
  return natAddress - first >= last - natAddress
    ? { first, last: (natAddress - 1) as Ip4 }
    : { first: (natAddress + 1) as Ip4, last };
}

function checkRange(given: GivenSettings, range: AddressRange, subnet: Subnet, natAddress: Ip4): void {
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

function roleOf(ip: Ip4, subnet: Subnet): string | undefined {
  if (ip === subnet.network) return 'network address';
  if (ip === subnet.gateway) return 'gateway';
  return ip === subnet.broadcast ? 'broadcast address' : undefined;
}

function freeze(config: Config): Config {
  for (const value of [
    config.subnet,
    config.taps,
    ...config.taps,
    config.dhcp,
    config.dhcp?.dns,
    config.forwards,
  ])
    Object.freeze(value);
  return Object.freeze(config);
}

/** The settings of the options and of the file, which remember where each came from. */
class GivenSettings {
  readonly #raw: { readonly options: Given; readonly file: Given };
  readonly #parsed: { readonly options: Settings; readonly file: Settings };
  readonly #fileName: string | undefined;

  constructor(options: Given, fileName: string | undefined) {
    this.#fileName = fileName;
    this.#raw = { options, file: fileName === undefined ? {} : readSettingsFile(fileName) };
    this.#parsed = { options: this.#parse(options, undefined), file: this.#parse(this.#raw.file, fileName) };
  }

  value<K extends SettingName>(name: K): Settings[K] {
    return this.#parsed.options[name] ?? this.#parsed.file[name];
  }

  need<K extends SettingName>(name: K, expected: string): NonNullable<Settings[K]> {
    const value = this.value(name);
    if (value === undefined || value === null)
      throw new OperatorError(`--${name} is missing; expected ${expected}`, { code: 'Usage' });
    return value;
  }

  refuse(name: SettingName, why: string): never {
    const inOptions = this.#raw.options[name] !== undefined;
    const raw = inOptions ? this.#raw.options : this.#raw.file;
    throw refusal(name, raw[name], why, inOptions ? undefined : this.#fileName);
  }

  #parse(raw: Given, fileName: string | undefined): Settings {
    const result = Settings.safeParse(raw);
    if (result.success) return result.data;
    const issue = result.error.issues[0]!;
    if (issue.code === 'unrecognized_keys')
      throw new OperatorError(
        `${fileName ?? 'options'}: unknown key ${issue.keys.map(key => JSON.stringify(key)).join(', ')}; ` +
          `expected one of ${Object.keys(Settings.shape).join(', ')}`,
        { code: 'Usage' },
      );
    const name = String(issue.path[0]);
    throw refusal(name, raw[name], issue.message, fileName);
  }
}

function refusal(name: string, value: unknown, why: string, fileName: string | undefined): OperatorError {
  const shown = typeof value === 'string' && /^\S+$/.test(value) ? value : JSON.stringify(value);
  const subject = fileName === undefined ? `--${name} ${shown}` : `${fileName}: ${name} = ${shown}`;
  return new OperatorError(`${subject}: ${why}`, { code: 'Usage' });
}

/** TOML, or JSON where the name ends so. */
function readSettingsFile(fileName: string): Given {
  let text: string;
  try {
    text = readFileSync(fileName, 'utf8');
  } catch (cause) {
    throw new OperatorError(
      `--config ${fileName}: cannot be read (${(cause as NodeJS.ErrnoException).code}); expected a TOML file with options' names as keys`,
      { code: 'Usage', cause },
    );
  }
  try {
    return (fileName.endsWith('.json') ? JSON.parse(text) : parseToml(text)) as Given;
  } catch (cause) {
    const [reason = ''] = (cause as Error).message.split('\n');
    throw new OperatorError(`${fileName}: ${reason}; expected lines such as subnet = "192.168.100.0/24"`, {
      code: 'Usage',
      cause,
    });
  }
}
