/**
 * Hosts on one machine: network namespaces with a prefix of their own, cables between them and programs in them. The demo
 * and the tests stand on it. Whatever it made, `strike` removes, and ends what it started.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask } from './control/client.ts';
import { run } from './host/run.ts';
import { projectRoot } from './port/native.ts';

const READY_TIMEOUT_MS = 10_000;
const COMMAND_TIMEOUT_MS = 20_000;
const POLL_MS = 10;

/** One end of a cable: namespace, interface, address with its prefix length. */
export type CableEnd = readonly [netns: string, name: string, address: string];

export class Lab {
  readonly #prefix: string;
  /** A folder for state and sockets, gone with the lab. */
  readonly folder = mkdtempSync(join(tmpdir(), 'vswitchd-lab-'));
  /** By name, and what makes it. */
  readonly #netns = new Map<string, Promise<unknown>>();
  readonly #children: ChildProcess[] = [];
  #struck = false;

  constructor(purpose: string) {
    this.#prefix = `vsw${purpose}${process.pid}`;
  }

  /** Makes a namespace and returns its full name. */
  async netns(name: string): Promise<string> {
    this.#refuseIfStruck();
    const full = `${this.#prefix}-${name}`;
    const made = run('ip', ['netns', 'add', full]);
    this.#netns.set(full, made);
    await made;
    await this.ip(full, 'link', 'set', 'lo', 'up');
    return full;
  }

  ip(netns: string, ...words: string[]): Promise<string> {
    return run('ip', ['-n', netns, ...words]);
  }

  /** Runs a program in a namespace and resolves with its output. */
  inside(netns: string, ...words: string[]): Promise<string> {
    return run('ip', ['netns', 'exec', netns, ...words], { timeoutMs: COMMAND_TIMEOUT_MS });
  }

  /** Starts a program in a namespace; `strike` ends it, if nobody has. */
  spawn(netns: string, ...words: string[]): ChildProcess {
    return this.#start('ignore', netns, words);
  }

  /** The same of one that is talked to: its standard input is a pipe. */
  spawnTalking(netns: string, ...words: string[]): ChildProcess {
    return this.#start('pipe', netns, words);
  }

  #start(stdin: 'ignore' | 'pipe', netns: string, words: readonly string[]): ChildProcess {
    this.#refuseIfStruck();
    const child = spawn('ip', ['netns', 'exec', netns, ...words], { stdio: [stdin, 'pipe', 'pipe'] });
    this.#children.push(child);
    return child;
  }

  /** A veth between two namespaces, with addresses, up. */
  async cable(left: CableEnd, right: CableEnd): Promise<void> {
    await run('ip', [
      'link',
      'add',
      left[1],
      'netns',
      left[0],
      'type',
      'veth',
      'peer',
      right[1],
      'netns',
      right[0],
    ]);
    for (const [netns, name, address] of [left, right]) {
      await this.ip(netns, 'addr', 'add', address, 'dev', name);
      await this.ip(netns, 'link', 'set', name, 'up');
    }
  }

  /** Starts vswitchd in a namespace with this lab's folder for state and socket; resolves when it says that it is ready. */
  async startSwitch(netns: string, ...options: string[]): Promise<ChildProcess> {
    const child = this.spawnSwitch(netns, ...options);
    await lineFrom(child, /ready/, READY_TIMEOUT_MS);
    return child;
  }

  /** The same without waiting. */
  spawnSwitch(netns: string, ...options: string[]): ChildProcess {
    const where = ['--state-dir', this.folder, '--run-dir', this.folder];
    return this.spawn(netns, join(projectRoot(), 'bin', 'vswitchd'), ...options, ...where);
  }

  /** Asks the running switch. */
  ask<T>(resource: string, name = 'vsw0'): Promise<T> {
    return ask<T>(join(this.folder, `${name}.sock`), resource);
  }

  /** Takes a lease by udhcpc (`more`: its options) and returns the address. The project's script sets address and route and no more. */
  async lease(netns: string, name: string, ...more: string[]): Promise<string> {
    const script = join(projectRoot(), 'tools', 'udhcpc-script.sh');
    await this.inside(
      netns,
      'udhcpc',
      '-i',
      name,
      '-n',
      '-q',
      '-f',
      '-t',
      '5',
      '-T',
      '1',
      '-s',
      script,
      ...more,
    );
    return this.address(netns, name);
  }

  /** An interface's IPv4 address. */
  async address(netns: string, name: string): Promise<string> {
    const shown = await this.ip(netns, '-j', '-4', 'addr', 'show', 'dev', name);
    const [link] = JSON.parse(shown) as { addr_info: { local: string }[] }[];
    const address = link?.addr_info[0]?.local;
    if (address === undefined) throw new Error(`${name} has no address`);
    return address;
  }

  ping(netns: string, address: string, count = 3): Promise<string> {
    return this.inside(netns, 'ping', '-c', String(count), '-i', '0.2', '-W', '2', address);
  }

  /** Whoever goes on with it meanwhile is refused. */
  async strike(): Promise<void> {
    this.#struck = true;
    for (const child of [...this.#children].reverse()) await ended(child, 'SIGTERM', 3_000);
    for (const [name, made] of this.#netns) {
      await made.catch(() => undefined); // one that is being made would outlive its removal
      await this.#endAll(name);
      await run('ip', ['netns', 'delete', name]).catch(() => undefined);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #refuseIfStruck(): void {
    if (this.#struck) throw new Error('the lab is struck');
  }

  /** What programs started by themselves and left behind: dhcpcd's helpers outlive it. */
  async #endAll(netns: string): Promise<void> {
    const pids = await run('ip', ['netns', 'pids', netns]).catch(() => '');
    for (const pid of pids.split('\n').filter(Boolean)) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // it has ended meanwhile
      }
    }
  }
}

/**
 * Calls `act` with a lab that is struck afterwards, however that ends: whoever is told to stop ends with the signal's code when
 * all is gone, and does not come to what would have followed.
 */
export async function inLab<T>(purpose: string, act: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = new Lab(purpose);
  let stopped: Promise<never> | undefined;
  const stop = (signal: 'SIGINT' | 'SIGTERM'): void => {
    stopped ??= lab.strike().then(() => process.exit(128 + constants.signals[signal]));
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await act(lab);
  } finally {
    await (stopped ?? lab.strike());
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

/** Asks again and again till the answer is yes; an error that says what was waited for when the time is up. */
export async function until(what: string, timeoutMs: number, holds: () => Promise<boolean>): Promise<number> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > timeoutMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, POLL_MS));
  }
  return performance.now() - start;
}

/** Waits for a line that matches; the child's end or the time's is an error that quotes what it said last. */
export function lineFrom(child: ChildProcess, wanted: RegExp, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = '';
    const fail = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`${why}: ${said.trim().split('\n').slice(-3).join(' / ')}`));
    };
    const timer = setTimeout(() => fail(`no '${wanted.source}' in ${timeoutMs} ms`), timeoutMs);
    const hear = (chunk: Buffer): void => {
      said += chunk.toString();
      if (!wanted.test(said)) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout?.on('data', hear);
    child.stderr?.on('data', hear);
    child.once('exit', code => fail(`it ended with code ${code}`));
    child.once('error', error => fail(error.message));
  });
}

/** Ends a program that was started here, harder when it does not listen; resolves with its exit code. */
export function ended(
  child: ChildProcess,
  signal: NodeJS.Signals,
  patienceMs: number,
): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode);
  return new Promise(resolve => {
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve(child.exitCode);
    });
    child.kill(signal);
  });
}
