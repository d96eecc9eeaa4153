// timeout: 60 s
/** A data plane whose thread dies: another takes its place, with its ports, and what goes through it goes on. */
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readReplayConfig } from '../../src/config.ts';
import { LOOK_UP } from '../../src/dataplane/batch.ts';
import { Plane } from '../../src/dataplane/plane.ts';
import { gatewaySettings } from '../../src/identity.ts';
import { until } from '../../src/lab.ts';
import { loadNative } from '../../src/port/native.ts';
import { addNamespace, enterNamespace, inNamespace, sh, start } from '../port/namespace.ts';

enterNamespace(import.meta.url);
const native = loadNative();
const MTU = 1500;
/** Of a thread that had files of its own: what Node had opened for it before stays with the process. */
const LEFT_FILES = 4;

/** A tap in a namespace; its device end. */
function guest(netns: string, address: string): number {
  addNamespace(netns);
  const { fd } = inNamespace(netns, at =>
    native.openTun({ name: 'eth0', mode: 'tap', netns: at, mustExist: false, ifindex: 0 }),
  );
  sh(`ip -n ${netns} addr add ${address} dev eth0 && ip -n ${netns} link set eth0 up`);
  return fd;
}

const newPlane = (): Plane =>
  new Plane({
    ...{
      maxMacs: 64,
      portMacs: undefined,
      stormLimit: undefined,
      ageingS: 300,
      uplink: -1,
      routes: false,
      seed: 1,
    },
    gateway: gatewaySettings(readReplayConfig({})),
  });

/** A frame in the ring to the worker whose length can't be one's: as if memory had been overwritten. */
function poison(plane: Plane): void {
  const words = new Int32Array(plane.memory.inject);
  const [tail, header, slotWords] = [16, 32, 2_112 / 4];
  const at = Atomics.load(words, tail);
  words[header + (at & 2_047) * slotWords] = -1;
  Atomics.store(words, tail, at + 1);
  plane.inject(new Uint8Array(60), LOOK_UP); // wakes it
}

const files = (): number => Number(sh(`ls /proc/${process.pid}/fd | wc -l`));

test('guests ping each other through it while its thread dies twice', async () => {
  const plane = newPlane();
  const taps = [guest('red', '10.1.0.1/24'), guest('blue', '10.1.0.2/24')];
  taps.forEach((fd, index) => void plane.attach(index, { name: `tap${index}`, kind: 'tap', fd, mtu: MTU }));
  const revived: [Error, number][] = [];
  plane.on('revived', (cause, served) => void revived.push([cause, served]));
  plane.on('failed', cause => assert.unreachable(String(cause)));
  const ping = start('ip netns exec red ping -q -i 0.01 -c 300 -W 2 10.1.0.2');
  const before = files();
  for (let round = 1; round <= 2; round++) {
    await sleep(800);
    poison(plane);
    for (let ms = 0; revived.length < round && ms < 3_000; ms += 10) await sleep(10);
    assert.is(revived.length, round);
    assert.match(revived.at(-1)![0].message, /out of range/);
    assert.is(revived.at(-1)![1], -1, 'at no frame of a port');
  }
  const { output } = await ping;
  const [, received] = /(\d+) received/.exec(output) ?? [];
  assert.ok(Number(received) > 200, output); // each death costs what goes by till the next thread has started
  await until('the dead threads’ files are closed', 3_000, async () => files() - before <= 2 * LEFT_FILES);
  plane.detach(1);
  const gone = await start('ip netns exec red ping -q -c 1 -W 1 10.1.0.2');
  assert.is.not(gone.code, 0, 'what was detached stays so');
  await plane.stop();
  for (const fd of taps) native.close(fd);
});

test('a connection whose bytes died with it is told to be gone; one that dies again and again is given up', async () => {
  const plane = newPlane();
  const [mine, other] = native.socketPair() as [number, number];
  const gone: [number, string | undefined][] = [];
  const failed: Error[] = [];
  plane.on('gone', (index, fault) => {
    gone.push([index, fault]);
    plane.detach(index);
  });
  plane.on('failed', cause => void failed.push(cause));
  let deaths = 0;
  plane.on('revived', () => void deaths++);
  plane.attach(3, { name: 's', kind: 'stream', fd: mine, mtu: MTU });
  for (let round = 1; failed.length === 0 && round < 20; round++) {
    poison(plane);
    for (let ms = 0; deaths < round && failed.length === 0 && ms < 3_000; ms += 10) await sleep(10);
  }
  assert.equal(gone, [[3, 'the data plane was started again, and has lost its place in it']]);
  assert.is(deaths, 5);
  assert.is(failed.length, 1);
  native.close(mine);
  native.close(other);
});

test.run();
