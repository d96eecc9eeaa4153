/**
 * End to end between two network namespaces, at the taps' device ends and at interfaces' ends, beside a kernel bridge, in
 * the same run on the same machine. Ratios count; absolute figures are this machine's and this moment's.
 */
import { inLab, type Lab } from '../src/lab.ts';
import {
  bridgeWay,
  type Ends,
  makeEnds,
  medians,
  type Pair,
  packetWay,
  switchWay,
  type Way,
} from './stage.ts';
import { flood, paced, tcp } from './traffic.ts';

const ROUNDS = 5;
const FRAME_BYTES = 60;
/** Frames a second among which the peak is looked for. */
const RATES = Array.from({ length: 10 }, (_, i) => 150_000 + i * 75_000);
const TRIAL_S = 1;
/** More than any sender has: as fast as it can. */
const UNREACHED = 10_000_000;
const SECONDS = 3;

export const tapBench = (): Promise<Pair[]> =>
  inLab('bench', async lab => {
    const ends = await makeEnds(lab);
    const [ours, packet, bridge] = [
      await switchWay(lab, ends),
      await packetWay(lab, ends),
      await bridgeWay(lab, ends),
    ];
    const rounds: Pair[][] = [];
    for (let round = 0; round < ROUNDS; round++) rounds.push(await measure(lab, ends, ours, packet, bridge));
    return [...medians(rounds), await beyondCapacity(lab, ends, ours)];
  });

async function measure(lab: Lab, ends: Ends, ours: Way, packet: Way, bridge: Way): Promise<Pair[]> {
  const bits = (way: Way): Promise<number> => tcp(lab, ends.red, ends.blue, way.target);
  const frames = async (way: Way): Promise<number> => (await flood(lab, ends, way, FRAME_BYTES)).delivered;
  const singles = async (way: Way): Promise<number> =>
    (await paced(lab, ends, way, FRAME_BYTES, UNREACHED, SECONDS)).delivered / 1e6;
  const [ourBits, packetBits, bridgeBits] = [await bits(ours), await bits(packet), await bits(bridge)];
  const [ourFrames, packetFrames, bridgeFrames] = [
    await frames(ours),
    await frames(packet),
    await frames(bridge),
  ];
  const [ourSingles, bridgeSingles] = [await singles(ours), await singles(bridge)];
  const gbit = 'Gbit/s';
  const rate = 'M frames/s';
  return [
    { what: 'taps: TCP, iperf3', unit: gbit, switch: ourBits, bridge: bridgeBits },
    { what: `taps: ${FRAME_BYTES} B frames, trafgen`, unit: rate, switch: ourFrames, bridge: bridgeFrames },
    {
      what: `taps: ${FRAME_BYTES} B frames, one send(2) each`,
      unit: rate,
      switch: ourSingles,
      bridge: bridgeSingles,
    },
    { what: 'interface ends: TCP, iperf3', unit: gbit, switch: packetBits, bridge: bridgeBits },
    {
      what: `interface ends: ${FRAME_BYTES} B frames, trafgen`,
      unit: rate,
      switch: packetFrames,
      bridge: bridgeFrames,
    },
  ];
}

/**
 * What is left of the peak when twice as much is offered: a switch that only read and dropped would have nothing left. The
 * peak is looked for from below, at an even pace.
 */
async function beyondCapacity(lab: Lab, ends: Ends, way: Way): Promise<Pair> {
  let peak = 0;
  for (const rate of RATES)
    peak = Math.max(peak, (await paced(lab, ends, way, FRAME_BYTES, rate, TRIAL_S)).delivered);
  const beyond = await paced(lab, ends, way, FRAME_BYTES, 2 * peak, SECONDS);
  return {
    what: `taps: ${(beyond.offered / peak).toFixed(1)} times the peak offered, beside the peak`,
    unit: 'M frames/s',
    switch: beyond.delivered / 1e6,
    bridge: peak / 1e6,
  };
}
