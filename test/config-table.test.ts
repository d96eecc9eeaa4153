/** Inputs that must be refused, with the sentence for each, and properties of the pool over all subnets. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Config, readConfig, readPlace, readReplayConfig } from '../src/config.ts';
import { OperatorError } from '../src/errors.ts';
import type { Given } from '../src/given.ts';
import { dhcpSettings } from '../src/identity.ts';
import { formatIp4, parseIp4 } from '../src/wire/address.ts';

const BASE = { subnet: '192.168.100.0/24', taps: 'tap0,tap1' };

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-config-'));
test.after(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** The sentence that a configuration is refused with. */
function refusal(options: Given, path?: string): string {
  try {
    readConfig(options, path);
  } catch (error) {
    assert.instance(error, OperatorError);
    assert.is((error as OperatorError).exitCode, 2);
    return (error as OperatorError).message;
  }
  return 'accepted';
}

const addresses = (config: Config) =>
  [config.dhcp?.first, config.dhcp?.last, config.natAddress].map(ip =>
    ip === undefined ? '' : formatIp4(ip),
  );

test('defaults: what a switch is when only its network and taps are named', () => {
  const config = readConfig(BASE);
  assert.equal(config, {
    name: 'vsw0',
    subnet: {
      network: parseIp4('192.168.100.0')!,
      prefix: 24,
      mask: -256,
      broadcast: parseIp4('192.168.100.255')!,
      gateway: parseIp4('192.168.100.1')!,
      text: '192.168.100.0/24',
    },
    taps: [
      { name: 'tap0', end: 'auto' },
      { name: 'tap1', end: 'auto' },
    ],
    uplink: { kind: 'tun' },
    mtu: 1500,
    ageingS: 300,
    maxMacs: 65_536,
    dhcp: {
      first: parseIp4('192.168.100.10')!,
      last: parseIp4('192.168.100.253')!,
      leaseTimeS: 43_200,
      dns: [],
      domain: '',
      hosts: [],
    },
    dns: { domain: 'vsw.internal', upstreams: 'host', records: [] },
    natAddress: parseIp4('192.168.100.254')!,
    natFiltering: 'address',
    maxFlows: 65_536,
    maxGuestFlows: 16_384,
    forwards: [],
    lan: undefined,
    egress: { rules: [], otherwise: 'all', resolvers: [] },
    firewall: 'auto',
    stateDir: '/var/lib/vswitchd',
    runDir: '/run/vswitchd',
    logLevel: 'info',
  });
  const { subnet, taps, dhcp, egress } = config;
  for (const part of [config, subnet, taps, taps[0], dhcp, dhcp?.dns, egress, egress.rules])
    assert.ok(Object.isFrozen(part));
});

test('the usual ranges, down to the smallest subnet', () => {
  const rows: [string, string, string, string][] = [
    ['10.0.0.0/8', '10.0.0.10', '10.255.255.253', '10.255.255.254'],
    ['192.168.100.0/24', '192.168.100.10', '192.168.100.253', '192.168.100.254'],
    ['10.0.0.32/27', '10.0.0.42', '10.0.0.61', '10.0.0.62'],
    ['10.0.0.16/28', '10.0.0.18', '10.0.0.29', '10.0.0.30'],
    ['10.0.0.8/29', '10.0.0.10', '10.0.0.13', '10.0.0.14'],
    ['10.0.0.4/30', '10.0.0.6', '10.0.0.6', '192.0.0.8'],
  ];
  for (const [subnet, ...expected] of rows)
    assert.equal(addresses(readConfig({ ...BASE, subnet })), expected, subnet);
});

test('the usual range keeps clear of a NAT address in its midst', () => {
  const nat = (address: string) => addresses(readConfig({ ...BASE, 'nat-address': address }));
  assert.equal(nat('192.168.100.200'), ['192.168.100.10', '192.168.100.199', '192.168.100.200']);
  assert.equal(nat('192.168.100.20'), ['192.168.100.21', '192.168.100.254', '192.168.100.20']);
  assert.equal(nat('192.168.100.2'), ['192.168.100.10', '192.168.100.254', '192.168.100.2']);
});

test('the usual range is within the subnet, holds no special address, and is not empty: any subnet', () => {
  const subnets = fc.tuple(fc.integer({ min: 1, max: 223 }), fc.integer(), fc.integer({ min: 8, max: 30 }));
  fc.assert(
    fc.property(subnets, ([octet, rest, prefix]) => {
      if (octet === 127) return;
      const network = ((octet << 24) | (rest & 0xffffff)) & (-1 << (32 - prefix));
      const { subnet, dhcp, natAddress } = readConfig({ ...BASE, subnet: `${formatIp4(network)}/${prefix}` });
      assert.is(subnet.network, network);
      assert.is(subnet.broadcast, network | ~subnet.mask);
      assert.ok(dhcp!.first <= dhcp!.last);
      assert.ok(dhcp!.first > subnet.gateway && dhcp!.last < subnet.broadcast);
      assert.ok(natAddress < dhcp!.first || natAddress > dhcp!.last);
    }),
    { seed: 1, numRuns: 500 },
  );
});

test('taps: namespaces and ends', () => {
  const { taps } = readConfig({
    ...BASE,
    taps: 'tap0, tap1@red,tap2:device,tap3@/proc/7/ns/net:device,a.b:interface',
  });
  assert.equal(taps, [
    { name: 'tap0', end: 'auto' },
    { name: 'tap1', netns: 'red', end: 'auto' },
    { name: 'tap2', end: 'device' },
    { name: 'tap3', netns: '/proc/7/ns/net', end: 'device' },
    { name: 'a.b', end: 'interface' },
  ]);
});

test('lease times', () => {
  const rows: [unknown, number][] = [
    ['30m', 1800],
    ['12h', 43_200],
    ['7d', 604_800],
    ['90s', 90],
    ['600', 600],
    [600, 600],
  ];
  for (const [text, seconds] of rows)
    assert.is(readConfig({ ...BASE, 'lease-time': text }).dhcp!.leaseTimeS, seconds);
});

const CIDR = 'expected an IPv4 network as ADDRESS/PREFIX, such as 192.168.100.0/24';
const RANGE = 'expected two IPv4 addresses as FIRST-LAST';

/** What is given, and how the refusal begins. */
const BAD: [Given, string][] = [
  [{}, '--subnet is missing; expected the network'],
  [{ subnet: '10.0.0.0/24' }, '--taps is missing; expected one port each'],
  [{ subnet: '' }, `--subnet "": ${CIDR}`],
  [{ subnet: '10.0.0.0' }, `--subnet 10.0.0.0: ${CIDR}`],
  [{ subnet: '10.0.0/24' }, `--subnet 10.0.0/24: ${CIDR}`],
  [{ subnet: '10.0.0.256/24' }, `--subnet 10.0.0.256/24: ${CIDR}`],
  [{ subnet: '010.0.0.0/24' }, `--subnet 010.0.0.0/24: ${CIDR}`],
  [{ subnet: '10.0.0.0/08' }, `--subnet 10.0.0.0/08: ${CIDR}`],
  [{ subnet: '10.0.0.0/33' }, `--subnet 10.0.0.0/33: ${CIDR}`],
  [{ subnet: '10.0.0.0/24/1' }, `--subnet 10.0.0.0/24/1: ${CIDR}`],
  [{ subnet: 'fd00::/64' }, `--subnet fd00::/64: ${CIDR}`],
  [{ subnet: '10.0.0.0/31' }, '--subnet 10.0.0.0/31: has no room for a gateway and a guest; expected'],
  [{ subnet: '10.0.0.0/32' }, '--subnet 10.0.0.0/32: has no room for a gateway and a guest; expected'],
  [{ subnet: '0.0.0.0/0' }, '--subnet 0.0.0.0/0: is larger than any private network; expected'],
  [
    { subnet: '10.0.0.5/24' },
    '--subnet 10.0.0.5/24: has host bits set; expected a network, such as 10.0.0.0/24',
  ],
  [{ subnet: '127.0.0.0/8' }, '--subnet 127.0.0.0/8: is not a network that hosts can be on; expected'],
  [{ subnet: '224.0.0.0/24' }, '--subnet 224.0.0.0/24: is not a network that hosts can be on; expected'],
  [{ taps: '' }, '--taps "": has an empty name; expected'],
  [{ taps: 'tap0,' }, '--taps tap0,: has an empty name; expected'],
  [{ taps: 'tap0,tap1,tap0' }, '--taps tap0,tap1,tap0: names tap0 twice; expected'],
  [{ taps: 'tap0,tap0@red' }, '--taps tap0,tap0@red: names tap0 twice; expected'],
  [
    { taps: 'sixteen-bytes-16' },
    '--taps sixteen-bytes-16: names sixteen-bytes-16 with 16 bytes; expected at most 15',
  ],
  [{ taps: 'ääääääää' }, '--taps ääääääää: names ääääääää with 16 bytes; expected at most 15'],
  [{ taps: 'a/b' }, '--taps a/b: names "a/b"; expected letters'],
  [{ taps: 'tap 0' }, '--taps "tap 0": names "tap 0"; expected letters'],
  [{ taps: 'tap%d' }, '--taps tap%d: names "tap%d"; expected letters'],
  [{ taps: 'tap*' }, '--taps tap*: names "tap*"; expected letters'],
  [{ taps: '..' }, '--taps ..: names ".."; expected letters'],
  [{ taps: 'tap0:left' }, '--taps tap0:left: asks for the end "left"; expected :device or :interface'],
  [{ taps: 'tap0@' }, '--taps tap0@: names the namespace ""; expected'],
  [{ taps: 'tap0@../x' }, '--taps tap0@../x: names the namespace "../x"; expected'],
  [{ taps: 'tap0@red:interface' }, '--taps tap0@red:interface: asks for the interface end of tap0'],
  [{ taps: Array.from({ length: 255 }, (_, i) => `t${i}`) }, '--taps ['],
  [{ name: 'tap0' }, '--name tap0: is also the name of a tap; expected another'],
  [{ name: 'a b' }, '--name "a b": names "a b"; expected letters'],
  [{ mtu: '575' }, '--mtu 575: expected a whole number of bytes from 576 to 65521'],
  [{ mtu: '65522' }, '--mtu 65522: expected a whole number of bytes'],
  [{ mtu: '1e3' }, '--mtu 1e3: expected a whole number of bytes'],
  [{ mtu: '' }, '--mtu "": expected a whole number of bytes'],
  [{ mtu: 1500.5 }, '--mtu 1500.5: expected a whole number of bytes'],
  [{ ageing: '9' }, '--ageing 9: expected a whole number of seconds from 10 to 1000000'],
  [{ 'max-macs': '-1' }, '--max-macs -1: expected a whole number of MAC addresses'],
  [{ 'max-flows': '0' }, '--max-flows 0: expected a whole number of flows'],
  [{ 'dhcp-range': '10.0.0.5' }, `--dhcp-range 10.0.0.5: ${RANGE}`],
  [{ 'dhcp-range': 'a-b' }, `--dhcp-range a-b: ${RANGE}`],
  [
    { 'dhcp-range': '192.168.100.9-192.168.100.8' },
    '--dhcp-range 192.168.100.9-192.168.100.8: ends before it begins',
  ],
  [
    { 'dhcp-range': '10.0.0.5-192.168.100.8' },
    '--dhcp-range 10.0.0.5-192.168.100.8: begins outside 192.168.100.0/24',
  ],
  [
    { 'dhcp-range': '192.168.100.9-192.168.101.8' },
    '--dhcp-range 192.168.100.9-192.168.101.8: ends outside 192.168.100.0/24',
  ],
  [
    { 'dhcp-range': '192.168.100.1-192.168.100.8' },
    '--dhcp-range 192.168.100.1-192.168.100.8: holds the gateway 192.168.100.1; expected',
  ],
  [
    { 'dhcp-range': '192.168.100.9-192.168.100.254' },
    '--dhcp-range 192.168.100.9-192.168.100.254: holds the NAT address 192.168.100.254; expected',
  ],
  [
    { 'dhcp-range': '192.168.100.9-192.168.100.255', 'nat-address': '192.168.100.2' },
    '--dhcp-range 192.168.100.9-192.168.100.255: holds the broadcast address',
  ],
  [
    { 'dhcp-range': '192.168.100.9-192.168.100.9', 'no-dhcp': true },
    '--dhcp-range 192.168.100.9-192.168.100.9: is given',
  ],
  [{ 'nat-address': 'x' }, '--nat-address x: expected an IPv4 address'],
  [{ 'nat-address': '224.0.0.1' }, '--nat-address 224.0.0.1: expected an IPv4 address'],
  [
    { 'nat-address': '192.168.100.1' },
    '--nat-address 192.168.100.1: is the gateway of 192.168.100.0/24; expected',
  ],
  [{ 'nat-address': '192.168.100.255' }, '--nat-address 192.168.100.255: is the broadcast address'],
  [{ 'lease-time': '5s' }, '--lease-time 5s: expected a time from 10s to 365d'],
  [{ 'lease-time': '366d' }, '--lease-time 366d: expected a time'],
  [{ 'lease-time': '1w' }, '--lease-time 1w: expected a time'],
  [{ dns: '9.9.9' }, '--dns 9.9.9: expected IPv4 addresses'],
  [{ dns: '9.9.9.9,' }, '--dns 9.9.9.9,: expected IPv4 addresses'],
  [{ domain: 'a..b' }, '--domain a..b: expected a DNS name'],
  [{ domain: '-a' }, '--domain -a: expected a DNS name'],
  [{ 'dns-record': '' }, '--dns-record "": "" is no record; expected NAME=ADDRESS, or NAME with A'],
  [{ 'dns-record': 'nas' }, '--dns-record nas: "nas" is no record; expected NAME=ADDRESS'],
  [{ 'dns-record': 'nas=1.2.3' }, '--dns-record nas=1.2.3: "nas=1.2.3" has no IPv4 address; expected one'],
  [{ 'dns-record': 'n+s=1.2.3.4' }, '--dns-record n+s=1.2.3.4: "n+s=1.2.3.4" names n+s; expected a DNS name'],
  [
    { 'dns-record': 'nas AAAA fe80::1%eth0' },
    '--dns-record "nas AAAA fe80::1%eth0": "nas AAAA fe80::1%eth0" has no',
  ],
  [{ 'dns-record': 'nas MX mail' }, '--dns-record "nas MX mail": "nas MX mail" is no record; expected'],
  [{ 'dns-record': 'nas SRV 1 2 mail' }, '--dns-record "nas SRV 1 2 mail": "nas SRV 1 2 mail" is no record'],
  [
    { 'dns-record': 'a SRV 1 2 70000 b' },
    '--dns-record "a SRV 1 2 70000 b": "a SRV 1 2 70000 b" is no record',
  ],
  [{ 'dns-record': 'nas NAPTR x' }, '--dns-record "nas NAPTR x": "nas NAPTR x" is no record; expected'],
  [
    { 'dns-record': '1.2.3.4 A 1.2.3.4' },
    '--dns-record "1.2.3.4 A 1.2.3.4": "1.2.3.4 A 1.2.3.4" names 1.2.3.4; expected',
  ],
  [{ 'dns-record': `t TXT ${'x'.repeat(4_001)}` }, `--dns-record "t TXT ${'x'.repeat(4_001)}": "t TXT `],
  [
    { 'dns-record': ['a CNAME b', 'a=1.2.3.4'] },
    '--dns-record ["a CNAME b","a=1.2.3.4"]: has other records beside the alias a.vsw.internal; expected',
  ],
  [
    { 'dns-record': '@ CNAME b' },
    '--dns-record "@ CNAME b": has other records beside the alias vsw.internal',
  ],
  [
    { 'dns-record': 'a CNAME b.example' },
    '--dns-record "a CNAME b.example": has the alias a.vsw.internal of b.example, which is asked for elsewhere; expected',
  ],
  [{ 'dns-record': 'a=1.2.3.4', 'no-dns': true }, '--dns-record a=1.2.3.4: is given beside no-dns; expected'],
  [
    { 'dns-record': 'a=1.2.3.4', uplink: 'bridge:eth0' },
    '--dns-record a=1.2.3.4: is given beside uplink bridge, where',
  ],
  [{ dns: '127.0.0.53', 'no-dns': true }, "--dns 127.0.0.53: names an address of the host's loopback, which"],
  [{ dns: '192.168.100.1' }, '--dns 192.168.100.1: names the gateway, where the service itself is; expected'],
  [{ uplink: 'bridge' }, '--uplink bridge: expected tun, passt, none, or bridge: with'],
  [{ uplink: 'bridge:' }, '--uplink bridge:: expected tun, passt, none, or bridge: with'],
  [{ uplink: 'bridge:a b' }, '--uplink "bridge:a b": names "a b"; expected letters'],
  [{ uplink: 'bridge:a234567890123456' }, '--uplink bridge:a234567890123456: names a234567890123456 with 16'],
  [{ uplink: 'bridge:tap1' }, '--uplink bridge:tap1: is also the name of a tap; expected an interface'],
  [
    { uplink: 'bridge:eth0', 'dhcp-range': '192.168.100.10-192.168.100.20' },
    "--dhcp-range 192.168.100.10-192.168.100.20: is given beside uplink bridge, where the LAN's own",
  ],
  [
    { uplink: 'bridge:eth0', forward: '80:192.168.100.10:80' },
    '--forward 80:192.168.100.10:80: is given beside uplink bridge; expected one of the two',
  ],
  [
    { uplink: 'passt', forward: '80:192.168.100.10:80' },
    '--forward 80:192.168.100.10:80: is given beside uplink passt; expected one of the two',
  ],
  [{ 'nat-filtering': 'all' }, '--nat-filtering all: expected endpoint, address or address-port'],
  [{ firewall: 'pf' }, '--firewall pf: expected nft, iptables, ufw, firewalld, none or auto'],
  [{ lan: 'a b' }, '--lan "a b": names "a b"; expected letters'],
  [{ lan: 'vsw0' }, '--lan vsw0: is the uplink itself; expected'],
  [{ lan: 'eth0', uplink: 'none' }, '--lan eth0: is given beside uplink none; expected'],
  [
    { lan: 'eth0', firewall: 'none' },
    '--lan eth0: is given beside firewall none, which holds nothing; expected',
  ],
  [{ 'state-dir': 'state' }, '--state-dir state: expected an absolute path'],
  [{ 'log-level': 'loud' }, '--log-level loud: expected trace, debug, info, warn or error'],
];

test('bad input gets one sentence that names the option, the value and what is expected', () => {
  for (const [given, begins] of BAD) {
    const whole = Object.keys(given).length === 0 || begins.includes('is missing');
    const message = refusal(whole ? given : { ...BASE, ...given });
    assert.ok(message.startsWith(begins), `${JSON.stringify(given)}\n  got  ${message}\n  want ${begins}`);
    assert.not.match(message, /\n/);
    assert.match(message, /expected/);
  }
});

test('a file says the same by the same names; options win', () => {
  const path = file(
    'a.toml',
    'subnet = "10.1.0.0/16"\ntaps = ["tap0", "tap1@red"]\nmtu = 9000\ndns = "9.9.9.9,1.1.1.1"\nno-dhcp = false\n',
  );
  const config = readConfig({ mtu: '1400' }, path);
  assert.is(config.subnet.text, '10.1.0.0/16');
  assert.is(config.mtu, 1400);
  assert.equal(config.taps[1], { name: 'tap1', netns: 'red', end: 'auto' });
  assert.equal(config.dhcp!.dns.map(formatIp4), ['9.9.9.9', '1.1.1.1']);
  assert.is(readConfig({}, file('a.json', '{"subnet":"10.0.0.0/24","taps":"t"}')).subnet.text, '10.0.0.0/24');
});

test('a fault in a file names the file and the key', () => {
  const rows: [string, string][] = [
    ['subnett = "10.0.0.0/24"', 'unknown key "subnett"; expected one of subnet, taps, name'],
    ['mtu = 3', 'mtu = 3: expected a whole number of bytes'],
    ['mtu = true', 'mtu = true: expected a whole number of bytes'],
    ['taps = [1]', 'taps = [1]: expected tap names'],
    ['no-dhcp = "yes"', 'no-dhcp = yes: expected true or false'],
    ['nat-address = "192.168.100.1"', 'nat-address = 192.168.100.1: is the gateway'],
    ['subnet = ', 'Invalid TOML document'],
  ];
  for (const [content, begins] of rows) {
    const path = file('bad.toml', `${content}\n`);
    const message = refusal(content.startsWith('subnet') ? { taps: 't' } : BASE, path);
    assert.ok(message.startsWith(`${path}: ${begins}`), message);
    assert.match(message, /expected/);
  }
  assert.match(
    refusal(BASE, '/nonexistent.toml'),
    /^--config \/nonexistent.toml: cannot be read \(ENOENT\); expected/,
  );
});

test('a part of a LAN needs no subnet, serves no addresses and owns none', () => {
  const config = readConfig({ taps: 'tap0', uplink: 'bridge:eth0' });
  assert.equal(config.uplink, { kind: 'bridge', interface: 'eth0' });
  assert.equal([config.subnet.text, config.dhcp, config.natAddress], ['-', undefined, 0]);
  assert.ok(Object.isFrozen(config.uplink));
  assert.is(readConfig({ ...BASE, uplink: 'bridge:eth0' }).subnet.text, '192.168.100.0/24');
  const path = file('lan.toml', 'taps = "tap0"\nuplink = "bridge:eth0.7"\nno-dhcp = true\n');
  assert.equal(readConfig({}, path).uplink, { kind: 'bridge', interface: 'eth0.7' });
  assert.match(refusal({ taps: 'tap0', uplink: 'passt' }), /^--subnet is missing; expected/);
});

test('records of the DNS service, with their names in full', () => {
  const records = [
    'NAS=192.168.100.9',
    'nas AAAA fd00::9',
    'www CNAME nas',
    '@ MX 10 mail.example.',
    '_http._tcp SRV 0 5 80 www',
    'api.example.com=192.168.100.9',
    'note TXT "one, two"',
    `long TXT ${'é'.repeat(200)}`,
    '192.168.100.8 PTR printer',
    '8.100.168.192.in-addr.arpa PTR printer',
  ];
  const config = readConfig({ ...BASE, 'dns-record': records, domain: 'Lab.Example' });
  assert.is(config.dns?.domain, 'lab.example');
  assert.equal(config.dns?.records.slice(0, 7), [
    { name: 'nas.lab.example', type: 'A', data: '192.168.100.9' },
    { name: 'nas.lab.example', type: 'AAAA', data: 'fd00::9' },
    { name: 'www.lab.example', type: 'CNAME', data: 'nas.lab.example' },
    { name: 'lab.example', type: 'MX', data: { preference: 10, exchange: 'mail.example' } },
    {
      name: '_http._tcp.lab.example',
      type: 'SRV',
      data: { priority: 0, weight: 5, port: 80, target: 'www.lab.example' },
    },
    { name: 'api.example.com', type: 'A', data: '192.168.100.9' },
    { name: 'note.lab.example', type: 'TXT', data: ['one, two'] },
  ]);
  const [long, byAddress, byName] = config.dns?.records.slice(7) ?? [];
  assert.equal(long?.type === 'TXT' && long.data.map(text => Buffer.byteLength(text)), [254, 146]);
  assert.equal(byAddress, byName);
});

test('whom the DNS service asks, and where there is none', () => {
  const upstreams = (given: Given) => readConfig({ ...BASE, ...given }).dns?.upstreams;
  assert.is(upstreams({}), 'host');
  assert.equal(upstreams({ dns: '9.9.9.9,127.0.0.53' }), [0x09090909, 0x7f000035]);
  assert.equal(upstreams({ uplink: 'none' }), []);
  assert.equal(upstreams({ uplink: 'none', dns: '9.9.9.9' }), [0x09090909]);
  assert.is(upstreams({ 'no-dns': true }), undefined);
  assert.is(upstreams({ uplink: 'bridge:eth0' }), undefined);
  const told = (given: Given) => {
    const config = readConfig({ ...BASE, ...given });
    const { dns, domain } = dhcpSettings(config, config.dhcp!);
    return [dns.map(formatIp4).join(), domain];
  };
  assert.equal(told({}), ['192.168.100.1', 'vsw.internal']);
  assert.equal(told({ dns: '9.9.9.9', domain: 'lab.example' }), ['192.168.100.1', 'lab.example']);
  assert.equal(told({ 'no-dns': true }), ['', '']);
  assert.equal(told({ 'no-dns': true, dns: '9.9.9.9', domain: 'lab.example' }), ['9.9.9.9', 'lab.example']);
});

test('no DHCP, an isolated network, and a place without a network', () => {
  const config = readConfig({ ...BASE, 'no-dhcp': true, uplink: 'none' });
  assert.is(config.dhcp, undefined);
  assert.equal(config.uplink, { kind: 'none' });
  assert.equal(readPlace({ name: 'vsw7', 'state-dir': '/tmp/s' }), {
    name: 'vsw7',
    stateDir: '/tmp/s',
    runDir: '/run/vswitchd',
    logLevel: 'info',
  });
  assert.is(readReplayConfig({}).subnet.text, '192.168.100.0/24');
});

test.run();
