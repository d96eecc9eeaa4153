// timeout: 180 s
// coverage: none
/** Egress rules with a real guest: a name is reached right behind its answer, all else is refused at once. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { EgressView } from '../../src/control/views.ts';
import { lineFrom } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { addOutside, ctl, GATEWAY, OUTSIDE, plugIn, type Stage, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('eg', import.meta.url);
/** Behind the outside, where every address is there: one of the internet, but for the test of special ranges. */
const WORLD = '9.9.9.0/24';
const ROUNDS = 50;

/** TCP servers on some ports, UDP echo on the same, and a DNS server: nI.allowed.test and nI.other.test are 9.9.9.I. */
const SERVE = `
  const packet = require(process.argv[1]);
  const { createSocket } = require('node:dgram');
  const ports = [80, 443, 853];
  const dns = createSocket('udp4');
  dns.on('message', (message, from) => {
    const question = packet.decode(message).questions[0];
    const data = '9.9.9.' + /^n([0-9]+)/i.exec(question.name)[1];
    const answers = [{ type: 'CNAME', name: question.name, data: 'cdn.test', ttl: 5 }, { type: 'A', name: 'cdn.test', data, ttl: 5 }];
    dns.send(packet.encode({ type: 'response', id: packet.decode(message).id, questions: [question], answers }), from.port, from.address);
  });
  const listening = ports.map(port => new Promise(done => require('node:net').createServer(c => c.on('error', () => undefined).end('hello')).listen(port, '0.0.0.0', done)));
  for (const port of ports) for (const address of ['${OUTSIDE}', '9.9.9.6']) {
    const echo = createSocket('udp4');
    echo.on('message', (m, from) => echo.send(m, from.port, from.address));
    listening.push(new Promise(done => echo.bind(port, address, done)));
  }
  listening.push(new Promise(done => dns.bind(53, '${OUTSIDE}', done)));
  Promise.all(listening).then(() => console.log('listening'));`;

/** Goes to each of the places; says how that ended and how long it took: "name or address:port", "udp address:port". */
const GO = (server: string): string => `
  const { connect } = require('node:net');
  const { Resolver } = require('node:dns').promises;
  const resolver = new Resolver({ timeout: 2000, tries: 3 });
  resolver.setServers(['${server}']);
  const tcp = (host, port) => new Promise(done => {
    const socket = connect({ host, port });
    const timer = setTimeout(() => { socket.destroy(); done('silence'); }, 15000);
    socket.on('connect', () => { clearTimeout(timer); socket.destroy(); done('reached'); });
    socket.on('error', error => { clearTimeout(timer); done(error.code); });
  });
  const udp = (host, port) => new Promise(done => {
    const socket = require('node:dgram').createSocket('udp4');
    const end = what => { clearTimeout(timer); socket.close(); done(what); };
    const timer = setTimeout(() => end('silence'), 15000);
    socket.on('message', () => end('reached'));
    socket.on('error', error => end(error.code));
    socket.connect(port, host, () => socket.send('hello'));
  });
  (async () => {
    const said = {};
    for (const place of process.argv.slice(1)) {
      const [, kind, host, port] = /^(udp )?([^:]+):([0-9]+)$/.exec(place);
      const begun = performance.now();
      const end = await (/[a-z]/.test(host) ? resolver.resolve4(host) : Promise.resolve([host]))
        .then(([address]) => (kind ? udp : tcp)(address, Number(port)), error => 'look-up: ' + error.code);
      said[place] = { end, ms: Math.round(performance.now() - begun) };
    }
    console.log(JSON.stringify(said));
  })();`;

type Said = Readonly<Record<string, { readonly end: string; readonly ms: number }>>;

const go = (stage: Stage, ...places: string[]): Promise<Said> => goBy(stage, OUTSIDE, ...places);

/** The same with names from another server. */
const goBy = async ({ lab, red }: Stage, server: string, ...places: string[]): Promise<Said> =>
  JSON.parse(await lab.inside(red, process.execPath, '-e', GO(server), ...places)) as Said;

/** A stage with servers outside and a guest, under the rules. */
async function underRules(stage: Stage, ...options: string[]): Promise<void> {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await lab.ip(host, 'route', 'add', WORLD, 'via', OUTSIDE);
  await lab.ip(out, 'route', 'add', 'local', WORLD, 'dev', 'lo');
  const servers = lab.spawn(
    out,
    process.execPath,
    '-e',
    SERVE,
    join(projectRoot(), 'node_modules/dns-packet'),
  );
  await lineFrom(servers, /listening/, 20_000);
  await lab.startSwitch(host, ...TAPS, ...options);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
}

/** How each of the places ended, without how long it took; none may take long, as one would that nobody answers. */
function ends(said: Said): Record<string, string> {
  for (const [place, { ms }] of Object.entries(said)) assert.ok(ms < 10_000, `${place} took ${ms} ms`);
  return Object.fromEntries(Object.entries(said).map(([place, { end }]) => [place, end]));
}

inStage(
  'a name is reached right behind its answer, fifty times; all else is refused at once',
  async stage => {
    const { lab, host, red } = stage;
    const rules = `allow udp/53 ${OUTSIDE},allow tcp/443 *.allowed.test`;
    await underRules(stage, '--egress', 'none', '--egress-rule', rules, '--dns', OUTSIDE);
    // each to an address of its own, which nothing before has allowed
    const names = Array.from({ length: ROUNDS }, (_, i) => `n${100 + i}.allowed.test:443`);
    assert.equal(ends(await go(stage, ...names)), Object.fromEntries(names.map(name => [name, 'reached'])));
    assert.equal(
      ends(await go(stage, 'n7.other.test:443', '9.9.9.8:443', 'n9.allowed.test:80', '9.9.9.100:443')),
      {
        'n7.other.test:443': 'EHOSTUNREACH',
        '9.9.9.8:443': 'EHOSTUNREACH',
        'n9.allowed.test:80': 'EHOSTUNREACH',
        '9.9.9.100:443': 'reached',
      },
    );
    // between guests and to the host nothing is denied, nor what comes from there
    await lab.ping(red, GATEWAY);
    await lab.ping(host, await lab.address(red, 'tap0'));
    const view = await lab.ask<EgressView>('egress');
    // on a busy machine questions and first segments are sent again
    const [dns = 0, tls = 0] = view.rules.map(({ hits }) => hits);
    assert.equal([view.otherwise, view.allowed, tls], ['none', 0, ROUNDS + 1]);
    assert.ok(view.denied >= 3 && dns > 0 && (view.answers.answers ?? 0) >= ROUNDS, JSON.stringify(view));
    assert.is(view.names.length, ROUNDS + 1);
    assert.ok(
      view.names.some(({ name, address }) => name === 'n100.allowed.test' && address === '9.9.9.100'),
    );
    const text = await ctl(stage, 'egress');
    assert.match(text, new RegExp(`allow tcp/443 \\*\\.allowed\\.test +${ROUNDS + 1}\n`));
    assert.match(text, /otherwise none: denied +\d+\n/);
    assert.match(text, /n149\.allowed\.test +9\.9\.9\.149 +\d+s|n149\.allowed\.test +9\.9\.9\.149 +1m\d+s/);
  },
);

inStage('names that our own service answers are reached right behind the answer, by TCP too', async stage => {
  const { lab, red } = stage;
  const record = ['--dns-record', 'mirror.example=9.9.9.200'];
  const rules = [
    '--egress',
    'none',
    '--egress-rule',
    'allow tcp/443 *.allowed.example,allow tcp/80 mirror.example',
  ];
  await underRules(stage, ...rules, '--dns', OUTSIDE, ...record);
  const names = Array.from({ length: ROUNDS }, (_, i) => `n${100 + i}.allowed.example:443`);
  const reached = Object.fromEntries(names.map(name => [name, 'reached']));
  assert.equal(ends(await goBy(stage, GATEWAY, ...names)), reached);
  assert.equal(ends(await goBy(stage, GATEWAY, ...names)), reached, 'from the cache');
  assert.equal(
    ends(await goBy(stage, GATEWAY, 'mirror.example:80', 'n7.other.example:443', 'n8.allowed.example:80')),
    {
      'mirror.example:80': 'reached',
      'n7.other.example:443': 'EHOSTUNREACH',
      'n8.allowed.example:80': 'EHOSTUNREACH',
    },
  );
  // over TCP the host's socket answers, and the answer is learnt all the same
  assert.is(
    await lab.inside(red, 'dig', '+short', '+tcp', `@${GATEWAY}`, 'n210.allowed.example', 'A'),
    'cdn.test.\n9.9.9.210\n',
  );
  assert.equal(ends(await go(stage, '9.9.9.210:443', '9.9.9.211:443')), {
    '9.9.9.210:443': 'reached',
    '9.9.9.211:443': 'EHOSTUNREACH',
  });
});

inStage('internet-only keeps guests off the LAN, but for the resolver, and lets them out', async stage => {
  const { lab, red } = stage;
  await underRules(stage, '--egress', 'internet-only', '--dns', OUTSIDE);
  const places = [
    'n5.other.test:443',
    `${OUTSIDE}:443`,
    `udp ${OUTSIDE}:443`,
    'udp 9.9.9.6:80',
    '203.0.113.1:22',
  ];
  assert.equal(ends(await go(stage, ...places)), {
    'n5.other.test:443': 'reached',
    [`${OUTSIDE}:443`]: 'EHOSTUNREACH',
    [`udp ${OUTSIDE}:443`]: 'EHOSTUNREACH',
    'udp 9.9.9.6:80': 'reached',
    '203.0.113.1:22': 'EHOSTUNREACH',
  });
  const pinged = await lab.ping(red, OUTSIDE, 1).catch((error: Error) => error.message);
  assert.match(pinged, /Packet filtered|100% packet loss/);
  await lab.ping(red, '9.9.9.7', 1);
});

inStage('encrypted-dns denies DNS over TLS, QUIC and HTTPS, and leaves the rest', async stage => {
  await underRules(stage, '--egress-rule', 'deny encrypted-dns,deny n50.other.test');
  const places = [
    `${OUTSIDE}:853`,
    `udp ${OUTSIDE}:853`,
    '9.9.9.9:443',
    'udp 9.9.9.9:443',
    '9.9.9.9:80',
    `${OUTSIDE}:443`,
  ];
  const denied = ['n50.other.test:80', 'n51.other.test:80'];
  assert.equal(ends(await go(stage, ...places, ...denied)), {
    [`${OUTSIDE}:853`]: 'EHOSTUNREACH',
    [`udp ${OUTSIDE}:853`]: 'EHOSTUNREACH',
    '9.9.9.9:443': 'EHOSTUNREACH',
    'udp 9.9.9.9:443': 'EHOSTUNREACH',
    '9.9.9.9:80': 'reached',
    [`${OUTSIDE}:443`]: 'reached',
    'n50.other.test:80': 'EHOSTUNREACH',
    'n51.other.test:80': 'reached',
  });
});

test.run();
