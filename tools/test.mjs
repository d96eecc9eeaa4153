/**
 * `npm test`, `npm run check` and `npm run test:vm`: set-up, then the checks and tests; the last line has the counts.
 *
 *   node tools/test.mjs all|check|vm
 *
 * all    types, lint, format, dead code, then every test but the VM ones, with coverage
 * check  types, lint, format, dead code, import directions and style
 * vm     QEMU guests
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

const MIN_LINES = 90; // per cent of src/ that the tests run

const [mode = 'all'] = process.argv.slice(2);
const counts = { passed: 0, failed: 0, skipped: 0 };
const folder = mkdtempSync(join(tmpdir(), 'vswitchd-test-'));

const bin = (path, ...args) => [process.execPath, join(root, 'node_modules', path), ...args];

function check(name, [command, ...args]) {
  const start = performance.now();
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  counts[status === 0 ? 'passed' : 'failed']++;
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${name} ${Math.round(performance.now() - start)} ms`);
}

/** Runs the tests, under `wrapper` if there is one, and adds what the runner counted. */
function tests(wrapper, ...what) {
  const file = join(folder, 'counts.json');
  const [command, ...args] = [...wrapper, process.execPath, join(root, 'tools/run-tests.mjs'), ...what];
  const env = { ...process.env, VSWITCHD_TEST_COUNTS: file };
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env });
  let counted = { passed: 0, failed: 0, skipped: 0 };
  try {
    counted = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    console.log('FAIL the runner ended without counts');
  }
  for (const key of Object.keys(counts)) counts[key] += counted[key];
  // no test failed, yet the run did: coverage is too low, there was no test, or the runner broke
  if (status !== 0 && counted.failed === 0) {
    console.log(wrapper.length > 0 ? `FAIL the run, or coverage under ${MIN_LINES} %` : 'FAIL the run');
    counts.failed++;
  }
}

const coverage = () =>
  bin(
    'c8/bin/c8.js',
    ...['--all', '--src', 'dist/src', '--include', 'dist/src/**', '--temp-directory', join(folder, 'v8')],
    ...['--reports-dir', join(root, 'coverage'), '--check-coverage', '--lines', String(MIN_LINES)],
    ...['--branches', '0', '--functions', '0', '--statements', '0'],
  );

try {
  setup({ all: ['run', 'test'], check: [], vm: ['run', 'test', 'vm'] }[mode] ?? []);
  if (mode !== 'vm') {
    check('types', bin('typescript/bin/tsc', '-p', root, '--noEmit'));
    check('lint and format', bin('@biomejs/biome/bin/biome', 'ci', '--error-on-warnings', '--colors=off'));
    check('dead code', bin('knip/bin/knip.js', '--no-progress'));
  }
  if (mode === 'all') tests(coverage(), 'unit', 'netns');
  if (mode === 'check') tests([], 'test/imports.test.ts', 'test/style.test.ts');
  if (mode === 'vm') tests([], 'vm');
} catch (error) {
  console.log(`FAIL set-up: ${error.message}`);
  counts.failed++;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 ? 1 : 0;
