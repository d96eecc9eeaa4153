/** `npm run bench`: sets up what the benchmarks asked for need, the peers only where they are asked for, and runs them. */
import { spawnSync } from 'node:child_process';
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
const { status } = spawnSync(process.execPath, [join(root, 'dist/bench/run.js'), ...words], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
