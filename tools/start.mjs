/** `npm start -- ARGS`: set-up, then vswitchd in this very process, so that signals and the exit code are its own. */
import { join } from 'node:path';
import { load } from './load.mjs';
import { root, setup } from './setup.mjs';

const args = process.argv.slice(2);
try {
  setup(args[0] === 'demo' ? ['run', 'test'] : ['run']);
} catch (error) {
  console.error(`set-up: ${error.message}`);
  process.exit(1);
}
process.argv[1] = join(root, 'bin/vswitchd');
await load('vswitchd');
