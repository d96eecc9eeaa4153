/**
 * DPDK's testpmd, without huge pages: a guest with virtio-user devices that sends and forwards as fast as it can, and a switch of
 * two ports that is DPDK's own vhost library, in C. It is talked to by its prompt.
 */
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ended, type Lab } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';

const PATIENCE_MS = 10_000;
const MEMORY_MIB = '512';
const PROMPT = 'testpmd> ';
/** Unpacked by tools/setup.mjs. */
const ROOT = join(projectRoot(), 'node_modules/.cache/vswitchd-dpdk');
const LIBRARIES = [
  'usr/lib/x86_64-linux-gnu',
  'usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0',
  'lib/x86_64-linux-gnu',
];
const DRIVERS = ['bus_vdev', 'mempool_ring', 'net_virtio', 'net_vhost'];
/** Lines of output at once, though it is a pipe: what stdbuf(1) does. */
const LINE_BUFFERS = '/usr/libexec/coreutils/libstdbuf.so';

export interface TestpmdChoice {
  /** Of all its threads. */
  readonly core: number;
  readonly devices: readonly string[];
  /** Behind the double dash. */
  readonly options: readonly string[];
}

/** What testpmd has counted on all of its ports. */
export interface Counted {
  readonly received: number;
  readonly sent: number;
  /** Frames that its forwarding had no room for. */
  readonly dropped: number;
}

export class Testpmd {
  readonly child: ChildProcess;
  #said = '';
  /** Apart, for it may come in the midst of a prompt. */
  #complained = '';

  private constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on('data', chunk => {
      this.#said += String(chunk);
    });
    child.stderr?.on('data', chunk => {
      this.#complained += String(chunk);
    });
    child.stdin?.on('error', () => undefined); // it has been ended
  }

  /** Starts it in a namespace; resolves with its first prompt, when its devices are there. */
  static async start(lab: Lab, netns: string, choice: TestpmdChoice): Promise<Testpmd> {
    const program = join(ROOT, 'usr/bin/dpdk-testpmd');
    if (!existsSync(program)) throw new Error('testpmd is not unpacked: node tools/setup.mjs peers');
    const { core, devices, options } = choice;
    const drivers = DRIVERS.map(name => `librte_${name}.so.23`);
    const environment = [
      `LD_LIBRARY_PATH=${LIBRARIES.map(at => join(ROOT, at)).join(':')}`,
      // Not -d: it refuses drivers below a folder that all may write to, as /tmp is.
      `LD_PRELOAD=${[...drivers, ...(existsSync(LINE_BUFFERS) ? [LINE_BUFFERS] : [])].join(' ')}`,
      '_STDBUF_O=L',
      `RUNTIME_DIRECTORY=${lab.folder}`,
    ];
    const memory = ['--no-huge', '-m', MEMORY_MIB, '--no-pci', '--no-telemetry'];
    const child = lab.spawnTalking(
      netns,
      ...['env', ...environment, program, '--lcores', `0@${core},1@${core}`],
      ...[...memory, `--file-prefix=core${core}`, ...devices.map(device => `--vdev=${device}`)],
      ...['--', '-i', ...options],
    );
    const pmd = new Testpmd(child);
    await pmd.#prompted(0);
    return pmd;
  }

  /** Gives it a command and resolves with what it says. */
  async say(command: string): Promise<string> {
    const from = this.#said.length;
    this.child.stdin?.write(`${command}\n`);
    return this.#prompted(from);
  }

  /** Frames that its devices have counted. */
  async ports(): Promise<Counted> {
    const said = await this.say('show port stats all');
    return { received: sum(said, /RX-packets: *(\d+)/g), sent: sum(said, /TX-packets: *(\d+)/g), dropped: 0 };
  }

  /** Ends the forwarding; what came of it. */
  async stop(): Promise<Counted> {
    const said = await this.say('stop');
    const all = said.slice(said.indexOf('Accumulated'));
    return {
      received: sum(all, /RX-total: *(\d+)/g),
      sent: sum(all, /TX-packets: *(\d+)/g),
      dropped: sum(all, /TX-dropped: *(\d+)/g),
    };
  }

  async end(): Promise<void> {
    this.child.stdin?.write('quit\n');
    await Promise.race([
      new Promise(resolve => this.child.once('exit', resolve)),
      new Promise(resolve => setTimeout(resolve, 3_000).unref()),
    ]);
    await ended(this.child, 'SIGKILL', 1_000);
  }

  async #prompted(from: number): Promise<string> {
    const start = performance.now();
    while (!this.#said.slice(from).includes(PROMPT)) {
      const last = (): string =>
        `${this.#said}\n${this.#complained}`.trim().split('\n').slice(-4).join(' / ');
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`testpmd has ended: ${last()}`);
      if (performance.now() - start > PATIENCE_MS)
        throw new Error(`testpmd has no prompt after ${PATIENCE_MS} ms: ${last()}`);
      await new Promise(resolve => setTimeout(resolve, 10));
    }
    return this.#said.slice(from);
  }
}

const sum = (text: string, pattern: RegExp): number =>
  [...text.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);

/** The MAC of a virtio-user device. */
export const macOf = (device: number): string =>
  `02:00:00:00:00:${(10 + device).toString(16).padStart(2, '0')}`;

/** A virtio-user device on the sockets of a switch; `more`: its other arguments. */
export const virtioUser = (device: number, path: string, ...more: readonly string[]): string =>
  [
    `net_virtio_user${device}`,
    `path=${path}`,
    `mac=${macOf(device)}`,
    'queues=1',
    'queue_size=1024',
    ...more,
  ].join(',');

/** On each side as many. */
export const MBUFS = ['--total-num-mbufs=16384'];

/** Two devices with the MACs of devices 0 and 1 that send each other all that they receive; it has not started yet. `pieces`: bytes of a frame's. */
export async function pingPong(
  lab: Lab,
  netns: string,
  devices: readonly string[],
  pieces: readonly number[],
  ...options: readonly string[]
): Promise<Testpmd> {
  const pmd = await Testpmd.start(lab, netns, {
    core: 1,
    devices,
    options: ['--forward-mode=mac', '--no-lsc-interrupt', ...MBUFS, ...options],
  });
  await pmd.say(`set eth-peer 0 ${macOf(1)}`);
  await pmd.say(`set eth-peer 1 ${macOf(0)}`);
  await pmd.say(`set txpkts ${pieces.join(',')}`);
  return pmd;
}
