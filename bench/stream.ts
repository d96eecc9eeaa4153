/**
 * Stream ports: frames a second that one guest sends and another receives, many frames a write and one a write. The switch is on
 * core 0, both guests (bench/peers/stream.c) on core 1.
 */
import { join } from 'node:path';
import { Lab } from '../src/lab.ts';
import type { Figure } from './history.ts';
import { middle } from './stage.ts';
import { compiled } from './traffic.ts';

/** What is measured, and what was wanted of it, M frames/s. */
export interface Reached {
  readonly what: string;
  readonly value: number;
  readonly target?: number;
}

const BLOCK = 65_536;
const LOADS = [
  { what: '64 B frames, 64 KiB writes', bytes: 64, write: BLOCK, target: 10 },
  { what: '64 B frames, one a write', bytes: 64, write: 1, target: 0.9 },
  { what: '1500 B frames, 64 KiB writes', bytes: 1500, write: BLOCK },
  { what: '1500 B frames, one a write', bytes: 1500, write: 1 },
] as const;
const ROUNDS = 5;
const SECONDS = '2';

export async function streamBench(): Promise<Reached[]> {
  const lab = new Lab('stream');
  try {
    const netns = await lab.netns('host');
    const paths = ['a', 'b'].map(name => join(lab.folder, `${name}.sock`));
    const child = await lab.startSwitch(
      netns,
      ...['--subnet', '192.168.100.0/24', '--uplink', 'none', '--firewall', 'none'],
      ...paths.flatMap(path => ['--port', `stream:${path}`]),
    );
    await lab.inside(netns, 'taskset', '-a', '-p', '-c', '0', String(child.pid));
    const rounds: number[][] = LOADS.map(() => []);
    for (let round = 0; round <= ROUNDS; round++)
      for (const [index, { bytes, write }] of LOADS.entries()) {
        const program = ['taskset', '-c', '1', compiled(lab, 'stream'), ...paths];
        const said = await lab.inside(netns, ...program, String(bytes), String(write), SECONDS);
        const [, received, ns] = said.trim().split(' ').map(Number) as [number, number, number];
        if (round > 0) rounds[index]?.push((received * 1e3) / ns); // the first is to warm up
      }
    return LOADS.map(({ bytes: _bytes, write: _write, ...load }, index) => ({
      ...load,
      value: middle(rounds[index] as number[]),
    }));
  } finally {
    await lab.strike();
  }
}

export const reachedFigures = (rows: readonly Reached[]): Figure[] =>
  rows.map(({ what, value }) => ({ what, unit: 'M frames/s', value }));
