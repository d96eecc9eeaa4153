/** `vswitchctl restart`: another process, of the program as it is on disk now, goes on with everything. */
import { setTimeout as pause } from 'node:timers/promises';
import { ask, tell } from './control/client.ts';
import type { StatusView } from './control/views.ts';
import { OperatorError } from './errors.ts';

/** For all that the new process has to do once it is ready. */
const OVER_MS = 15_000;
const LOOK_MS = 50;

/** Resolves with the new process's id, which answers by then; throws a sentence when the old one goes on. */
export async function restart(socketPath: string): Promise<number> {
  const { pid } = await tell<{ pid: number }>(socketPath, 'POST', 'restart');
  const deadline = performance.now() + OVER_MS;
  while (performance.now() < deadline) {
    const status = await ask<StatusView>(socketPath, 'status').catch(() => undefined);
    if (status?.pid === pid) return pid;
    await pause(LOOK_MS);
  }
  throw new OperatorError(
    `pid ${pid} was ready to go on, but does not answer at ${socketPath}; the log says why`,
    {
      code: 'NotRunning',
    },
  );
}
