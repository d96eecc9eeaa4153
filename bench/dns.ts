/**
 * Cached answers through a tap, beside dnsmasq at the other end of a veth: as many a second as dnsperf gets with a hundred under
 * way, and how long one takes when the next question follows each answer. What the switch adds is the difference.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inLab, type Lab, lineFrom } from '../src/lab.ts';
import { medians, type Pair } from './stage.ts';
import { compiled, percentile } from './traffic.ts';

const NAMES = 200;
const SECONDS = 3;
const ALONE = 5_000;
const ONE = 'host0.bench.example';
const ROUNDS = 5;
const START_MS = 5_000;
const GATEWAY = '192.168.100.1';
const OUTSIDE = '203.0.113.2';
const PEER = '10.77.0.1';

export const dnsBench = (): Promise<Pair[]> =>
  inLab('dns', async lab => {
    const [host, out, red] = [await lab.netns('host'), await lab.netns('out'), await lab.netns('red')];
    const own = await lab.netns('own');
    await lab.cable([host, 'eth0', '203.0.113.1/24'], [out, 'eth0', `${OUTSIDE}/24`]);
    await lab.cable([own, 'peer0', `${PEER}/24`], [red, 'peer1', '10.77.0.2/24']);
    await dnsmasq(lab, out, '--address=/bench.example/203.0.113.7', '--local-ttl=3600');
    await lab.cable([own, 'eth0', '203.0.114.1/24'], [out, 'eth1', '203.0.114.2/24']);
    await dnsmasq(lab, own, '--server=203.0.114.2', '--cache-size=1000');
    await lab.startSwitch(host, '--subnet', '192.168.100.0/24', '--taps', `tap0@${red}`, '--dns', OUTSIDE);
    await lab.ip(red, 'link', 'set', 'tap0', 'up');
    await lab.lease(red, 'tap0');
    const names = join(lab.folder, 'names');
    writeFileSync(names, Array.from({ length: NAMES }, (_, i) => `host${i}.bench.example A\n`).join(''));

    const rounds: Pair[][] = [];
    for (let round = 0; round <= ROUNDS; round++) {
      const [here, there] = [await ask(lab, red, GATEWAY, names), await ask(lab, red, PEER, names)];
      if (round === 0) continue; // that one has filled the caches
      rounds.push([
        { what: 'cached answers', unit: '1/s', switch: here.perS, bridge: there.perS },
        { what: 'one at a time, p50', unit: 'µs', switch: here.medianUs, bridge: there.medianUs },
      ]);
    }
    return medians(rounds);
  });

async function dnsmasq(lab: Lab, netns: string, ...words: string[]): Promise<void> {
  const usual = ['--conf-file=/dev/null', '--no-daemon', '--no-resolv', '--no-hosts', '--user=root'];
  const child = lab.spawn(netns, 'dnsmasq', ...usual, '--dns-forward-max=1000', ...words);
  await lineFrom(child, /started/, START_MS);
  for (const stream of [child.stdout, child.stderr]) stream?.resume();
}

interface Answers {
  readonly perS: number;
  readonly medianUs: number;
}

async function ask(lab: Lab, netns: string, server: string, names: string): Promise<Answers> {
  const words = ['dnsperf', '-s', server, '-d', names, '-t', '1', '-c', '4'];
  const said = await lab.inside(netns, ...words, '-q', '100', '-l', String(SECONDS));
  const number = (pattern: RegExp): number => Number(pattern.exec(said)?.[1] ?? Number.NaN);
  const [sent, done] = [number(/Queries sent:\s+(\d+)/), number(/Queries completed:\s+(\d+)/)];
  if (!(done >= sent * 0.999))
    throw new Error(`${server} left ${sent - done} of ${sent} queries without an answer`);
  if (!/NOERROR \d+ \(100\.00%\)/.test(said)) throw new Error(`${server} gave errors: ${said}`);
  const alone = await lab.inside(netns, compiled(lab, 'ask'), server, ONE, String(ALONE));
  const times = alone
    .trim()
    .split('\n')
    .map(ns => Number(ns) / 1000);
  return {
    perS: number(/Queries per second:\s+([\d.]+)/),
    medianUs: percentile(
      times.sort((a, b) => a - b),
      0.5,
    ),
  };
}
