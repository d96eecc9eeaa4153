/**
 * The DHCP server through a tap, driven by perfdhcp: the most leases a second with every message answered, and the delays at
 * half of that. And what a busy control plane does to frames that have nothing to do with it: ping-pong between two other
 * taps, beside the same over a kernel bridge, which shares the two cores with the load as well.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { ended, Lab } from '../src/lab.ts';
import type { Figure } from './history.ts';
import { bridgeWay, makeEnds, middle, switchWay, type Way } from './stage.ts';
import { percentile, roundTrips } from './traffic.ts';

const GATEWAY = '172.20.0.1';
const SUBNET = '172.20.0.0/16';
/** perfdhcp plays a relay, whose own address the answers go to. */
const RELAY = '172.20.255.250/16';
const SECONDS = 3;
const LOWEST = 1_000;
const HIGHEST = 64_000;
const HALVINGS = 4;
/** How long perfdhcp waits for the last answers; its rate counts this in. */
const WAIT_S = 1;
const TRANSACTIONS = 10_000;
const BUSY_RATE = 2_000;
const ECHOES = 3_000;
const ROUNDS = 3;
const API_MS = 20;

interface Exchange {
  readonly lost: number;
  readonly rate: number;
  /** Milliseconds. */
  readonly averageMs: number;
  readonly longestMs: number;
}

/** Of at most 20,000 clients: the server keeps no more than 65,536 records, whoever asks. */
const perfdhcp = (rate: number, count: number): string[] => {
  const load = ['-r', String(rate), '-n', String(count), '-R', '20000', '-u'];
  return ['perfdhcp', '-4', ...load, '-W', String(WAIT_S * 1e6), '-l', 'tap2', GATEWAY];
};

export async function dhcpBench(): Promise<Figure[]> {
  const lab = new Lab('dhcp');
  try {
    const ends = await makeEnds(lab);
    const green = await lab.netns('green');
    const where = ['--name', 'vsw3', '--subnet', SUBNET, '--uplink', 'none'];
    await lab.startSwitch(ends.host, ...where, '--taps', `tap2@${green}`);
    await lab.ip(green, 'addr', 'add', RELAY, 'dev', 'tap2');
    await lab.ip(green, 'link', 'set', 'tap2', 'up');
    const most = await highest(lab, green);
    const half = await exchange(lab, green, Math.round(most / 2));
    return [
      { what: 'leases a second, none lost', unit: '1/s', value: most },
      { what: 'DISCOVER to ACK at half of that, average', unit: 'ms', value: half.averageMs },
      { what: 'DISCOVER to ACK at half of that, longest of each', unit: 'ms', value: half.longestMs },
    ];
  } finally {
    await lab.strike();
  }
}

async function exchange(lab: Lab, netns: string, rate: number): Promise<Exchange> {
  const count = rate * SECONDS;
  const words = perfdhcp(rate, count).join(' ');
  const said = await lab.inside(netns, 'sh', '-c', `${words} || true`); // it ends with 3 where something was lost
  const all = (pattern: RegExp): number[] => [...said.matchAll(pattern)].map(match => Number(match[1]));
  const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
  const [reached] = all(/Rate: ([\d.]+) 4-way/g);
  if (reached === undefined) throw new Error(`perfdhcp said: ${said.trim().split('\n').at(-1)}`);
  return {
    lost: sum(all(/^drops: (\d+)/gm)),
    rate: count / (count / reached - WAIT_S),
    averageMs: sum(all(/avg delay: ([\d.]+)/g)),
    longestMs: sum(all(/max delay: ([\d.]+)/g)),
  };
}

/** Doubles till something is lost or perfdhcp can't keep up, then halves the interval. */
async function highest(lab: Lab, netns: string): Promise<number> {
  const holds = async (rate: number): Promise<boolean> => {
    const { lost, rate: reached } = await exchange(lab, netns, rate);
    return lost === 0 && reached > rate * 0.98;
  };
  let good = 0;
  let bad = LOWEST;
  while (bad <= HIGHEST && (await holds(bad))) [good, bad] = [bad, bad * 2];
  for (let i = 0; i < HALVINGS && good > 0; i++) {
    const rate = Math.round((good + bad) / 2);
    if (await holds(rate)) good = rate;
    else bad = rate;
  }
  return good;
}

/** Round trips between two taps while a third has DHCP for 10,000 clients and the API is asked fifty times a second. */
export async function busyBench(): Promise<Figure[]> {
  const lab = new Lab('busy');
  try {
    const ends = await makeEnds(lab);
    const green = await lab.netns('green');
    const ours = await switchWay(lab, ends, {
      subnet: SUBNET,
      taps: [`tap2@${green}`],
      target: '172.20.255.11',
    });
    const bridge = await bridgeWay(lab, ends);
    await lab.ip(green, 'addr', 'add', RELAY, 'dev', 'tap2');
    await lab.ip(green, 'link', 'set', 'tap2', 'up');
    const p99 = async (way: Way): Promise<number> =>
      percentile(await roundTrips(lab, ends.red, way.target, ECHOES, '-A'), 0.99);
    const rounds = new Map<string, number[]>();
    const take = (what: string, value: number): void =>
      void rounds.set(what, [...(rounds.get(what) ?? []), value]);
    for (let round = 0; round < ROUNDS; round++) {
      for (const way of [ours, bridge]) {
        take(`${way.name}, idle`, await p99(way));
        take(`${way.name}, control plane busy`, await busy(lab, green, () => p99(way)));
      }
    }
    return [...rounds].map(([what, values]) => ({
      what: `ping-pong p99, ${what}`,
      unit: 'µs',
      value: middle(values),
    }));
  } finally {
    await lab.strike();
  }
}

async function busy<T>(lab: Lab, green: string, act: () => Promise<T>): Promise<T> {
  const load = lab.spawn(green, ...perfdhcp(BUSY_RATE, TRANSACTIONS));
  load.stdout?.resume();
  let done = false;
  const asking = (async () => {
    while (!done) {
      await lab.ask('ports');
      await pause(API_MS);
    }
  })();
  await pause(500);
  try {
    return await act();
  } finally {
    done = true;
    await asking;
    await ended(load, 'SIGTERM', 2_000);
  }
}
