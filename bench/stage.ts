/**
 * What the end-to-end benchmarks stand on: two namespaces, red and blue, and ways between them: the switch, a kernel bridge,
 * other switches. Each way has an interface and a subnet of its own, so that all stand at once and are measured in turn.
 */
import type { PortView } from '../src/control/views.ts';
import { type Lab, until } from '../src/lab.ts';

/** One thing measured on both ways in one run. */
export interface Pair {
  readonly what: string;
  readonly unit: string;
  readonly switch: number;
  readonly bridge: number;
}

/** The namespaces' names. */
export interface Ends {
  readonly red: string;
  readonly blue: string;
  /** Where the switches run. */
  readonly host: string;
}

export interface Way {
  readonly name: string;
  /** Interfaces in the namespaces. */
  readonly red: string;
  readonly blue: string;
  /** Blue's address on this way. */
  readonly target: string;
}

export const makeEnds = async (lab: Lab): Promise<Ends> => ({
  red: await lab.netns('red'),
  blue: await lab.netns('blue'),
  host: await lab.netns('host'),
});

export const middle = (values: number[]): number =>
  values.sort((a, b) => a - b)[values.length >> 1] as number;

/** Row by row the median of what some rounds measured. */
export const medians = (rounds: readonly (readonly Pair[])[]): Pair[] =>
  (rounds[0] as readonly Pair[]).map((pair, row) => {
    const same = rounds.map(round => round[row] as Pair);
    return {
      ...pair,
      switch: middle(same.map(({ switch: value }) => value)),
      bridge: middle(same.map(({ bridge }) => bridge)),
    };
  });

/** Gives the ends of a way their addresses, and sets them up. */
export async function address(lab: Lab, { red, blue }: Ends, way: Way): Promise<Way> {
  const first = way.target.replace(/\d+$/, '10');
  for (const [netns, name, own] of [
    [red, way.red, first],
    [blue, way.blue, way.target],
  ] as const) {
    await lab.ip(netns, 'addr', 'add', `${own}/24`, 'dev', name);
    await lab.ip(netns, 'link', 'set', name, 'up');
  }
  return way;
}

interface SwitchChoice {
  readonly subnet: string;
  /** Taps beside those of red and blue. */
  readonly taps: readonly string[];
  /** Blue's address. */
  readonly target: string;
}

const USUAL: SwitchChoice = { subnet: '192.168.100.0/24', taps: [], target: '192.168.100.11' };

/** The switch between two taps, at their device ends. */
export async function switchWay(
  lab: Lab,
  ends: Ends,
  { subnet, taps, target }: SwitchChoice = USUAL,
): Promise<Way> {
  const all = [`tap0@${ends.red}`, `tap0b@${ends.blue}`, ...taps].join(',');
  await lab.startSwitch(ends.host, '--subnet', subnet, '--taps', all, '--uplink', 'none');
  const way = await address(lab, ends, { name: 'vswitchd', red: 'tap0', blue: 'tap0b', target });
  await until('the ports are up', 3_000, async () =>
    (await lab.ask<PortView[]>('ports'))
      .filter(({ name }) => name === 'tap0' || name === 'tap0b')
      .every(port => port.up),
  );
  return way;
}

/** The switch between two interfaces, through packet sockets. */
export async function packetWay(lab: Lab, ends: Ends): Promise<Way> {
  await cables(lab, ends, 'if');
  const where = ['--name', 'vsw1', '--subnet', '192.168.101.0/24', '--uplink', 'none'];
  await lab.startSwitch(ends.host, ...where, '--taps', 'if-red,if-blue');
  const way = await address(lab, ends, {
    name: 'vswitchd, interface ends',
    red: 'if0',
    blue: 'if0',
    target: '192.168.101.11',
  });
  await until('the interfaces are up', 3_000, async () =>
    (await lab.ask<PortView[]>('ports', 'vsw1')).every(port => port.up),
  );
  return way;
}

export async function bridgeWay(lab: Lab, ends: Ends): Promise<Way> {
  const { host } = ends;
  await cables(lab, ends, 'br');
  await lab.ip(host, 'link', 'add', 'br0', 'type', 'bridge');
  for (const name of ['br-red', 'br-blue']) await lab.ip(host, 'link', 'set', name, 'master', 'br0');
  await lab.ip(host, 'link', 'set', 'br0', 'up');
  return address(lab, ends, { name: 'kernel bridge', red: 'br0', blue: 'br0', target: '10.77.0.11' });
}

/** Veths from the host to both ends: KIND-red and KIND-blue there, KIND0 here. */
export async function cables(lab: Lab, { red, blue, host }: Ends, kind: string): Promise<void> {
  for (const [netns, end] of [
    [red, `${kind}-red`],
    [blue, `${kind}-blue`],
  ] as const) {
    await lab.ip(host, 'link', 'add', end, 'type', 'veth', 'peer', 'name', `${kind}0`, 'netns', netns);
    await lab.ip(host, 'link', 'set', end, 'up');
  }
}
