/**
 * Round trips between two namespaces, 64 bytes of ICMP echo 500 times a second: through the switch and through a kernel
 * bridge, idle and with 5 Gbit/s of TCP on the same way beside it. What the switch adds is the difference.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { ended, Lab, lineFrom } from '../src/lab.ts';
import { type Ends, median, type Pair, target, wire } from './stage.ts';

const ECHOES = 1_500;
const INTERVAL_S = '0.002';
const ROUNDS = 3;
const LOAD = '5G';
const LOAD_S = 8;

export async function latencyBench(): Promise<Pair[]> {
  const lab = new Lab('rtt');
  try {
    const ends = await wire(lab);
    const rounds: Pair[][] = [];
    for (let round = 0; round < ROUNDS; round++)
      rounds.push([
        ...(await measure(lab, ends, 'idle')),
        ...(await measure(lab, ends, `beside ${LOAD}bit/s`)),
      ]);
    return (rounds[0] as Pair[]).map((_, row) => median(rounds.map(round => round[row] as Pair)));
  } finally {
    await lab.strike();
  }
}

async function measure(lab: Lab, ends: Ends, what: string): Promise<Pair[]> {
  const [ours, theirs] = [
    await roundTrips(lab, ends, 'tap', what),
    await roundTrips(lab, ends, 'veth0', what),
  ];
  return [0.5, 0.99].map(share => ({
    what: `round trip p${share * 100}, ${what}`,
    unit: 'µs',
    switch: percentile(ours, share),
    bridge: percentile(theirs, share),
  }));
}

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.floor((sorted.length - 1) * share)] as number;

/** Microseconds, sorted. */
async function roundTrips(lab: Lab, { red, blue }: Ends, way: string, what: string): Promise<number[]> {
  const loaded = what !== 'idle';
  const server = loaded ? lab.spawn(blue, 'iperf3', '-s', '-1', '--forceflush') : undefined;
  if (server !== undefined) {
    await lineFrom(server, /Server listening/, 5_000);
    lab.spawn(red, 'iperf3', '-c', target(way), '-b', LOAD, '-t', String(LOAD_S)).stdout?.resume();
    await pause(500);
  }
  const words = ['-c', String(ECHOES), '-i', INTERVAL_S, '-s', '22', '-W', '1', target(way)];
  const said = await lab.inside(red, 'ping', ...words);
  if (server !== undefined) await ended(server, 'SIGTERM', LOAD_S * 1_000);
  const times = [...said.matchAll(/time=([\d.]+) ms/g)].map(match => Number(match[1]) * 1_000);
  if (times.length < ECHOES * 0.99) throw new Error(`${ECHOES - times.length} of ${ECHOES} echoes were lost`);
  return times.sort((a, b) => a - b);
}
