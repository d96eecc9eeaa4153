// timeout: 120 s
// coverage: none
/**
 * Under load for as long as one likes, and memory stays: two guests whose frames fill the loop, and all the while others that
 * lease and release, open sessions through the NAT, ask for names, come and go, and somebody who asks the API for everything.
 *
 *   npm run soak -- --minutes 60
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compiled } from '../../bench/traffic.ts';
import { GATEWAY_MAC } from '../../fixtures/arp.ts';
import { clientFrame } from '../../fixtures/dhcp.ts';
import { ethernetFrame, ip, mac, udpPacket } from '../../fixtures/packets.ts';
import { lineFrom } from '../../src/lab.ts';
import { MessageType } from '../../src/wire/dhcp.ts';
import { heardFrom } from '../netns/beside.ts';
import { StreamGuest } from '../netns/guest.ts';
import { addOutside, GATEWAY, OUTSIDE, portOf, rssOf, type Stage, stageTests } from '../netns/stage.ts';
import { random } from '../random.ts';
import { type Sample, slopeOf } from './slope.ts';

const inStage = stageTests('so', import.meta.url);
const MINUTES = Number(process.env.VSWITCHD_SOAK_MINUTES ?? 0.4);
/** Of the time, at the beginning, in which tables fill and the compiler works. */
const WARM_UP = 0.3;
const MB_AN_HOUR = 1;
/** What a process that is young may still take, in a run that is too short to tell that from a leak. */
const YOUNG_MB = 30;
const IS_LONG = MINUTES >= 30;
/** Of the loop's time. */
const LOAD = 0.8;
/** Where other tests run beside it. */
const SHARED_LOAD = 0.3;
/** In a long run the pauses are a tenth: code is compiled and heaps have their size within minutes, and a leak is larger by as much as more is done. */
const [TICK_MS, LOOK_MS] = IS_LONG ? [5, 50] : [50, 500];
const [ACTOR, ACTOR_MAC] = ['192.168.100.200', mac('02:42:00:00:00:c8')];

interface Done {
  leases: number;
  sessions: number;
  questions: number;
  asked: number;
  joined: number;
}

/** A guest that does a little of everything, till it is told to stop. */
async function act(path: string, isOver: () => boolean, done: Done): Promise<void> {
  const next = random(11);
  const guest = await StreamGuest.connect(path, ACTOR_MAC.lo & 0xffff);
  guest.socket.removeAllListeners('data').resume(); // what it hears is not kept
  const says = (packet: Uint8Array): void =>
    guest.send(ethernetFrame(ACTOR_MAC, GATEWAY_MAC, 0x0800, packet));
  const way = (destination: string) => ({ source: ip(ACTOR), destination: ip(destination) });
  while (!isOver()) {
    const client = 1_000 + next(400); // the blasting guests' MACs are of the same kind
    guest.send(clientFrame(MessageType.Discover, { client, xid: client }));
    const requested = ip(`192.168.100.${10 + next(100)}`);
    guest.send(clientFrame(MessageType.Request, { client, requested, server: ip(GATEWAY) }));
    done.leases++;
    for (let i = 0; i < 20; i++, done.sessions++)
      says(udpPacket(way(OUTSIDE), { from: 1_024 + next(60_000), to: 9 }, 'x'));
    for (let i = 0; i < 5; i++, done.questions++)
      says(udpPacket(way(GATEWAY), { from: 2_000, to: 53 }, question(next(1_000))));
    await sleep(TICK_MS);
  }
  guest.end();
}

const question = (n: number): Uint8Array => {
  const label = `vm${n}`;
  const name = [label, 'vsw', 'internal'].flatMap(part => [part.length, ...Buffer.from(part)]);
  return Uint8Array.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 0, 1, 0, 1]);
};

/** Somebody who looks at everything, and guests who come and go. */
async function look({ lab }: Stage, path: string, isOver: () => boolean, done: Done): Promise<void> {
  for (let turn = 0; !isOver(); turn++) {
    for (const resource of ['status', 'ports', 'leases', 'flows', 'macs', 'metrics']) {
      await lab.ask(resource).catch(() => undefined); // metrics is text
      done.asked++;
    }
    const guest = await StreamGuest.connect(path, 1 + (turn % 50));
    await guest.resolves(GATEWAY, `192.168.100.${201 + (turn % 50)}`);
    guest.end();
    done.joined++;
    await sleep(LOOK_MS);
  }
}

/** Seconds that the loop was busy, and that it waited. */
async function loopOf({ lab, host }: Stage): Promise<[busy: number, wait: number]> {
  const text = await lab.inside(
    host,
    'curl',
    '-s',
    '--unix-socket',
    join(lab.folder, 'vsw0.sock'),
    'http://x/metrics',
  );
  const value = (name: string): number =>
    Number(new RegExp(`^vswitchd_${name} (\\S+)$`, 'm').exec(text)?.[1]);
  return [value('loop_busy_seconds_total'), value('loop_wait_seconds_total')];
}

inStage(`${MINUTES} minutes at full load: memory stays`, async stage => {
  const { lab, host } = stage;
  await addOutside(stage);
  const paths = ['a', 'b', 'actor', 'comes'].map(name => join(lab.folder, `${name}.sock`));
  const ports = paths.flatMap(path => ['--port', `stream:${path}`]);
  const child = lab.spawnSwitch(
    host,
    '--subnet',
    '192.168.100.0/24',
    '--lease-time',
    '2m',
    '--max-flows',
    '2048',
    ...ports,
  );
  for (const stream of [child.stdout, child.stderr]) stream?.resume();
  await lineFrom(child, /ready/, 20_000);
  const { pid } = await lab.ask<{ pid: number }>('status');
  const seconds = MINUTES * 60;
  const [from, to] = paths as [string, string];
  let over = false;
  const isOver = (): boolean => over;
  const done: Done = { leases: 0, sessions: 0, questions: 0, asked: 0, joined: 0 };
  const blast = lab.spawn(host, compiled(lab, 'stream'), from, to, '64', '65536', String(seconds + 2));
  const heard = heardFrom(blast);
  const blasted = new Promise(resolve => blast.once('close', resolve));
  const others = [act(paths[2]!, isOver, done), look(stage, paths[3]!, isOver, done)];
  const samples: Sample[] = [];
  const beganMs = performance.now();
  const atS = (): number => (performance.now() - beganMs) / 1_000;
  const before = await loopOf(stage);
  const sampleMs = Math.max(100, (seconds * 1_000) / 600);
  for (; atS() < seconds; await sleep(sampleMs)) samples.push({ atS: atS(), bytes: rssOf(pid) });
  const after = await loopOf(stage);
  over = true;
  await Promise.all(others);
  await blasted;
  const [, received] = heard().trim().split(' ').map(Number) as [number, number];
  const [busy, wait] = [after[0] - before[0], after[1] - before[1]];
  const load = busy / (busy + wait);
  const { slope, noise } = slopeOf(samples.filter(sample => sample.atS >= WARM_UP * seconds));
  if (process.env.VSWITCHD_SOAK_CURVE !== undefined)
    console.log(
      samples
        .filter((_, i) => i % 20 === 0)
        .map(({ atS, bytes }) => `${atS.toFixed(0)}:${(bytes / 1e6).toFixed(1)}`)
        .join(' '),
    );
  const mib = (bytes: number): string => (bytes / (1 << 20)).toFixed(1);
  console.log(
    `${seconds.toFixed(0)} s, load ${load.toFixed(2)}, ${(received / 1e6).toFixed(0)} M frames, ${JSON.stringify(done)}; ` +
      `RSS ${mib(samples[0]!.bytes)}, ${mib(samples[samples.length >> 1]!.bytes)}, ${mib(samples.at(-1)!.bytes)} MiB; ` +
      `${slope.toFixed(2)} MB an hour, of which the scatter could be ${noise.toFixed(2)}`,
  );
  assert.ok(load >= (IS_LONG ? LOAD : SHARED_LOAD), `load ${load}`);
  assert.ok((await portOf(lab, 'b')).txFrames > 0);
  const hours = ((1 - WARM_UP) * MINUTES) / 60;
  const most = IS_LONG ? MB_AN_HOUR : YOUNG_MB / hours;
  assert.ok(slope - noise <= most, `${slope} MB an hour, ${noise} of it scatter; ${most} at most`);
});

test.run();
