/** `npm start -- ARGS`: set-up, then vswitchd in this very process, so that signals and the exit code are its own. */
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

const args = process.argv.slice(2);
try {
  setup(args[0] === 'demo' ? ['run', 'test'] : ['run']);
} catch (error) {
  console.error(`set-up: ${error.message}`);
  process.exit(1);
}
const main = join(root, 'dist/src/main.js');
process.argv[1] = main;
await import(main);
