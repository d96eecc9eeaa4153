/** `npm run soak -- [--minutes N]`: the switch under full load for so long (an hour, where nothing is said), and whether its memory grows. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, setup } from './setup.mjs';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '60' } } });
if (!(Number(values.minutes) > 0)) {
  console.error('soak: --minutes takes a number above 0');
  process.exit(2);
}
setup(['run', 'test']);
const test = join(root, 'dist/test/soak/soak.netns.test.js');
const { status } = spawnSync(process.execPath, ['--enable-source-maps', test], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, VSWITCHD_SOAK_MINUTES: values.minutes },
});
process.exitCode = status ?? 1;
