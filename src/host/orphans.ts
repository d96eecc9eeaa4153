/**
 * Tools that a killed switch had started: they run on without it. Who undoes what it did must not look before the last of
 * them has ended, or it would find less than is there in the end. So tools carry the name of their switch in their
 * environment, where the kernel shows it to all who may undo anything.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '../errors.ts';

export const MARK = 'VSWITCHD_SWITCH';
/** As long as run.ts gives a tool while its switch lives; one that takes longer is ended. */
const PATIENCE_MS = 10_000;
/** How long one may take to be gone when it has been ended. */
const ENDING_MS = 2_000;
const POLL_MS = 10;

/** From now on the tools that this process starts say whose they are. The name must be ours by then. */
export function signTools(name: string): void {
  process.env[MARK] = name;
}

/** Waits for the tools of a switch of this name, of which none runs now. */
export async function orphansEnded(name: string): Promise<void> {
  const start = performance.now();
  for (let left = orphansOf(name); left.length > 0; left = orphansOf(name)) {
    const ms = performance.now() - start;
    if (ms > PATIENCE_MS + ENDING_MS)
      throw new OperatorError(
        `tools that a killed ${name} had started do not end (pid ${left.join(', ')}); end them, and try again`,
        { code: 'HostChange' },
      );
    if (ms > PATIENCE_MS) left.forEach(end);
    await sleep(POLL_MS);
  }
}

function end(pid: string): void {
  try {
    process.kill(Number(pid), 'SIGKILL');
  } catch {
    // it has ended meanwhile
  }
}

/** Processes of this network namespace that carry the name. */
function orphansOf(name: string): string[] {
  const here = readlinkSync('/proc/self/ns/net');
  return readdirSync('/proc').filter(pid => /^\d+$/.test(pid) && isOf(name, pid, here));
}

function isOf(name: string, pid: string, netns: string): boolean {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return environment.includes(`${MARK}=${name}`) && readlinkSync(`/proc/${pid}/ns/net`) === netns;
  } catch {
    return false; // it has ended meanwhile, or it is none of a root's
  }
}
