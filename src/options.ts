/**
 * Every setting of the switch in one table: its flag, its help, and the schema that its text must meet, whether it comes
 * from the command line or from a file. The keys are the flags' names, and the file's.
 *
 * A schema turns text into the value that the program uses. What it refuses, it refuses with the end of a sentence that
 * begins with the option and the value: 'expected …'.
 */
import { IPv4CidrRange, RangedSet } from 'ip-num';
import { z } from 'zod';
import type { Subnet, TapConfig, TapEnd } from './config.ts';
import { formatIp4, type Ip4, parseIp4 } from './wire/address.ts';

/** Why a text is refused. */
class Refusal {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

/** A schema of one text that `parse` makes a value of. */
const text = <T>(expected: string, parse: (value: string) => T | Refusal) =>
  z.string({ error: expected }).transform((value, context): T => {
    const parsed = parse(value);
    if (!(parsed instanceof Refusal)) return parsed;
    context.addIssue(parsed.why);
    return z.NEVER;
  });

/** A schema of several, as one text with commas or as a list in the file. */
const list = <T>(expected: string, parse: (items: readonly string[]) => readonly T[] | Refusal) =>
  z
    .union([z.string(), z.array(z.string())], { error: expected })
    .transform((value, context): readonly T[] => {
      const parsed = parse(typeof value === 'string' ? value.split(',') : value);
      if (!(parsed instanceof Refusal)) return parsed;
      context.addIssue(parsed.why);
      return z.NEVER;
    });

function whole(low: number, high: number, unit: string) {
  const error = `expected a whole number of ${unit} from ${low} to ${high}`;
  const digits = z.string().regex(/^\d{1,10}$/);
  return z
    .union([z.number(), digits.transform(Number)], { error })
    .pipe(z.int({ error }).min(low, { error }).max(high, { error }));
}

const oneOf = <const T extends readonly [string, ...string[]]>(...values: T) =>
  z.enum(values, { error: `expected ${values.slice(0, -1).join(', ')} or ${values.at(-1)}` });

const CIDR = 'expected an IPv4 network as ADDRESS/PREFIX, such as 192.168.100.0/24';

/** ip-num takes host bits and `/08`, so the shape is settled before it is asked. */
function parseSubnet(value: string): Subnet | Refusal {
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

const RANGE = 'expected two IPv4 addresses as FIRST-LAST, such as 192.168.100.10-192.168.100.200';

function parseRange(value: string): AddressRange | Refusal {
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

const MAX_NAME_BYTES = 15; // IFNAMSIZ, less the closing zero
/** Narrower than the kernel, which takes anything but '/', ':' and white space: these names also go into rules and paths. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+-]*$/;

/** Why a name is no interface name; undefined when it is one. */
function nameFault(name: string): string | undefined {
  if (name === '') return 'has an empty name; expected an interface name, such as tap0';
  const bytes = Buffer.byteLength(name);
  if (bytes > MAX_NAME_BYTES)
    return `names ${name} with ${bytes} bytes; expected at most ${MAX_NAME_BYTES}, which is what Linux allows`;
  if (!NAME.test(name))
    return `names ${JSON.stringify(name)}; expected letters, digits, '_', '.', '+' and '-' only, such as tap0`;
  return undefined;
}

const ENDS: readonly string[] = ['auto', 'device', 'interface'];
const MAX_TAPS = 254; // 255 ports, less the uplink

function parseTap(item: string): TapConfig | Refusal {
  const colon = item.lastIndexOf(':');
  const [place, end] = colon < 0 ? [item, 'auto'] : [item.slice(0, colon), item.slice(colon + 1)];
  if (!ENDS.includes(end))
    return new Refusal(
      `asks for the end ${JSON.stringify(end)}; expected :device or :interface after the tap`,
    );
  const at = place.indexOf('@');
  const name = at < 0 ? place : place.slice(0, at);
  const fault = nameFault(name);
  if (fault !== undefined) return new Refusal(fault);
  if (at < 0) return { name, end: end as TapEnd };
  const netns = place.slice(at + 1);
  if (netns === '' || /\s|^\.{1,2}$/.test(netns) || (netns.includes('/') && !netns.startsWith('/')))
    return new Refusal(
      `names the namespace ${JSON.stringify(netns)}; expected a name of 'ip netns' or a path after '@'`,
    );
  if (end === 'interface')
    return new Refusal(
      `asks for the interface end of ${name} in another namespace; expected ${name}@${netns} or ${name}@${netns}:device`,
    );
  return { name, netns, end: end as TapEnd };
}

function parseTaps(items: readonly string[]): readonly TapConfig[] | Refusal {
  const taps: TapConfig[] = [];
  for (const item of items) {
    const tap = parseTap(item.trim());
    if (tap instanceof Refusal) return tap;
    if (taps.some(other => other.name === tap.name))
      return new Refusal(`names ${tap.name} twice; expected each tap once`);
    taps.push(tap);
  }
  return taps.length <= MAX_TAPS
    ? taps
    : new Refusal(`names ${taps.length} taps; expected at most ${MAX_TAPS}`);
}

const ADDRESS = 'expected an IPv4 address, such as 192.168.100.254';

const isHost = (ip: Ip4): boolean => {
  const octet = ip >>> 24;
  return octet !== 0 && octet !== 127 && octet < 224;
};

function parseAddress(value: string): Ip4 | Refusal {
  const ip = parseIp4(value);
  return ip === undefined || !isHost(ip) ? new Refusal(ADDRESS) : ip;
}

const RESOLVERS = 'expected IPv4 addresses with commas between, such as 9.9.9.9,1.1.1.1';
const MAX_RESOLVERS = 63; // one DHCP option holds 255 bytes

function parseResolvers(items: readonly string[]): readonly Ip4[] | Refusal {
  const addresses: Ip4[] = [];
  for (const item of items) {
    const ip = parseIp4(item.trim());
    if (ip === undefined || !isHost(ip)) return new Refusal(RESOLVERS);
    addresses.push(ip);
  }
  return addresses.length <= MAX_RESOLVERS
    ? addresses
    : new Refusal(`names ${addresses.length} resolvers; expected at most ${MAX_RESOLVERS}`);
}

const SECONDS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 };
const [MIN_LEASE_S, MAX_LEASE_S] = [10, 31_536_000];
const LEASE_TIME = 'expected a time from 10s to 365d: seconds, or a number with s, m, h or d, such as 30m';

function parseLeaseTime(value: string): number | Refusal {
  const [, count, unit] = /^(\d{1,9})([smhd]?)$/.exec(value) ?? [];
  const seconds = Number(count) * (SECONDS[unit ?? ''] ?? 1);
  return seconds >= MIN_LEASE_S && seconds <= MAX_LEASE_S ? seconds : new Refusal(LEASE_TIME);
}

const DOMAIN = 'expected a DNS name of letters, digits, hyphens and dots, such as vms.example';
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;

const parseDomain = (value: string): string | Refusal =>
  value.length <= 253 && value.split('.').every(label => LABEL.test(label)) ? value : new Refusal(DOMAIN);

const FOLDER = 'expected an absolute path';

const parseFolder = (value: string): string | Refusal =>
  value.startsWith('/') && !value.includes('\0') ? value : new Refusal(FOLDER);

const parseName = (value: string): string | Refusal => {
  const fault = nameFault(value);
  return fault === undefined ? value : new Refusal(fault);
};

const lines = (...parts: string[]): string => parts.join('\n');

/** One setting: how it is written, under which heading it is explained, and what it must be. */
interface Setting {
  readonly flags: string;
  readonly group: keyof typeof GROUPS;
  readonly help: string;
  readonly schema: z.ZodType;
}

export const GROUPS = {
  network: 'Network:',
  dhcp: 'Addresses for guests:',
  gateway: 'Gateway and uplink:',
  host: 'Host:',
} as const;

/** The settings, in the order of the help. */
export const SETTINGS = {
  subnet: {
    flags: '--subnet <CIDR>',
    group: 'network',
    help: 'the network; its first address is the gateway (required)',
    schema: text(CIDR, parseSubnet),
  },
  taps: {
    flags: '--taps <LIST>',
    group: 'network',
    help: lines(
      'one port each: tap0,tap1  (required)',
      'tap0@red      the tap in the network namespace red',
      'tap0:device   serve the /dev/net/tun end, :interface the other;',
      'without it the switch serves whichever end the guest does not',
    ),
    schema: list('expected tap names with commas between, such as tap0,tap1', parseTaps),
  },
  name: {
    flags: '--name <NAME>',
    group: 'network',
    help: "this switch's name; uplink, state and socket are named so (default: vsw0)",
    schema: text('expected an interface name, such as vsw0', parseName),
  },
  mtu: {
    flags: '--mtu <BYTES>',
    group: 'network',
    help: 'largest IP packet (default: 1500)',
    schema: whole(576, 65_521, 'bytes'),
  },
  ageing: {
    flags: '--ageing <SECONDS>',
    group: 'network',
    help: 'how long a silent MAC address is remembered (default: 300)',
    schema: whole(10, 1_000_000, 'seconds'),
  },
  'max-macs': {
    flags: '--max-macs <COUNT>',
    group: 'network',
    help: 'size of the table of MAC addresses (default: 65536)',
    schema: whole(16, 1_048_576, 'MAC addresses'),
  },
  'dhcp-range': {
    flags: '--dhcp-range <FIRST-LAST>',
    group: 'dhcp',
    help: "default: the subnet's tenth address up to its last but one",
    schema: text(RANGE, parseRange),
  },
  'no-dhcp': {
    flags: '--no-dhcp',
    group: 'dhcp',
    help: 'hand out no addresses',
    schema: z.boolean({ error: 'expected true or false' }),
  },
  'lease-time': {
    flags: '--lease-time <TIME>',
    group: 'dhcp',
    help: '30m, 12h, 7d or seconds (default: 12h)',
    schema: z
      .union([z.string(), z.int().transform(String)], { error: LEASE_TIME })
      .pipe(text(LEASE_TIME, parseLeaseTime)),
  },
  dns: {
    flags: '--dns <LIST>',
    group: 'dhcp',
    help: "resolvers for guests: 9.9.9.9,1.1.1.1 (default: the host's own)",
    schema: list(RESOLVERS, parseResolvers),
  },
  domain: {
    flags: '--domain <NAME>',
    group: 'dhcp',
    help: 'the domain that guests are told (default: none)',
    schema: text(DOMAIN, parseDomain),
  },
  uplink: {
    flags: '--uplink <KIND>',
    group: 'gateway',
    help: 'tun: to the host and beyond; none: an isolated network (default: tun)',
    schema: oneOf('tun', 'none'),
  },
  'nat-address': {
    flags: '--nat-address <IP>',
    group: 'gateway',
    help: "what guests' packets leave with (default: the subnet's last address)",
    schema: text(ADDRESS, parseAddress),
  },
  'nat-filtering': {
    flags: '--nat-filtering <KIND>',
    group: 'gateway',
    help: lines(
      'who may answer to a mapping, RFC 4787: endpoint (anybody),',
      'address or address-port (default: address)',
    ),
    schema: oneOf('endpoint', 'address', 'address-port'),
  },
  'max-flows': {
    flags: '--max-flows <COUNT>',
    group: 'gateway',
    help: 'size of the table of NAT sessions (default: 65536)',
    schema: whole(16, 1_048_576, 'flows'),
  },
  firewall: {
    flags: '--firewall <KIND>',
    group: 'host',
    help: 'auto, nft, or none: leave the host as it is (default: auto)',
    schema: oneOf('auto', 'nft', 'none'),
  },
  'state-dir': {
    flags: '--state-dir <DIR>',
    group: 'host',
    help: 'leases and the journal of host changes (default: /var/lib/vswitchd)',
    schema: text(FOLDER, parseFolder),
  },
  'run-dir': {
    flags: '--run-dir <DIR>',
    group: 'host',
    help: 'control socket and lock (default: /run/vswitchd)',
    schema: text(FOLDER, parseFolder),
  },
  'log-level': {
    flags: '--log-level <LEVEL>',
    group: 'host',
    help: 'trace, debug, info, warn or error (default: info)',
    schema: oneOf('trace', 'debug', 'info', 'warn', 'error'),
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof SETTINGS;

type Schemas = { [K in SettingName]: z.ZodOptional<(typeof SETTINGS)[K]['schema']> };

/** All settings, each one optional, and nothing else. */
export const Settings = z.strictObject(
  Object.fromEntries(
    Object.entries(SETTINGS).map(([name, { schema }]) => [name, schema.optional()]),
  ) as Schemas,
);

export type Settings = z.output<typeof Settings>;
