/** The hook with real programs: order, one at a time, arguments as they are, bounded in number and time. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OperatorError } from '../../src/errors.ts';
import { checkHook, Hook, type HookOptions } from '../../src/host/hook.ts';
import { signTools } from '../../src/host/orphans.ts';
import { until } from '../../src/lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-hook-'));
test.after(() => rmSync(folder, { recursive: true }));

function program(name: string, ...lines: string[]): string {
  const path = join(folder, name);
  writeFileSync(path, ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
  return path;
}

let sources = 0;
/** Each from another port. */
const call = (...words: string[]) => ({
  words,
  environment: { VSWITCHD_EVENT: words[0] ?? '' },
  source: `tap${sources++}`,
});

function hook(path: string, more: Partial<HookOptions> = {}) {
  const warnings: string[] = [];
  const made = new Hook({ option: 'lease-hook', program: path, warn: text => warnings.push(text), ...more });
  return { hook: made, warnings };
}

const idle = (made: Hook, run: number): Promise<number> =>
  until(`${run} runs`, 10_000, async () => made.counters.run === run);

test('one after the other, in order, with the words as they are and no shell', async () => {
  const out = join(folder, 'order');
  const path = program('order.sh', `echo "begin $1" >> ${out}`, 'sleep 0.02', `echo "end $1 $#" >> ${out}`);
  const { hook: made, warnings } = hook(path);
  const words = ['$(touch x)', 'a b', '"', '-rf', ''];
  for (const word of words) made.put(call(word, 'x'));
  assert.is(made.counters.waiting > 0, true);
  await idle(made, words.length);
  const lines = readFileSync(out, 'utf8').trimEnd().split('\n');
  assert.equal(
    lines,
    words.flatMap(word => [`begin ${word}`, `end ${word} 2`]),
  );
  assert.equal(warnings, []);
  await made.stop();
});

test('it has the switch’s environment and its own, but not the mark of a tool', async () => {
  const out = join(folder, 'env');
  signTools('vsw0');
  const { hook: made } = hook(program('env.sh', `env > ${out}; pwd >> ${out}`));
  made.put(call('bound'));
  await idle(made, 1);
  delete process.env.VSWITCHD_SWITCH;
  const text = readFileSync(out, 'utf8');
  assert.match(text, /^VSWITCHD_EVENT=bound$/m);
  assert.match(text, /^PATH=/m);
  assert.not.match(text, /VSWITCHD_SWITCH/);
  assert.match(text, /\n\/\n$/);
});

test('a code other than 0 is told, with its last words, and the next is run', async () => {
  const { hook: made, warnings } = hook(program('fail.sh', 'echo no luck >&2', 'exit 3'));
  made.put(call('bound', '10.0.0.1', 'mac'));
  made.put(call('released', '10.0.0.1', 'mac'));
  await idle(made, 2);
  assert.equal(warnings, [
    `--lease-hook ${folder}/fail.sh bound 10.0.0.1: ended with code 3: no luck`,
    `--lease-hook ${folder}/fail.sh released 10.0.0.1: ended with code 3: no luck`,
  ]);
  assert.is(made.counters.failed, 2);
});

test('one that vanishes is told of, and the queue goes on', async () => {
  const path = program('gone.sh', 'exit 0');
  const { hook: made, warnings } = hook(path);
  rmSync(path);
  made.put(call('bound', 'x'));
  made.put(call('bound', 'y'));
  await idle(made, 2);
  assert.is(warnings.length, 2);
  assert.match(warnings[0] as string, /ended before it began: .*ENOENT/);
});

test('one that takes too long is killed with its group', async () => {
  const late = join(folder, 'late');
  const path = program('slow.sh', `(sleep 1; touch ${late}) &`, 'sleep 30');
  const { hook: made, warnings } = hook(path, { timeoutMs: 200 });
  const start = performance.now();
  made.put(call('bound', 'x'));
  await idle(made, 1);
  assert.ok(performance.now() - start < 900);
  assert.equal(warnings, [`--lease-hook ${path} bound x: took longer than 200 ms and was ended`]);
  await new Promise(resolve => setTimeout(resolve, 1_200));
  assert.not.ok(existsSync(late));
});

test('what it leaves running holds nothing up', async () => {
  const { hook: made, warnings } = hook(program('leave.sh', 'sleep 5 &', 'exit 0'));
  const start = performance.now();
  made.put(call('bound', 'x'));
  made.put(call('bound', 'y'));
  await idle(made, 2);
  assert.ok(performance.now() - start < 2_000);
  assert.equal(warnings, []);
});

test('a full queue loses events: counted, and told of once till it has caught up', async () => {
  const { hook: made, warnings } = hook(program('busy.sh', 'sleep 0.05'), { maxWaiting: 3 });
  for (let n = 0; n < 10; n++) made.put(call('bound', String(n)));
  assert.is(made.counters.lost, 7);
  assert.equal(warnings, [
    `--lease-hook ${folder}/busy.sh is behind with 3 events; those that come now are lost to it`,
  ]);
  await idle(made, 3);
  await until('it is idle', 1_000, async () => made.counters.waiting === 0);
  await new Promise(resolve => setTimeout(resolve, 20));
  for (let n = 0; n < 5; n++) made.put(call('bound', String(n)));
  assert.is(warnings.length, 2);
  await made.stop();
});

test('a port that makes more events than can be told loses its own, and not another’s', async () => {
  const { hook: made } = hook(program('slow-too.sh', 'sleep 0.05'), { maxWaiting: 8 });
  for (let i = 0; i < 20; i++) made.put({ ...call('bound', String(i)), source: 'tap0' });
  assert.equal([made.counters.waiting, made.counters.lost], [2, 18]);
  for (const source of ['tap1', 'tap2']) made.put({ ...call('bound', source), source });
  assert.equal([made.counters.waiting, made.counters.lost], [4, 18]);
  await idle(made, 4);
  await made.stop();
});

test('at the end the running one has a moment, and what waits is not run', async () => {
  const out = join(folder, 'last');
  const quick = hook(program('quick.sh', 'sleep 0.2', `echo done >> ${out}`));
  quick.hook.put(call('bound', 'x'));
  quick.hook.put(call('bound', 'y'));
  await new Promise(resolve => setTimeout(resolve, 50));
  await quick.hook.stop();
  assert.is(readFileSync(out, 'utf8'), 'done\n');
  assert.match(quick.warnings[0] ?? '', /was not told of 1 events before the end$/);
  quick.hook.put(call('bound', 'z'));
  assert.is(quick.hook.counters.waiting, 0);
  const slow = hook(program('stuck.sh', 'sleep 30'), { stopMs: 200 });
  slow.hook.put(call('bound', 'x'));
  await new Promise(resolve => setTimeout(resolve, 50));
  const start = performance.now();
  await slow.hook.stop();
  const ms = performance.now() - start;
  assert.ok(ms > 150 && ms < 1_000, `${ms} ms`);
});

for (const [what, make, why] of [
  ['nothing', () => join(folder, 'none'), 'is not there'],
  ['a folder', () => folder, 'is no file'],
  ['a text', () => join(folder, 'text'), "can't be executed"],
  ['below a file', () => join(folder, 'text', 'x'), 'ENOTDIR'],
] as const)
  test(`${what} is refused as a hook`, () => {
    writeFileSync(join(folder, 'text'), '');
    try {
      checkHook('lease-hook', make());
    } catch (error) {
      assert.instance(error, OperatorError);
      assert.is((error as OperatorError).exitCode, 2);
      assert.is((error as Error).message, `--lease-hook ${make()}: ${why}; expected a program`);
      return;
    }
    assert.unreachable();
  });

test('a program is a hook', () => checkHook('lease-hook', program('fine.sh')));

test.run();
