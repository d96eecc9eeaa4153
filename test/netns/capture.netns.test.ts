// timeout: 120 s
// coverage: none
/** Captures of a running switch: what they say of each frame, filters, and readers that do not keep up. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { readCapture, type SeenFile } from '../wire/pcapngread.ts';
import {
  ctl,
  GATEWAY,
  OUTSIDE,
  plugIn,
  portOf,
  rssOf,
  type Stage,
  stageTests,
  startBareNat,
  TAPS,
} from './stage.ts';

const inStage = stageTests('cap', import.meta.url);
const VSWITCHCTL = join(projectRoot(), 'bin', 'vswitchctl');

interface Running {
  /** What has been written by now. */
  read(): SeenFile;
  /** Waits till vswitchctl has ended; what it says. */
  ended(): Promise<string>;
  /** Ends it by SIGINT. */
  stop(): Promise<string>;
}

/** vswitchctl capture, into a file, once it has begun. */
async function capture({ lab, host }: Stage, ...words: string[]): Promise<Running> {
  const path = join(lab.folder, `${words.join('-').replaceAll(/\W+/g, '-')}.pcapng`);
  const shell = 'run=$1 path=$2; shift 2; exec "$0" --run-dir "$run" capture "$@" >"$path"';
  const child = lab.spawn(host, 'sh', '-c', shell, VSWITCHCTL, lab.folder, path, ...words);
  let said = '';
  child.stderr?.on('data', chunk => {
    said += chunk;
  });
  const begun = async (): Promise<boolean> => {
    if (child.exitCode !== null) throw new Error(said);
    return readFileSync(path).length > 0;
  };
  await until('the file is there', 5_000, async () => begun().catch(() => false));
  const atEnd = async (): Promise<string> => {
    await until('vswitchctl has ended', 3_000, async () => child.exitCode !== null);
    assert.is(child.exitCode, 0, said);
    return said;
  };
  return {
    read: () => readCapture(readFileSync(path)),
    ended: atEnd,
    stop: () => {
      child.kill('SIGINT');
      return atEnd();
    },
  };
}

/** Waits for a frame whose comment is such. */
const comment = (running: Running, wanted: RegExp): Promise<number> =>
  until(`a frame '${wanted.source}'`, 3_000, async () =>
    running.read().packets.some(packet => wanted.test(packet.comment)),
  ).catch(error => {
    throw new Error(
      `${error.message}; there are: ${running
        .read()
        .packets.map(each => each.comment)
        .join('\n')}`,
    );
  });

inStage('DHCP, ARP, echo, NAT, floods and drops: each frame says what has become of it', async stage => {
  const { lab, red, blue } = stage;
  await startBareNat(stage, '--egress-rule', 'deny 203.0.113.9');
  await plugIn(stage, 'tap1', blue);
  const all = await capture(stage, 'all');
  const one = await capture(stage, 'tap1', '--filter', 'udp port 67 or udp port 68');
  const b = await lab.lease(blue, 'tap1');
  await lab.ping(blue, GATEWAY, 1);
  await lab.ping(red, b, 1);
  await lab.ping(red, OUTSIDE, 1);
  await lab.inside(red, 'ping', '-c', '1', '-W', '1', '203.0.113.9').catch(() => '');
  await comment(all, /^in tap0: dropped: EgressDenied$/);
  await comment(all, /^in tap1: flooded to 1 port, answered by the gateway$/);
  await comment(all, /^in tap0: forwarded to vsw0, source NATed to 192\.168\.100\.254 id \d+$/);
  await comment(all, /^out vsw0: from tap0, source NATed from 192\.168\.100\.10 id \d+$/);
  await comment(all, /^in vsw0: forwarded to tap0, destination NATed to 192\.168\.100\.10 id \d+$/);
  const messages = ['in tap1: to the DHCP server', "out tap1: from the switch's services"];
  assert.equal(
    one.read().packets.map(packet => packet.comment),
    [...messages, ...messages],
  );
  assert.match(await all.stop(), /^vswitchctl: \d\d frames captured, 0 lost/);
  assert.match(await one.stop(), /^vswitchctl: 4 frames captured, 0 lost/);
});

/** Sends bytes over TCP from red to blue, past each other's captures; how many arrive. */
async function transfer({ lab, red, blue }: Stage, to: string, bytes: number): Promise<number> {
  const serve = `let n = 0; require('node:net').createServer(c => { c.on('data', d => n += d.length); c.on('end', () => { console.log('got ' + n); process.exit(); }); })
    .listen(7000, '${to}', () => console.log('listening'));`;
  const server = lab.spawn(blue, process.execPath, '-e', serve);
  let said = '';
  server.stdout?.on('data', chunk => {
    said += chunk;
  });
  await until('the server listens', 5_000, async () => /listening/.test(said));
  const send = `const c = require('node:net').connect(7000, '${to}'); c.end(Buffer.alloc(${bytes}));`;
  await lab.inside(red, process.execPath, '-e', send);
  await until('all has arrived', 10_000, async () => /got/.test(said));
  return Number(/got (\d+)/.exec(said)?.[1]);
}

inStage(
  'a reader that does not read loses frames, counted; the traffic is whole; SIGINT ends it',
  async stage => {
    const { lab, host, red, blue } = stage;
    await lab.startSwitch(host, ...TAPS);
    await plugIn(stage, 'tap0', red);
    await plugIn(stage, 'tap1', blue);
    await lab.lease(red, 'tap0');
    const b = await lab.lease(blue, 'tap1');
    const start = (port: string): ChildProcess =>
      lab.spawn(host, VSWITCHCTL, '--run-dir', lab.folder, 'capture', port);
    const [slow, stuck] = [start('tap1'), start('all')];
    // Its first bytes have come; a stream that nobody reads takes a few more, and then no more.
    await Promise.all([slow, stuck].map(child => once(child.stdout as Readable, 'readable')));
    const before = await portOf(lab, 'tap1');
    const BYTES = 30_000_000;
    assert.is(await transfer(stage, b, BYTES), BYTES);
    // The switch and its other readers are well.
    await lab.ping(red, b, 1);
    const after = await portOf(lab, 'tap1');
    assert.equal(after.drops, before.drops);

    let said = '';
    stuck.stderr?.on('data', chunk => {
      said += chunk;
    });
    stuck.kill('SIGINT');
    await until('the stuck one has ended', 3_000, async () => stuck.exitCode !== null);
    assert.is(stuck.exitCode, 0);
    assert.match(said, /^vswitchctl: \d+ frames captured/m);

    const chunks: Buffer[] = [];
    slow.stdout?.on('data', chunk => chunks.push(chunk));
    const file = (): SeenFile => readCapture(Buffer.concat(chunks));
    const frames = after.txFrames + after.rxFrames - before.txFrames - before.rxFrames;
    const counts = (): { received: number; dropped: number } =>
      file().counts.get(0) ?? { received: 0, dropped: 0 };
    await until('it has read all, and been told of all', 8_000, async () => {
      try {
        return counts().received >= frames;
      } catch {
        return false; // a block is not whole yet
      }
    });
    const { received, dropped } = counts();
    assert.ok(dropped > 0, `${dropped}`);
    assert.is(file().packets.length, received - dropped);
    const told = file().packets.reduce((sum, packet) => sum + packet.lost, 0);
    assert.ok(told <= dropped, `${told} of ${dropped}`);
  },
);

inStage(
  'what is asked wrongly is refused in a sentence; four at a time; a removed port ends its capture',
  async stage => {
    const { lab, host } = stage;
    const running = await lab.startSwitch(host, ...TAPS);
    const refusal = (...words: string[]): Promise<string> =>
      ctl(stage, 'capture', ...words).then(
        () => assert.unreachable(words.join(' ')) as never,
        (error: Error) => error.message.replace(/^.*?vswitchctl: /s, ''),
      );
    assert.is(
      await refusal('tap7'),
      'capture tap7: there is no such port; expected one of vsw0, tap0, tap1, or all',
    );
    assert.is(
      await refusal('tap0', '--filter', 'udp ('),
      `--filter "udp (": can't parse filter expression: syntax error`,
    );
    assert.match(await refusal('tap0', '--filter', '-w/tmp/x'), /^--filter "-w\/tmp\/x": can't parse/);
    assert.match(
      await refusal('tap0', '--filter', 'ifindex 3'),
      /only a socket of the kernel knows; expected one about/,
    );
    assert.is(
      await refusal('tap0', '--snaplen', '0'),
      '--snaplen 0: expected a number of bytes, 1 to 262144',
    );
    const terminal = ['script', '-qec', `${VSWITCHCTL} --run-dir ${lab.folder} capture tap0`, '/dev/null'];
    const said = await lab.inside(host, ...terminal).catch((error: Error) => error.message);
    assert.match(said, /capture tap0: standard output is a terminal; expected a file or a program/);

    await ctl(stage, 'port', 'add', `stream:${lab.folder}/vm1.sock`);
    const gone = await capture(stage, 'vm1');
    for (let i = 0; i < 3; i++) await capture(stage, 'tap0', '--snaplen', String(60 + i));
    assert.is(await refusal('all'), 'capture: there are 4 already; expected at most that many at a time');
    await ctl(stage, 'port', 'del', 'vm1');
    assert.match(await gone.ended(), /^vswitchctl: 0 frames captured, 0 lost/);
    const last = await capture(stage, 'all');
    assert.is(await ended(running, 'SIGTERM', 5_000), 0);
    assert.match(await last.ended(), /^vswitchctl: 0 frames captured/);
    assert.equal(last.read().interfaces, ['vsw0', 'tap0', 'tap1']);
  },
);

/** Begins a capture by the API and goes when it has begun. */
const begun = (socket: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const reader = connect(socket, () =>
      reader.write('GET /v1/capture?port=all HTTP/1.1\r\nHost: x\r\n\r\n'),
    );
    reader.once('error', reject);
    reader.once('data', () => {
      reader.destroy();
      resolve();
    });
  });

inStage('hundreds of captures, one after the other, leave memory as it was', async stage => {
  const { lab, host } = stage;
  await lab.startSwitch(host, ...TAPS, '--uplink', 'none', '--firewall', 'none');
  const { pid } = await lab.ask<{ pid: number }>('status');
  const socket = join(lab.folder, 'vsw0.sock');
  for (let i = 0; i < 20; i++) await begun(socket);
  const before = rssOf(pid);
  for (let i = 0; i < 400; i++) await begun(socket);
  const grown = (rssOf(pid) - before) / (1 << 20);
  assert.ok(grown < 100, `${grown.toFixed(0)} MiB`); // each has a ring of 8
});

test.run();
