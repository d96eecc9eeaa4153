/** Programs that are told: one at a time, in order, in bounded time, and what a guest has said is data to them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Hook } from '../../src/host/hook.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-hook-'));
test.after(() => rmSync(folder, { recursive: true }));

/** A shell script, and where it writes. */
function script(name: string, text: string): { program: string; out: string; said: string[]; hook: Hook } {
  const program = join(folder, name);
  const out = join(folder, `${name}.out`);
  writeFileSync(program, `#!/bin/sh\nout=${out}\n${text}\n`, { mode: 0o755 });
  const said: string[] = [];
  return { program, out, said, hook: new Hook(program, sentence => said.push(sentence)) };
}

test('the environment and standard input say what there is to say, quoted by nobody', async () => {
  const { hook, out, said } = script('says', 'env | grep ^VSWITCHD_ | sort >> $out; cat >> $out');
  hook.call({
    environment: { PORT: 'tap0', ADDRESS: '1.2.3.4' },
    input: { hostname: '$(touch /tmp/x); `id`\n"' },
  });
  await hook.settled();
  assert.equal(said, []);
  assert.is(
    readFileSync(out, 'utf8'),
    'VSWITCHD_ADDRESS=1.2.3.4\nVSWITCHD_PORT=tap0\n{"hostname":"$(touch /tmp/x); `id`\\n\\""}\n',
  );
});

test('one at a time and in order', async () => {
  const { hook, out } = script(
    'order',
    'echo begin $VSWITCHD_N >> $out; sleep 0.05; echo end $VSWITCHD_N >> $out',
  );
  for (const n of ['1', '2', '3']) hook.call({ environment: { N: n }, input: null });
  await hook.settled();
  assert.is(readFileSync(out, 'utf8'), [1, 2, 3].map(n => `begin ${n}\nend ${n}\n`).join(''));
  hook.call({ environment: { N: '4' }, input: null });
  await hook.settled();
  assert.match(readFileSync(out, 'utf8'), /end 4\n$/);
});

test('what fails and what is too much is told, and those behind are run', async () => {
  const { hook, out, said, program } = script('fails', 'echo $VSWITCHD_N >> $out; echo no luck >&2; exit 3');
  for (let n = 0; n < 66; n++) hook.call({ environment: { N: `${n}` }, input: null });
  await hook.settled();
  assert.is(
    said.filter(sentence => sentence === `${program} is not run, as 64 calls of it wait already`).length,
    1,
  );
  assert.is(said.filter(sentence => sentence === `${program}: no luck`).length, 65);
  assert.is(readFileSync(out, 'utf8').split('\n').length, 66);
});

test('a program that is not there is told of', async () => {
  const said: string[] = [];
  const hook = new Hook('/nowhere/hook', sentence => said.push(sentence));
  hook.call({ environment: {}, input: null });
  await hook.settled();
  assert.equal(said, ['/nowhere/hook is not installed']);
});

test('stopped, it runs what it has begun and no more', async () => {
  const { hook, out } = script('stops', 'sleep 0.05; echo $VSWITCHD_N >> $out');
  for (const n of ['1', '2']) hook.call({ environment: { N: n }, input: null });
  await hook.stop();
  assert.is(readFileSync(out, 'utf8'), '1\n');
});

test.run();
