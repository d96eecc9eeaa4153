/** What the end-to-end benchmarks stand on: two namespaces, joined by the switch and by a kernel bridge at once. */
import type { PortView } from '../src/control/views.ts';
import { type Lab, until } from '../src/lab.ts';

/** One thing measured on both ways in one run. */
export interface Pair {
  readonly what: string;
  readonly unit: string;
  readonly switch: number;
  readonly bridge: number;
}

export interface Ends {
  readonly red: string;
  readonly blue: string;
}

/** Where the other namespace answers: by the switch's taps, or by the bridge's veths. */
export const target = (way: string): string => (way === 'tap' ? '192.168.100.11' : '10.77.0.11');

export async function wire(lab: Lab): Promise<Ends> {
  const ends: Ends = { red: await lab.netns('red'), blue: await lab.netns('blue') };
  const host = await lab.netns('host');
  await wireSwitch(lab, host, ends);
  await wireBridge(lab, host, ends);
  return ends;
}

export const middle = (values: number[]): number =>
  values.sort((a, b) => a - b)[values.length >> 1] as number;

export const median = (rounds: readonly Pair[]): Pair => ({
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
