/** The only place that starts other programs. No shell, bounded time, and an error that says what the program said. */
import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { OperatorError } from '../errors.ts';

const TIMEOUT_MS = 10_000;
const MAX_OUTPUT = 64 << 20;
/** Where system tools are, beside PATH: a service's or a sudo's PATH may lack the sbin folders. */
const SBIN = ['/usr/sbin', '/sbin', '/usr/local/sbin'];
/** Debian's packages for the tools that we call. */
const PACKAGES: Readonly<Record<string, string>> = { nft: 'nftables', ip: 'iproute2', tc: 'iproute2' };

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

/** Runs a tool and resolves with its standard output; rejects with what it wrote to standard error. */
export function run(tool: string, words: readonly string[], options: RunOptions = {}): Promise<string> {
  const path = findTool(tool);
  if (path === undefined) {
    const advice = PACKAGES[tool] === undefined ? '' : `; apt-get install ${PACKAGES[tool]}`;
    return Promise.reject(new OperatorError(`${tool} is not installed${advice}`, { code: 'MissingTool' }));
  }
  return new Promise((resolve, reject) => {
    const settings = {
      timeout: options.timeoutMs ?? TIMEOUT_MS,
      maxBuffer: MAX_OUTPUT,
      killSignal: 'SIGKILL' as const,
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
