// timeout: 180 s
// coverage: none
/** RFC 4787 and 5382 with sockets: ports and who shares them, strangers, simultaneous open, resets, guests' ways to each other. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Lab, lineFrom, until } from '../../src/lab.ts';
import { NAT_ADDRESS, OUTSIDE, plugIn, portOf, type Stage, stageTests, startBareNat } from './stage.ts';

const inStage = stageTests('ns', import.meta.url);
const SECOND = '203.0.113.3';
const STRANGER = '203.0.113.4';
/** RFC 5382 REQ-4: 6 s, and the time of the tester itself. */
const SILENCE_MS = 6_500;

/** A bare NAT with a guest in red and one in blue, and an outside of two addresses. */
async function startTwo(stage: Stage, ...options: string[]): Promise<string> {
  const { lab, blue } = stage;
  const out = await startBareNat(stage, ...options);
  await lab.ip(out, 'addr', 'add', `${SECOND}/24`, 'dev', 'eth0');
  await plugIn(stage, 'tap1', blue);
  await lab.lease(blue, 'tap1');
  return out;
}

const node = async (lab: Lab, netns: string, script: string): Promise<string> =>
  (await lab.inside(netns, process.execPath, '-e', script)).trim();

/** Starts a script that says `ready` when it is. */
const serve = (lab: Lab, netns: string, script: string): Promise<void> =>
  lineFrom(lab.spawn(netns, process.execPath, '-e', script), /ready/, 10_000);

/** By UDP and TCP: answers with the address and port that it sees. */
const MIRROR = `const { createServer } = require('node:net');
  for (const at of ['${OUTSIDE}', '${SECOND}']) {
    const d = require('node:dgram').createSocket('udp4');
    d.on('message', (_, r) => d.send(r.address + ' ' + r.port, r.port, r.address));
    d.bind(7000, at);
    createServer(c => c.end(c.remoteAddress + ' ' + c.remotePort)).listen(7000, at, () => console.log('ready'));
  }`;

/** Asks both mirrors from one port by UDP; what they saw. */
const seenUdp = (port: number): string => `
  const d = require('node:dgram').createSocket('udp4'), seen = [];
  d.on('message', m => { seen.push(String(m)); if (seen.length === 2) { console.log(seen.join()); d.close(); } });
  d.bind(${port}, () => { d.send('?', 7000, '${OUTSIDE}'); d.send('?', 7000, '${SECOND}'); });
  setTimeout(() => process.exit(1), 8000).unref();`;

const seenTcp = (port: number): string => `
  const seen = [], ask = host => new Promise(done =>
    require('node:net').connect({ port: 7000, host, localPort: ${port} }, () => {})
      .on('data', m => seen.push(String(m))).on('close', done));
  ask('${OUTSIDE}').then(() => ask('${SECOND}')).then(() => console.log(seen.join()));`;

/** The one port that both mirrors saw: the mapping does not depend on where it goes. */
function portIn(said: string): number {
  const [first, second] = said.split(',');
  assert.is(first, second, said);
  const [address, port] = (first ?? '').split(' ');
  assert.is(address, NAT_ADDRESS);
  return Number(port);
}

for (const order of ['red', 'blue'] as const)
  inStage(`of two guests with one port the first keeps it: ${order}`, async stage => {
    const { lab } = stage;
    const [first, second] = order === 'red' ? [stage.red, stage.blue] : [stage.blue, stage.red];
    await serve(lab, await startTwo(stage), MIRROR);
    for (const [kind, port] of [
      [seenUdp, 5555],
      [seenUdp, 500],
      [seenTcp, 5555],
    ] as const) {
      assert.is(portIn(await node(lab, first, kind(port))), port);
      const other = portIn(await node(lab, second, kind(port)));
      assert.is.not(other, port);
      assert.is(other < 1024, port < 1024, `${port} → ${other}`); // RFC 4787 REQ-3: ranges apart
      assert.is(portIn(await node(lab, second, kind(port))), other); // RFC 4787 REQ-11: the same again
    }
  });

/** Connects from an address that no guest has sent to; what becomes of it. */
const knock = (host: string, port: number): string => `
  const c = require('node:net').connect({ port: ${port}, host: '${host}', localAddress: '${STRANGER}' });
  c.on('error', error => { console.log(error.code); process.exit(); });
  c.on('connect', () => { console.log('connected'); process.exit(); });
  setTimeout(() => { console.log('silence'); process.exit(); }, ${SILENCE_MS});`;

inStage('a stranger’s SYN meets silence for more than 6 s, with a mapping and without', async stage => {
  const { lab, red } = stage;
  const out = await startTwo(stage);
  await serve(lab, out, MIRROR);
  assert.is(portIn(await node(lab, red, seenTcp(5000))), 5000);
  await lab.ip(out, 'addr', 'add', `${STRANGER}/24`, 'dev', 'eth0');
  assert.is(await node(lab, out, knock('203.0.113.1', 5000)), 'ECONNREFUSED'); // the host's own ports are not held silent
  const capture = lab.spawn(out, 'tcpdump', '-n', '-l', '-i', 'eth0', `dst host ${STRANGER} and not arp`);
  let heard = '';
  capture.stdout?.on('data', data => (heard += String(data)));
  await lineFrom(capture, /listening/, 10_000);
  const knocked = await Promise.all([5000, 5001].map(port => node(lab, out, knock(NAT_ADDRESS, port))));
  assert.equal(knocked, ['silence', 'silence']);
  assert.is(heard, '');
  const { drops } = await portOf(lab, 'vsw0');
  assert.ok((drops.NatFiltered ?? 0) >= 3 && (drops.NatNoMapping ?? 0) >= 3, JSON.stringify(drops));
});

inStage('both sides open at once: theirs is lost at the NAT, ours finds them waiting', async stage => {
  const { lab, red } = stage;
  const out = await startTwo(stage);
  const open = (host: string, port: number, localPort: number): string => `
    const c = require('node:net').connect({ port: ${port}, host: '${host}', localPort: ${localPort} }, () => c.write('hello'));
    c.on('data', m => { console.log(String(m), c.remotePort); setTimeout(() => process.exit(), 500); });
    c.on('error', error => { console.log(error.code); process.exit(); });`;
  const theirs = node(lab, out, open(NAT_ADDRESS, 5000, 6000));
  await until(
    'their SYN was dropped',
    10_000,
    async () => ((await portOf(lab, 'vsw0')).drops.NatNoMapping ?? 0) > 0,
  );
  const ours = node(lab, red, open(OUTSIDE, 6000, 5000));
  assert.equal(await Promise.all([ours, theirs]), ['hello 6000', 'hello 5000']);
});

inStage('a reset passes the NAT, from outside and from the guest', async stage => {
  const { lab, red } = stage;
  const out = await startTwo(stage);
  const server = `let n = 0; require('node:net').createServer(c => {
      c.on('error', error => console.log('saw', error.code)); c.write('x'); if (n++ === 0) setTimeout(() => c.resetAndDestroy(), 300);
    }).listen(7000, '${OUTSIDE}', () => console.log('ready'));`;
  const child = lab.spawn(out, process.execPath, '-e', server);
  await lineFrom(child, /ready/, 10_000);
  const wait = `require('node:net').connect(7000, '${OUTSIDE}').on('error', error => console.log(error.code)).resume();`;
  assert.is(await node(lab, red, wait), 'ECONNRESET');
  const saw = lineFrom(child, /saw ECONNRESET/, 10_000);
  await node(
    lab,
    red,
    `const c = require('node:net').connect(7000, '${OUTSIDE}').on('data', () => c.resetAndDestroy());`,
  );
  await saw;
});

inStage(
  'guests reach each other by the NAT address and see it, with its ports, and each other’s refusals',
  async stage => {
    const { lab, red, blue } = stage;
    const out = await startTwo(stage, '--nat-filtering', 'endpoint');
    await serve(lab, out, MIRROR);
    for (const port of [8080, 8081]) assert.is(portIn(await node(lab, blue, seenUdp(port))), port);
    assert.is(portIn(await node(lab, blue, seenTcp(8080))), 8080);
    const answer = `const tell = (a, p) => a + ' ' + p;
    const d = require('node:dgram').createSocket('udp4');
    d.on('message', (_, r) => d.send(tell(r.address, r.port), r.port, r.address)); d.bind(8080);
    require('node:net').createServer(c => c.end(tell(c.remoteAddress, c.remotePort)))
      .listen(8080, '0.0.0.0', () => console.log('ready'));`;
    await serve(lab, blue, answer);
    const udp = (port: number): string => `const d = require('node:dgram').createSocket('udp4');
    d.on('message', m => { console.log(String(m)); d.close(); }); d.on('error', error => { console.log(error.code); d.close(); });
    d.bind(5555, () => d.connect(${port}, '${NAT_ADDRESS}', () => d.send('?'))); setTimeout(() => process.exit(1), 8000).unref();`;
    assert.is(await node(lab, red, udp(8080)), `${NAT_ADDRESS} 5555`);
    assert.is(await node(lab, red, udp(8081)), 'ECONNREFUSED');
    const tcp = `require('node:net').connect({ port: 8080, host: '${NAT_ADDRESS}', localPort: 5556 })
    .on('data', m => console.log(String(m))).on('error', error => console.log(error.code));`;
    assert.is(await node(lab, red, tcp), `${NAT_ADDRESS} 5556`);
  },
);

test.run();
