/**
 * `npm run bench [-- NAME …] [--pcap FILE] [--json] [--svg FILE]`: measures, shows tables for people or JSON for programs, and
 * keeps the figures in bench/history.jsonl. Without a name: all. `compare [NAME …]` shows the newest run beside the one before.
 */
import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { table } from '../src/control/table.ts';
import { busyBench, dhcpBench } from './dhcp.ts';
import { dnsBench } from './dns.ts';
import { compare, type Figure, record } from './history.ts';
import { latencyBench } from './latency.ts';
import { memoryBench, type Row } from './memory.ts';
import { natBench } from './nat.ts';
import { type Row as PeersRow, peersBench } from './peers/peers.ts';
import { rfc2544Bench } from './rfc2544.ts';
import { rfc2889Bench } from './rfc2889.ts';
import type { Pair } from './stage.ts';
import { type Start, startBench } from './start.ts';
import { type Reached, reachedFigures, streamBench } from './stream.ts';
import { bars } from './svg.ts';
import { tapBench } from './tap.ts';
import { uplinkBench } from './uplink.ts';
import { vhostBench, wantedFigures, wantedText } from './vhost.ts';

const { values, positionals } = parseArgs({
  options: { pcap: { type: 'string' }, svg: { type: 'string' }, json: { type: 'boolean', default: false } },
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

const figuresText =
  (title: string) =>
  (figures: readonly Figure[]): string =>
    table(
      [title, 'UNIT', 'VALUE'],
      figures.map(({ what, unit, value }) => [what, unit, value.toFixed(value < 100 ? 2 : 0)]),
    );

const reachedText = (rows: readonly Reached[]): string =>
  table(
    ['STREAM PORTS, M FRAMES/S', 'VSWITCHD', 'RELAY IN C', 'RATIO', 'WANTED', ''],
    rows.map(({ what, value, relay, target }) => [
      ...[what, value.toFixed(2), relay.toFixed(2), (value / relay).toFixed(2)],
      target === undefined ? '-' : target.toFixed(1),
      target === undefined ? '' : value >= target ? 'reached' : 'SHORT',
    ]),
  );

const ratesFigures = (rows: readonly Row[]): Figure[] =>
  rows.map(({ what, framesPerS }) => ({ what, unit: 'M frames/s', value: framesPerS / 1e6 }));

const pairsFigures = (pairs: readonly Pair[]): Figure[] =>
  pairs.flatMap(({ what, unit, switch: ours, bridge }) => [
    { what, unit, value: ours },
    { what: `${what}, ratio`, unit: '', value: ours / bridge },
  ]);

const startFigures = ({ readyMs, rssMiB, idle }: Start): Figure[] => [
  { what: 'start to ready', unit: 'ms', value: readyMs },
  { what: 'resident memory', unit: 'MiB', value: rssMiB },
  { what: 'idle', unit: '% of a core', value: idle },
];

const peersFigures = (rows: readonly PeersRow[]): Figure[] =>
  rows.flatMap(({ what, unit, by }) =>
    Object.entries(by).map(([name, value]) => ({ what: `${what}, ${name}`, unit, value })),
  );

const same = (figures: Figure[]): Figure[] => figures;

interface Outcome {
  /** For programs. */
  readonly value: unknown;
  /** For people. */
  readonly text: string;
  /** For the history. */
  readonly figures: readonly Figure[];
}

const bench =
  <T>(measure: () => T | Promise<T>, text: (value: T) => string, figures: (value: T) => Figure[]) =>
  async (): Promise<Outcome> => {
    const value = await measure();
    return { value, text: text(value), figures: figures(value) };
  };

async function drawnPeers(): Promise<PeersRow[]> {
  const rows = await peersBench();
  if (values.svg !== undefined) writeFileSync(values.svg, bars(rows));
  return rows;
}

const between = pairsText('BETWEEN NAMESPACES', 'KERNEL BRIDGE');
const BENCHES: Readonly<Record<string, () => Promise<Outcome>>> = {
  memory: bench(() => memoryBench(values.pcap), ratesText, ratesFigures),
  nat: bench(natBench, ratesText, ratesFigures),
  tap: bench(tapBench, between, pairsFigures),
  latency: bench(latencyBench, between, pairsFigures),
  busy: bench(busyBench, figuresText('CONTROL PLANE BUSY'), same),
  uplink: bench(uplinkBench, pairsText('THROUGH NAT AND HOST', 'KERNEL ROUTING'), pairsFigures),
  start: bench(startBench, startText, startFigures),
  dhcp: bench(dhcpBench, figuresText('DHCP'), same),
  dns: bench(dnsBench, pairsText('DNS THROUGH A TAP', 'DNSMASQ'), pairsFigures),
  peers: bench(drawnPeers, peersText, peersFigures),
  vhost: bench(vhostBench, wantedText('VHOST-USER'), wantedFigures),
  stream: bench(streamBench, reachedText, reachedFigures),
  rfc2544: bench(rfc2544Bench, between, pairsFigures),
  rfc2889: bench(rfc2889Bench, figuresText('RFC 2889, IN MEMORY'), same),
};

/** A program that is missing or a network that can't be had costs the one benchmark, with a word; the others go on. */
async function measured(name: string): Promise<Outcome | undefined> {
  try {
    return await BENCHES[name]?.();
  } catch (error) {
    console.error(`bench: ${name} left out: ${(error as Error).message}`);
    process.exitCode = 1;
    return undefined;
  }
}

const names = Object.keys(BENCHES);
const comparing = positionals[0] === 'compare';
const given = comparing ? positionals.slice(1) : positionals;
const wanted = given.length > 0 ? given : values.pcap === undefined ? names : ['memory'];
const unknown = wanted.find(name => !names.includes(name));
if (unknown !== undefined) {
  console.error(`bench: ${unknown}: expected compare, ${names.join(', ')}`);
  process.exit(2);
}
if (comparing) console.log(compare(wanted));
else
  for (const name of wanted) {
    const outcome = await measured(name);
    if (outcome === undefined) continue;
    const { value, text, figures } = outcome;
    record(values.pcap === undefined ? name : `${name} ${basename(values.pcap)}`, figures);
    console.log(values.json ? JSON.stringify({ [name]: value }) : text);
  }
