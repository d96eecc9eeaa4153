/**
 * A namespace of the test's own. The file runs itself again in a new network and mount namespace, so that whatever it
 * makes there, named namespaces and temporary files included, goes when it ends, however it ends.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Batch } from '../../src/dataplane/batch.ts';
import { loadNative } from '../../src/port/native.ts';
import type { Port } from '../../src/port/port.ts';

const INSIDE = 'VSWITCHD_TEST_NETNS';
const ENTER =
  'mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && mount -t tmpfs tmpfs /mnt && TMPDIR=/mnt exec "$0" "$@"';

/** Returns inside the new namespaces only; outside it ends the process with the inner one's exit code. */
export function enterNamespace(url: string): void {
  if (process.env[INSIDE] === '1') {
    sh(
      'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6',
    );
    sh('ip link set lo up');
    return;
  }
  const { status } = spawnSync(
    'unshare',
    ['--net', '--mount', '--propagation', 'private', 'sh', '-c', ENTER, process.execPath, fileURLToPath(url)],
    { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } },
  );
  process.exit(status ?? 1);
}

/** Runs a line of shell; throws with its stderr when it fails. */
export const sh = (line: string): string =>
  execFileSync('sh', ['-c', line], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Makes a named namespace without IPv6, whose chatter would be in every count. */
export function addNamespace(name: string): void {
  sh(`ip netns add ${name}; ip -n ${name} link set lo up`);
  for (const which of ['all', 'default'])
    sh(`ip netns exec ${name} sh -c 'echo 1 >/proc/sys/net/ipv6/conf/${which}/disable_ipv6'`);
}

/** Calls `use` with an open file of the named namespace. */
export function inNamespace<T>(name: string, use: (netns: number) => T): T {
  const netns = openSync(`/run/netns/${name}`, 'r');
  try {
    return use(netns);
  } finally {
    closeSync(netns);
  }
}

export interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** Starts a command, words apart by blanks, and resolves when it has ended. */
export function start(line: string): Promise<Ended> {
  const [command = '', ...words] = line.split(' ');
  return new Promise((resolve, reject) => {
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', data => (output += String(data)));
    child.on('error', reject);
    child.on('close', code => resolve({ code, output }));
  });
}

export interface Seen {
  frames: number;
  refused: number;
  /** Bytes of the largest frame. */
  largest: number;
}

/** Carries frames both ways between two ports till `end` is settled. */
export async function carry<T>(left: Port, right: Port, end: Promise<T>): Promise<{ value: T; seen: Seen }> {
  const native = loadNative();
  const epoll = native.epollCreate();
  native.epollAdd(epoll, left.fd, 0);
  native.epollAdd(epoll, right.fd, 1);
  const ports = [left, right] as const;
  const batch = new Batch();
  const rows = Int32Array.from({ length: batch.capacity }, (_, row) => row);
  const tags = new Int32Array(8);
  const clock = new Float64Array(2);
  const seen: Seen = { frames: 0, refused: 0, largest: 0 };
  let ended = false;
  const settled = end.finally(() => {
    ended = true;
  });
  while (!ended) {
    const ready = native.wait(epoll, tags, 1, clock);
    for (let i = 0; i < ready; i++) {
      const from = tags[i] as 0 | 1;
      const to = ports[from === 0 ? 1 : 0];
      batch.reset(clock[0] as number);
      const got = ports[from].receive(batch, from);
      if (got <= 0) continue;
      for (let row = 0; row < got; row++) seen.largest = Math.max(seen.largest, batch.length[row] as number);
      to.transmit(batch, rows, got);
      seen.frames += got;
      seen.refused += to.refused;
    }
    await turn();
  }
  native.close(epoll);
  return { value: await settled, seen };
}
