/**
 * `npm run bench [-- memory | nat | tap | latency | uplink | start …] [--pcap FILE] [--json]`: tables for people, JSON for
 * programs. Without a name: all of them.
 */
import { parseArgs } from 'node:util';
import { table } from '../src/control/table.ts';
import { latencyBench } from './latency.ts';
import { memoryBench, type Row } from './memory.ts';
import { natBench } from './nat.ts';
import { type Row as PeersRow, peersBench } from './peers/peers.ts';
import type { Pair } from './stage.ts';
import { type Start, startBench } from './start.ts';
import { tapBench } from './tap.ts';
import { uplinkBench } from './uplink.ts';

const { values, positionals } = parseArgs({
  options: { pcap: { type: 'string' }, json: { type: 'boolean', default: false } },
  allowPositionals: true,
});

const ratesText = (rows: readonly Row[]): string =>
  table(
    ['IN MEMORY', 'M FRAMES/S', 'GBIT/S'],
    rows.map(row => [row.what, (row.framesPerS / 1e6).toFixed(1), row.gbitPerS.toFixed(1)]),
  );

const pairsText =
  (title: string, peer: string) =>
  (pairs: readonly Pair[]): string =>
    table(
      [title, 'UNIT', 'VSWITCHD', peer, 'RATIO'],
      pairs.map(pair => [
        pair.what,
        pair.unit,
        pair.switch.toFixed(2),
        pair.bridge.toFixed(2),
        (pair.switch / pair.bridge).toFixed(2),
      ]),
    );

/** A table a kind: the columns are those peers that were measured. */
const peersText = (rows: readonly PeersRow[]): string =>
  rows
    .map(({ what, unit, by }) =>
      table(
        [what.toUpperCase(), unit, 'VSWITCHD IS'],
        Object.entries(by).map(([name, value]) => [
          name,
          value.toFixed(2),
          `${((by.vswitchd ?? Number.NaN) / value).toFixed(2)} times`,
        ]),
      ),
    )
    .join('\n\n');

const startText = ({ readyMs, rssMiB, idle }: Start): string =>
  table(
    ['START, 8 PORTS', 'UNIT', 'VSWITCHD'],
    [
      ['start to ready', 'ms', readyMs.toFixed(0)],
      ['resident memory', 'MiB', rssMiB.toFixed(0)],
      ['idle', '% of a core', idle.toFixed(1)],
    ],
  );

/** Measures, and returns what is shown: a value for programs, a text for people. */
const bench =
  <T>(measure: () => T | Promise<T>, text: (value: T) => string) =>
  async () => {
    const value = await measure();
    return { value, text: text(value) };
  };

const BENCHES: Readonly<Record<string, () => Promise<{ value: unknown; text: string }>>> = {
  memory: bench(() => memoryBench(values.pcap), ratesText),
  nat: bench(natBench, ratesText),
  tap: bench(tapBench, pairsText('BETWEEN NAMESPACES', 'KERNEL BRIDGE')),
  latency: bench(latencyBench, pairsText('BETWEEN NAMESPACES', 'KERNEL BRIDGE')),
  uplink: bench(uplinkBench, pairsText('THROUGH NAT AND HOST', 'KERNEL ROUTING')),
  start: bench(startBench, startText),
  peers: bench(peersBench, peersText),
};

const names = Object.keys(BENCHES);
const wanted = positionals.length > 0 ? positionals : values.pcap === undefined ? names : ['memory'];
const unknown = wanted.find(name => !names.includes(name));
if (unknown !== undefined) {
  console.error(`bench: ${unknown}: expected ${names.join(', ')}`);
  process.exit(2);
}
for (const name of wanted) {
  const { value, text } = await (BENCHES[name] as () => Promise<{ value: unknown; text: string }>)();
  console.log(values.json ? JSON.stringify({ [name]: value }) : text);
}
