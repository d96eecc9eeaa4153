// timeout: 120 s
/** Nothing left behind: a clean end, a kill, a second instance, a restart; and leases that survive. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StatusView } from '../../src/control/views.ts';
import { until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { GATEWAY, plugIn, portOf, type Stage, snapshot, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('un');

interface End {
  readonly code: number | null;
  readonly ms: number;
  readonly said: string;
}

/** Waits for a child's end, after a signal if one is named. */
function endOf(child: ChildProcess, signal?: NodeJS.Signals): Promise<End> {
  const start = performance.now();
  let said = '';
  child.stdout?.on('data', chunk => {
    said += chunk;
  });
  child.stderr?.on('data', chunk => {
    said += chunk;
  });
  return new Promise(resolve => {
    child.once('close', code => resolve({ code, ms: performance.now() - start, said }));
    if (signal !== undefined) child.kill(signal);
  });
}

/** SIGKILL for the switch itself: `ip netns exec` has become it. */
async function kill({ lab }: Stage, child: ChildProcess): Promise<void> {
  const { pid } = await lab.ask<StatusView>('status');
  const ended = endOf(child);
  process.kill(pid, 'SIGKILL');
  await ended;
}

const vswitchd = join(projectRoot(), 'bin', 'vswitchd');

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  inStage(`${signal}: all as before, exit code 0, within 2 s`, async stage => {
    const { lab, host, red } = stage;
    await lab.ip(host, 'tuntap', 'add', 'dev', 'tap1', 'mode', 'tap');
    const before = await snapshot(stage);
    const child = await lab.startSwitch(host, ...TAPS);
    assert.is.not(await snapshot(stage), before);
    await plugIn(stage, 'tap0', red);
    const end = await endOf(child, signal);
    assert.is(end.code, 0);
    assert.ok(end.ms < 2_000, `${end.ms} ms`);
    // tap1 was there before and is now as well, set up, which harms nobody
    assert.is((await snapshot(stage)).replace(/^tap1 .*$/gm, ''), before.replace(/^tap1 .*$/gm, ''));
    assert.match(await lab.ip(host, '-br', 'link'), /^tap1 /m);
    assert.not.match(await lab.ip(red, '-br', 'link'), /^tap0 /m);
  });
}

inStage('after SIGKILL --undo puts all back, and again is no fault', async stage => {
  const { lab, host, red } = stage;
  const before = await snapshot(stage);
  const child = await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red, 'eth0');
  await kill(stage, child);
  assert.is.not(await snapshot(stage), before);
  const undo = ['--undo', '--state-dir', lab.folder];
  assert.match(await lab.inside(host, vswitchd, ...undo), /undid \d+ changes/);
  assert.is(await snapshot(stage), before);
  assert.not.match(await lab.ip(red, '-br', 'link'), /eth0/);
  assert.match(await lab.inside(host, vswitchd, ...undo), /nothing of vsw0 is left/);
});

inStage('a start after SIGKILL changes nothing twice, and its end leaves nothing', async stage => {
  const { lab, host } = stage;
  const before = await snapshot(stage);
  const first = await lab.startSwitch(host, ...TAPS);
  // A new uplink has another index, so `ip` shows it in another place.
  const lines = async (): Promise<string[]> =>
    (await snapshot(stage))
      .replace(/^tap.*$/gm, '')
      .split('\n')
      .sort();
  const running = await lines();
  await kill(stage, first);
  const second = await lab.startSwitch(host, ...TAPS);
  assert.equal(await lines(), running);
  assert.is((await endOf(second, 'SIGTERM')).code, 0);
  assert.is(await snapshot(stage), before);
});

inStage(
  'a second instance on the same name, tap or subnet is refused with a sentence',
  async ({ lab, host }) => {
    await lab.startSwitch(host, ...TAPS);
    const refused = async (sentence: RegExp, ...options: string[]): Promise<void> => {
      const end = await endOf(lab.spawnSwitch(host, ...options));
      assert.is(end.code, 3, end.said);
      assert.match(end.said, sentence);
      assert.is(end.said.trim().split('\n').length, 1);
    };
    await refused(/the name vsw0 is served by another vswitchd already: vsw0 \(pid \d+\)/, ...TAPS);
    await refused(/the tap tap1 is served/, '--subnet', '10.9.0.0/24', '--taps', 'tap1', '--name', 'vsw1');
    await refused(
      /the subnet 192\.168\.100\.0\/24 is served/,
      '--subnet',
      '192.168.100.0/24',
      '--taps',
      'tap9',
      '--name',
      'vsw1',
    );
    const end = await endOf(
      lab.spawnSwitch(host, '--subnet', '192.168.0.0/16', '--taps', 'tap9', '--name', 'vsw1'),
    );
    assert.is(end.code, 2);
    assert.match(end.said, /overlaps this host's route 192\.168\.100\.0\/24 on vsw0/);
    await lab.startSwitch(host, '--subnet', '10.9.0.0/24', '--taps', 'tap9', '--name', 'vsw1');
  },
);

inStage('a lease survives SIGKILL: the client keeps its address, and nobody else gets it', async stage => {
  const { lab, host, red, blue } = stage;
  const child = await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  const address = await lab.lease(red, 'tap0');
  await kill(stage, child);
  await lab.startSwitch(host, ...TAPS);
  await until('tap0 is served where it was', 3_000, async () => (await portOf(lab, 'tap0')).kind === 'tap');
  await lab.ping(red, GATEWAY);
  await plugIn(stage, 'tap1', blue);
  assert.is.not(await lab.lease(blue, 'tap1'), address);
  assert.is(await lab.lease(red, 'tap0'), address);
});

inStage('--dry-run prints the plan and changes nothing', async stage => {
  const { lab, host } = stage;
  const before = await snapshot(stage);
  const said = await lab.inside(host, vswitchd, ...TAPS, '--dry-run');
  assert.match(said, /masquerade/);
  assert.match(said, /sysctl -w net\.ipv4\.ip_forward=1/);
  assert.is(await snapshot(stage), before);
});

inStage('an unprivileged user is refused with a sentence', async ({ lab, host }) => {
  const end = await endOf(
    lab.spawn(host, 'setpriv', '--reuid', '65534', '--clear-groups', '--inh-caps=-all', vswitchd, ...TAPS),
  );
  assert.is(end.code, 2);
  assert.match(end.said, /run it as root/);
});

test.run();
