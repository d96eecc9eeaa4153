/** What the end-to-end benchmarks send: TCP by iperf3, frames by trafgen, echoes by ping. */
import type { ChildProcess } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { ended, type Lab, lineFrom } from '../src/lab.ts';
import type { Ends, Way } from './stage.ts';

const SECONDS = 4;
/** trafgen compiles its packets first. */
const WARM_UP_MS = 1_500;

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

export interface Flood {
  readonly bytes: number;
  /** Frames a second; without it as fast as trafgen can. */
  readonly rate?: number;
}

/** M frames/s that red sends and that blue's interface receives in the steady state. */
export async function flood(
  lab: Lab,
  ends: Ends,
  way: Way,
  { bytes, rate }: Flood,
): Promise<{ offered: number; delivered: number }> {
  const { red, blue } = ends;
  const pace = rate === undefined ? '' : `-b ${Math.round(rate)}pps`;
  const sender = await trafgen(lab, ends, way, bytes, pace);
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

/** Sends so many frames at so many a second, and resolves with the seconds that took. */
export async function sendExactly(
  lab: Lab,
  ends: Ends,
  way: Way,
  bytes: number,
  count: number,
  rate: number,
): Promise<number> {
  const sender = await trafgen(lab, ends, way, bytes, `-n ${count} -b ${rate}pps`, false);
  let said = '';
  for (const stream of [sender.stdout, sender.stderr])
    stream?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  const code = await new Promise<number | null>(resolve => sender.once('exit', resolve));
  const took = /(\d+) sec, (\d+) usec/.exec(said);
  if (code !== 0 || took === null)
    throw new Error(`trafgen ended with ${code}: ${said.trim().split('\n').at(-1)}`);
  return Number(took[1]) + Number(took[2]) / 1e6;
}

async function trafgen(
  lab: Lab,
  { red, blue }: Ends,
  way: Way,
  bytes: number,
  options: string,
  quiet = true,
): Promise<ChildProcess> {
  const [source, destination] = [await macOf(lab, red, way.red), await macOf(lab, blue, way.blue)];
  await lab.ping(red, way.target, 1); // both stations are known before the flood
  const octets = (mac: string): string =>
    mac
      .split(':')
      .map(octet => `0x${octet}`)
      .join(', ');
  const config = `{ ${octets(destination)}, ${octets(source)}, 0x88, 0xb5, fill(0x00, ${bytes - 14}) }`;
  // trafgen leaves its workers behind when it is killed: in a process namespace they end with it.
  const alone = ['unshare', '--pid', '--fork', '--kill-child', 'sh', '-c'];
  const command = `echo '${config}' | exec trafgen -c - -o ${way.red} -P 1 ${options}${quiet ? ' -q' : ''}`;
  const sender = lab.spawn(red, ...alone, command);
  if (quiet) {
    sender.stdout?.resume();
    sender.stderr?.resume();
  }
  return sender;
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
