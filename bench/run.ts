/** `npm run bench [-- memory | tap] [--pcap FILE] [--json]`: tables for people, JSON for programs. Without a name: both. */
import { parseArgs } from 'node:util';
import { table } from '../src/control/table.ts';
import { memoryBench } from './memory.ts';
import { tapBench } from './tap.ts';

const { values, positionals } = parseArgs({
  options: { pcap: { type: 'string' }, json: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const wanted =
  positionals.length > 0 ? positionals : values.pcap === undefined ? ['memory', 'tap'] : ['memory'];
const unknown = wanted.find(name => name !== 'memory' && name !== 'tap');
if (unknown !== undefined) {
  console.error(`bench: ${unknown}: expected memory or tap`);
  process.exit(2);
}

if (wanted.includes('memory')) {
  const rows = memoryBench(values.pcap);
  if (values.json) console.log(JSON.stringify({ memory: rows }));
  else
    console.log(
      table(
        ['IN MEMORY', 'M FRAMES/S', 'GBIT/S'],
        rows.map(row => [row.what, (row.framesPerS / 1e6).toFixed(1), row.gbitPerS.toFixed(1)]),
      ),
    );
}
if (wanted.includes('tap')) {
  const pairs = await tapBench();
  if (values.json) console.log(JSON.stringify({ tap: pairs }));
  else
    console.log(
      table(
        ['BETWEEN NAMESPACES', 'UNIT', 'VSWITCHD', 'KERNEL BRIDGE', 'RATIO'],
        pairs.map(pair => [
          pair.what,
          pair.unit,
          pair.switch.toFixed(2),
          pair.bridge.toFixed(2),
          (pair.switch / pair.bridge).toFixed(2),
        ]),
      ),
    );
}
