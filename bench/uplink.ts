/**
 * From a guest through the NAT and the host to a server outside, beside the kernel's own routing with MASQUERADE: TCP by
 * iperf3, both ways in one run.
 */
import { inLab } from '../src/lab.ts';
import { kernelGuest, makeOutside, ourGuest, SERVER } from './peers/gateways.ts';
import { medians, type Pair } from './stage.ts';
import { tcp } from './traffic.ts';

const ROUNDS = 5;

export const uplinkBench = (): Promise<Pair[]> =>
  inLab('up', async lab => {
    const gateways = await makeOutside(lab);
    const [ours, routed] = [await ourGuest(lab, gateways), await kernelGuest(lab, gateways)];
    const pair = async (what: string, ...words: string[]): Promise<Pair> => ({
      what,
      unit: 'Gbit/s',
      switch: await tcp(lab, ours.netns, gateways.outside, SERVER, ...words),
      bridge: await tcp(lab, routed.netns, gateways.outside, SERVER, ...words),
    });
    const rounds: Pair[][] = [];
    for (let round = 0; round < ROUNDS; round++)
      rounds.push([await pair('guest to outside, TCP'), await pair('outside to guest, TCP', '-R')]);
    return medians(rounds);
  });
