// timeout: 120 s
/** The unit in systemd/: what systemd's own checks say of it, and the switch under it, started by a real service manager. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { enterNamespace, sh } from '../port/namespace.ts';
import { GROUP, Manager, unitText } from './systemd.ts';

enterNamespace(import.meta.url);

/** Out of 10, where 10 is a service of root's without any limit. docs/operation.md says what it is made of. */
const MAX_EXPOSURE = 2.8;
/** CAP_NET_ADMIN and CAP_NET_RAW, capabilities(7). */
const TWO_CAPABILITIES = '0000000000003000';

const CONFIG = 'subnet = "192.168.100.0/24"\ntaps = ["tap0", "tap1"]\nuplink = "tun"\nfirewall = "nft"\n';

const analyze = (...words: string[]): string => {
  const folder = mkdtempSync(join(tmpdir(), 'vswitchd-unit-'));
  const unit = join(folder, 'vswitchd@.service');
  writeFileSync(unit, unitText().replace('/usr/bin/vswitchd', join(projectRoot(), 'bin/vswitchd')));
  const { status, stdout, stderr } = spawnSync('systemd-analyze', [...words, unit], { encoding: 'utf8' });
  return `${status} ${stdout}${stderr}`;
};

test('systemd-analyze verify has nothing to say of the unit', () => {
  assert.is(analyze('verify', '--man=no').trim(), '0');
});

test(`systemd-analyze security: an exposure of at most ${MAX_EXPOSURE}`, () => {
  const said = analyze('security', '--offline=true', '--no-pager');
  const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(said)?.[1] ?? Number.NaN);
  assert.ok(exposure > 0 && exposure <= MAX_EXPOSURE, said);
});

/** A manager with the switch under it, ended whatever happens. */
function underSystemd(name: string, dropIn: string, act: (manager: Manager) => Promise<void>): void {
  test(name, async () => {
    const manager = new Manager(CONFIG, dropIn);
    try {
      await manager.started();
      await act(manager);
    } finally {
      await manager.end();
    }
  });
}

/** The thread that has a table of open files of its own. */
async function dataPlaneThread(manager: Manager): Promise<string> {
  const pid = await manager.property('MainPID');
  const said = await manager.inside(
    'sh',
    '-c',
    `cd /proc/${pid}/task; for i in *; do echo $i $(ls $i/fd); done`,
  );
  const tables = said
    .trim()
    .split('\n')
    .map(line => line.split(/ (.*)/));
  const common = tables.find(([thread]) => thread === pid)?.[1];
  const [thread] = tables.find(([, files]) => files !== common) ?? [];
  assert.ok(thread, `no thread has files of its own:\n${said}`);
  return thread as string;
}

async function moveTap(manager: Manager): Promise<void> {
  await manager.inside('ip', 'netns', 'add', 'red');
  await manager.inside('ip', 'link', 'set', 'tap0', 'netns', 'red');
}

const says = (manager: Manager, what: RegExp): Promise<number> =>
  until(`the log has ${what.source}`, 3_000, async () => what.test(manager.log));

underSystemd('the switch serves under its unit, and leaves the host as it was', '', async manager => {
  assert.match(await manager.property('StatusText'), /^vsw0 serves 192\.168\.100\.0\/24 on tap0, tap1$/);
  const status = await manager.inside('cat', `/proc/${await manager.property('MainPID')}/status`);
  for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    assert.match(status, new RegExp(`^${set}:\\s+${TWO_CAPABILITIES}$`, 'm'));
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  assert.match(status, /^Seccomp:\s+2$/m);
  await dataPlaneThread(manager);
  assert.is(await manager.property('LimitNICE'), '30', 'which is -10, setpriority(2)');
  assert.is(readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8'), '1\n');
  assert.match(sh('nft list ruleset'), /table inet vswitchd_vsw0/);
  assert.match(sh('ip -4 addr show vsw0'), /192\.168\.100\.1\/24/);
  assert.match(await manager.inside('/srv/bin/vswitchctl', 'ports'), /tap1/);
  assert.is(await manager.inside('stat', '-c', '%a %g', '/run/vswitchd/vsw0.sock'), `660 ${GROUP}\n`);
  assert.is(await manager.inside('stat', '-c', '%a', '/var/lib/vswitchd/vsw0.leases.db'), '600\n');
  assert.not.match(manager.log, /EPERM|EROFS/);
  // what the sandbox costs is said
  assert.match(
    manager.log,
    /port 53 of 192\.168\.100\.1 can't be had \(EACCES\).* it takes CAP_NET_BIND_SERVICE/,
  );
  await moveTap(manager);
  await says(manager, /tap0 in namespace red: to serve it there takes CAP_SYS_ADMIN/);
  await manager.systemctl('stop');
  assert.is(await manager.property('Result'), 'success');
  assert.is(await manager.property('ExecMainStatus'), '0');
  assert.is(readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8'), '0\n');
  assert.is(sh('nft list ruleset'), '');
  assert.is(sh('ip -o link | cut -d: -f2').trim(), 'lo');
});

/** Lines of docs/operation.md that give back what the sandbox takes. */
const LIFTED = [
  'CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SYS_ADMIN',
  'AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_SYS_ADMIN',
  'RestrictNamespaces=no',
  'User=nobody',
];

underSystemd('drop-ins give it back, and another user than root', LIFTED.join('\n'), async manager => {
  assert.not.match(manager.log, /can't be had/);
  await moveTap(manager);
  await says(manager, /tap0: served at its device end in namespace red/);
  const status = await manager.inside('cat', `/proc/${await manager.property('MainPID')}/status`);
  assert.not.match(status, /^Uid:\s+0/m);
  await manager.systemctl('stop');
  assert.is(await manager.property('Result'), 'success');
  assert.is(sh('nft list ruleset'), '');
});

underSystemd(
  'vswitchctl restart: another main process, for the watchdog too, and none of a start anew',
  'WatchdogSec=1500ms',
  async manager => {
    const before = await manager.property('MainPID');
    const [, pid] = /pid (\d+) goes on/.exec(await manager.inside('/srv/bin/vswitchctl', 'restart')) ?? [];
    await until('systemd has the new one', 3_000, async () => (await manager.property('MainPID')) === pid);
    assert.is.not(pid, before);
    await sleep(2_500);
    assert.is(await manager.property('ActiveState'), 'active');
    assert.is(await manager.property('NRestarts'), '0');
    assert.match(await manager.property('StatusText'), /^vsw0 serves /);
    await manager.systemctl('stop');
    assert.is(await manager.property('Result'), 'success');
    assert.is(sh('nft list ruleset'), '');
    assert.is(sh('ip -o link | cut -d: -f2').trim(), 'lo');
  },
);

underSystemd(
  'the watchdog: quiet while frames are switched, and a start anew when their loop is stuck',
  'WatchdogSec=1500ms\nRestartSec=100ms',
  async manager => {
    await sleep(2_500);
    assert.is(await manager.property('NRestarts'), '0');
    const before = await manager.property('MainPID');
    // held up for longer than the watchdog waits at most, then let go: what is traced can't end
    const hold = ['timeout', '-s', 'KILL', '4', 'strace', '-qq', '-e', 'trace=epoll_pwait'];
    const delay = ['-e', 'inject=epoll_pwait:delay_enter=20000000', '-p', await dataPlaneThread(manager)];
    void manager.inside(...hold, ...delay).catch(() => undefined);
    await until('the watchdog bites', 3_900, async () => (await manager.property('Result')) === 'watchdog');
    await until('systemd starts it again', 3_000, async () => (await manager.property('NRestarts')) === '1');
    await manager.started();
    assert.is.not(await manager.property('MainPID'), before);
    assert.match(await manager.inside('/srv/bin/vswitchctl', 'ports'), /tap1/);
  },
);

test.run();
