// coverage: none
/**
 * The switch with the two capabilities that its unit leaves it and a service manager's socket, without systemd: what it says
 * there, and when it falls silent.
 */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { refusalOf } from '../../src/callers.ts';
import { groupId, SOCKET_GROUP } from '../../src/host/group.ts';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { loadNative, projectRoot } from '../../src/port/native.ts';
import { type Stage, stageTests, TAPS } from './stage.ts';
import { unitText } from './systemd.ts';

const inStage = stageTests('ri', import.meta.url);
const native = loadNative();
const WATCHDOG_MS = 400;

/** The capabilities of a setting of the unit, as setpriv writes them. */
const unitSet = (setting: string): string => {
  const words = new RegExp(`^${setting}=(.*)$`, 'm').exec(unitText())?.[1]?.split(' ') ?? [];
  return ['-all', ...words.map(word => word.replace('CAP_', '+').toLowerCase())].join(',');
};

/** A manager's socket: what has come since it was asked before, a line each. */
function managerAt(path: string): { said(): string[]; close(): void } {
  const fd = native.bindDatagrams(path);
  const buffer = new Uint8Array(4_096);
  const said = (): string[] => {
    const lines: string[] = [];
    for (let got = 1; got > 0; ) {
      got = native.receiveBytes(fd, buffer, 0, buffer.length);
      if (got > 0) lines.push(...Buffer.from(buffer.subarray(0, got)).toString().split('\n'));
    }
    return lines;
  };
  return { said, close: () => native.close(fd) };
}

function startRestricted({ lab, host }: Stage, socket: string, ...options: string[]): ChildProcess {
  const capabilities = unitSet('AmbientCapabilities');
  const words = ['--no-new-privs', `--bounding-set=${unitSet('CapabilityBoundingSet')}`]
    .concat(`--inh-caps=${capabilities}`, `--ambient-caps=${capabilities}`)
    .concat(join(projectRoot(), 'bin/vswitchd'), options, [
      '--state-dir',
      lab.folder,
      '--run-dir',
      lab.folder,
    ]);
  const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: String(WATCHDOG_MS * 1000) };
  return lab.spawn(host, 'env', ...Object.entries(env).map(pair => pair.join('=')), 'setpriv', ...words);
}

/** Of the thread that has a table of open files of its own: the data plane's. */
function dataPlaneThread(pid: number): string | undefined {
  const files = (thread: string): string => readdirSync(`/proc/${pid}/task/${thread}/fd`).join();
  const common = files(String(pid));
  return readdirSync(`/proc/${pid}/task`).find(thread => files(thread) !== common);
}

inStage(
  'two capabilities: ready, two pings in the watchdog time, none while frames are stuck',
  async stage => {
    const { lab } = stage;
    const socket = join(lab.folder, 'manager');
    const manager = managerAt(socket);
    const child = startRestricted(stage, socket, ...TAPS);
    const pid = child.pid as number; // ip, env, setpriv, node: each in the place of the one before
    await lineFrom(child, /ready/, 10_000);
    assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^CapEff:\s+0000000000003000$/m);
    await sleep(2 * WATCHDOG_MS);
    const [ready, status, main, ...pings] = manager.said();
    assert.equal([ready, main], ['READY=1', `MAINPID=${pid}`]);
    assert.match(status as string, /^STATUS=vsw0 serves /);
    assert.equal([...new Set(pings)], ['WATCHDOG=1']);
    assert.ok(pings.length >= 2 && pings.length <= 5, `${pings.length} pings`);

    const stuck = ['-e', 'trace=epoll_pwait', '-e', 'inject=epoll_pwait:delay_enter=20000000'];
    const strace = lab.spawn(stage.host, 'strace', '-qq', ...stuck, '-p', dataPlaneThread(pid) ?? '');
    await sleep(2 * WATCHDOG_MS); // it attaches, and what was asked before may have been answered
    manager.said();
    await sleep(2 * WATCHDOG_MS);
    assert.equal(manager.said(), []);
    assert.is(child.exitCode, null);
    await ended(strace, 'SIGKILL', 1_000);
    await until('it answers again', 3_000, async () => manager.said().includes('WATCHDOG=1'));

    assert.is(await ended(child, 'SIGTERM', 5_000), 0);
    assert.ok(manager.said().includes('STOPPING=1'));
    manager.close();
    assert.is(await lab.ip(stage.host, '-o', 'link').then(text => text.match(/\n/g)?.length), 1);
  },
);

inStage('two capabilities: a tap in a namespace is refused in one sentence', async stage => {
  const child = startRestricted(stage, '', '--subnet', '192.168.100.0/24', '--taps', `tap0@${stage.red}`);
  const told = await lineFrom(child, /ready/, 10_000).then(() => 'ready', String);
  assert.match(told, /code 2: vswitchd: --taps tap0@\S+: .* CAP_SYS_ADMIN$/);
});

inStage("the API asks the kernel who has connected, whatever the socket's mode", async ({ lab, host }) => {
  await lab.startSwitch(host, ...TAPS);
  const path = join(lab.folder, 'vsw0.sock');
  chmodSync(lab.folder, 0o755);
  chmodSync(path, 0o666);
  const asked = (...as: string[]): Promise<string> =>
    lab.inside(host, 'setpriv', ...as, 'curl', '-s', '--unix-socket', path, 'http://x/v1/status');
  const group = groupId(SOCKET_GROUP);
  assert.match(
    await asked('--reuid=65534', '--regid=65534', '--clear-groups'),
    /"code":"forbidden".*user 65534 may not/,
  );
  assert.match(await asked('--reuid=65534', '--regid=65534', '--groups=4,100'), /"code":"forbidden"/);
  assert.match(await asked('--reuid=0', '--regid=65534', '--clear-groups'), /"name":"vsw0"/);
  if (group === undefined) return; // the tables below are those of the next test
  assert.match(await asked('--reuid=65534', '--regid=65534', `--groups=4,${group}`), /"name":"vsw0"/);
});

test('a user is known by the first group and by all others', () => {
  const socket = { _handle: { fd: 5 } } as unknown as Socket;
  const by = (...peer: number[]): string | undefined => refusalOf({ peerOf: () => peer }, socket, 900);
  assert.is(by(0, 5), undefined);
  assert.is(by(1000, 900), undefined);
  assert.is(by(1000, 5, 6, 900), undefined);
  assert.match(by(1000, 5, 6)!, /^user 1000 may not use this switch; expected root/);
  assert.match(refusalOf({ peerOf: () => [1000, 5] }, socket, undefined)!, /user 1000/);
  assert.match(refusalOf({ peerOf: () => [0] }, {} as Socket, 900)!, /has ended/);
});

inStage(
  'when it is ready, no thread may gain rights, and calls that nobody makes are refused',
  async ({ lab, host }) => {
    const child = await lab.startSwitch(host, ...TAPS);
    const { pid } = await lab.ask<{ pid: number }>('status');
    const threads = readdirSync(`/proc/${pid}/task`);
    assert.ok(threads.length > 5, "the data plane, its own pool, and Node's");
    for (const thread of threads) {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
      assert.match(status, /^NoNewPrivs:\s+1$/m, thread);
      assert.match(status, /^Seccomp:\s+2$/m, thread);
    }
    assert.is(child.exitCode, null);
  },
);

test('what is refused: another process is not traced, and the time is not set', () => {
  const code = `
    const native = require(process.argv[1]);
    native.confine();
    const { spawnSync } = require('node:child_process');
    const of = (...words) => { const { status, stderr } = spawnSync(words[0], words.slice(1), { encoding: 'utf8' }); return [status, stderr]; };
    console.log(JSON.stringify([of('strace', '-qq', 'true'), of('date', '-s', '2001-01-01'), of('ip', 'link')]));`;
  const addon = join(projectRoot(), 'native/build/Release/vswitchd.node');
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', code, addon], { encoding: 'utf8' });
  assert.ok(stdout !== '', stderr);
  const [traced, set, listed] = JSON.parse(stdout) as [number, string][];
  assert.is.not(traced![0], 0);
  assert.match(traced![1], /not permitted/);
  assert.match(set![1], /not permitted/);
  assert.is(listed![0], 0);
});

test.run();
