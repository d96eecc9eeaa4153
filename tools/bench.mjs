/**
 * `npm run bench`: sets up what the benchmarks asked for need, the peers only where they are asked for, and runs them in this
 * very process, so that signals are theirs.
 */
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

const words = process.argv.slice(2);
/** In memory, or from the history: nothing to install. */
const ALONE = ['memory', 'nat', 'rfc2889', 'compare'];
const names = words.filter(word => !word.startsWith('-'));
const alone = names.length > 0 && (names[0] === 'compare' || names.every(name => ALONE.includes(name)));

try {
  setup(alone || words.includes('--pcap') ? ['run'] : ['run', 'test', 'peers']);
} catch (error) {
  console.error(`bench: ${error.message}`);
  process.exit(1);
}
const program = join(root, 'dist/bench/run.js');
process.argv[1] = program;
await import(program);
