// timeout: 150 s
// coverage: none
/** Guests' cloud-init data over real sockets: each guest its own, whoever claims its address, and however it asks. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GATEWAY_MAC } from '../../fixtures/arp.ts';
import { ethernetFrame, ip, mac, tcpPacket } from '../../fixtures/packets.ts';
import type { CloudInitView } from '../../src/control/views.ts';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { ACK, FIN, PSH, RST, SYN } from '../../src/wire/tcp.ts';
import { addOutside, ctl, GATEWAY, plugIn, portOf, type Stage, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('md', import.meta.url);
const SERVICE = `http://${GATEWAY}:8000`;
const ALIAS = 'http://169.254.169.254';
const TAKEN = '192.168.100.50';

/** Starts a switch that serves `files`, with red on tap0 and blue on tap1; the folder. */
async function startServing(
  stage: Stage,
  files: Readonly<Record<string, string>>,
  ...options: string[]
): Promise<string> {
  const { lab, host, red, blue } = stage;
  const folder = join(lab.folder, 'seed');
  mkdirSync(folder);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  await lab.startSwitch(host, ...TAPS, '--cloud-init', folder, ...options);
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  return folder;
}

const byHand = async ({ lab }: Stage, netns: string, name: string, address: string): Promise<void> => {
  await lab.ip(netns, 'addr', 'add', `${address}/24`, 'dev', name);
  await lab.ip(netns, 'route', 'add', 'default', 'via', GATEWAY);
};

const ASK = `const [url, localPort, form, method] = process.argv.slice(1);
  const o = { localPort: +localPort || undefined, timeout: 3000, method: form ? 'POST' : 'GET',
    headers: form ? { 'content-type': 'application/x-www-form-urlencoded' } : {} };
  const q = require('node:http').request(url, o, r => {
    let s = ''; r.setEncoding('utf8').on('data', d => { s += d; }); r.on('end', () => process.stdout.write(r.statusCode === 200 ? s : String(r.statusCode))); });
  q.on('timeout', () => q.destroy(new Error('ETIMEDOUT'))); q.on('error', e => process.stdout.write(e.code || e.message)); q.end(form || undefined);`;

interface Asked {
  readonly port?: number;
  /** To be posted. */
  readonly form?: string;
}

/** What a guest gets: the page; where that is none, the status, or the error's code. */
const ask = (
  { lab }: Stage,
  netns: string,
  url: string,
  { port = 0, form = '' }: Asked = {},
): Promise<string> => lab.inside(netns, process.execPath, '-e', ASK, url, `${port}`, form);

inStage(
  'each guest gets its own, leased or set by hand, at both addresses; host and LAN nothing',
  async stage => {
    const { lab, host, red, blue } = stage;
    const out = await addOutside(stage);
    const folder = await startServing(stage, {
      'tap0/user-data': 'red @address@ @port@',
      'default/user-data': 'default @address@ @port@',
    });
    const address = await lab.lease(red, 'tap0');
    await byHand(stage, blue, 'tap1', '192.168.100.77');
    for (const url of [SERVICE, ALIAS]) {
      assert.is(await ask(stage, red, `${url}/user-data`), `red ${address} tap0`);
      assert.is(await ask(stage, blue, `${url}/user-data`), 'default 192.168.100.77 tap1');
      assert.is(await ask(stage, blue, `${url}/latest/meta-data/`), '404');
      assert.is(await ask(stage, blue, `${url}/network-config`), '');
    }
    // with a link-local route a guest asks by ARP for the address itself
    await lab.ip(blue, 'route', 'add', '169.254.169.254/32', 'dev', 'tap1');
    assert.match(
      await ask(stage, blue, `${ALIAS}/meta-data`),
      /^instance-id: i-\w+\nlocal-hostname: tap1\.vsw\.internal\n$/,
    );
    writeFileSync(join(folder, 'tap0/user-data'), 'edited');
    assert.is(await ask(stage, red, `${SERVICE}/user-data`), 'edited');

    await lab.ip(out, 'route', 'add', '192.168.100.0/24', 'via', '203.0.113.1');
    for (const netns of [host, out])
      assert.match(
        await ask(stage, netns, `${SERVICE}/user-data`),
        /^(ECONNRESET|ETIMEDOUT|socket hang up)$/,
      );
    assert.not.match(await lab.ip(host, 'addr'), /169\.254\.169\.254/);

    const shown = await ctl(stage, 'cloud-init', 'tap0');
    assert.match(shown, /^tap0 {2}\S+ {2}192\.168\.100\.\d+ {2}instance i-\w{17} {2}host name tap0\n/);
    assert.match(shown, /== user-data: \S+\/tap0\/user-data\nedited\n/);
    assert.match(shown, /== vendor-data: no file, so empty/);
  },
);

inStage('an address taken from another guest brings neither its data nor its connection', async stage => {
  const { lab, red, blue } = stage;
  await startServing(stage, { 'tap0/user-data': 'r'.repeat(1_000_000), 'tap1/user-data': 'blue' });
  await byHand(stage, red, 'tap0', TAKEN);
  // Red reads a little into a small buffer, and the rest when it is told; so most of it is still with the host.
  await lab.inside(red, 'sysctl', '-qw', 'net.ipv4.tcp_rmem=4096 16384 32768');
  const slowly = `let n = 0; const c = require('node:net').connect({ port: 8000, host: '${GATEWAY}', localPort: 40000 },
      () => c.write('GET /user-data HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'));
    c.on('data', d => { if (n === 0) { c.pause(); console.log('begun'); } n += d.length; }); process.on('SIGUSR2', () => c.resume());
    c.on('error', e => console.log(e.code)); c.on('end', () => console.log('got ' + n)); setInterval(() => {}, 1000);`;
  const reader = lab.spawn(red, process.execPath, '-e', slowly);
  const whole = lineFrom(reader, /got 1000\d{3}$/m, 25_000);
  whole.catch(() => undefined); // it is awaited late
  await lineFrom(reader, /begun/, 5_000);
  await byHand(stage, blue, 'tap1', TAKEN);
  const listener = ['tcpdump', '-i', 'tap1', '-n', '-l', '-A', 'src', GATEWAY, 'and', 'tcp', 'port', '40000'];
  const heard = lab.spawn(blue, ...listener);
  let listened = '';
  heard.stdout?.on('data', chunk => {
    listened += chunk;
  });
  await lineFrom(heard, /listening/, 5_000);
  await lab.inside(blue, 'arping', '-q', '-c', '2', '-U', '-I', 'tap1', TAKEN);
  assert.is(await ask(stage, blue, `${SERVICE}/user-data`, { port: 40_000 }), 'ETIMEDOUT');
  await forge(stage, blue);
  assert.is(await ask(stage, blue, `${SERVICE}/user-data`), 'blue');
  assert.is(await ask(stage, blue, `${ALIAS}/user-data`), 'blue');
  reader.kill('SIGUSR2');
  await whole;
  assert.is(listened.includes('rrrr'), false);
  const { drops } = await portOf(lab, 'tap1');
  assert.ok((drops.CallerTaken ?? 0) >= 5, JSON.stringify(drops));
});

/** Sends what a program with raw sockets would: segments of red's connection, with blue's MAC and with another. */
async function forge({ lab }: Stage, netns: string): Promise<void> {
  const ends = { source: ip(TAKEN), destination: ip(GATEWAY) };
  const frames = [RST, RST | ACK, FIN | ACK, PSH | ACK, SYN].map(flags =>
    ethernetFrame(
      mac('02:00:00:00:00:0a'),
      GATEWAY_MAC,
      0x0800,
      tcpPacket(ends, { from: 40_000, to: 8000 }, flags, flags & PSH ? 'GET /user-data' : ''),
    ),
  );
  const send = `import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('tap1', 0))
for frame in sys.argv[1:]: s.send(bytes.fromhex(frame))`;
  await lab.inside(netns, 'python3', '-c', send, ...frames.map(frame => Buffer.from(frame).toString('hex')));
}

inStage('requests that are crooked, slow or many cost nobody else anything', async stage => {
  const { lab, host, red, blue } = stage;
  await startServing(stage, { 'default/user-data': 'here' });
  await byHand(stage, red, 'tap0', TAKEN);
  await byHand(stage, blue, 'tap1', '192.168.100.51');
  writeFileSync(join(lab.folder, 'secret'), 'secret');
  const raw = `const net = require('node:net');
    const send = text => new Promise(done => { let s = ''; const c = net.connect(8000, '${GATEWAY}', () => c.write(text));
      c.setTimeout(4000, () => c.destroy()); c.on('data', d => { s += d; }); c.on('error', () => {}); c.on('close', () => done(s.split('\\r\\n')[0])); });
    (async () => { for (const text of JSON.parse(process.argv[1])) console.log(await send(text)); })();`;
  const get = (target: string, rest = ''): string => `GET ${target} HTTP/1.1\r\nHost: x\r\n${rest}\r\n`;
  const crooked: [string, RegExp][] = [
    [get('/user-data'), / 200 /],
    [get('/../secret'), / 404 /],
    [get('/default/../../secret'), / 404 /],
    [get('/%2e%2e/secret'), / 404 /],
    [get('/..%2fsecret'), / 404 /],
    [get('/tap1/user-data'), / 404 /],
    [get(`${SERVICE}/user-data`), / 404 /],
    [get('http://127.0.0.1/user-data'), / 404 /],
    [get('*'), / 404 /],
    [get('/user-data', `X: ${'x'.repeat(20_000)}\r\n`), / 431 | 400 /],
    [get(`/${'x'.repeat(20_000)}`), / 431 | 400 /],
    [get('/user-data', 'Upgrade: h2c\r\nConnection: upgrade\r\n'), / 200 /],
    [`CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n`, /^$/],
    ['\x16\x03\x01 is TLS\r\n\r\n', / 400 /],
    [`POST /phone-home HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n${'x'.repeat(70_000)}`, / 413 /],
    [get('/user-data') + get('/user-data'), / 200 /],
  ];
  const texts = JSON.stringify(crooked.map(([text]) => text));
  const said = (await lab.inside(red, process.execPath, '-e', raw, texts)).split('\n');
  for (const [i, [text, status]] of crooked.entries()) assert.match(said[i] ?? '', status, text.slice(0, 60));

  // Red opens a thousand, and sends a byte of a header on each, every second.
  const many = `const net = require('node:net'); let open = 0, closed = 0;
    for (let i = 0; i < 1000; i++) { const c = net.connect(8000, '${GATEWAY}', () => { open++; c.write('GET /user-data HTTP/1.1\\r\\nX: ');
        setInterval(() => c.write('x'), 1000).unref(); }); c.resume(); c.on('error', () => {}); c.on('close', () => closed++); }
    setInterval(() => console.log('open ' + open + ' closed ' + closed + '.'), 250);`;
  const flood = lab.spawn(red, process.execPath, '-e', many);
  const past = lineFrom(flood, /closed (6[4-9]|[7-9]\d|\d{3,})\./, 25_000);
  past.catch(() => undefined);
  await lineFrom(flood, /open 64 /, 5_000);
  for (let i = 0; i < 20; i++) assert.is(await ask(stage, blue, `${SERVICE}/user-data`), 'here');
  await past; // those that are slow are ended
  assert.ok(((await portOf(lab, 'tap0')).drops.CallersFull ?? 0) > 900);
  await ended(flood, 'SIGKILL', 1_000);
  await until(
    'red is served again',
    20_000,
    async () => (await ask(stage, red, `${ALIAS}/user-data`)) === 'here',
  );
  assert.match(await lab.inside(host, 'ss', '-Htan'), /:8000/);
});

inStage('a one-time password is served till the guest phones home, and the hook is told', async stage => {
  const { lab, red } = stage;
  const heard = join(lab.folder, 'heard');
  const hook = join(lab.folder, 'hook');
  writeFileSync(hook, `#!/bin/sh\n(env | grep ^VSWITCHD_; cat) > ${heard}.new; mv ${heard}.new ${heard}\n`, {
    mode: 0o755,
  });
  await startServing(
    stage,
    { 'tap0/user-data': 'pw=@password@ @phone-home-url@' },
    '--phone-home-hook',
    hook,
  );
  const address = await lab.lease(red, 'tap0');
  const first = await ask(stage, red, `${SERVICE}/user-data`);
  assert.match(first, new RegExp(`^pw=\\w{20} ${SERVICE}/phone-home$`));
  assert.is(await ask(stage, red, `${ALIAS}/user-data`), first);
  const view = await lab.ask<CloudInitView>('cloud-init/tap0');
  assert.is(`pw=${view.password} ${SERVICE}/phone-home`, first);
  await ask(stage, red, `${SERVICE}/phone-home`, {
    form: 'hostname=web1&pub_key_ed25519=ssh-ed25519+AAAA%0A',
  });
  await until('the hook has run', 5_000, async () => existsSync(heard));
  const all = readFileSync(heard, 'utf8');
  const [told, said] = [all.slice(0, all.indexOf('{')), all.slice(all.indexOf('{'))];
  for (const line of [
    'EVENT=phone-home',
    'PORT=tap0',
    `ADDRESS=${address}`,
    'HOSTNAME=tap0',
    'NAME=vsw0',
    `INSTANCE_ID=${view.instanceId}`,
    `MAC=${view.mac}`,
  ])
    assert.match(told, new RegExp(`^VSWITCHD_${line}$`, 'm'));
  assert.equal((JSON.parse(said) as { fields: unknown }).fields, {
    hostname: 'web1',
    pub_key_ed25519: 'ssh-ed25519 AAAA\n',
  });
  assert.is.not(await ask(stage, red, `${SERVICE}/user-data`), first);
  const spent = await lab.ask<CloudInitView>('cloud-init/tap0');
  assert.equal([spent.password, spent.phonedHome?.fields.hostname], [undefined, 'web1']);
  const shown = await ctl(stage, 'cloud-init', 'reset', 'tap0');
  assert.match(shown, /one-time password: \w{20}\n/);
  assert.match(
    await ask(stage, red, `${SERVICE}/user-data`),
    new RegExp(/password: (\w{20})/.exec(shown)?.[1] ?? '-'),
  );
});

inStage(
  'a port that is taken, and a folder that is not there, are one sentence each',
  async ({ lab, host }) => {
    const taken = `require('node:net').createServer().listen(8000, '0.0.0.0', () => console.log('up'))`;
    await lineFrom(lab.spawn(host, process.execPath, '-e', taken), /up/, 5_000);
    for (const [folder, sentence, code] of [
      [
        lab.folder,
        /--cloud-init-port 8000: another program of this host waits at that TCP port; expected a free one/,
        3,
      ],
      [
        '/nowhere',
        /--cloud-init \/nowhere: can't be read \(ENOENT\); expected a folder with default\/user-data/,
        2,
      ],
    ] as const) {
      const child = lab.spawnSwitch(host, ...TAPS, '--cloud-init', folder);
      const exit = new Promise(resolve => child.once('exit', resolve));
      await lineFrom(child, sentence, 10_000);
      assert.is(await exit, code);
    }
    assert.not.match(await lab.ip(host, '-br', 'link'), /vsw0|tap0/);
  },
);

test.run();
