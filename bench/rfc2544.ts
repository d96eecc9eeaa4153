/**
 * Throughput as RFC 2544 §26.1 has it: the highest rate at which no frame of a trial is lost, by binary search, for its frame
 * sizes (§9.1, with the FCS that no tap carries), between two namespaces; beside a kernel bridge. Trials are short, not 60 s.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Lab } from '../src/lab.ts';
import { bridgeWay, type Ends, makeEnds, type Pair, switchWay, type Way } from './stage.ts';
import { counted, sendExactly } from './traffic.ts';

const SIZES = [64, 128, 256, 512, 1_024, 1_280, 1_518];
const FCS = 4;
const TRIAL_S = 1;
const HALVINGS = 6;
const FIRST = 1_000_000;
const DRAIN_MS = 100;
const SETTLE_MS = 50;

export async function rfc2544Bench(): Promise<Pair[]> {
  const lab = new Lab('2544');
  try {
    const ends = await makeEnds(lab);
    const [ours, bridge] = [await switchWay(lab, ends), await bridgeWay(lab, ends)];
    const pairs: Pair[] = [];
    for (const size of SIZES)
      pairs.push({
        what: `RFC 2544 throughput, ${size} B`,
        unit: 'M frames/s',
        switch: await throughput(lab, ends, ours, size - FCS),
        bridge: await throughput(lab, ends, bridge, size - FCS),
      });
    return pairs;
  } finally {
    await lab.strike();
  }
}

async function throughput(lab: Lab, ends: Ends, way: Way, bytes: number): Promise<number> {
  let [good, bad] = [0, FIRST];
  for (let i = 0; i < HALVINGS; i++) {
    const rate = Math.round((good + bad) / 2);
    const reached = await trial(lab, ends, way, bytes, rate);
    if (reached > 0) good = Math.min(rate, reached);
    else bad = rate;
    if (reached > 0 && reached < rate * 0.95) break; // the sender itself can't do more
  }
  return good / 1e6;
}

/** Frames a second that were sent and all received; 0 when one was lost. */
async function trial(lab: Lab, ends: Ends, way: Way, bytes: number, rate: number): Promise<number> {
  const count = rate * TRIAL_S;
  const seen = (): Promise<number> => counted(lab, ends.blue, way.blue, 'rx_packets');
  await pause(SETTLE_MS);
  const before = await seen();
  const seconds = await sendExactly(lab, ends, way, bytes, count, rate);
  await pause(DRAIN_MS);
  // Neighbour discovery and the like may add a frame of their own; a lost one hides behind none of these.
  return (await seen()) - before >= count ? count / seconds : 0;
}
