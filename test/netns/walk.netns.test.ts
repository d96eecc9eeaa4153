// timeout: 400 s
// coverage: none
/**
 * kill -9 at every step, or of steps that are many at every second or third. A step is a system call by which the switch changes its host, its journal or what others know of
 * it, or the start of a tool that does; strace kills the switch as it enters the n-th of a kind, for n = 1, 2, … till a
 * run comes through its start and its end unharmed.
 *
 *   journal   open ─ write ─ fsync ─ rename ─ fsync    each state that a kill may leave on disk is between two of these
 *   host      write to /proc/sys · ioctl and bind of taps · netlink · a tool: before it, without its switch, after it
 *
 * After two of three kills --undo puts all back, after the third a fresh start and SIGTERM do; either way nothing may be left.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StatusView } from '../../src/control/views.ts';
import { findTool } from '../../src/host/run.ts';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { type Stage, snapshot, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('wk', import.meta.url);
const vswitchd = join(projectRoot(), 'bin', 'vswitchd');

const STOP_MS = 20_000;
/** No walk is longer, or it would not end where the count of a call differs from run to run. */
const MOST_STEPS = 60;
const WHOLE = process.env.VSWITCHD_WALK === 'whole';

/** Files by which strace knows a call that matters from the program's others; the rest are few enough to take all. */
interface Walk {
  readonly call: string;
  readonly paths?: (stage: Stage) => readonly string[];
  /** It has at least so many steps, or it is not the walk that it should be. */
  readonly steps: number;
  /** Every how many-th call, for time; with `VSWITCHD_WALK=whole` each one. */
  readonly stride?: number;
}

const journal = ({ lab }: Stage): string[] => [
  join(lab.folder, 'vsw0.journal'),
  join(lab.folder, 'vsw0.journal.new'),
];
const settings = (): string[] =>
  [
    'ipv4/ip_forward',
    'ipv6/conf/tap0/disable_ipv6',
    'ipv6/conf/tap1/disable_ipv6',
    'ipv6/conf/vsw0/disable_ipv6',
  ].map(key => `/proc/sys/net/${key}`);

const WALKS: readonly Walk[] = [
  { call: 'write', paths: stage => [...journal(stage), ...settings()], steps: 10, stride: 2 },
  { call: 'fsync', paths: stage => [...journal(stage), stage.lab.folder], steps: 10, stride: 3 },
  { call: 'rename', steps: 5, stride: 2 },
  { call: 'unlink', paths: journal, steps: 1 },
  { call: 'ioctl', paths: () => ['/dev/net/tun'], steps: 5 },
  { call: 'sendto', steps: 5, stride: 3 },
  { call: 'bind', steps: 10, stride: 3 },
  { call: 'clone', steps: 8, stride: 3 },
];

/** Runs the switch till it is killed on its way, or comes to its end by SIGTERM. */
async function runThrough({ lab }: Stage, child: ChildProcess): Promise<'killed' | 'unharmed'> {
  const ready = await lineFrom(child, /ready/, STOP_MS).then(
    () => true,
    () => false,
  );
  if (ready) {
    const { pid } = await lab.ask<StatusView>('status');
    process.kill(pid, 'SIGTERM');
  }
  const over = async (): Promise<boolean> => child.exitCode !== null || child.signalCode !== null;
  await until('the switch ends', STOP_MS, over);
  if (child.signalCode === 'SIGKILL') return 'killed';
  assert.is(child.exitCode, 0);
  return 'unharmed';
}

let kills = 0;

/** Sees to it that nothing is left of a killed instance, in one of two ways, and looks whether that is so. */
async function recover(stage: Stage, before: string, what: string): Promise<void> {
  const { lab, host } = stage;
  const by = kills++ % 3 > 0 ? '--undo' : 'a fresh start';
  if (by === '--undo')
    await lab.inside(host, vswitchd, '--undo', '--state-dir', lab.folder, '--run-dir', lab.folder);
  else assert.is(await ended(await lab.startSwitch(host, ...TAPS), 'SIGTERM', STOP_MS), 0, what);
  assert.is(await snapshot(stage), before, `${what}, then ${by}`);
  const left = readdirSync(lab.folder).filter(name => name !== 'tools' && !name.includes('.leases.'));
  assert.equal(left, [], `${what}, then ${by}`);
}

/**
 * The switch's tools in front of the real ones: they count their calls, and at one of them they kill the switch, before or
 * after their work, which they do in any case.
 */
class Tools {
  readonly path: string;
  readonly #calls: string;

  constructor(folder: string) {
    this.path = `PATH=${folder}:${process.env.PATH}`;
    this.#calls = join(folder, 'calls');
    mkdirSync(folder);
    for (const tool of ['ip', 'nft', 'tc']) {
      const lines = [
        '#!/bin/sh',
        `n=1; until mkdir ${this.#calls}/$n 2>/dev/null; do n=$((n + 1)); done`,
        '[ "$KILL" = "before $n" ] && kill -9 $PPID && sleep $DELAY_S',
        `${findTool(tool)} "$@"`,
        'code=$?',
        '[ "$KILL" = "after $n" ] && kill -9 $PPID',
        'exit $code',
      ];
      writeFileSync(join(folder, tool), `${lines.join('\n')}\n`, { mode: 0o755 });
    }
  }

  /** Counts from one again. */
  begin(): void {
    rmSync(this.#calls, { recursive: true, force: true });
    mkdirSync(this.#calls);
  }
}

/** Kills the switch at step 1, 2, … till a run comes through unharmed, and looks after each; the number of steps. */
async function walk(
  stage: Stage,
  before: string,
  what: string,
  start: (step: number) => ChildProcess,
  stride = 1,
): Promise<number> {
  for (let step = 1; step < MOST_STEPS; step += WHOLE ? 1 : stride) {
    const end = await runThrough(stage, start(step));
    if (end === 'killed') await recover(stage, before, `killed at ${what} ${step}`);
    else {
      assert.is(await snapshot(stage), before);
      return step - 1;
    }
  }
  throw new Error(`${what}: ${MOST_STEPS} steps, and no end`);
}

const commandLine = ({ lab }: Stage): string[] => [
  vswitchd,
  ...TAPS,
  ...['--state-dir', lab.folder, '--run-dir', lab.folder],
];

async function stageBefore(stage: Stage): Promise<string> {
  await stage.lab.ip(stage.host, 'tuntap', 'add', 'dev', 'tap1', 'mode', 'tap');
  return snapshot(stage);
}

for (const { call, paths, steps, stride } of WALKS) {
  inStage(`killed at any ${call}, it leaves nothing behind`, async stage => {
    const { lab, host } = stage;
    const before = await stageBefore(stage);
    // Without -f: what changes the host is done by the main thread, and tools are another walk's.
    const only = (paths?.(stage) ?? []).flatMap(path => ['-P', path]);
    const strace = ['strace', '-qq', '-o', '/dev/null', ...only, '-e', `trace=${call}`];
    const start = (step: number): ChildProcess =>
      lab.spawn(host, ...strace, '-e', `inject=${call}:signal=SIGKILL:when=${step}`, ...commandLine(stage));
    const walked = await walk(stage, before, call, start, stride);
    assert.ok(walked >= steps, `${call}: ${walked} steps`);
  });
}

for (const when of ['before', 'after'] as const) {
  inStage(`killed ${when} any tool has done its work, it leaves nothing behind`, async stage => {
    const { lab, host } = stage;
    const before = await stageBefore(stage);
    const tools = new Tools(join(lab.folder, 'tools'));
    const start = (step: number): ChildProcess => {
      tools.begin();
      return lab.spawn(host, 'env', `KILL=${when} ${step}`, 'DELAY_S=0', tools.path, ...commandLine(stage));
    };
    // after the first, the third … is before the second, the fourth …
    const walked = await walk(stage, before, `${when} tool`, start, 2);
    assert.ok(walked >= 8, `${walked} tools`);
  });
}

inStage('a tool that runs on when its switch is killed is waited for, and undone as well', async stage => {
  const { lab, host } = stage;
  const before = await stageBefore(stage);
  const tools = new Tools(join(lab.folder, 'tools'));
  for (const after of ['--undo', 'a start']) {
    tools.begin();
    // The third is the one that makes the tables: after the look at the rules and the routes.
    const child = lab.spawn(host, 'env', 'KILL=before 3', 'DELAY_S=1.5', tools.path, ...commandLine(stage));
    assert.is(await runThrough(stage, child), 'killed');
    await recover(stage, before, after);
    await sleep(1_500); // longer than the tool slept, had nobody waited for it
    assert.is(await snapshot(stage), before, after);
  }
});

test.run();
