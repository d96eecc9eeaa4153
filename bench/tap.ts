/**
 * End to end between two network namespaces: through taps and the switch, and through veths and a kernel bridge, in the
 * same run on the same machine. Ratios count; absolute figures are this machine's and this moment's.
 */

import { setTimeout as pause } from 'node:timers/promises';
import { ended, Lab, lineFrom } from '../src/lab.ts';
import { type Ends, median, type Pair, target, wire } from './stage.ts';

const SECONDS = 4;
const ROUNDS = 3;
const FRAME_BYTES = 60;
const WARM_UP_MS = 1_500;

export async function tapBench(): Promise<Pair[]> {
  const lab = new Lab('bench');
  try {
    const ends = await wire(lab);
    const tcp: Pair[] = [];
    const frames: Pair[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      tcp.push({
        what: 'TCP, iperf3',
        unit: 'Gbit/s',
        switch: await iperf(lab, ends, 'tap'),
        bridge: await iperf(lab, ends, 'veth0'),
      });
      frames.push({
        what: `${FRAME_BYTES} B frames, trafgen`,
        unit: 'M frames/s',
        switch: await flood(lab, ends, 'tap'),
        bridge: await flood(lab, ends, 'veth0'),
      });
    }
    return [median(tcp), median(frames)];
  } finally {
    await lab.strike();
  }
}

async function iperf(lab: Lab, { red, blue }: Ends, way: string): Promise<number> {
  const server = lab.spawn(blue, 'iperf3', '-s', '-1', '--forceflush');
  await lineFrom(server, /Server listening/, 5_000);
  const said = await lab.inside(red, 'iperf3', '-c', target(way), '-t', String(SECONDS), '-J');
  const result = JSON.parse(said) as { end: { sum_received: { bits_per_second: number } } };
  return result.end.sum_received.bits_per_second / 1e9;
}

/** Frames that arrive at the far interface while trafgen sends as fast as it can. */
async function flood(lab: Lab, { red, blue }: Ends, way: string): Promise<number> {
  const [from, to] = way === 'tap' ? ['tap0', 'tap0b'] : ['veth0', 'veth0'];
  const [source, destination] = [await macOf(lab, red, from), await macOf(lab, blue, to)];
  await lab.ping(red, target(way), 1); // both stations are known before the flood
  const bytes = (mac: string): string =>
    mac
      .split(':')
      .map(octet => `0x${octet}`)
      .join(', ');
  const config = `{ ${bytes(destination)}, ${bytes(source)}, 0x88, 0xb5, fill(0x00, ${FRAME_BYTES - 14}) }`;
  // trafgen leaves its workers behind when it is killed: in a process namespace they end with it.
  const alone = ['unshare', '--pid', '--fork', '--kill-child', 'sh', '-c'];
  const sender = lab.spawn(red, ...alone, `echo '${config}' | exec trafgen -c - -o ${from} -P 1 -q`);
  sender.stdout?.resume();
  sender.stderr?.resume();
  await pause(WARM_UP_MS); // it compiles its packets first
  const before = await received(lab, blue, to);
  const start = performance.now();
  await pause(SECONDS * 1000);
  const count = (await received(lab, blue, to)) - before;
  const seconds = (performance.now() - start) / 1000;
  await ended(sender, 'SIGKILL', 1_000);
  return count / seconds / 1e6;
}

const macOf = async (lab: Lab, netns: string, name: string): Promise<string> =>
  (await lab.inside(netns, 'cat', `/sys/class/net/${name}/address`)).trim();

const received = async (lab: Lab, netns: string, name: string): Promise<number> =>
  Number(await lab.inside(netns, 'cat', `/sys/class/net/${name}/statistics/rx_packets`));
