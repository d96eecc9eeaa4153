/** The only place that starts other programs. No shell, bounded time, and an error that says what the program said. */
import { execFile, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { OperatorError } from '../errors.ts';

const TIMEOUT_MS = 10_000;
const MAX_OUTPUT = 64 << 20;
/** Where system tools are, beside PATH: a service's or a sudo's PATH may lack the sbin folders. */
const SBIN = ['/usr/sbin', '/sbin', '/usr/local/sbin'];
/** Debian's packages for the tools that we call. */
const PACKAGES: Readonly<Record<string, string>> = {
  nft: 'nftables',
  ip: 'iproute2',
  tc: 'iproute2',
  iptables: 'iptables',
  ufw: 'ufw',
  'firewall-cmd': 'firewalld',
  passt: 'passt',
  tcpdump: 'tcpdump',
};

/** Debian's package that has a tool. */
export const packageOf = (tool: string): string => PACKAGES[tool] ?? tool;

export interface RunOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
}

/** Where a tool is, or undefined. */
export function findTool(name: string): string | undefined {
  for (const folder of [...(process.env.PATH ?? '').split(':'), ...SBIN]) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not there
    }
  }
  return undefined;
}

/** What is said when a tool is not there, with the package that has it. */
export const missing = (tool: string): string =>
  `${tool} is not installed${PACKAGES[tool] === undefined ? '' : `; apt-get install ${PACKAGES[tool]}`}`;

/** The code with which a tool ended that `run` says has failed; undefined where it did not come to that. */
export function exitStatus(error: unknown): number | undefined {
  const code: unknown = (error as { cause?: { code?: unknown } }).cause?.code;
  return typeof code === 'number' ? code : undefined;
}

/** Where a tool is that there is no doing without; one sentence, with its package, when it is missing. */
export function needTool(name: string): string {
  const path = findTool(name);
  if (path !== undefined) return path;
  throw new OperatorError(missing(name), { code: 'MissingTool' });
}

/** Runs a tool and resolves with its standard output; rejects with what it wrote to standard error. */
export async function run(tool: string, words: readonly string[], options: RunOptions = {}): Promise<string> {
  const path = needTool(tool);
  return new Promise((resolve, reject) => {
    const settings = {
      timeout: options.timeoutMs ?? TIMEOUT_MS,
      maxBuffer: MAX_OUTPUT,
      killSignal: 'SIGKILL' as const,
      env: { ...process.env, LC_ALL: 'C' }, // what tools say is read here, in English
    };
    const child = execFile(path, words, settings, (cause, stdout, stderr) => {
      if (cause === null) {
        resolve(stdout);
        return;
      }
      const said = (stderr.trim() || stdout.trim()).split('\n').slice(-4).join(' / ');
      const why = cause.killed === true ? `took longer than ${settings.timeout} ms` : said || cause.message;
      reject(new OperatorError(`${tool} ${words.join(' ')}: ${why}`, { code: 'HostChange', cause }));
    });
    child.stdin?.on('error', () => undefined); // it ended before it had read all; its exit code tells
    child.stdin?.end(options.input ?? '');
  });
}

export interface Ended {
  /** `with code 1`, `by SIGKILL`. */
  readonly how: string;
  /** The last lines of its standard error. */
  readonly said: readonly string[];
}

/** A program that was started and runs on. */
export interface Running {
  /** Resolves when it has ended, however that was. */
  readonly ended: Promise<Ended>;
  /** Ends it, harder when it does not listen; resolves when it has. */
  stop(): Promise<void>;
}

const LAST_LINES = 8;
const PATIENCE_MS = 3_000;

/** The last lines of a standard error, as they come. */
class LastLines {
  lines: readonly string[] = [];

  readonly hear = (text: string): void => {
    const more = text.split('\n').filter(line => line.trim() !== '');
    this.lines = [...this.lines, ...more].slice(-LAST_LINES);
  };
}

/** Starts a tool that runs on till it is stopped, with a file of ours as its descriptor 3. */
export function start(tool: string, words: readonly string[], file: number): Running {
  const child = spawn(needTool(tool), words, { stdio: ['ignore', 'ignore', 'pipe', file] });
  const said = new LastLines();
  child.stderr?.setEncoding('utf8').on('data', said.hear);
  const ended = new Promise<Ended>(resolve => {
    child.on('error', error => {
      if (child.pid === undefined) resolve({ how: `before it began: ${error.message}`, said: said.lines });
    });
    child.on('close', (code, signal) => resolve({ how: howEnded(code, signal), said: said.lines }));
  });
  return {
    ended,
    async stop(): Promise<void> {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

/**
 * Starts this program again, as it was started, whatever it has become on disk, and gives the channel to it, which is its file 3;
 * `files` are those behind. `variable` is set in its environment. The shell that starts it ends, so that it is nobody's child but
 * the service manager's: of another's child systemd does not wait for the end.
 */
export function startSuccessor(files: readonly number[], variable: string): Socket {
  // The watchdog that this process feeds is its own from then on. The mark of our tools stays: if we are killed now, a start waits
  // till it has noticed, for it has our files.
  const { WATCHDOG_PID: _pid, ...env } = process.env;
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('/bin/sh', ['-c', '"$@" &', 'sh', ...program], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe', ...files],
    env: { ...env, [variable]: String(process.pid) },
  });
  const channel = child.stdio[3] as Socket;
  child.on('error', () => channel.destroy());
  return channel;
}

const howEnded = (code: number | null, signal: NodeJS.Signals | null): string =>
  signal === null ? `with code ${code}` : `by ${signal}`;

/** How long the last words of a program that has ended may take to be read; what it left running may hold the pipe. */
const LAST_WORDS_MS = 100;

/**
 * Starts a program of the operator's, by its path, in a group of its own; `stop` kills all of the group. `input` is what it
 * reads from its standard input.
 */
export function startProgram(
  path: string,
  words: readonly string[],
  env: NodeJS.ProcessEnv,
  input = '',
): Running {
  const child = spawn(path, words, { stdio: ['pipe', 'ignore', 'pipe'], detached: true, cwd: '/', env });
  child.stdin?.on('error', () => undefined); // it need not read it
  child.stdin?.end(input);
  const said = new LastLines();
  child.stderr?.setEncoding('utf8').on('data', said.hear);
  const ended = new Promise<Ended>(resolve => {
    child.on('error', error => {
      if (child.pid === undefined) resolve({ how: `before it began: ${error.message}`, said: [] });
    });
    child.on('exit', (code, signal) => {
      const end = (): void => {
        clearTimeout(timer);
        child.stderr?.destroy();
        resolve({ how: howEnded(code, signal), said: said.lines });
      };
      const timer = setTimeout(end, LAST_WORDS_MS);
      child.once('close', end);
    });
  });
  return {
    ended,
    async stop(): Promise<void> {
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
        process.kill(-child.pid, 'SIGKILL');
      await ended;
    },
  };
}
