/** Places of settings in a file's text, and refusals that name them. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileFormat } from '../../src/config/given.ts';
import { locate } from '../../src/config/locate.ts';
import { readConfig } from '../../src/config.ts';

const TOML = `# taps = "not this one"
subnet = "10.0.0.0/24" # behind it: port = 1
"dhcp-range"= '10.0.0.10-10.0.0.20'

forward = [
  "8080:10.0.0.11:80", # one, "two", [three
  '8081:10.0.0.12:80',
  """
8082:10.0.0.13:80""", "8083:10.0.0.14:80" ]
mtu = 1_400
host = [ "a\\"],b", { a = "]", b = [1, 2] }, [ "x", "y" ], "last" ]
a.b = 1
[table]
name = "in the table"
[[list]]
`;

const places = (text: string, format: FileFormat, ...asked: [string, number?][]): unknown[] =>
  asked.map(([key, item]) => {
    const at = locate(text, format, key, item);
    return at && `${at.line}:${at.column}`;
  });

test('TOML: keys, items of lists, quotes of all kinds, comments, tables', () => {
  assert.equal(places(TOML, 'toml', ['taps'], ['subnet'], ['dhcp-range'], ['forward'], ['mtu'], ['port']), [
    ...[undefined, '2:1', '3:1', '5:1', '10:1', undefined],
  ]);
  assert.equal(places(TOML, 'toml', ['forward', 0], ['forward', 1], ['forward', 2], ['forward', 3]), [
    ...['6:3', '7:3', '8:3', '9:23'],
  ]);
  assert.equal(places(TOML, 'toml', ['host', 0], ['host', 1], ['host', 2], ['host', 3], ['host', 4]), [
    ...['11:10', '11:20', '11:45', '11:59', '11:1'],
  ]);
  assert.equal(places(TOML, 'toml', ['a'], ['table'], ['name'], ['list']), [
    '12:1',
    '13:1',
    undefined,
    '15:1',
  ]);
});

test('JSON: the same, on one line or many', () => {
  const text = '{"subnet": "a",\n "taps": ["t{0",\n  "t1"], "x": {"taps": []}, "mtu":\n 5}';
  assert.equal(places(text, 'json', ['subnet'], ['taps'], ['taps', 0], ['taps', 1], ['x'], ['mtu'], ['y']), [
    ...['1:2', '2:2', '2:11', '3:3', '3:10', '3:29', undefined],
  ]);
});

test('what no parser takes ends all the same', () => {
  for (const text of ['', '=', '[', '[[', '"', "'''", 'a = [', 'a = {', 'a = ["', '}{', 'a = "\\', '\\', 'a'])
    for (const format of ['toml', 'json'] as const) locate(text, format, 'none');
});

const BASE = 'subnet = "10.0.0.0/24"\ntaps = ["tap0", "tap1"]\n';

function refusal(text: string, format: FileFormat = 'toml'): string {
  try {
    readConfig({}, { name: 'v.conf', text, format });
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
}

for (const [more, expected] of [
  ['mtu = 5\n', 'v.conf:3:1: mtu = 5: expected a whole number of bytes from'],
  ['frob = 5\n', 'v.conf:3:1: unknown key "frob"; expected one of subnet, taps'],
  ['\n  mtu = [\n', 'v.conf:5:1: Invalid TOML document: '],
  ['forward = [\n "80:10.0.0.2:80",\n "81:x"]', 'v.conf:5:2: forward = 81:x: expected PORT:GUEST:PORT'],
  [
    'forward = ["80:10.0.0.2:80",\n"80:10.0.0.3:80", "1:a:1"]',
    'v.conf:4:1: forward = 80:10.0.0.3:80: forwards tcp/80 twice; expected',
  ],
  [
    'forward = ["80:10.0.0.2:80", "81:10.0.1.2:80"]',
    'v.conf:3:30: forward = 81:10.0.1.2:80: names 10.0.1.2, which is outside 10.0.0.0/24; expected',
  ],
  [
    'egress-rule = ["deny any", "tap7 deny any"]',
    'v.conf:3:28: egress-rule = "tap7 deny any": names the guest tap7; expected',
  ],
  [
    'host = ["a,tap0,10.0.0.9", "b,tap2,10.0.0.8"]',
    'v.conf:3:28: host = b,tap2,10.0.0.8: names the port tap2, which is none of the ports; expected',
  ],
  [
    'pool = ["10.1.0.0/24", "10.1.0.0/16"]',
    'v.conf:3:24: pool = 10.1.0.0/16: names 10.1.0.0/16, which overlaps 10.1.0.0/24; expected',
  ],
  [
    'dhcp-option = ["42=10.0.0.1", "tag:x,42=10.0.0.1"]',
    'v.conf:3:31: dhcp-option = tag:x,42=10.0.0.1: is for the tag x, which nothing gives; expected',
  ],
  [
    'dhcp-tag = ["a=mac:*", "a=port:tap9"]',
    'v.conf:3:24: dhcp-tag = a=port:tap9: names the port tap9; expected',
  ],
  [
    'dns-record = ["a=10.0.0.9", "b CNAME c.example"]',
    'v.conf:3:29: dns-record = "b CNAME c.example": has the alias b.vsw.internal of c.example',
  ],
  [
    'port = ["stream:/run/a.sock", "tap:tap0"]',
    'v.conf:3:31: port = tap:tap0: names tap0, which is a tap of --taps; expected',
  ],
] as const)
  test(`refused with its place: ${more.trim()}`, () => {
    const said = refusal(BASE + more);
    assert.is(said.slice(0, expected.length), expected);
    assert.not.match(said, /\n/);
  });

test('refused with its place in JSON', () => {
  const start = '{"subnet": "10.0.0.0/24",\n"taps": ["tap0",';
  assert.is(
    refusal(`${start} "tap0"]}`, 'json'),
    'v.conf:2:18: taps = tap0: names tap0 twice; expected each tap once',
  );
  assert.match(
    refusal(`${start} tap0]}`, 'json'),
    /^v\.conf:2:19: Unexpected token .*; expected lines such as/,
  );
});

test('a file that wins gives what it says, and options the rest', () => {
  const text = 'mtu = 1400\nageing = 60\n';
  const given = { subnet: '10.0.0.0/24', taps: 'tap0', mtu: '1500' };
  const file = { name: 'f', text, format: 'toml' } as const;
  const mtus = [false, true].map(wins => readConfig(given, { ...file, wins }));
  assert.equal(
    mtus.map(({ mtu, ageingS }) => [mtu, ageingS]),
    [
      [1500, 60],
      [1400, 60],
    ],
  );
  const bad = { ...file, text: 'nat-address = "10.0.0.1"', wins: true };
  assert.throws(
    () => readConfig({ ...given, 'nat-address': '10.0.0.9' }, bad),
    /^f:1:1: nat-address = 10\.0\.0\.1: is the gateway/,
  );
});

test.run();
