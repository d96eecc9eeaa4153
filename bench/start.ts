/** From the start of the process to the line with `ready`, and the memory of a running switch with eight ports; idle cost. */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { StatusView } from '../src/control/views.ts';
import { ended, inLab } from '../src/lab.ts';
import { middle } from './stage.ts';

const ROUNDS = 5;
const IDLE_MS = 5_000;
const TICKS_PER_S = 100;
const TAPS = Array.from({ length: 7 }, (_, i) => `tap${i}`).join(','); // the uplink is the eighth

export interface Start {
  readonly readyMs: number;
  readonly rssMiB: number;
  /** Per cent of one core, with no traffic. */
  readonly idle: number;
}

export const startBench = (): Promise<Start> =>
  inLab('start', async lab => {
    const host = await lab.netns('host');
    const times: number[] = [];
    let [rssMiB, idle] = [0, 0];
    for (let round = 0; round < ROUNDS; round++) {
      const start = performance.now();
      const child = await lab.startSwitch(host, '--subnet', '192.168.100.0/24', '--taps', TAPS);
      times.push(performance.now() - start);
      if (round === ROUNDS - 1) {
        const { pid } = await lab.ask<StatusView>('status');
        rssMiB = Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
        idle = await idleShare(pid);
      }
      await ended(child, 'SIGTERM', 3_000);
    }
    return { readyMs: middle(times), rssMiB, idle };
  });

async function idleShare(pid: number): Promise<number> {
  const before = cpuTicks(pid);
  await pause(IDLE_MS);
  return (((cpuTicks(pid) - before) / TICKS_PER_S) * 1000 * 100) / IDLE_MS;
}

/** User and system time of all threads; the name in front may hold blanks. */
function cpuTicks(pid: number): number {
  const [, fields = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const words = fields.split(' ');
  return Number(words[11]) + Number(words[12]);
}
