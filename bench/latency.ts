/**
 * Round trips of 64-byte echoes between two namespaces, through the switch and through a kernel bridge: one after the other
 * (ping-pong), idle and with 5 Gbit/s of TCP on the same way beside it; and one every 2 ms, when all have gone to sleep in
 * between. What the switch adds is the difference.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { ended, inLab, type Lab } from '../src/lab.ts';
import { bridgeWay, type Ends, makeEnds, medians, type Pair, switchWay, type Way } from './stage.ts';
import { iperfServer, percentile, roundTrips } from './traffic.ts';

const ECHOES = 2_100;
const ROUNDS = 5;
const LOAD = '5G';
const LOAD_S = 5;

const PING_PONG = ['-A'];
const SPACED = ['-i', '0.002'];

export const latencyBench = (): Promise<Pair[]> =>
  inLab('rtt', async lab => {
    const ends = await makeEnds(lab);
    const [ours, bridge] = [await switchWay(lab, ends), await bridgeWay(lab, ends)];
    const echoes = (way: Way, pace: readonly string[]): Promise<number[]> =>
      roundTrips(lab, ends.red, way.target, pace === SPACED ? ECHOES / 3 : ECHOES, ...pace);
    const measure = async (what: string, act: (way: Way) => Promise<number[]>): Promise<Pair[]> => {
      const [here, there] = [await act(ours), await act(bridge)];
      return [0.5, 0.99].map(share => ({
        what: `${what}, p${share * 100}`,
        unit: 'µs',
        switch: percentile(here, share),
        bridge: percentile(there, share),
      }));
    };
    const rounds: Pair[][] = [];
    for (let round = 0; round < ROUNDS; round++)
      rounds.push([
        ...(await measure('ping-pong, idle', way => echoes(way, PING_PONG))),
        ...(await measure(`ping-pong beside ${LOAD}bit/s`, way =>
          loaded(lab, ends, way, () => echoes(way, PING_PONG)),
        )),
        ...(await measure('one every 2 ms', way => echoes(way, SPACED))),
      ]);
    return medians(rounds);
  });

async function loaded<T>(lab: Lab, { red, blue }: Ends, way: Way, act: () => Promise<T>): Promise<T> {
  const server = await iperfServer(lab, blue);
  lab.spawn(red, 'iperf3', '-c', way.target, '-b', LOAD, '-t', String(LOAD_S)).stdout?.resume();
  await pause(500);
  try {
    return await act();
  } finally {
    await ended(server, 'SIGTERM', LOAD_S * 1_000);
  }
}
