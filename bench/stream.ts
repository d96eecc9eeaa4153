/**
 * Stream ports: frames a second that one guest sends and another receives, many frames a write and one a write. The switch is on
 * core 0, both guests (bench/peers/stream.c) on core 1. By turns with a program in C that passes their bytes on and looks at none
 * (bench/peers/relay.c): what the sender's and the kernel's part leaves at best.
 */
import { join } from 'node:path';
import { inLab, lineFrom } from '../src/lab.ts';
import type { Figure } from './history.ts';
import { middle } from './stage.ts';
import { compiled } from './traffic.ts';

/** What is measured, and what was wanted of it, M frames/s. */
export interface Reached {
  readonly what: string;
  readonly value: number;
  /** The relay's. */
  readonly relay: number;
  readonly target?: number;
}

const BLOCK = 65_536;
const LOADS = [
  { what: '64 B frames, 64 KiB writes', bytes: 64, write: BLOCK, target: 10 },
  { what: '64 B frames, one a write', bytes: 64, write: 1, target: 0.9 },
  { what: '1500 B frames, 64 KiB writes', bytes: 1500, write: BLOCK },
  { what: '1500 B frames, one a write', bytes: 1500, write: 1 },
] as const;
type Load = (typeof LOADS)[number];
const ROUNDS = 5;
const SECONDS = '2';
const READY_MS = 3_000;

export const streamBench = (): Promise<Reached[]> =>
  inLab('stream', async lab => {
    const netns = await lab.netns('host');
    const sockets = (...names: string[]): string[] => names.map(name => join(lab.folder, `${name}.sock`));
    const [ours, theirs] = [sockets('a', 'b'), sockets('c', 'd')];
    const child = await lab.startSwitch(
      netns,
      ...['--subnet', '192.168.100.0/24', '--uplink', 'none', '--firewall', 'none'],
      ...ours.flatMap(path => ['--port', `stream:${path}`]),
    );
    await lab.inside(netns, 'taskset', '-a', '-p', '-c', '0', String(child.pid));
    const rate = async (paths: readonly string[], { bytes, write }: Load): Promise<number> => {
      const program = ['taskset', '-c', '1', compiled(lab, 'stream'), ...paths];
      const said = await lab.inside(netns, ...program, String(bytes), String(write), SECONDS);
      const [, received, ns] = said.trim().split(' ').map(Number) as [number, number, number];
      return (received * 1e3) / ns;
    };
    const relayed = async (load: Load): Promise<number> => {
      const relay = lab.spawn(netns, 'taskset', '-c', '0', compiled(lab, 'relay'), ...theirs);
      await lineFrom(relay, /ready/, READY_MS);
      return rate(theirs, load);
    };
    const rounds: [number, number][][] = LOADS.map(() => []);
    for (let round = 0; round <= ROUNDS; round++)
      for (const [index, load] of LOADS.entries()) {
        const pair: [number, number] = [await rate(ours, load), await relayed(load)];
        if (round > 0) rounds[index]?.push(pair); // the first is to warm up
      }
    return LOADS.map(({ bytes: _bytes, write: _write, ...load }, index) => {
      const pairs = rounds[index] as [number, number][];
      return {
        ...load,
        value: middle(pairs.map(([value]) => value)),
        relay: middle(pairs.map(([, relay]) => relay)),
      };
    });
  });

export const reachedFigures = (rows: readonly Reached[]): Figure[] =>
  rows.flatMap(({ what, value, relay }) => [
    { what, unit: 'M frames/s', value },
    { what: `${what}, relay in C`, unit: 'M frames/s', value: relay },
  ]);
