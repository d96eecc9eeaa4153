// timeout: 900 s
// coverage: none
/**
 * Killed at any moment, under load: while it starts, serves, restarts or stops. What was acknowledged is known afterwards, frames
 * pass soon, and in the end the host is as it was.
 *
 * VSWITCHD_KILLS says how often (200 by hand: 6 min), VSWITCHD_SEED at which moments.
 */
import type { ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LeaseView } from '../../src/control/views.ts';
import { lineFrom, until } from '../../src/lab.ts';
import { random } from '../random.ts';
import { addGuest, type Guest, tapsOf } from './dhcp.ts';
import { ctl, type Stage, snapshot, stageTests } from './stage.ts';

const kills = Number(process.env.VSWITCHD_KILLS ?? 2);
const seed = Number(process.env.VSWITCHD_SEED ?? Date.now() % 100_000);
const below = random(seed);
const inStage = stageTests('kl', import.meta.url);

/** With addresses for all that join. */
const [SUBNET, GATEWAY] = ['10.66.0.0/16', '10.66.0.1'];
const MOMENTS = ['starting', 'serving', 'restarting', 'stopping'] as const;

/** Guests whose taps were made by hand, and stay whatever the switch does. */
interface World extends Stage {
  readonly guests: readonly [Guest, Guest];
}

/** One client after the other, each with an identifier of its own; who was acknowledged stands in a file then. */
function joining({ lab, netns, tap }: Guest): string {
  const acknowledged = join(lab.folder, 'acknowledged');
  writeFileSync(acknowledged, '');
  const script = join(lab.folder, 'bound.sh');
  writeFileSync(script, `#!/bin/sh\n[ "$1" = bound ] && echo "$ip $ID" >>${acknowledged}\nexit 0\n`);
  chmodSync(script, 0o755);
  const loop = `n=0; while :; do n=$((n + 1)); ID=$(printf %08x $n) udhcpc -i ${tap} -n -q -f -t 1 -T 1 -A 1 -x 0x3d:$(printf %08x $n) -s ${script} >/dev/null 2>&1 || sleep 0.05; done`;
  lab.spawn(netns, 'sh', '-c', loop);
  return acknowledged;
}

/** Starts the switch; it need not get to its end. */
function begin({ lab, host, guests }: World): {
  child: ChildProcess;
  ready: Promise<number>;
  ended: Promise<void>;
} {
  const began = performance.now();
  const child = lab.spawnSwitch(host, '--subnet', SUBNET, ...tapsOf(guests), '--dhcp-probe', '0');
  child.stderr?.resume();
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()));
  const ready = lineFrom(child, /"ready: /, 20_000).then(() => performance.now() - began);
  ready.catch(() => undefined);
  return { child, ready, ended };
}

const pidIn = async ({ lab }: World): Promise<number> => (await lab.ask<{ pid: number }>('status')).pid;

async function killAt(stage: World, moment: (typeof MOMENTS)[number]): Promise<void> {
  const { child, ready, ended } = begin(stage);
  let pid = child.pid as number;
  if (moment === 'starting') await sleep(below(700));
  else {
    await ready;
    await sleep(below(400));
    pid = await pidIn(stage);
    if (moment === 'stopping') process.kill(pid, 'SIGTERM');
    if (moment === 'restarting') {
      const asked = ctl(stage, 'restart').catch(() => undefined);
      await sleep(below(900));
      await Promise.race([asked, sleep(below(200))]);
    }
    if (moment !== 'serving') await sleep(below(200));
  }
  kill(pid);
  await ended;
  // A new process that had taken over, or was about to.
  await until('nobody answers', 30_000, async () => {
    const left = await pidIn(stage).catch(() => 0);
    if (left > 0) kill(left);
    return left === 0 && !successors(stage);
  });
}

/** Is a process of this stage's there? */
const successors = ({ lab }: World): boolean =>
  readFileSync('/proc/net/unix', 'utf8').includes('@vswitchd/name/') && existsSync(lab.folder);

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended by itself
  }
}

/** Acknowledged: each address once, and all of them known. */
async function checkLeases({ lab }: World, file: string): Promise<number> {
  const lines = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .filter(line => line !== '');
  const owners = new Map(lines.map(line => line.split(' ') as [string, string]));
  assert.is(new Set(lines).size, owners.size, 'an address was given to two clients');
  const bound = (await lab.ask<LeaseView[]>('leases')).filter(({ state }) => state === 'bound');
  const known = new Set(bound.map(({ address }) => address));
  assert.is(known.size, bound.length);
  for (const address of owners.keys())
    assert.ok(known.has(address), `${address} was acknowledged and is not known`);
  return owners.size;
}

inStage(`killed ${kills} times (seed ${seed})`, async inner => {
  const { lab, host } = inner;
  const stage: World = { ...inner, guests: [await addGuest(lab, 0), await addGuest(lab, 1)] };
  const [red, blue] = stage.guests;
  const before = await snapshot(stage);
  const first = begin(stage);
  await first.ready;
  await lab.lease(red.netns, red.tap);
  const acknowledged = joining(blue);
  await until('somebody is acknowledged', 10_000, async () => readFileSync(acknowledged, 'utf8') !== '');
  kill(await pidIn(stage));
  await first.ended;
  const readyMs: number[] = [];
  const passesMs: number[] = [];
  let leases = 0;
  for (let round = 0; round < kills; round++) {
    const moment = MOMENTS[below(MOMENTS.length)]!;
    await killAt(stage, moment);
    const began = performance.now();
    const { child, ready, ended } = begin(stage);
    readyMs.push(await ready);
    await until('frames pass', 5_000, () =>
      lab.inside(red.netns, 'ping', '-q', '-c', '1', '-W', '1', GATEWAY).then(
        () => true,
        () => false,
      ),
    );
    passesMs.push(performance.now() - began);
    leases = await checkLeases(stage, acknowledged);
    kill(child.pid as number);
    await ended;
  }
  const last = begin(stage);
  await last.ready;
  process.kill(await pidIn(stage), 'SIGTERM');
  await last.ended;
  assert.is(await snapshot(stage), before, `the host ${host}`);
  const sorted = passesMs.sort((a, b) => a - b);
  const middle = (of: readonly number[]): string => (of[of.length >> 1] as number).toFixed(0);
  console.log(
    `${kills} kills, seed ${seed}, ${leases} leases: ready after ${middle(readyMs.sort((a, b) => a - b))} ms, frames after ${middle(sorted)} ms, at most ${sorted.at(-1)!.toFixed(0)} ms`,
  );
});

test.run();
