/**
 * Runs compiled uvu files, one process each, and believes nothing but numbers: a file has passed when it exits 0, says how
 * many tests it has, that is more than none, and all of them passed. uvu alone also exits 0 when a hook throws, when a
 * test throws something that is no Error, and when `test.run()` is forgotten; and it has no timeouts.
 *
 *   node tools/run-tests.mjs unit|netns|vm|FILE …
 *
 * A file may ask for more time than a minute, `// timeout: 300 s`, and for no coverage, `// coverage: none`: a switch that
 * writes it takes twice as long to start, so that files that start many, of what others cover, do without.
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

/** How long a file may take. */
const secondsOf = source =>
  Number(/^\/\/ timeout: (\d+) s$/m.exec(readFileSync(join(root, source), 'utf8'))?.[1] ?? TIMEOUT_S);

const isCovered = source => !/^\/\/ coverage: none$/m.test(readFileSync(join(root, source), 'utf8'));

function runFile(source) {
  const compiled = join(root, 'dist', source.replace(/\.ts$/, '.js'));
  const seconds = secondsOf(source);
  const start = performance.now();
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' };
  if (!isCovered(source)) env.NODE_V8_COVERAGE = undefined; // where it is only missing, Node passes its own on
  return new Promise(resolve => {
    const child = spawn(process.execPath, ['--enable-source-maps', compiled], {
      cwd: root,
      detached: true, // a group of its own, so that all of it can be ended
      stdio: ['ignore', 'pipe', 'pipe'],
      env,
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

/**
 * Several at once, as there is waiting in them: two unit tests, and three in namespaces of their own, which wait most. Guests
 * are alone, as each takes a core.
 */
const [UNITS_AT_ONCE, NETNS_AT_ONCE] = [2, 3];

const wanted = process.argv.slice(2);
const files = wanted.flatMap(item => KINDS[item] ?? [item]);
const [vm, others] = [files.filter(isVm), files.filter(file => !isVm(file))];
const [netns, unit] = [others.filter(isNetns), others.filter(file => !isNetns(file))];
const results = await runAll(unit, UNITS_AT_ONCE);
if (netns.length > 0 && process.geteuid() !== 0) {
  console.log(`skipped, as they make network namespaces and this user is not root: ${netns.join(', ')}`);
  results.push(...netns.map(() => ({ passed: 0, failed: 0, skipped: 1 })));
} else {
  // the long ones first, so that none of them is left over for one lane at the end
  results.push(
    ...(await runAll(
      [...netns].sort((a, b) => secondsOf(b) - secondsOf(a)),
      NETNS_AT_ONCE,
    )),
  );
}
results.push(...(await runAll(vm, 1)));

const sum = key => results.reduce((total, result) => total + result[key], 0);
const counts = { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
if (process.env.VSWITCHD_TEST_COUNTS) writeFileSync(process.env.VSWITCHD_TEST_COUNTS, JSON.stringify(counts));
else console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 || counts.passed + counts.skipped === 0 ? 1 : 0;
