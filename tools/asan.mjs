/**
 * `npm run test:asan`: the addon's tests with the addon built under AddressSanitizer and UBSan, in a copy of the project beside it.
 * Before them, that an overflow is reported at all: by an addon of which one check was taken out.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filesUnder, root, setup } from './setup.mjs';

const SANITIZE = '-fsanitize=address,undefined';
const FLAGS = {
  CFLAGS: `${SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g`,
  LDFLAGS: SANITIZE,
};
/** Node itself is not instrumented: its own memory at the end is no leak of ours. */
const OPTIONS = { ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=0', UBSAN_OPTIONS: 'print_stacktrace=1' };
const REPORT = /AddressSanitizer|runtime error:/;
/** A test of the tests: bounds of the target are believed. */
const [CHECK, BELIEVED] = ['(size_t)place + (size_t)bytes > to_length', 'false'];
const OVERFLOW = `
  const { copyBytes } = require(process.argv[1]);
  copyBytes(new Uint8Array(4096), new Uint8Array(4096), Int32Array.of(0, 4090, 64), 1);`;

/** Not what calls nothing of the addon, or the same calls for long. */
const LEFT_OUT = /(memory|offload|pcap-file|conformance|exchange|bridge-differential\.netns)\.test\.ts$/;
const tests = filesUnder('test/port', /\.test\.ts$/)
  .concat(filesUnder('test/fuzz', /vhost\.test\.ts$/))
  .filter(file => !LEFT_OUT.test(file));

function call(command, args, options) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', ...options });
  return { status, output: `${stdout ?? ''}${stderr ?? ''}${error ?? ''}` };
}

/** A copy of the addon below `folder`, built with the sanitizers. */
function build(folder, change = text => text) {
  mkdirSync(join(folder, 'native'), { recursive: true });
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  for (const name of ['binding.gyp', 'src', 'index.d.ts'])
    cpSync(join(root, 'native', name), join(folder, 'native', name), { recursive: true });
  const source = join(folder, 'native/src/stream.c');
  writeFileSync(source, change(readFileSync(source, 'utf8')));
  const env = { ...process.env, ...FLAGS };
  const { status, output } = call('npm', ['run', '--silent', 'build:native'], { cwd: folder, env });
  if (status !== 0) throw new Error(`the addon could not be built with ${SANITIZE}:\n${output}`);
  return join(folder, 'native/build/Release/vswitchd.node');
}

function libasan() {
  const { output } = call('gcc', ['-print-file-name=libasan.so']);
  const path = output.trim();
  if (!path.startsWith('/'))
    throw new Error('gcc has no libasan; apt-get install libgcc-12-dev, or what has it there');
  return path;
}

function bites(folder, env) {
  const addon = build(folder, text => {
    if (!text.includes(CHECK)) throw new Error(`native/src/stream.c has no "${CHECK}" to take out`);
    return text.replace(CHECK, BELIEVED);
  });
  const { status, output } = call(process.execPath, ['-e', OVERFLOW, addon], { env });
  return status !== 0 && output.includes('heap-buffer-overflow') ? '' : output || `it ended with ${status}`;
}

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-asan-'));
let [passed, failed, skipped] = [0, 0, 0];
try {
  setup(['run', 'test']);
  const env = { ...process.env, ...OPTIONS, LD_PRELOAD: libasan() };
  const said = bites(join(folder, 'bite'), env);
  if (said === '') passed++;
  else failed++;
  console.log(said === '' ? 'ok   an overflow is reported' : `FAIL an overflow is not reported:\n${said}`);
  const copy = join(folder, 'copy');
  build(copy);
  for (const name of ['dist', 'tools']) cpSync(join(root, name), join(copy, name), { recursive: true });
  for (const name of ['test', 'node_modules', 'fixtures']) symlinkSync(join(root, name), join(copy, name));
  const files = tests.map(file => file.slice(root.length + 1));
  const run = call(process.execPath, ['tools/run-tests.mjs', ...files], {
    cwd: copy,
    env,
    maxBuffer: 1 << 26,
  });
  process.stdout.write(run.output);
  const [, ...counts] = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(run.output) ?? [];
  if (counts.length === 3) {
    passed += Number(counts[0]);
    failed += Number(counts[1]);
    skipped += Number(counts[2]);
  }
  if (counts.length === 0 || REPORT.test(run.output) || (run.status !== 0 && counts[1] === '0')) {
    console.log('FAIL a report of the sanitizers, or a run that ended early');
    failed++;
  }
} catch (error) {
  console.log(`FAIL ${error.message}`);
  failed++;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 ? 1 : 0;
