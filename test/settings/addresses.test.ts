/** Reservations, pools, tags, options and boot files as text: what each may be, and one sentence for each mistake. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip } from '../../fixtures/packets.ts';
import { readConfig } from '../../src/config.ts';
import { OperatorError } from '../../src/errors.ts';
import { parseBoots, parseOptions, parseTagRules } from '../../src/settings/dhcpoptions.ts';
import { encodeOption } from '../../src/settings/encodings.ts';
import { parseHosts, parsePools } from '../../src/settings/reservations.ts';
import { Refusal } from '../../src/settings/schema.ts';

const BASE = { subnet: '192.168.100.0/24', taps: 'tap0,tap1' };

function refusal(more: Record<string, unknown>, file?: string): string {
  try {
    readConfig({ ...BASE, ...more }, file);
  } catch (error) {
    assert.instance(error, OperatorError);
    assert.is((error as OperatorError).exitCode, 2);
    return (error as OperatorError).message;
  }
  return 'accepted';
}

/** One line a mistake: the setting, its text (others beside it), and what the sentence must say. */
type Row = readonly [text: string | string[], says: RegExp, beside?: Record<string, unknown>];
const refused = (name: string, rows: readonly Row[]): void => {
  for (const [text, says, beside] of rows) {
    const said = refusal({ [name]: text, ...beside });
    assert.match(said, says, `${name} ${text}`);
    assert.ok(said.startsWith(`--${name} `), said);
    assert.match(said, /expected/, said);
    assert.not.match(said, /\n/);
  }
};

const MAC = '02:4c:40:5b:f7:3c';

test('hosts that are refused', () => {
  refused('host', [
    ['vm1', /NAME,IDENTITY,ADDRESS/],
    [`vm1,${MAC}`, /NAME,IDENTITY,ADDRESS/],
    [`v m,${MAC},192.168.100.10`, /host "v m"/],
    [`${'a'.repeat(64)},${MAC},192.168.100.10`, /letters, digits and hyphens/],
    [`vm1,ff:ff:ff:ff:ff:ff,192.168.100.10`, /which no guest has/],
    [`vm1,00:00:00:00:00:00,192.168.100.10`, /which no guest has/],
    ['vm1,id:,192.168.100.10', /client "id:"/],
    ['vm1,id:abc,192.168.100.10', /in hexadecimal/],
    [`vm1,id:${'ab'.repeat(256)},192.168.100.10`, /255 bytes/],
    ['vm1,a/b,192.168.100.10', /identity "a\/b"; expected a MAC, id:HEX or a port/],
    ['vm1,tap7,192.168.100.10', /port tap7, which is none of the ports/],
    [`vm1,${MAC},192.168.100`, /address "192.168.100"/],
    [`vm1,${MAC},192.168.101.10`, /outside 192.168.100.0\/24; .*guest in 192.168.100.0\/24/],
    [`vm1,${MAC},192.168.100.0`, /network address/],
    [`vm1,${MAC},192.168.100.1`, /gateway/],
    [`vm1,${MAC},192.168.100.254`, /NAT address/],
    [`vm1,${MAC},192.168.100.255`, /broadcast address/],
    [`vm1,${MAC},192.168.100.10,web`, /"web" behind the address/],
    [`vm1,${MAC},192.168.100.10,tag:`, /tag ""/],
    [[`vm1,${MAC},192.168.100.10`, 'vm2,tap0,192.168.100.10'], /the address 192.168.100.10 twice/],
    [[`vm1,${MAC},192.168.100.10`, `vm2,${MAC},192.168.100.11`], /the identity 02:4c:40:5b:f7:3c twice/],
    [['vm1,id:01aB,192.168.100.10', 'vm2,id:01:ab,192.168.100.11'], /the identity id:01:ab twice/],
    [['vm1,tap0,192.168.100.10', 'vm2,tap0,192.168.100.11'], /the identity tap0 twice/],
    [['vm1,tap0,192.168.100.10', 'VM1,tap1,192.168.100.11'], /the name vm1 twice/],
    ['vm1,tap0,10.5.0.7', /behind a relay/, { pool: '10.5.0.0/24' }],
    ['vm1,id:01,10.5.0.1', /the router/, { pool: '10.5.0.0/24' }],
    ['vm1,tap0,192.168.100.10', /beside no-dhcp/, { 'no-dhcp': true }],
    ['vm1,tap0,192.168.100.10', /beside uplink bridge/, { uplink: 'bridge:eth0' }],
  ]);
});

test('a reserved address may lie outside the range, and in a pool', () => {
  const { dhcp } = readConfig({
    ...BASE,
    'dhcp-range': '192.168.100.50-192.168.100.60',
    pool: '10.5.0.0/24',
    host: [',tap0,192.168.100.2', `vm2,${MAC},10.5.0.200`, 'vm3,id:01:0a,192.168.100.55'],
  });
  assert.equal(
    dhcp!.hosts.map(({ name, address }) => [name, address]),
    [
      ['', ip('192.168.100.2')],
      ['vm2', ip('10.5.0.200')],
      ['vm3', ip('192.168.100.55')],
    ],
  );
  assert.equal(dhcp!.hosts[2]!.identity, { kind: 'client', id: '010a' });
});

test('pools that are refused', () => {
  refused('pool', [
    ['10.5.0.0', /network "10.5.0.0"/],
    ['10.5.0.1/24', /host bits/],
    ['10.5.0.0/31', /no room/],
    ['10.5.0.0/24,10.5.0.9', /"10.5.0.9" behind the network/],
    ['10.5.0.0/24,10.5.0.9-10.5.0.8', /behind the network/],
    ['10.5.0.0/24,10.5.0.10-10.5.1.8', /10.5.1.8, outside 10.5.0.0\/24/],
    ['10.5.0.0/24,10.5.0.1-10.5.0.8', /range with the router 10.5.0.1/],
    ['10.5.0.0/24,10.5.0.0-10.5.0.8,router:10.5.0.9', /range with the network address/],
    ['10.5.0.0/24,router:10.6.0.1', /router 10.6.0.1, which is outside/],
    ['10.5.0.0/24,router:10.5.0.255', /the broadcast address/],
    ['10.5.0.0/24,router:x', /router "x"/],
    ['192.168.0.0/16', /overlaps 192.168.100.0\/24/],
    [['10.5.0.0/24', '10.0.0.0/8'], /overlaps 10.5.0.0\/24/],
  ]);
});

test('tags, options and boot files that are refused', () => {
  refused('dhcp-tag', [
    ['efi', /T=MATCH/],
    ['e fi=arch:7', /T=MATCH/],
    ['efi=color:red', /T=MATCH/],
    ['efi=arch:efi-vax', /architecture "efi-vax"; expected a number or bios/],
    ['efi=arch:toString', /architecture/],
    ['efi=arch:65536', /architecture/],
    ['t=port:tap9', /port tap9/],
    ['t=pool:10.5.0.0/24', /pool 10.5.0.0/],
    ['t=pool:10.5.0.0', /expected its network/],
    ['t=host:vm1', /host vm1/],
    ['-t=host:vm1', /tag "-t"/],
  ]);
  refused('dhcp-option', [
    ['42', /NAME=VALUE/],
    ['=5', /NAME=VALUE/],
    ['nonsense=5', /option "nonsense"/],
    ['256=hex:00', /option "256"/],
    ['lease-time=5', /option 51 .*sets itself/],
    ['81=hex:00', /sets itself/],
    ['ntp-server=10.0.0', /option 42 .*"10.0.0"; expected IPv4 addresses/],
    ['ntp-server=', /value ""/],
    ['23=256', /0 to 255/],
    ['121=10.0.0.0/8', /via 192.168.100.2/],
    ['119=a..b', /domains/],
    ['224=xyz', /hexadecimal/],
    ['42=hex:0', /hexadecimal/],
    [`224=${'00'.repeat(1025)}`, /1025 bytes; expected at most 1024/],
    ['tag:web,42=10.0.0.1', /tag web, which nothing gives/],
    ['host:vm1,42=10.0.0.1', /host vm1/],
    [['42=10.0.0.1', 'ntpServer=10.0.0.2'], /option 42 for all twice/],
  ]);
  refused('boot', [
    ['', /FILE/],
    ['a,b,c', /FILE/],
    ['a.efi,10.0.0', /server "10.0.0"/],
    ['a.efi,-x', /server "-x"/],
    ['x'.repeat(256), /256 bytes/],
    ['tag:efi,a', /tag efi/],
    [['a', 'b'], /boot file for all twice/],
  ]);
});

test('options by name, number and in hexadecimal', () => {
  const bytes = (name: string, text: string) => {
    const option = encodeOption(name, text);
    return option instanceof Refusal ? option.why : [option.code, ...option.value];
  };
  assert.equal(bytes('ntpServer', '10.0.0.1, 10.0.0.2'), [42, 10, 0, 0, 1, 10, 0, 0, 2]);
  assert.equal(bytes('ntp-server', '10.0.0.1'), [42, 10, 0, 0, 1]);
  assert.equal(bytes('NTP_SERVER', 'hex:0a 00 00:01'), [42, 10, 0, 0, 1]);
  assert.equal(bytes('Boot File Size', '258'), [13, 1, 2]);
  assert.equal(bytes('tftpServer', 'pxe'), [66, 112, 120, 101]);
  assert.equal(bytes('43', '1,2,255'), [43, 1, 2, 255]);
  assert.equal(bytes('43', '060108'), [43, 6, 1, 8]);
  assert.equal(bytes('mtu', '1400'), [26, 5, 120]);
  assert.equal(bytes('captive-portal', 'http://x/'), [114, ...Buffer.from('http://x/')]);
  assert.equal(bytes('224', 'de:ad'), [224, 0xde, 0xad]);
  assert.equal(bytes('timeOffset', '-1'), [2, 255, 255, 255, 255]);
  assert.equal(bytes('routes', '10.0.0.0/8 via 10.1.0.1, default via 10.1.0.2'), [
    ...[121, 8, 10, 10, 1, 0, 1],
    ...[0, 10, 1, 0, 2],
  ]);
  // RFC 3397: eng.apple.com and marketing.apple.com, the example of its §2, with "apple.com" pointed to.
  assert.equal(bytes('domain-search', 'eng.apple.com,marketing.apple.com'), [
    ...[119, 3, ...Buffer.from('eng'), 5, ...Buffer.from('apple'), 3, ...Buffer.from('com'), 0],
    ...[9, ...Buffer.from('marketing'), 0xc0, 4],
  ]);
});

test('the file has the same names; what it has wrong is one sentence with its name', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vswitchd-addresses-'));
  try {
    const file = join(folder, 'vsw.toml');
    writeFileSync(
      file,
      `host = ["vm1,tap0,192.168.100.10", "vm2,${MAC},192.168.100.11,tag:db"]
pool = ["10.5.0.0/24"]
dhcp-tag = ["web=port:tap*"]
dhcp-option = ["tag:web,ntp-server=192.168.100.1", "tag:db,42=192.168.100.2"]
boot = "pxelinux.0"
`,
    );
    const { dhcp } = readConfig(BASE, file);
    assert.equal(
      [dhcp!.hosts, dhcp!.pools, dhcp!.tags, dhcp!.options, dhcp!.boots].map(list => list.length),
      [2, 1, 1, 2, 1],
    );
    writeFileSync(file, 'host = ["vm1,tap9,192.168.100.10"]\n');
    assert.match(
      refusal({}, file),
      /vsw\.toml:\d+:9: host = vm1,tap9,192\.168\.100\.10: names the port tap9/,
    );
    writeFileSync(file, 'dhcp-option = 5\n');
    assert.match(refusal({}, file), /vsw\.toml:\d+:1: dhcp-option = 5: expected \[tag:T/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('any text is read or refused, never thrown at', () => {
  const pieces = fc.constantFrom(
    ...[
      'vm1',
      MAC,
      'id:0102',
      'tap0',
      '192.168.100.9',
      'tag:web',
      'tag:',
      'host:vm1',
      ',',
      '=',
      ' ',
      '*',
      '/',
    ],
    ...[
      '10.5.0.0/24',
      '10.5.0.9-10.5.0.20',
      'router:10.5.0.1',
      'arch:',
      'efi-x64',
      'vendor:',
      'hex:',
      '42',
      '119',
    ],
    ...['121', ' via ', 'default', 'é', '\0', '999', 'pool:'],
  );
  const text = fc.oneof(
    fc.array(pieces, { maxLength: 8 }).map(list => list.join('')),
    fc.array(pieces, { maxLength: 6 }).map(list => list.join(',')),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(text, { maxLength: 3 }), items => {
      for (const parse of [parseHosts, parsePools, parseOptions, parseTagRules, parseBoots]) {
        const parsed = parse(items);
        if (parsed instanceof Refusal) assert.match(parsed.why, /expected/);
        else assert.is(parsed.length, items.length);
      }
    }),
    { seed: 5, numRuns: 5_000 },
  );
});

test.run();
