/** What the end-to-end benchmarks send: TCP by iperf3, frames by trafgen, echoes by ping. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ended, type Lab, lineFrom } from '../src/lab.ts';
import { projectRoot } from '../src/port/native.ts';
import type { Ends, Way } from './stage.ts';

const SECONDS = 3;
/** trafgen compiles its packets first. */
const WARM_UP_MS = 1_500;
const SETTLE_MS = 100;

/** Gbit/s of TCP from one namespace to an address in another. */
export async function tcp(
  lab: Lab,
  from: string,
  to: string,
  target: string,
  ...words: readonly string[]
): Promise<number> {
  await iperfServer(lab, to);
  const said = await lab.inside(from, 'iperf3', '-c', target, '-t', String(SECONDS), '-J', ...words);
  const result = JSON.parse(said) as { end: { sum_received: { bits_per_second: number } } };
  return result.end.sum_received.bits_per_second / 1e9;
}

export async function iperfServer(lab: Lab, netns: string): Promise<ChildProcess> {
  const server = lab.spawn(netns, 'iperf3', '-s', '-1', '--forceflush');
  await lineFrom(server, /Server listening/, 5_000);
  return server;
}

/** As many frames as trafgen can send: M frames/s that red offers and that blue's interface receives in the steady state. */
export async function flood(
  lab: Lab,
  ends: Ends,
  way: Way,
  bytes: number,
): Promise<{ offered: number; delivered: number }> {
  const { red, blue } = ends;
  const [source, destination] = [await macOf(lab, red, way.red), await macOf(lab, blue, way.blue)];
  await lab.ping(red, way.target, 1); // both stations are known before the flood
  const octets = (mac: string): string =>
    mac
      .split(':')
      .map(octet => `0x${octet}`)
      .join(', ');
  const config = `{ ${octets(destination)}, ${octets(source)}, 0x88, 0xb5, fill(0x00, ${bytes - 14}) }`;
  // By the queueing discipline (-q), as a guest's frames go. trafgen leaves its workers behind when it is killed: in a process
  // namespace they end with it.
  const alone = ['unshare', '--pid', '--fork', '--kill-child', 'sh', '-c'];
  const sender = lab.spawn(red, ...alone, `echo '${config}' | exec trafgen -c - -o ${way.red} -P 1 -q`);
  sender.stdout?.resume();
  sender.stderr?.resume();
  await pause(WARM_UP_MS);
  const seen = async (): Promise<[number, number]> => [
    await counted(lab, red, way.red, 'tx_packets', 'tx_dropped'),
    await counted(lab, blue, way.blue, 'rx_packets'),
  ];
  const [before, start] = [await seen(), performance.now()];
  await pause(SECONDS * 1_000);
  const [after, end] = [await seen(), performance.now()];
  await ended(sender, 'SIGKILL', 1_000);
  const perS = (count: number): number => count / (end - start) / 1e3;
  return { offered: perS(after[0] - before[0]), delivered: perS(after[1] - before[1]) };
}

export interface Paced {
  /** Frames a second: what the interface was given, what it took, and what blue's interface received. */
  readonly offered: number;
  readonly taken: number;
  readonly delivered: number;
  /** Was every frame that was offered received? */
  readonly whole: boolean;
}

/** Sends at an even pace from red to blue for a while (send.c), and counts at both ends. `rate`: frames a second. */
export async function paced(
  lab: Lab,
  { red, blue }: Ends,
  way: Way,
  bytes: number,
  rate: number,
  seconds: number,
): Promise<Paced> {
  const macs = [await macOf(lab, blue, way.blue), await macOf(lab, red, way.red)];
  const words = macs.map(mac => mac.replaceAll(':', ''));
  await lab.ping(red, way.target, 1); // both stations are known before
  await pause(SETTLE_MS);
  const seen = (): Promise<number> => counted(lab, blue, way.blue, 'rx_packets');
  const before = await seen();
  const said = await lab.inside(
    red,
    compiled(lab, 'send'),
    way.red,
    ...words,
    String(bytes),
    String(rate),
    String(seconds),
  );
  await pause(SETTLE_MS);
  const received = (await seen()) - before;
  const [offered, refused, ns] = said.trim().split(' ').map(Number) as [number, number, number];
  const perS = (frames: number): number => (frames * 1e9) / ns;
  return {
    offered: perS(offered),
    taken: perS(offered - refused),
    delivered: perS(received),
    whole: received >= offered,
  };
}

/** A small program of bench/peers, compiled for this run. */
export function compiled(lab: Lab, name: string): string {
  const program = join(lab.folder, name);
  if (!existsSync(program))
    execFileSync('cc', ['-O2', '-o', program, join(projectRoot(), `bench/peers/${name}.c`)]);
  return program;
}

const macOf = async (lab: Lab, netns: string, name: string): Promise<string> =>
  (await lab.inside(netns, 'cat', `/sys/class/net/${name}/address`)).trim();

/** The sum of some of an interface's counters. */
export async function counted(lab: Lab, netns: string, name: string, ...counters: string[]): Promise<number> {
  const files = counters.map(counter => `/sys/class/net/${name}/statistics/${counter}`);
  const said = await lab.inside(netns, 'cat', ...files);
  return said
    .trim()
    .split('\n')
    .reduce((sum, line) => sum + Number(line), 0);
}

/** Round trips of 64-byte echoes in microseconds, sorted. `pace`: ping's options for when to send the next. */
export async function roundTrips(
  lab: Lab,
  red: string,
  target: string,
  count: number,
  ...pace: readonly string[]
): Promise<number[]> {
  const said = await lab.inside(red, 'ping', '-c', String(count), '-s', '22', '-W', '1', ...pace, target);
  const times = [...said.matchAll(/time=([\d.]+) ms/g)].map(match => Number(match[1]) * 1_000);
  if (times.length < count * 0.99) throw new Error(`${count - times.length} of ${count} echoes were lost`);
  return times.sort((a, b) => a - b);
}

export const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.floor((sorted.length - 1) * share)] as number;
