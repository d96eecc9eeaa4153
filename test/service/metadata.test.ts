/** The metadata service without sockets: which file, which words, which password, and who has phoned home. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../../src/host/run.ts';
import { Instances, instanceId } from '../../src/service/metadata/instances.ts';
import { fieldsOf } from '../../src/service/metadata/phonehome.ts';
import {
  type Guest,
  type MetadataOptions,
  MetadataService,
  type PhoneHome,
} from '../../src/service/metadata/service.ts';
import { filled, type Word, wordsIn } from '../../src/service/metadata/template.ts';

const root = mkdtempSync(join(tmpdir(), 'vswitchd-metadata-'));
test.after(() => rmSync(root, { recursive: true }));

const GUEST: Guest = { port: 'tap0', mac: '02:4c:40:5b:f7:3c', address: '192.168.100.10' };
const OTHER: Guest = { port: 'tap1', mac: '02:4c:40:5b:f7:3d', address: '192.168.100.11' };
const PASSWORD = /^[A-HJ-NP-Za-km-z2-9]{20}$/;

let runs = 0;

interface Bench {
  readonly service: MetadataService;
  readonly folder: string;
  readonly state: string;
  readonly said: string[];
  readonly heard: PhoneHome[];
  /** Writes DIR/<path>. */
  file(path: string, content: string | Uint8Array): string;
  /** What a guest gets, and its status where that is another than 200. */
  get(name: string, guest?: Guest, method?: string): Promise<string>;
  phone(guest: Guest, form: string): Promise<number>;
}

function bench(options: Partial<MetadataOptions> = {}, state = join(root, `state${++runs}`)): Bench {
  const folder = join(root, `seed${++runs}`);
  mkdirSync(folder);
  const said: string[] = [];
  const heard: PhoneHome[] = [];
  const service = new MetadataService({
    folder,
    switchName: 'vsw0',
    url: 'http://192.168.100.1:8000/',
    gateway: '192.168.100.1',
    domain: 'vms.test',
    instances: new Instances(state, Date.now, sentence => said.push(sentence)),
    dns: () => ['9.9.9.9', '1.1.1.1'],
    known: () => ({}),
    phonedHome: event => void heard.push(event),
    log: (level, sentence) => void (level === 'debug' || said.push(`${level}: ${sentence}`)),
    now: Date.now,
    ...options,
  });
  return {
    service,
    folder,
    state,
    said,
    heard,
    file: (path, content) => {
      const at = join(folder, path);
      mkdirSync(join(at, '..'), { recursive: true });
      writeFileSync(at, content);
      return at;
    },
    get: async (name, guest = GUEST, method = 'GET') => {
      const { status, body } = await service.answer(guest, method, `/${name}`, async () => '');
      return status === 200 ? body.toString() : `${status}`;
    },
    phone: async (guest, form) =>
      (await service.answer(guest, 'POST', '/phone-home', async () => form)).status,
  };
}

test('a file of the port goes before one of the MAC, and both before the default, each by itself', async () => {
  const { file, get } = bench();
  assert.is(await get('user-data'), '');
  file('default/user-data', 'default');
  file('default/vendor-data', 'vendor');
  assert.is(await get('user-data'), 'default');
  file('02-4c-40-5b-f7-3c/user-data', 'dashes');
  assert.is(await get('user-data'), 'dashes');
  file('02:4c:40:5b:f7:3c/user-data', 'colons');
  assert.is(await get('user-data'), 'colons');
  file('tap0/user-data', 'port');
  assert.equal([await get('user-data'), await get('vendor-data')], ['port', 'vendor']);
  assert.equal([await get('user-data', OTHER), await get('vendor-data', OTHER)], ['default', 'vendor']);
  assert.is(await get('network-config'), '');
});

test('meta-data without a file is made; a file of it is taken as it is', async () => {
  const { file, get } = bench();
  const id = instanceId('vsw0', GUEST.port, GUEST.mac);
  assert.match(id, /^i-[0-9a-f]{17}$/);
  assert.is(await get('meta-data'), `instance-id: ${id}\nlocal-hostname: tap0.vms.test\n`);
  file('tap0/meta-data', 'instance-id: mine\n');
  assert.is(await get('meta-data'), 'instance-id: mine\n');
  const ids = [
    id,
    instanceId('vsw1', GUEST.port, GUEST.mac),
    instanceId('vsw0', 'tap1', GUEST.mac),
    instanceId('vsw0', GUEST.port, OTHER.mac),
  ];
  assert.is(new Set(ids).size, 4);
});

test('what is known of a guest goes before what it comes with', async () => {
  const { file, get } = bench({
    known: ({ port }) => (port === 'tap0' ? { hostname: 'web1', address: '192.168.100.80' } : {}),
  });
  file(
    'default/user-data',
    '@hostname@ @address@ @mac@ @port@ @gateway@ @domain@ [@dns@] @url@ @phone-home-url@',
  );
  const rest =
    '192.168.100.1 vms.test [9.9.9.9, 1.1.1.1] http://192.168.100.1:8000/ http://192.168.100.1:8000/phone-home';
  assert.is(await get('user-data'), `web1 192.168.100.80 02:4c:40:5b:f7:3c tap0 ${rest}`);
  assert.is(
    await get('user-data', { ...OTHER, port: 'Tap_1.x' }),
    `tap-1-x 192.168.100.11 02:4c:40:5b:f7:3d Tap_1.x ${rest}`,
  );
});

const VALUES = Object.fromEntries(
  [
    'instance-id',
    'hostname',
    'address',
    'mac',
    'port',
    'gateway',
    'domain',
    'dns',
    'url',
    'password',
    'phone-home-url',
  ].map(word => [word, `<${word}>`]),
) as Record<Word, string>;
const fill = (text: string): string => filled(Buffer.from(text), VALUES).toString();

test('only known words between at signs are touched', () => {
  for (const [text, wanted] of [
    ['@hostname@', '<hostname>'],
    ['@@hostname@@', '@hostname@'],
    ['@@hostname@', '@<hostname>'],
    ['root@hostname@domain@mac@', 'root<hostname>domain<mac>'],
    [
      'admin@example.com, @other@ @HOSTNAME@ @ hostname @',
      'admin@example.com, @other@ @HOSTNAME@ @ hostname @',
    ],
    ['{{ ds.meta_data }} {% if x %} $HOME $(id) @', '{{ ds.meta_data }} {% if x %} $HOME $(id) @'],
    ['@address@@mac@', '<address><mac>'],
    ['grüße @port@', 'grüße <port>'],
  ] as const)
    assert.is(fill(text), wanted);
  const packed = gzipSync('@hostname@', { level: 0 });
  assert.ok(packed.includes('@hostname@'));
  assert.is(filled(packed, VALUES), packed);
  assert.is(wordsIn(packed).size, 0);
  assert.equal([...wordsIn(Buffer.from('@@password@@ @mac@'))], ['mac']);
});

test('bytes that hold no placeholder stay what they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), bytes => {
      const text = Buffer.from(bytes);
      assert.equal(filled(text, VALUES), text);
    }),
  );
});

test('no path but the four names, no method but GET', async () => {
  const { file, get, folder } = bench();
  file('default/user-data', 'default');
  file('secret', 'secret');
  for (const path of [
    '',
    'secret',
    '../secret',
    'user-data/',
    'user-data?x',
    'user-data#',
    '/user-data',
    './user-data',
    'default/user-data',
    'tap1/../user-data',
    '%75ser-data',
    '%2e%2e/secret',
    'user-data%00',
    'latest/meta-data',
    '2009-04-04/meta-data/instance-id',
    'openstack/latest/meta_data.json',
    'constructor',
    '__proto__',
  ])
    assert.is(await get(path), '404', path);
  assert.is(await get('user-data', GUEST, 'POST'), '405');
  assert.is(await get('phone-home'), '405');
  // a MAC is six octets by then, whatever a guest does; a port's name is the operator's
  assert.ok(existsSync(folder));
});

test('a symlink is followed; what is no file, too long or not to be read is told of once', async () => {
  const { file, get, folder, said } = bench();
  const secret = file('elsewhere', 'linked');
  mkdirSync(join(folder, 'tap0'));
  symlinkSync(secret, join(folder, 'tap0/user-data'));
  assert.is(await get('user-data'), 'linked');
  file('tap0/vendor-data', Buffer.alloc(1 << 20, 'x'));
  assert.is((await get('vendor-data')).length, 1 << 20);
  file('tap0/vendor-data', Buffer.alloc((1 << 20) + 1, 'x'));
  mkdirSync(join(folder, 'tap0/network-config'));
  await run('mkfifo', [join(folder, 'tap0/meta-data')]);
  for (const name of ['vendor-data', 'network-config', 'meta-data', 'meta-data'])
    assert.is(await get(name), '500');
  assert.is(said.length, 3);
  assert.match(
    said[0] as string,
    /^warn: tap0: \/vendor-data: .*tap0\/vendor-data has more than 1 MiB; expected at most that$/,
  );
  assert.match(said[1] as string, /network-config is no file; expected a file/);
  assert.match(said[2] as string, /meta-data is no file/);
  file('default/user-data', 'default');
  rmSync(join(folder, 'tap0'), { recursive: true });
  file('tap0', 'a file in the place of a folder');
  assert.is(await get('user-data'), 'default');
});

test('the password is made at its first use, kept over a restart, and nobody else’s', async () => {
  const first = bench();
  first.file('default/user-data', '@password@');
  const [one, same, other] = await Promise.all([
    first.get('user-data'),
    first.get('user-data'),
    first.get('user-data', OTHER),
  ]);
  assert.match(one, PASSWORD);
  assert.equal([same, one === other], [one, false]);
  const [name = ''] = readdirSync(first.state);
  assert.match(name, /^i-[0-9a-f]{17}\.json$/);
  assert.is(statSync(join(first.state, name)).mode & 0o777, 0o600);
  assert.is(statSync(first.state).mode & 0o777, 0o700);
  const second = bench({}, first.state);
  second.file('default/user-data', '@password@');
  assert.is(await second.get('user-data'), one);
  assert.is.not(await second.get('user-data', { ...GUEST, mac: '02:00:00:00:00:99' }), one);
});

test('phoned home, the password is spent: each request gets another, which is kept nowhere', async () => {
  const { file, get, phone, heard, state, service, said } = bench();
  file('default/user-data', 'pw @password@');
  const before = await get('user-data');
  assert.is(await phone(GUEST, 'instance_id=i-lie&hostname=web1&pub_key_ed25519=ssh-ed25519+AAAA'), 200);
  assert.is(await phone(GUEST, 'hostname=again'), 200);
  assert.equal(
    heard.map(({ port, hostname, fields }) => [port, hostname, { ...fields }]),
    [['tap0', 'tap0', { instance_id: 'i-lie', hostname: 'web1', pub_key_ed25519: 'ssh-ed25519 AAAA' }]],
  );
  const [after, later] = [await get('user-data'), await get('user-data')];
  assert.is(new Set([before, after, later]).size, 3);
  const kept = readFileSync(join(state, `${instanceId('vsw0', GUEST.port, GUEST.mac)}.json`), 'utf8');
  for (const text of [before, after, later]) assert.not.ok(kept.includes(text.slice(3)));
  const view = await service.view(GUEST);
  assert.is(view.password, undefined);
  assert.is(view.phonedHome?.fields.hostname, 'web1');
  assert.match(await get('user-data', OTHER), /^pw /);
  assert.equal(said.length, 1);
  assert.match(said[0] as string, /^info: tap0: i-\w+ \(tap0, 192\.168\.100\.10\) has phoned home$/);
});

test('reset, it has a new password; a guest that never asked for one may phone home too', async () => {
  const instances = new Instances(join(root, 'reset'), Date.now, () => undefined);
  const { file, get, phone, service } = bench({ instances });
  file('default/user-data', '@password@');
  const before = await get('user-data');
  await phone(GUEST, '');
  assert.is(await phone(OTHER, 'a=b'), 200);
  assert.is(await instances.reset('tap0'), 1);
  const after = await get('user-data');
  assert.match(after, PASSWORD);
  assert.is.not(after, before);
  assert.is((await service.view(GUEST)).password, after);
  assert.is.not((await service.view(OTHER)).phonedHome, undefined);
});

test('a guest with many MACs pushes out its own instances alone', async () => {
  const { file, get, state } = bench();
  file('default/user-data', '@password@');
  const mine = await get('user-data', OTHER);
  for (let i = 0; i < 40; i++)
    await get('user-data', { ...GUEST, mac: `02:00:00:00:00:${(16 + i).toString(16)}` });
  assert.is(readdirSync(state).length, 17);
  assert.is(await get('user-data', OTHER), mine);
});

test('a guest that phones home with ever another MAC fills no log, and is told of with the next line', async () => {
  const clock = { nowMs: 1_800_000_000_000 };
  const { phone, said } = bench({ now: () => clock.nowMs });
  const mac = (i: number): string => `02:00:00:00:01:${(16 + i).toString(16)}`;
  for (let i = 0; i < 100; i++) await phone({ ...GUEST, mac: mac(i) }, '');
  assert.is(said.length, 20);
  clock.nowMs += 60_000;
  await phone(OTHER, '');
  assert.match(said.at(-1) as string, /has phoned home \(and 80 like it since the last line\)$/);
});

test('a password that can’t be kept is not given away, and the operator sees why', async () => {
  const { file, get, state, said, service } = bench();
  file('default/user-data', '@password@');
  rmSync(state, { recursive: true });
  writeFileSync(state, '');
  assert.is(await get('user-data'), '500');
  assert.match(said.join(), /ENOTDIR/);
  const shown = (await service.view(GUEST)).documents.map(({ name, from, status }) => [name, status, from]);
  assert.equal(shown[0], ['meta-data', 200, 'generated']);
  assert.equal(shown[1]?.slice(0, 2), ['user-data', 500]);
  assert.match(shown[1]?.[2] as string, /^ENOTDIR: /);
  rmSync(state);
  mkdirSync(state);
  assert.match(await get('user-data'), PASSWORD);
});

test('a record that can’t be read is set aside, with a sentence: the next one would be written over it', () => {
  const folder = join(root, 'broken');
  mkdirSync(folder);
  for (const [name, text] of [
    ['i-1.json', '{'],
    ['i-2.json', '{"id": "i-2"}'],
    ['i-3.json.new', 'half'],
    ['i-4.json', 'null'],
    ['i-5.json', '{"id": "../i-5", "port": "tap0", "mac": "02:00:00:00:00:05"}'],
  ] as const)
    writeFileSync(join(folder, name), text);
  chmodSync(folder, 0o700);
  const said: string[] = [];
  const instances = new Instances(folder, Date.now, sentence => said.push(sentence));
  assert.equal([said.length, instances.get('i-2'), instances.ofPort('tap0')], [4, undefined, []]);
  assert.match(
    said[0] as string,
    /i-1\.json can't be read \(.*\); it is kept as .*i-1\.json\.corrupt-20.*Z$/,
  );
  const kept = readdirSync(folder);
  assert.equal(
    kept.map(name => name.replace(/-\d{4}-.*Z$/, '')),
    [1, 2, 4, 5].map(number => `i-${number}.json.corrupt`),
  );
  assert.is(readFileSync(join(folder, kept[0] as string), 'utf8'), '{');
});

test('a form has bounds: names, values, how many', () => {
  assert.equal({ ...fieldsOf('a=1&a=2&b%20c=3&=4&__proto__=5&d=') }, { a: '1', ['__proto__']: '5', d: '' });
  assert.is(({} as Record<string, unknown>).polluted, undefined);
  const many = fieldsOf(Array.from({ length: 100 }, (_, i) => `f${i}=${'x'.repeat(10_000)}`).join('&'));
  assert.equal([Object.keys(many).length, many.f0?.length], [32, 8_192]);
  fc.assert(
    fc.property(fc.string(), text => Object.keys(fieldsOf(text)).every(name => /^[\w.-]{1,64}$/.test(name))),
  );
});

test.run();
