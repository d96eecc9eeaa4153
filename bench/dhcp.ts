/** The DHCP server beside Kea and dnsmasq; and what a busy control plane does to frames that have nothing to do with it. */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { ended, inLab, type Lab } from '../src/lab.ts';
import type { Figure } from './history.ts';
import { delaysMs, dhcpPeers, type Server } from './peers/dhcp.ts';
import { makeEnds, middle, switchWay } from './stage.ts';
import { percentile, roundTrips } from './traffic.ts';

const SUBNET = '172.20.0.0/16';

const HERE: Server = { name: 'vsw0', tap: 'tap2', gateway: '172.20.0.1', relay: '172.20.255.250/16' };
const ELSEWHERE: Server = { name: 'vsw4', tap: 'tap3', gateway: '172.21.0.1', relay: '172.21.255.250/16' };

const SECONDS = 3;
const LOWEST = 500;
const MANY = 50_000;
const MANY_RATE = 2_900;
const HIGHEST = 64_000;
const HALVINGS = 4;
/** How long perfdhcp waits for the last answers; its rate counts this in. */
const WAIT_S = 1;
const TRANSACTIONS = 10_000;
const BUSY_RATE = 2_000;
const ECHOES = 3_000;
const ROUNDS = 5;
const API_MS = 20;

interface Exchange {
  readonly lost: number;
  readonly rate: number;
  /** From DISCOVER to ACK, milliseconds. */
  readonly averageMs: number;
  readonly p99Ms: number;
}

/** Of at most 20,000 clients: the server keeps no more than 65,536 records, whoever asks. */
const perfdhcp = (
  rate: number,
  count: number,
  { tap, gateway }: Server = HERE,
  clients = 20_000,
): string[] => {
  const load = ['-r', String(rate), '-n', String(count), '-R', String(clients), '-u'];
  return ['perfdhcp', '-4', ...load, '-W', String(WAIT_S * 1e6), '-l', tap, gateway];
};

/**
 * DHCP servers in one run, each driven by perfdhcp in turn: the switch through a tap, Kea and dnsmasq through a veth. The most
 * leases a second with every message answered, and the delays at half of that; then what 50,000 leases take of the switch's memory.
 */
export const dhcpBench = (): Promise<Figure[]> =>
  inLab('dhcp', async lab => {
    const [host, green] = [await lab.netns('host'), await lab.netns('green')];
    const where = ['--name', HERE.name, '--subnet', SUBNET, '--uplink', 'none'];
    const child = await lab.startSwitch(host, ...where, '--taps', `${HERE.tap}@${green}`);
    await lab.ip(green, 'addr', 'add', HERE.relay, 'dev', HERE.tap);
    await lab.ip(green, 'link', 'set', HERE.tap, 'up');
    const figures: Figure[] = [];
    for (const server of [HERE, ...(await dhcpPeers(lab, green))]) {
      await exchange(lab, green, LOWEST, server); // every server warm
      const most = await highest(lab, green, server);
      const half = await exchange(lab, green, Math.round(most / 2), server);
      figures.push(
        { what: `leases a second, none lost, ${server.name}`, unit: '1/s', value: most },
        {
          what: `DISCOVER to ACK at half of that, average, ${server.name}`,
          unit: 'ms',
          value: half.averageMs,
        },
        { what: `the same, 99th percentile, ${server.name}`, unit: 'ms', value: half.p99Ms },
      );
    }
    return [...figures, await memory(lab, green, child.pid as number)];
  });

/** Of the switch alone, with a lease for each of 50,000 clients, once more renewed. */
async function memory(lab: Lab, netns: string, pid: number): Promise<Figure> {
  for (let round = 0; round < 3; round++)
    await lab.inside(netns, 'sh', '-c', `${perfdhcp(MANY_RATE, MANY, HERE, MANY).join(' ')} || true`);
  const leases = (await lab.ask<unknown[]>('leases', HERE.name)).length;
  const [, kib = 'NaN'] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return { what: `memory with ${leases} leases`, unit: 'MiB', value: Number(kib) / 1024 };
}

async function exchange(lab: Lab, netns: string, rate: number, server: Server): Promise<Exchange> {
  const count = rate * SECONDS;
  const words = [...perfdhcp(rate, count, server), '-x', 't'].join(' ');
  const said = await lab.inside(netns, 'sh', '-c', `${words} || true`); // it ends with 3 where something was lost
  const all = (pattern: RegExp): number[] => [...said.matchAll(pattern)].map(match => Number(match[1]));
  const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
  const [reached] = all(/Rate: ([\d.]+) 4-way/g);
  if (reached === undefined) throw new Error(`perfdhcp said: ${said.trim().split('\n').at(-1)}`);
  const delays = delaysMs(said).sort((a, b) => a - b);
  return {
    lost: sum(all(/^drops: (\d+)/gm)),
    rate: count / (count / reached - WAIT_S),
    averageMs: sum(delays) / delays.length,
    p99Ms: percentile(delays, 0.99),
  };
}

/** Doubles till something is lost or perfdhcp can't keep up, then halves the interval. One fault is forgiven: the cores are shared. */
async function highest(lab: Lab, netns: string, server: Server): Promise<number> {
  const once = async (rate: number): Promise<boolean> => {
    const { lost, rate: reached } = await exchange(lab, netns, rate, server);
    return lost === 0 && reached > rate * 0.98;
  };
  const holds = async (rate: number): Promise<boolean> => (await once(rate)) || (await once(rate));
  let good = 0;
  let bad = LOWEST;
  while (bad <= HIGHEST && (await holds(bad))) [good, bad] = [bad, bad * 2];
  for (let i = 0; i < HALVINGS; i++) {
    const rate = Math.round((good + bad) / 2);
    if (await holds(rate)) good = rate;
    else bad = rate;
  }
  return good;
}

/**
 * Round trips between two taps: idle; while a third tap has DHCP for 10,000 clients from the same switch and the API is asked
 * fifty times a second; and while another switch on the same cores serves all that. What the last two differ by is what a
 * busy control plane does to the data plane; the rest is what anything does that wants a share of two cores.
 */
export const busyBench = (): Promise<Figure[]> =>
  inLab('busy', async lab => {
    const ends = await makeEnds(lab);
    const green = await lab.netns('green');
    const taps = [`tap2@${green}`];
    const way = await switchWay(lab, ends, { subnet: SUBNET, taps, target: '172.20.255.11' });
    const other = ['--name', ELSEWHERE.name, '--subnet', '172.21.0.0/16', '--uplink', 'none'];
    await lab.startSwitch(ends.host, ...other, '--taps', `${ELSEWHERE.tap}@${green}`);
    for (const { tap, relay } of [HERE, ELSEWHERE]) {
      await lab.ip(green, 'addr', 'add', relay, 'dev', tap);
      await lab.ip(green, 'link', 'set', tap, 'up');
    }
    const p99 = async (): Promise<number> =>
      percentile(await roundTrips(lab, ends.red, way.target, ECHOES, '-A'), 0.99);
    const rounds: number[][] = [];
    for (let round = 0; round < ROUNDS; round++)
      rounds.push([await p99(), await busy(lab, green, ELSEWHERE, p99), await busy(lab, green, HERE, p99)]);
    const column = (index: number): number => middle(rounds.map(values => values[index] as number));
    const figure = (what: string, value: number): Figure => ({
      what: `ping-pong p99, ${what}`,
      unit: 'µs',
      value,
    });
    return [
      figure('idle', column(0)),
      figure('the control plane of another switch busy', column(1)),
      figure('its own control plane busy', column(2)),
    ];
  });

async function busy<T>(lab: Lab, green: string, server: Server, act: () => Promise<T>): Promise<T> {
  const load = lab.spawn(green, ...perfdhcp(BUSY_RATE, TRANSACTIONS, server));
  load.stdout?.resume();
  let done = false;
  const asking = (async () => {
    while (!done) {
      await lab.ask('ports', server.name);
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
