// timeout: 300 s
// coverage: none
/**
 * What comes back to a guest through the NAT about packets that did not arrive: hops, refusals, the path's MTU. From guests
 * with and without offloads, at either end of a tap, and behind the host's masquerade as well.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Lab, lineFrom } from '../../src/lab.ts';
import { loadNative } from '../../src/port/native.ts';
import { TapPort } from '../../src/port/tap.ts';
import { carry, inNamespace, start } from '../port/namespace.ts';
import {
  addOutside,
  GATEWAY,
  NAT_ADDRESS,
  OUTSIDE,
  plugIn,
  type Stage,
  stageTests,
  startBareNat,
  TAPS,
} from './stage.ts';

const inStage = stageTests('np', import.meta.url);
const NARROW = '198.51.100.2';
const FAR = '192.0.2.2';
const NARROW_MTU = 1280;
const BYTES = 4_000_000;

/** host ── outside ══ narrow ── far: the link in the middle takes packets of 1280 bytes, the others 1500. */
async function addFar({ lab, host }: Stage, out: string): Promise<string> {
  const [narrow, far] = [await lab.netns('narrow'), await lab.netns('far')];
  await lab.cable([out, 'eth1', '198.51.100.1/24'], [narrow, 'eth0', `${NARROW}/24`]);
  await lab.cable([narrow, 'eth1', '192.0.2.1/24'], [far, 'eth0', `${FAR}/24`]);
  await lab.ip(out, 'link', 'set', 'eth1', 'mtu', String(NARROW_MTU));
  await lab.ip(narrow, 'link', 'set', 'eth0', 'mtu', String(NARROW_MTU));
  for (const router of [out, narrow]) await lab.inside(router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  for (const [netns, net, via] of [
    [host, '198.51.100.0/24', OUTSIDE],
    [host, '192.0.2.0/24', OUTSIDE],
    [out, '192.0.2.0/24', NARROW],
    [narrow, 'default', '198.51.100.1'],
    [far, 'default', '192.0.2.1'],
  ] as const)
    await lab.ip(netns, 'route', 'add', net, 'via', via);
  return far;
}

const ECHO = `require('node:net').createServer(c => c.pipe(c)).listen(7000, '${FAR}', () => console.log('listening'))`;

/** Sends bytes that repeat nowhere near, and says whether the same came back. */
const TCP_THERE_AND_BACK = `
  const { createCipheriv } = require('node:crypto');
  const sent = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(${BYTES}));
  const got = [];
  const c = require('node:net').connect(7000, '${FAR}', () => c.end(sent));
  c.on('data', data => got.push(data));
  c.on('end', () => console.log(Buffer.concat(got).equals(sent) ? 'whole' : 'not the same'));
  c.on('error', error => console.log(error.code));`;

/** A connected UDP socket says hello to a port where nobody is; prints what becomes of it. */
const udpTo = (address: string, port: number): string => `
  const d = require('node:dgram').createSocket('udp4');
  d.on('error', error => { console.log(error.code); process.exit(); });
  d.connect(${port}, '${address}', () => { d.send('hello'); setInterval(() => d.send('hello'), 1000); });
  setTimeout(() => { console.log('silence'); process.exit(); }, 8000);`;

const node = (lab: Lab, netns: string, script: string): Promise<string> =>
  lab.inside(netns, process.execPath, '-e', script);

async function checkPath(stage: Stage, out: string): Promise<void> {
  const { lab, red } = stage;
  const far = await addFar(stage, out);
  await checkHops(stage);
  for (const nobody of [FAR, GATEWAY])
    assert.match(await node(lab, red, udpTo(nobody, 7001)), /ECONNREFUSED/);
  await lineFrom(lab.spawn(far, process.execPath, '-e', ECHO), /listening/, 10_000);
  assert.is((await node(lab, red, TCP_THERE_AND_BACK)).trim(), 'whole');
  await checkMtu(stage);
}

async function checkHops({ lab, red }: Stage): Promise<void> {
  for (const method of [['-U'], ['-I'], ['-T', '-p', '7001']]) {
    const said = await lab.inside(red, 'traceroute', '-n', '-q', '1', '-w', '5', '-m', '8', ...method, FAR);
    const hops = [...said.matchAll(/^ *\d+ {2}([\d.]+|\*)/gm)].map(([, hop]) => hop);
    assert.equal(hops, [GATEWAY, OUTSIDE, NARROW, FAR], `${method[0]}: ${said}`);
  }
}

/** The guest has learnt the path's MTU by TCP; ping and tracepath learn it each by itself. */
async function checkMtu({ lab, red }: Stage): Promise<void> {
  const learnt = new RegExp(`mtu ${NARROW_MTU}`);
  assert.match(await lab.ip(red, 'route', 'get', FAR), learnt);
  await lab.ip(red, 'route', 'flush', 'cache');
  assert.not.match(await lab.ip(red, 'route', 'get', FAR), learnt);
  const { output } = await start(`ip netns exec ${red} ping -M do -s 1400 -c 1 -W 5 ${FAR}`);
  assert.match(output, `From ${OUTSIDE} icmp_seq=1 Frag needed and DF set (mtu = ${NARROW_MTU})`);
  await lab.ip(red, 'route', 'flush', 'cache');
  const traced = await lab.inside(red, 'tracepath', '-n', '-m', '8', FAR);
  assert.match(traced, new RegExp(`Resume: pmtu ${NARROW_MTU} hops 4 back 4`));
}

for (const tx of ['on', 'off'])
  inStage(`hops, refusals and MTU through the NAT alone, transmit offloads ${tx}`, async stage => {
    const out = await startBareNat(stage);
    await stage.lab.inside(stage.red, 'ethtool', '-K', 'tap0', 'tx', tx);
    await checkPath(stage, out);
  });

inStage('hops, refusals and MTU through the NAT and the host’s masquerade', async stage => {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  await checkPath(stage, out);
});

inStage('hops, refusals and MTU for a guest that holds the device end', async stage => {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await lab.startSwitch(host, ...TAPS);
  // As a virtual machine does it: the program holds the tap, and what it reads there is what its guest's card gets.
  const native = loadNative();
  const open = (netns: string, name: string, mustExist: boolean): TapPort => {
    const tap = inNamespace(netns, fd =>
      native.openTun({ name, mode: 'tap', netns: fd, mustExist, ifindex: 0 }),
    );
    return new TapPort(name, tap.fd, 1500);
  };
  const [machine, card] = [open(host, 'tap0', true), open(red, 'eth0', false)];
  await lab.ip(red, 'link', 'set', 'eth0', 'up');
  const work = lab.lease(red, 'eth0').then(() => checkPath(stage, out));
  try {
    const settled = work.then(
      () => undefined,
      (error: unknown) => error, // a rejection while frames are carried would be nobody's
    );
    const { value: failure, seen } = await carry(machine, card, settled);
    if (failure !== undefined) throw failure;
    assert.ok(seen.largest > 10_000, `largest frame ${seen.largest}`);
  } finally {
    native.close(machine.fd);
    native.close(card.fd);
  }
});

inStage('a guest’s refusal reaches the one outside who sent, transmit offloads on and off', async stage => {
  const { lab, red } = stage;
  const out = await startBareNat(stage, '--nat-filtering', 'endpoint');
  for (const [tx, port] of [
    ['on', 5001],
    ['off', 5002],
  ] as const) {
    await lab.inside(red, 'ethtool', '-K', 'tap0', 'tx', tx);
    const open = `const d = require('node:dgram').createSocket('udp4');
      d.bind(${port}, () => d.send('hello', 9, '${OUTSIDE}', () => d.close()));`;
    await node(lab, red, open);
    assert.match(await node(lab, out, udpTo(NAT_ADDRESS, port)), /ECONNREFUSED/);
  }
  assert.match(await node(lab, out, udpTo(NAT_ADDRESS, 5003)), /silence/);
});

test.run();
