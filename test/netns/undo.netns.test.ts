// timeout: 240 s
// coverage: none
/** Nothing left behind: a clean end, a kill, a second instance, a restart; and leases that survive. */
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { StatusView } from '../../src/control/views.ts';
import { until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { sh } from '../port/namespace.ts';
import { GATEWAY, plugIn, portOf, type Stage, snapshot, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('un', import.meta.url);

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
    assert.match(before, /^tap1 +DOWN/m);
    assert.is(await snapshot(stage), before);
    assert.not.match(await lab.ip(red, '-br', 'link'), /^tap0 /m);
  });
}

inStage('a signal that comes again, as through npm, does not cut the undoing short', async stage => {
  const { lab, host } = stage;
  const before = await snapshot(stage);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const child = await lab.startSwitch(host, ...TAPS);
    const ended = endOf(child, signal);
    for (const ms of [1, 10, 40]) setTimeout(() => child.kill(signal), ms);
    assert.is((await ended).code, 0);
    assert.is(await snapshot(stage), before);
  }
});

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

inStage('after SIGKILL a tap that was there before, and down, is down again', async stage => {
  const { lab, host } = stage;
  await lab.ip(host, 'tuntap', 'add', 'dev', 'tap1', 'mode', 'tap');
  const before = await snapshot(stage);
  await kill(stage, await lab.startSwitch(host, ...TAPS));
  await kill(stage, await lab.startSwitch(host, ...TAPS));
  await lab.inside(host, vswitchd, '--undo', '--state-dir', lab.folder);
  assert.is(await snapshot(stage), before);
});

inStage(
  'a start after SIGKILL undoes nothing that it wants: no moment without shield or forwarding',
  async stage => {
    const { lab, host } = stage;
    await kill(stage, await lab.startSwitch(host, ...TAPS));
    let heard = '';
    for (const monitor of [
      ['nft', 'monitor', 'destroy'],
      ['ip', 'monitor', 'netconf'],
    ]) {
      lab.spawn(host, ...monitor).stdout?.on('data', chunk => {
        heard += chunk;
      });
    }
    await lab.inside(host, 'nft', 'add', 'table', 'ip', 'passing');
    await until('the monitor is there', 3_000, async () => {
      await lab.inside(host, 'nft', 'delete', 'table', 'ip', 'passing');
      await lab.inside(host, 'nft', 'add', 'table', 'ip', 'passing');
      return /passing/.test(heard);
    });
    await lab.startSwitch(host, ...TAPS);
    await lab.inside(host, 'nft', 'delete', 'table', 'ip', 'passing');
    assert.not.match(heard, /netdev|inet6 tap|^inet \S+ forwarding off/m);
  },
);

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
    const wider = ['--subnet', '192.168.0.0/16', '--taps', 'tap9', '--name', 'vsw1'];
    const overlaps =
      /the subnet 192\.168\.100\.0\/24, which overlaps 192\.168\.0\.0\/16, is served by .*: vsw0/;
    await refused(overlaps, ...wider);
    await refused(overlaps, ...wider, '--uplink', 'none');
    await lab.startSwitch(host, '--subnet', '10.9.0.0/24', '--taps', 'tap9', '--name', 'vsw1');
  },
);

inStage(
  'a subnet that the host has a route for is refused, in whatever table; parts of a default route are none',
  async ({ lab, host }) => {
    await lab.ip(host, 'tuntap', 'add', 'dev', 'vpn0', 'mode', 'tap');
    await lab.ip(host, 'link', 'set', 'vpn0', 'up');
    for (const half of ['0.0.0.0/1', '128.0.0.0/1']) await lab.ip(host, 'route', 'add', half, 'dev', 'vpn0');
    await lab.ip(host, 'route', 'add', 'blackhole', '192.168.0.0/16');
    await lab.ip(host, 'route', 'add', '10.7.0.0/16', 'dev', 'vpn0', 'table', '51820');
    const end = await endOf(lab.spawnSwitch(host, '--subnet', '10.7.9.0/24', '--taps', 'tap0'));
    assert.is(end.code, 2);
    assert.match(end.said, /--subnet 10\.7\.9\.0\/24 overlaps this host's route 10\.7\.0\.0\/16 on vpn0/);
    await lab.startSwitch(host, ...TAPS);
  },
);

inStage(
  'of two switches the one that ends first leaves ip_forward to the other, which puts it back',
  async ({ lab, host }) => {
    const forwarding = async (): Promise<string> =>
      (await lab.inside(host, 'sysctl', '-n', 'net.ipv4.ip_forward')).trim();
    const first = await lab.startSwitch(host, ...TAPS);
    const second = await lab.startSwitch(host, '--subnet', '10.9.0.0/24', '--taps', 'tap9', '--name', 'vsw1');
    assert.is((await endOf(first, 'SIGTERM')).code, 0);
    assert.is(await forwarding(), '1');
    assert.is((await endOf(second, 'SIGTERM')).code, 0);
    assert.is(await forwarding(), '0');
  },
);

inStage('--undo leaves a switch alone that is running but too busy to say so', async stage => {
  const { lab, host } = stage;
  await lab.startSwitch(host, ...TAPS);
  const { pid } = await lab.ask<StatusView>('status');
  const running = await snapshot(stage);
  process.kill(pid, 'SIGSTOP');
  try {
    const end = await endOf(lab.spawn(host, vswitchd, '--undo', '--state-dir', lab.folder));
    assert.is(end.code, 3, end.said);
    assert.match(end.said, /vsw0 is running/);
    assert.is(await snapshot(stage), running);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
});

inStage('names that differ in one special character have chains and tables of their own', async stage => {
  const { lab, host } = stage;
  const before = await snapshot(stage);
  const first = await lab.startSwitch(
    host,
    '--subnet',
    '10.8.0.0/24',
    '--taps',
    'tap-0,tap_0',
    '--name',
    'a-b',
  );
  const second = await lab.startSwitch(host, '--subnet', '10.9.0.0/24', '--taps', 'tap.0', '--name', 'a_b');
  const rules = await lab.inside(host, 'nft', 'list', 'ruleset');
  for (const tap of ['tap-0', 'tap_0', 'tap.0']) assert.ok(rules.includes(`device "${tap}"`), tap);
  assert.is((await endOf(first, 'SIGTERM')).code, 0);
  assert.match(await lab.inside(host, 'nft', 'list', 'ruleset'), /device "tap\.0"/);
  assert.is((await endOf(second, 'SIGTERM')).code, 0);
  assert.is(await snapshot(stage), before);
});

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

inStage(
  'a full disk: no ACK without a lease on it, one when there is room again, and a clean end',
  async stage => {
    const { lab, host, red } = stage;
    const before = await snapshot(stage);
    const fill = `dd if=/dev/zero of=${lab.folder}/ballast bs=1k 2>/dev/null; true`;
    sh(`mount -t tmpfs -o size=1m tmpfs ${lab.folder}`);
    try {
      sh(fill);
      const refused = await endOf(lab.spawnSwitch(host, ...TAPS));
      assert.is(refused.code, 1);
      assert.match(refused.said, /ENOSPC/);
      assert.is(await snapshot(stage), before);
      sh(`rm ${lab.folder}/ballast`);
      const child = await lab.startSwitch(host, ...TAPS);
      await plugIn(stage, 'tap0', red);
      sh(fill);
      await lab.lease(red, 'tap0').then(
        () => assert.unreachable('a lease that is not on disk'),
        () => undefined,
      );
      sh(`rm ${lab.folder}/ballast`);
      await lab.lease(red, 'tap0');
      await lab.ping(red, GATEWAY);
      sh(fill);
      assert.is((await endOf(child, 'SIGTERM')).code, 0);
      assert.is(await snapshot(stage), before);
      assert.not(existsSync(join(lab.folder, 'vsw0.journal')));
    } finally {
      sh(`umount -l ${lab.folder}`);
    }
  },
);

inStage('--dry-run prints the plan and changes nothing', async stage => {
  const { lab, host } = stage;
  await lab.ip(host, 'tuntap', 'add', 'dev', 'tap1', 'mode', 'tap');
  const before = await snapshot(stage);
  const said = await lab.inside(host, vswitchd, ...TAPS, '--dry-run');
  assert.match(said, /ip tuntap add dev tap0/);
  assert.not.match(said, /ip tuntap add dev tap1/);
  assert.match(said, /ip link set dev tap1 up/);
  assert.match(said, /ingress device "tap1"/);
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
