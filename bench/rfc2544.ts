/**
 * Throughput as RFC 2544 §26.1 has it: the highest rate at which no frame of a trial is lost, by binary search, for its frame
 * sizes (§9.1, with the FCS that no tap carries), between two namespaces; beside a kernel bridge. Trials are short, not 60 s.
 */
import { inLab, type Lab } from '../src/lab.ts';
import { bridgeWay, type Ends, makeEnds, type Pair, switchWay, type Way } from './stage.ts';
import { paced } from './traffic.ts';

const SIZES = [64, 128, 256, 512, 1_024, 1_280, 1_518];
const FCS = 4;
const TRIAL_S = 1;
const HALVINGS = 6;
const FIRST = 1_000_000;
/** Of the rate asked for: less, and the sender has no more. */
const REACHED = 0.97;

export const rfc2544Bench = (): Promise<Pair[]> =>
  inLab('2544', async lab => {
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
  });

/** Frames a second, in millions. A rate that the sender itself does not reach is as far as can be told. */
async function throughput(lab: Lab, ends: Ends, way: Way, bytes: number): Promise<number> {
  let [good, bad] = [0, FIRST];
  for (let i = 0; i < HALVINGS; i++) {
    const rate = Math.round((good + bad) / 2);
    const { whole, offered } = await paced(lab, ends, way, bytes, rate, TRIAL_S);
    if (!whole) {
      bad = rate;
      continue;
    }
    good = Math.max(good, offered);
    if (offered < rate * REACHED) break;
  }
  return good / 1e6;
}
