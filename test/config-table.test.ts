/** Inputs that must be refused, with the sentence for each, and properties of the pool over all subnets. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Given } from '../src/config/given.ts';
import { type Config, readConfig, readPlace, readReplayConfig } from '../src/config.ts';
import { OperatorError } from '../src/errors.ts';
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
    ports: [],
    uplink: { kind: 'tun' },
    mtu: 1500,
    ageingS: 300,
    maxMacs: 65_536,
    guard: 'off',
    portMacs: undefined,
    stormLimit: undefined,
    hostAccess: 'all',
    user: undefined,
    dhcp: {
      first: parseIp4('192.168.100.10')!,
      last: parseIp4('192.168.100.253')!,
      leaseTimeS: 43_200,
      probeMs: 200,
      dns: [],
      domain: '',
      hosts: [],
      pools: [],
      options: [],
      tags: [],
      boots: [],
    },
    dns: { domain: 'vsw.internal', upstreams: 'host', records: [] },
    natAddress: parseIp4('192.168.100.254')!,
    natFiltering: 'address',
    maxFlows: 65_536,
    maxGuestFlows: 16_384,
    forwards: [],
    lan: undefined,
    egress: { rules: [], otherwise: 'all', resolvers: [] },
    cloudInit: undefined,
    firewall: 'auto',
    leaseHook: undefined,
    releaseOnDetach: false,
    metrics: undefined,
    stateDir: '/var/lib/vswitchd',
    runDir: '/run/vswitchd',
    logLevel: 'info',
  });
  const { subnet, taps, dhcp, egress } = config;
  for (const part of [config, subnet, taps, taps[0], dhcp, dhcp?.dns, dhcp?.hosts, egress, egress.rules])
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

test('probes: 200 ms, but for a replay, which asks nobody that a capture does not show', () => {
  assert.is(readConfig(BASE).dhcp?.probeMs, 200);
  assert.is(readConfig({ ...BASE, 'dhcp-probe': '0' }).dhcp?.probeMs, 0);
  assert.is(readReplayConfig({}).dhcp?.probeMs, 0);
  assert.is(readReplayConfig({ 'dhcp-probe': '500' }).dhcp?.probeMs, 500);
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
    ['subnett = "10.0.0.0/24"', '1:1: unknown key "subnett"; expected one of subnet, taps, port, name'],
    ['mtu = 3', '1:1: mtu = 3: expected a whole number of bytes'],
    ['mtu = true', '1:1: mtu = true: expected a whole number of bytes'],
    ['taps = [1]', '1:9: taps = 1: expected tap names'],
    ['no-dhcp = "yes"', '1:1: no-dhcp = yes: expected true or false'],
    ['nat-address = "192.168.100.1"', '1:1: nat-address = 192.168.100.1: is the gateway'],
    ['subnet = ', '1:10: Invalid TOML document'],
  ];
  for (const [content, begins] of rows) {
    const path = file('bad.toml', `${content}\n`);
    const message = refusal(content.startsWith('subnet') ? { taps: 't' } : BASE, path);
    assert.ok(message.startsWith(`${path}:${begins}`), message);
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
