/**
 * Runs compiled uvu files, one process each, and believes nothing but numbers: a file has passed when it exits 0, says how
 * many tests it has, that is more than none, and all of them passed. uvu alone also exits 0 when a hook throws, when a
 * test throws something that is no Error, and when `test.run()` is forgotten; and it has no timeouts.
 *
 *   node tools/run-tests.mjs unit|netns|vm|FILE …
 *
 * A file may ask for more time than a minute: `// timeout: 300 s`.
 */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { filesUnder, root } from './setup.mjs';

const TIMEOUT_S = 60;

/** The sources' names under test/ by what they need. A compiled file whose source has gone is not run. */
const all = filesUnder('test', /\.test\.ts$/).map(file => relative(root, file));
const isVm = file => file.startsWith('test/vm/');
const isNetns = file => file.endsWith('.netns.test.ts') || file.startsWith('test/netns/');
const KINDS = {
  unit: all.filter(file => !isVm(file) && !isNetns(file)),
  netns: all.filter(file => isNetns(file) && !isVm(file)),
  vm: all.filter(isVm),
};

const children = new Set();
const killGroup = child => {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // it has ended
  }
};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    for (const child of children) killGroup(child);
    process.exit(1);
  });
}

function runFile(source) {
  const compiled = join(root, 'dist', source.replace(/\.ts$/, '.js'));
  const [, seconds = TIMEOUT_S] =
    /^\/\/ timeout: (\d+) s$/m.exec(readFileSync(join(root, source), 'utf8')) ?? [];
  const start = performance.now();
  return new Promise(resolve => {
    const child = spawn(process.execPath, ['--enable-source-maps', compiled], {
      cwd: root,
      detached: true, // a group of its own, so that all of it can be ended
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
    });
    children.add(child);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', data => (output += data));
    let timedOut = false;
    let exited = null;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child);
    }, seconds * 1000);
    // something that it left running may hold the pipes: nothing is left running
    child.on('exit', code => {
      exited = code;
      setTimeout(() => killGroup(child), 200).unref();
    });
    child.on('close', () => {
      clearTimeout(timer);
      children.delete(child);
      resolve(
        judge(source, exited, timedOut && `no end within ${seconds} s`, output, performance.now() - start),
      );
    });
  });
}

function judge(source, code, stopped, output, ms) {
  const number = label => Number(new RegExp(`^ {2}${label}: +(\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  const [total, passed, skipped] = [number('Total'), number('Passed'), number('Skipped')];
  const fault =
    stopped ||
    (code !== 0 && `exit code ${code}`) ||
    (passed !== total && `${total - passed} of ${total} failed`) ||
    (total + skipped === 0 && 'ran no test');
  const counts = { passed, failed: fault ? Math.max(total - passed, 1) : 0, skipped };
  const mark = fault ? `FAIL ${fault}` : `ok   ${passed}${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  console.log(`${mark.padEnd(16)} ${source} ${Math.round(ms)} ms`);
  if (fault) console.log(output.replace(/^/gm, '     '));
  return counts;
}

async function runAll(files, atOnce) {
  const queue = [...files];
  const results = [];
  const lane = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift())
      results.push(await runFile(file));
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return results;
}

const wanted = process.argv.slice(2);
const results = [];
if (wanted.includes('unit')) results.push(...(await runAll(KINDS.unit, 2)));
const oneByOne = wanted.flatMap(item => (item === 'unit' ? [] : (KINDS[item] ?? [item])));
if (oneByOne.some(file => isNetns(file)) && process.geteuid() !== 0) {
  const files = oneByOne.filter(isNetns);
  console.log(`skipped, as they make network namespaces and this user is not root: ${files.join(', ')}`);
  results.push(...files.map(() => ({ passed: 0, failed: 0, skipped: 1 })));
  results.push(
    ...(await runAll(
      oneByOne.filter(file => !isNetns(file)),
      1,
    )),
  );
} else results.push(...(await runAll(oneByOne, 1)));

const sum = key => results.reduce((total, result) => total + result[key], 0);
const counts = { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
if (process.env.VSWITCHD_TEST_COUNTS) writeFileSync(process.env.VSWITCHD_TEST_COUNTS, JSON.stringify(counts));
else console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 || counts.passed + counts.skipped === 0 ? 1 : 0;
