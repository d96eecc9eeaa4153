/**
 * Every setting of the switch in one table: its flag, its help, and the schema that its text must meet, whether it comes
 * from the command line or from a file. The keys are the flags' names, and the file's. How the texts are read stands in
 * settings/.
 */
import { z } from 'zod';
import { BOOT, OPTION, parseBoots, parseOptions, parseTagRules, TAG } from './settings/dhcpoptions.ts';
import { parseRecords, RECORD } from './settings/dnsrecord.ts';
import { EGRESS, parseEgressRules } from './settings/egress.ts';
import { ENDPOINT, parseEndpoint } from './settings/endpoint.ts';
import { FORWARD, parseForwards } from './settings/forward.ts';
import {
  ADDRESS,
  CIDR,
  parseAddress,
  parseRange,
  parseResolvers,
  parseSubnet,
  RANGE,
  RESOLVERS,
} from './settings/network.ts';
import { PORT } from './settings/port.ts';
import { PORT_MACS, parsePortMacs } from './settings/portmacs.ts';
import { PORT_TEXT, parsePorts } from './settings/ports.ts';
import { HOST, POOL, parseHosts, parsePools } from './settings/reservations.ts';
import { list, oneOf, repeated, text, textOrWhole, whole } from './settings/schema.ts';
import { parseStormLimit, STORM_LIMIT } from './settings/stormlimit.ts';
import { parseName, parseTaps } from './settings/taps.ts';
import { parseUplink, UPLINK } from './settings/uplink.ts';
import { parseUser, USER } from './settings/user.ts';
import {
  DOMAIN,
  FOLDER,
  LEASE_TIME,
  PROGRAM,
  parseDomain,
  parseFolder,
  parseLeaseTime,
  parseProgram,
} from './settings/values.ts';

const FLAG = z.boolean({ error: 'expected true or false' });

const lines = (...parts: string[]): string => parts.join('\n');

/** One setting: how it is written, under which heading it is explained, and what it must be. */
interface Setting {
  readonly flags: string;
  readonly group: keyof typeof GROUPS;
  readonly help: string;
  readonly schema: z.ZodType;
  /** May be given again and again, and its items hold commas. */
  readonly repeated?: true;
}

export const GROUPS = {
  network: 'Network:',
  dhcp: 'Addresses for guests:',
  dns: 'Names for guests:',
  metadata: 'Cloud-init for guests:',
  gateway: 'Gateway and uplink:',
  host: 'Host:',
} as const;

/** The settings, in the order of the help. */
export const SETTINGS = {
  subnet: {
    flags: '--subnet <CIDR>',
    group: 'network',
    help: 'the network; its first address is the gateway (required, but for bridge:)',
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
  port: {
    flags: '--port <PORT>',
    group: 'network',
    help: lines(
      'a port of another kind, again and again; name= behind each, and more:',
      'stream:PATH      a unix socket, as QEMU -netdev stream has it',
      'dgram:PATH       another, a frame a datagram; peer=PATH',
      'vhost-user:PATH  another, rings in the guest; queues=N',
      'pcap:PATH        a capture, mode=record or mode=replay,speed=X',
      'tap:tap0         as --taps; mode=client: connect to PATH, not listen',
    ),
    repeated: true,
    schema: repeated(PORT_TEXT, parsePorts),
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
  'port-macs': {
    flags: '--port-macs <COUNT>',
    group: 'network',
    help: lines(
      "MAC addresses that a guest's port may have; frames from one more are",
      'dropped, with COUNT,shutdown the port is set down (default: no limit)',
    ),
    schema: textOrWhole(PORT_MACS, parsePortMacs),
  },
  'storm-limit': {
    flags: '--storm-limit <KIND=RATE,...>',
    group: 'network',
    help: lines(
      "frames a second that a guest's port may flood: broadcast=, multicast=,",
      'unknown=; and new MAC addresses: macs= (default: no limit)',
    ),
    schema: text(STORM_LIMIT, parseStormLimit),
  },
  'dhcp-range': {
    flags: '--dhcp-range <FIRST-LAST>',
    group: 'dhcp',
    help: "addresses to hand out (default: the subnet's tenth up to its last but one)",
    schema: text(RANGE, parseRange),
  },
  'lease-time': {
    flags: '--lease-time <TIME>',
    group: 'dhcp',
    help: 'how long an address is lent: 30m, 12h, 7d or seconds (default: 12h)',
    schema: textOrWhole(LEASE_TIME, parseLeaseTime),
  },
  host: {
    flags: '--host <HOST>',
    group: 'dhcp',
    help: lines(
      'an address kept for a guest, known by its MAC, client id or tap:',
      'vm1,02:4c:40:5b:f7:3c,192.168.100.10  vm1,id:01024c,192.168.100.10',
      'vm1,tap0,192.168.100.10,tag:web       (again for more)',
    ),
    schema: repeated(HOST, parseHosts),
    repeated: true,
  },
  pool: {
    flags: '--pool <POOL>',
    group: 'dhcp',
    help: lines('a network behind a relay: CIDR[,FIRST-LAST][,router:IP]', '(again for more)'),
    schema: repeated(POOL, parsePools),
    repeated: true,
  },
  'dhcp-option': {
    flags: '--dhcp-option <OPTION>',
    group: 'dhcp',
    help: lines(
      'what guests are told, by name or number: ntp-server=192.168.100.1,',
      'tag:web,42=192.168.100.1, host:vm1,224=hex:0102 (again for more)',
    ),
    schema: repeated(OPTION, parseOptions),
    repeated: true,
  },
  'dhcp-tag': {
    flags: '--dhcp-tag <RULE>',
    group: 'dhcp',
    help: lines(
      'whom a tag is for: T=mac:52:54:00:*, T=vendor:PXEClient*,',
      'T=user-class:iPXE, T=arch:efi-x64, T=port:tap0, T=pool:CIDR,',
      'T=host:NAME (again for more)',
    ),
    schema: repeated(TAG, parseTagRules),
    repeated: true,
  },
  boot: {
    flags: '--boot <BOOT>',
    group: 'dhcp',
    help: lines(
      'what guests boot from the network: [tag:T,]FILE[,SERVER], SERVER an',
      'address or a name, default: the gateway (again for more)',
    ),
    schema: repeated(BOOT, parseBoots),
    repeated: true,
  },
  'dhcp-probe': {
    flags: '--dhcp-probe <MS>',
    group: 'dhcp',
    help: lines(
      'how long an address is asked for by ARP before it is offered to a new',
      'guest; at most 500, 0: it is not (default: 200)',
    ),
    schema: whole(0, 500, 'milliseconds'),
  },
  'lease-hook': {
    flags: '--lease-hook <PROGRAM>',
    group: 'dhcp',
    help: lines(
      'run at each lease event with the arguments',
      'bound|renewed|released|expired|declined ADDRESS MAC HOSTNAME',
    ),
    schema: text(PROGRAM, parseProgram),
  },
  'release-on-detach': {
    flags: '--release-on-detach',
    group: 'dhcp',
    help: 'free the leases of a guest whose port goes down and stays so for 3 s',
    schema: FLAG,
  },
  'no-dhcp': {
    flags: '--no-dhcp',
    group: 'dhcp',
    help: 'hand out no addresses',
    schema: FLAG,
  },
  domain: {
    flags: '--domain <NAME>',
    group: 'dns',
    help: "the domain of guests' names, which they are told (default: vsw.internal)",
    schema: text(DOMAIN, parseDomain),
  },
  'dns-record': {
    flags: '--dns-record <RECORD>',
    group: 'dns',
    help: lines(
      'a name for guests and the host: nas=192.168.100.9, "www CNAME nas",',
      '"@ MX 10 mail", "_http._tcp SRV 0 5 80 nas" (again for more)',
    ),
    schema: repeated(RECORD, parseRecords),
    repeated: true,
  },
  dns: {
    flags: '--dns <LIST>',
    group: 'dns',
    help: lines(
      'DNS servers to ask for all other names: 9.9.9.9,1.1.1.1',
      "(default: the host's own, followed as they change)",
    ),
    schema: list(RESOLVERS, parseResolvers),
  },
  'no-dns': {
    flags: '--no-dns',
    group: 'dns',
    help: "serve no names; guests are told the servers of --dns, or the host's, themselves",
    schema: FLAG,
  },
  'cloud-init': {
    flags: '--cloud-init <DIR>',
    group: 'metadata',
    help: lines(
      'serve guests their meta-data, user-data, vendor-data, network-config',
      'from DIR/tap0/, DIR/<mac>/ or DIR/default/, by where they are plugged',
      'in, at the gateway (port 8000) and at 169.254.169.254',
    ),
    schema: text(FOLDER, parseFolder),
  },
  'cloud-init-port': {
    flags: '--cloud-init-port <PORT>',
    group: 'metadata',
    help: "the port at the gateway's address (default: 8000)",
    schema: PORT,
  },
  'phone-home-hook': {
    flags: '--phone-home-hook <PROGRAM>',
    group: 'metadata',
    help: lines(
      'run when a guest says that it is set up, with VSWITCHD_* in the',
      'environment and JSON on standard input',
    ),
    schema: text(PROGRAM, parseProgram),
  },
  uplink: {
    flags: '--uplink <KIND>',
    group: 'gateway',
    help: lines(
      'tun          to the host, and beyond by its NAT (default)',
      'passt        beyond by a passt process, with no rule on the host',
      'bridge:eth0  the guests are on the LAN that eth0 is on, without a NAT',
      'none         an isolated network',
    ),
    schema: text(UPLINK, parseUplink),
  },
  'nat-address': {
    flags: '--nat-address <IP>',
    group: 'gateway',
    help: "what guests' packets leave with (default: the subnet's last address)",
    schema: text(ADDRESS, parseAddress),
  },
  guard: {
    flags: '--guard <KIND>',
    group: 'network',
    help: lines(
      'strict: guests speak with their own addresses, by leases and',
      'reservations, or not at all; off (default: off)',
    ),
    schema: oneOf('off', 'strict'),
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
  'max-guest-flows': {
    flags: '--max-guest-flows <COUNT>',
    group: 'gateway',
    help: 'how many of them one guest may have (default: a quarter, at most 16384)',
    schema: whole(1, 1_048_576, 'flows'),
  },
  'no-nat': {
    flags: '--no-nat',
    group: 'gateway',
    help: 'route the subnet as it is; others need a route to it by this host',
    schema: FLAG,
  },
  forward: {
    flags: '--forward <LIST>',
    group: 'gateway',
    help: lines(
      "a host's port to a guest's: 8080:192.168.100.10:80, udp/53:vm1:53",
      '(again for more, or with commas)',
    ),
    schema: list(FORWARD, parseForwards),
  },
  lan: {
    flags: '--lan <IFACE>',
    group: 'gateway',
    help: "the only interface that guests get out by (default: as the host's routes say)",
    schema: text('expected an interface name, such as eth0', parseName),
  },
  egress: {
    flags: '--egress <KIND>',
    group: 'gateway',
    help: lines(
      'what guests may reach where no rule says: all, internet-only (no',
      "private and special ranges, so not the host's LAN), none (default: all)",
    ),
    schema: oneOf('all', 'internet-only', 'none'),
  },
  'egress-rule': {
    flags: '--egress-rule <LIST>',
    group: 'gateway',
    help: lines(
      'the first that matches decides: "deny 10.0.0.0/8", "deny tcp/25 any",',
      '"tap0 allow tcp/443 .debian.org", "deny encrypted-dns"; before it may',
      'stand a tap, an address or a MAC (again for more, or with commas)',
    ),
    schema: list(EGRESS, parseEgressRules),
  },
  'host-access': {
    flags: '--host-access <WHAT>',
    group: 'host',
    help: lines(
      'what guests reach of this host: all, services (DHCP, DNS, cloud-init),',
      'or none, not even DNS (default: all)',
    ),
    schema: oneOf('all', 'services', 'none'),
  },
  firewall: {
    flags: '--firewall <KIND>',
    group: 'host',
    help: lines(
      'nft, iptables, ufw, firewalld, auto: what manages this host, or',
      'none: leave the host as it is (default: auto)',
    ),
    schema: oneOf('nft', 'iptables', 'ufw', 'firewalld', 'none', 'auto'),
  },
  metrics: {
    flags: '--metrics <ADDRESS:PORT>',
    group: 'host',
    help: lines(
      'figures for Prometheus by HTTP at /metrics: 127.0.0.1:9560, [::1]:9560;',
      'whoever reaches it reads them, without authentication (default: off)',
    ),
    schema: text(ENDPOINT, parseEndpoint),
  },
  user: {
    flags: '--user <NAME>',
    group: 'host',
    help: lines(
      'goes on as this user with CAP_NET_ADMIN, CAP_NET_RAW and',
      'CAP_NET_BIND_SERVICE alone (default: as who starts it)',
    ),
    schema: text(USER, parseUser),
  },
  'state-dir': {
    flags: '--state-dir <DIR>',
    group: 'host',
    help: 'leases, passwords, journal of host changes (default: /var/lib/vswitchd)',
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
