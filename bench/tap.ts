/**
 * End to end between two network namespaces: through taps and the switch, and through veths and a kernel bridge, in the
 * same run on the same machine. Ratios count; absolute figures are this machine's and this moment's.
 */

import { setTimeout as pause } from 'node:timers/promises';
import type { PortView } from '../src/control/views.ts';
import { ended, Lab, lineFrom, until } from '../src/lab.ts';

const SECONDS = 4;
const ROUNDS = 3;
const FRAME_BYTES = 60;
const WARM_UP_MS = 1_500;

export interface Pair {
  readonly what: string;
  readonly unit: string;
  readonly switch: number;
  readonly bridge: number;
}

interface Ends {
  readonly red: string;
  readonly blue: string;
}

export async function tapBench(): Promise<Pair[]> {
  const lab = new Lab('bench');
  try {
    const ends: Ends = { red: await lab.netns('red'), blue: await lab.netns('blue') };
    const host = await lab.netns('host');
    await wireSwitch(lab, host, ends);
    await wireBridge(lab, host, ends);
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

const middle = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;

const median = (rounds: readonly Pair[]): Pair => ({
  ...(rounds[0] as Pair),
  switch: middle(rounds.map(round => round.switch)),
  bridge: middle(rounds.map(round => round.bridge)),
});

async function wireSwitch(lab: Lab, host: string, { red, blue }: Ends): Promise<void> {
  await lab.startSwitch(
    host,
    '--subnet',
    '192.168.100.0/24',
    '--taps',
    `tap0@${red},tap0b@${blue}`,
    '--uplink',
    'none',
  );
  await lab.ip(red, 'addr', 'add', '192.168.100.10/24', 'dev', 'tap0');
  await lab.ip(red, 'link', 'set', 'tap0', 'up');
  await lab.ip(blue, 'addr', 'add', '192.168.100.11/24', 'dev', 'tap0b');
  await lab.ip(blue, 'link', 'set', 'tap0b', 'up');
  await until('the ports are up', 3_000, async () =>
    (await lab.ask<PortView[]>('ports')).every(port => port.up),
  );
}

async function wireBridge(lab: Lab, host: string, { red, blue }: Ends): Promise<void> {
  await lab.ip(host, 'link', 'add', 'br0', 'type', 'bridge');
  await lab.ip(host, 'link', 'set', 'br0', 'up');
  for (const [netns, end, address] of [
    [red, 'br-red', '10.77.0.10/24'],
    [blue, 'br-blue', '10.77.0.11/24'],
  ] as const) {
    await lab.ip(host, 'link', 'add', end, 'type', 'veth', 'peer', 'name', 'veth0', 'netns', netns);
    await lab.ip(host, 'link', 'set', end, 'master', 'br0', 'up');
    await lab.ip(netns, 'addr', 'add', address, 'dev', 'veth0');
    await lab.ip(netns, 'link', 'set', 'veth0', 'up');
  }
}

const target = (way: string): string => (way === 'tap' ? '192.168.100.11' : '10.77.0.11');

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
