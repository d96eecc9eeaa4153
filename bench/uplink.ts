/**
 * From a guest through the NAT and the host to a server outside, beside the kernel's own routing with MASQUERADE: TCP by
 * iperf3, both ways in one run.
 */
import { Lab, lineFrom } from '../src/lab.ts';
import { median, type Pair } from './stage.ts';

const SECONDS = 4;
const ROUNDS = 3;
const SERVER = '203.0.113.2';

export async function uplinkBench(): Promise<Pair[]> {
  const lab = new Lab('up');
  try {
    const [host, guest, other, outside] = [
      await lab.netns('host'),
      await lab.netns('guest'),
      await lab.netns('other'),
      await lab.netns('out'),
    ];
    await lab.cable([host, 'lan0', '203.0.113.1/24'], [outside, 'eth0', `${SERVER}/24`]);
    await lab.startSwitch(host, '--subnet', '192.168.100.0/24', '--taps', `tap0@${guest}`);
    await lab.ip(guest, 'link', 'set', 'tap0', 'up');
    await lab.lease(guest, 'tap0');
    await lab.cable([host, 'routed', '10.77.0.1/24'], [other, 'eth0', '10.77.0.2/24']);
    await lab.ip(other, 'route', 'add', 'default', 'via', '10.77.0.1');
    await lab.inside(
      host,
      'iptables',
      '-t',
      'nat',
      '-A',
      'POSTROUTING',
      '-o',
      'lan0',
      '-s',
      '10.77.0.0/24',
      '-j',
      'MASQUERADE',
    );
    const rounds: Pair[][] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const pair = async (what: string, ...words: string[]): Promise<Pair> => ({
        what,
        unit: 'Gbit/s',
        switch: await iperf(lab, guest, outside, words),
        bridge: await iperf(lab, other, outside, words),
      });
      rounds.push([await pair('guest to outside, TCP'), await pair('outside to guest, TCP', '-R')]);
    }
    return (rounds[0] as Pair[]).map((_, row) => median(rounds.map(round => round[row] as Pair)));
  } finally {
    await lab.strike();
  }
}

async function iperf(lab: Lab, from: string, outside: string, words: readonly string[]): Promise<number> {
  await lineFrom(lab.spawn(outside, 'iperf3', '-s', '-1', '--forceflush'), /Server listening/, 5_000);
  const said = await lab.inside(from, 'iperf3', '-c', SERVER, '-t', String(SECONDS), '-J', ...words);
  const result = JSON.parse(said) as { end: { sum_received: { bits_per_second: number } } };
  return result.end.sum_received.bits_per_second / 1e9;
}
