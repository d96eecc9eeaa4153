// timeout: 120 s
// coverage: none
/** Port forwards from everywhere: the LAN, the host's loopback, other guests; at run time; and a subnet without a NAT. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ForwardView } from '../../src/control/views.ts';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import {
  addOutside,
  ctl,
  GATEWAY,
  OUTSIDE,
  plugIn,
  type Stage,
  snapshot,
  stageTests,
  TAPS,
} from './stage.ts';

const inStage = stageTests('fo', import.meta.url);

const LAN = '203.0.113.1'; // the host's address there
const NAT = '192.168.100.254';
const vswitchd = join(projectRoot(), 'bin', 'vswitchd');

/** Tells whoever connects, by TCP or UDP, who it seems to be. */
const SERVER = `
  const udp = require('node:dgram').createSocket('udp4');
  udp.on('message', (_, from) => udp.send('you are ' + from.address, from.port, from.address));
  const tcp = require('node:net').createServer(from => from.end('you are ' + from.remoteAddress));
  udp.bind(80, () => tcp.listen(80, '0.0.0.0', () => console.log('listening')));`;

const FETCH = `
  const [host, port, kind] = process.argv.slice(1);
  const done = text => { console.log(String(text)); process.exit(); };
  setTimeout(() => done('silence'), 3000);
  if (kind === 'udp') {
    const socket = require('node:dgram').createSocket('udp4');
    socket.on('message', done).on('error', error => done(error.code)).connect(Number(port), host, () => socket.send('?'));
  } else
    require('node:net').connect(Number(port), host).on('data', done).on('error', error => done(error.code));`;

const fetch = async (
  { lab }: Stage,
  netns: string,
  host: string,
  port: number,
  kind = 'tcp',
): Promise<string> =>
  (await lab.inside(netns, process.execPath, '-e', FETCH, host, String(port), kind)).trim();

/** A web server on guest red, which has a fixed address. */
async function serve({ lab, red }: Stage): Promise<void> {
  await lab.ip(red, 'addr', 'add', '192.168.100.5/24', 'dev', 'tap0');
  await lab.ip(red, 'route', 'add', 'default', 'via', GATEWAY);
  await lineFrom(lab.spawn(red, process.execPath, '-e', SERVER), /listening/, 5_000);
}

inStage('a forwarded port is reached from the LAN, the host, its loopback and the guests', async stage => {
  const { lab, host, red, blue } = stage;
  const out = await addOutside(stage);
  await lab.inside(host, 'iptables', '-P', 'FORWARD', 'DROP');
  await lab.inside(host, 'iptables', '-P', 'INPUT', 'DROP');
  await lab.inside(
    host,
    'iptables',
    '-A',
    'INPUT',
    '-m',
    'conntrack',
    '--ctstate',
    'ESTABLISHED',
    '-j',
    'ACCEPT',
  );
  await lab.inside(host, 'iptables', '-A', 'INPUT', '-i', 'lo', '-j', 'ACCEPT');
  const before = await snapshot(stage);
  const forwards = ['--forward', '8080:192.168.100.5:80,udp/8080:192.168.100.5:80'];
  const child = await lab.startSwitch(host, ...TAPS, ...forwards);
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  await serve(stage);
  await lab.lease(blue, 'tap1');
  for (const kind of ['tcp', 'udp']) {
    assert.is(await fetch(stage, out, LAN, 8080, kind), `you are ${OUTSIDE}`, `${kind} from the LAN`);
    for (const [address, seen] of [
      ['127.0.0.1', GATEWAY],
      [LAN, LAN],
      [GATEWAY, GATEWAY],
    ] as const)
      assert.is(
        await fetch(stage, host, address, 8080, kind),
        `you are ${seen}`,
        `${kind} from the host, ${address}`,
      );
    for (const guest of [blue, red])
      for (const [address, seen] of [
        [LAN, GATEWAY],
        [GATEWAY, GATEWAY],
        [NAT, NAT],
      ] as const)
        assert.is(
          await fetch(stage, guest, address, 8080, kind),
          `you are ${seen}`,
          `${kind} from ${guest} to ${address}`,
        );
  }
  assert.is(await fetch(stage, out, LAN, 80), 'silence', 'no other port is open');
  assert.is(await ended(child, 'SIGTERM', 3_000), 0);
  assert.is(await snapshot(stage), before);
});

inStage('forwards come and go at run time, and a guest is found by its name', async stage => {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  const before = await snapshot(stage);
  const child = await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  await serve(stage);
  assert.is(await fetch(stage, out, LAN, 8080), 'ECONNREFUSED');
  assert.match(
    await ctl(stage, 'forward', 'add', '8080:192.168.100.5:80'),
    /tcp\/8080 +192\.168\.100\.5 +80/,
  );
  assert.is(await fetch(stage, out, LAN, 8080), `you are ${OUTSIDE}`);
  assert.match(await ctl(stage, 'forward', 'add', '8081:web:80'), /nobody has that name/);
  await lab.lease(red, 'tap0', '-x', 'hostname:web');
  await until('the guest is found', 3_000, async () =>
    (await lab.ask<ForwardView[]>('forwards')).every(({ address }) => address !== undefined),
  );
  assert.is(await fetch(stage, out, LAN, 8081), `you are ${OUTSIDE}`);
  await ctl(stage, 'forward', 'del', 'tcp/8080');
  assert.is(await fetch(stage, out, LAN, 8080), 'ECONNREFUSED');
  assert.is(await ended(child, 'SIGTERM', 3_000), 0);
  assert.is(await snapshot(stage), before);
});

inStage('a port that the host uses is refused before anything is changed', async stage => {
  const { lab, host } = stage;
  const listen = `require('node:net').createServer().listen(8080, '127.0.0.1', () => console.log('listening'))`;
  await lineFrom(lab.spawn(host, process.execPath, '-e', listen), /listening/, 5_000);
  const before = await snapshot(stage);
  const refused = await lab
    .inside(host, vswitchd, ...TAPS, '--forward', '8080:192.168.100.5:80', '--state-dir', lab.folder)
    .catch((error: Error) => error.message);
  assert.match(refused, /tcp\/8080/);
  assert.is(await snapshot(stage), before);
  await lab.startSwitch(host, ...TAPS);
  const later = await ctl(stage, 'forward', 'add', '8080:192.168.100.5:80').catch(
    (error: Error) => error.message,
  );
  assert.match(later, /tcp\/8080/);
});

inStage('without a NAT guests are seen as they are, and reached where there is a route', async stage => {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await lab.inside(host, 'iptables', '-P', 'FORWARD', 'DROP');
  const before = await snapshot(stage);
  const child = await lab.startSwitch(host, ...TAPS, '--no-nat');
  await plugIn(stage, 'tap0', red);
  await serve(stage);
  await lab.ip(out, 'route', 'add', '192.168.100.0/24', 'via', LAN);
  await lab.ping(out, '192.168.100.5');
  await lab.ping(red, OUTSIDE);
  assert.is(await fetch(stage, out, '192.168.100.5', 80), `you are ${OUTSIDE}`);
  const asks = lab.spawn(out, process.execPath, '-e', SERVER);
  await lineFrom(asks, /listening/, 5_000);
  assert.is(await fetch(stage, red, OUTSIDE, 80), 'you are 192.168.100.5');
  assert.is(await ended(child, 'SIGTERM', 3_000), 0);
  assert.is(await snapshot(stage), before);
});

test.run();
