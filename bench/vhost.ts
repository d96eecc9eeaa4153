/**
 * vhost-user beside DPDK's vhost library in C, in one run on the same two cores: testpmd with two virtio-user devices on core 1
 * sends back and forth through the switch, or through a second testpmd in its place, on core 0. By turns, both started anew each
 * time, for what V8 makes of the data plane's code differs from start to start. The switch has all its stages; DPDK's has none.
 *
 *   core 1   testpmd: virtio-user A ⇄ virtio-user B, each frame that comes in by one goes out by the other
 *   core 0   vswitchd, or testpmd with two net_vhost ports in io mode
 *
 * And the rate of a kernel bridge between two veths, by trafgen, which has more frames for it than testpmd's packet sockets.
 *
 * Frames of 64 KiB are chains of sixteen pieces of 4,095 bytes, pages as a Linux guest has them, into buffers of 4,096, merged;
 * the switch has an MTU for them, for testpmd asks nobody to cut them.
 */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { table } from '../src/control/table.ts';
import type { PortView } from '../src/control/views.ts';
import { ended, inLab, type Lab, until } from '../src/lab.ts';
import type { Figure } from './history.ts';
import { MBUFS, pingPong, Testpmd, virtioUser } from './peers/testpmd.ts';
import { bridgeWay, type Ends, makeEnds, middle } from './stage.ts';
import { flood } from './traffic.ts';

/** One thing that was asked for. */
export interface Wanted {
  readonly what: string;
  readonly unit: string;
  readonly ours: number;
  readonly peer: string;
  readonly theirs: number;
  /** Of ours by theirs. */
  readonly ratio: number;
  readonly target: number;
}

interface Load {
  readonly what: string;
  /** Of a frame's pieces. */
  readonly pieces: readonly number[];
  /** Frames of a burst, and how many bursts are under way each way. */
  readonly burst: number;
  readonly bursts: number;
  /** Both testpmds' options beside the usual ones, and the generator's alone. */
  readonly both: readonly string[];
  readonly own: readonly string[];
  readonly target: number;
}

const SHORT_BYTES = 64;
const LOADS: readonly Load[] = [
  { what: '64 B', pieces: [SHORT_BYTES], burst: 32, bursts: 16, both: [], own: [], target: 0.8 },
  { what: '1500 B', pieces: [1500], burst: 32, bursts: 16, both: [], own: [], target: 1 },
  {
    what: '64 KiB',
    pieces: new Array<number>(16).fill(4_095),
    burst: 28, // twice as many, all that are under way, fit a ring of 1,024 in chains of 17
    bursts: 1,
    both: ['--mbuf-size=4224'], // a headroom of 128 and a page
    own: ['--txd=1024', '--rxd=1024'],
    target: 1,
  },
];
const BRIDGE_TARGET = 5;
const ROUNDS = 5;
const WARM_UP_MS = 1_500;
const MEASURED_MS = 2_000;
const LARGEST_MTU = '65521';
const READY_MS = 5_000;

export const vhostBench = (): Promise<Wanted[]> =>
  inLab('vhost', async lab => {
    const ends = await makeEnds(lab);
    const rows: Wanted[] = [];
    for (const load of LOADS) rows.push(await compare(lab, ends.host, load));
    const [short] = rows as [Wanted];
    const bridge = await bridgeRate(lab, ends);
    rows.push({
      ...short,
      peer: 'kernel bridge',
      theirs: bridge,
      ratio: short.ours / bridge,
      target: BRIDGE_TARGET,
    });
    return rows;
  });

/** Ours and theirs by turns: the medians of both and of the turns' ratios. */
async function compare(lab: Lab, netns: string, load: Load): Promise<Wanted> {
  const pairs: [number, number][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const pair: [number, number] = [await ourRate(lab, netns, load), await theirRate(lab, netns, load)];
    pairs.push(pair);
    console.error(`bench: ${load.what}, M frames/s: ${pair.map(rate => rate.toFixed(3)).join(' to ')}`);
  }
  return {
    what: `vhost-user, ${load.what} frames`,
    unit: 'M frames/s',
    ours: middle(pairs.map(([ours]) => ours)),
    peer: "DPDK's vhost",
    theirs: middle(pairs.map(([, theirs]) => theirs)),
    ratio: middle(pairs.map(([ours, theirs]) => ours / theirs)),
    target: load.target,
  };
}

async function ourRate(lab: Lab, netns: string, load: Load): Promise<number> {
  const paths = [join(lab.folder, 'a.sock'), join(lab.folder, 'b.sock')] as const;
  const child = await lab.startSwitch(
    netns,
    ...['--subnet', '192.168.100.0/24', '--uplink', 'none', '--firewall', 'none', '--mtu', LARGEST_MTU],
    ...paths.flatMap(path => ['--port', `vhost-user:${path}`]),
  );
  try {
    await lab.inside(netns, 'taskset', '-a', '-p', '-c', '0', String(child.pid));
    return await rateBy(lab, netns, paths, load, async () => {
      const up = async (): Promise<boolean> => (await lab.ask<PortView[]>('ports')).every(port => port.up);
      await until('both ports are up', READY_MS, up);
    });
  } finally {
    await ended(child, 'SIGTERM', READY_MS);
  }
}

async function theirRate(lab: Lab, netns: string, load: Load): Promise<number> {
  const paths = [join(lab.folder, 'c.sock'), join(lab.folder, 'd.sock')] as const;
  const peer = await Testpmd.start(lab, netns, {
    core: 0,
    devices: paths.map((path, index) => `net_vhost${index},iface=${path}`),
    options: ['--forward-mode=io', '--txd=512', '--rxd=512', ...MBUFS, ...load.both],
  });
  try {
    await peer.say('start');
    return await rateBy(lab, netns, paths, load, async () => undefined);
  } finally {
    await peer.end();
  }
}

async function rateBy(
  lab: Lab,
  netns: string,
  paths: readonly [string, string],
  load: Load,
  ready: () => Promise<void>,
): Promise<number> {
  const devices = [virtioUser(0, paths[0]), virtioUser(1, paths[1])] as const;
  const generator = await pingPong(lab, netns, devices, load.pieces, ...load.both, ...load.own);
  return rateOf(generator, load, ready);
}

/** M frames a second, both ways, that come back; the generator ends with it. */
async function rateOf(
  generator: Testpmd,
  { burst, bursts }: Load,
  ready: () => Promise<void>,
): Promise<number> {
  try {
    await generator.say(`set burst ${burst}`);
    await ready();
    await generator.say(`start tx_first ${bursts}`);
    await pause(WARM_UP_MS);
    const [before, start] = [await generator.ports(), performance.now()];
    await pause(MEASURED_MS);
    const [after, end] = [await generator.ports(), performance.now()];
    const frames = after.received - before.received;
    if (frames === 0) throw new Error('no frame came back to testpmd');
    return frames / (end - start) / 1e3;
  } finally {
    await generator.end();
  }
}

/** What a kernel bridge between two veths delivers of what trafgen sends, M frames a second: the median of some rounds. */
async function bridgeRate(lab: Lab, ends: Ends): Promise<number> {
  const way = await bridgeWay(lab, ends);
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round++)
    rates.push((await flood(lab, ends, way, SHORT_BYTES)).delivered);
  return middle(rates);
}

export const wantedText =
  (title: string) =>
  (rows: readonly Wanted[]): string =>
    table(
      [title, 'UNIT', 'VSWITCHD', 'OTHER', 'IS', 'RATIO', 'WANTED', ''],
      rows.map(({ what, unit, ours, peer, theirs, ratio, target }) => [
        ...[what, unit, ours.toFixed(3), peer, theirs.toFixed(3), ratio.toFixed(2), `${target}`],
        ratio >= target ? 'reached' : 'SHORT',
      ]),
    );

export const wantedFigures = (rows: readonly Wanted[]): Figure[] =>
  rows.flatMap(({ what, unit, ours, peer, theirs, ratio }) => [
    { what, unit, value: ours },
    { what: `${what}, ${peer}`, unit, value: theirs },
    { what: `${what}, to ${peer}`, unit: '', value: ratio },
  ]);
