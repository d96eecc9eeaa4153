// timeout: 180 s
// coverage: none
/** What a person runs: the demo, vswitchctl, replay, and the refusals of bad input. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../../src/host/run.ts';
import { ended, Lab, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { stageTests, TAPS } from './stage.ts';

const inStage = stageTests('ct', import.meta.url);

const bin = (name: string): string => join(projectRoot(), 'bin', name);
const namespaces = (): Promise<string> => run('ip', ['netns', 'list']);

test('the demo passes, and nothing of it is left', async () => {
  const before = await namespaces();
  const said = await run('node', [bin('vswitchd'), 'demo'], { timeoutMs: 60_000 });
  assert.match(said, /all 11 steps passed/);
  assert.match(said, /ADDRESS +MAC +HOST NAME/);
  assert.match(said, /PROTOCOL +INSIDE/);
  assert.is(await namespaces(), before);
});

test('the demo passes as it is shipped, in a bundle', () => {
  const { status, stdout, stderr } = spawnSync(bin('vswitchd'), ['demo'], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.is(status, 0, stderr);
  assert.match(stdout, /all 11 steps passed/);
});

for (const [what, ...words] of [
  ['a demo', bin('vswitchd'), 'demo'],
  ['a benchmark', join(projectRoot(), 'dist/bench/run.js'), 'start'],
] as const)
  test(`${what} that is told to stop leaves nothing`, async () => {
    const before = await namespaces();
    const folder = mkdtempSync(join(tmpdir(), 'vswitchd-stopped-'));
    const child = spawn(process.execPath, words, {
      stdio: 'ignore',
      env: { ...process.env, TMPDIR: folder },
    });
    try {
      await until('its switch answers', 20_000, async () =>
        readdirSync(folder, { recursive: true }).some(name => String(name).endsWith('vsw0.sock')),
      );
      assert.is.not(await namespaces(), before);
      assert.is(await ended(child, 'SIGTERM', 20_000), 128 + 15);
      assert.is(await namespaces(), before);
      assert.equal(readdirSync(folder), []);
    } finally {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  });

test('a lab that is struck while it makes a namespace leaves none, and makes no more', async () => {
  const before = await namespaces();
  const lab = new Lab('late');
  const making = lab.netns('a').catch(() => undefined);
  await lab.strike();
  await making;
  assert.is(await namespaces(), before);
  assert.is(await lab.netns('b').catch((error: Error) => error.message), 'the lab is struck');
});

inStage('vswitchctl shows tables and JSON, and says when nobody answers', async ({ lab, host }) => {
  await lab.startSwitch(host, ...TAPS);
  const ask = (...words: string[]): Promise<string> =>
    lab.inside(host, bin('vswitchctl'), '--run-dir', lab.folder, ...words);
  const screen = await ask();
  assert.match(screen, /^vsw0 {2}192\.168\.100\.0\/24 {2}gateway 192\.168\.100\.1/);
  assert.match(screen, /tap0 +down +packet/);
  for (const resource of ['ports', 'macs', 'leases', 'flows'])
    assert.type(JSON.parse(await ask('--json', resource)), 'object');
  assert.match(await ask('status'), /^vsw0 {2}192\.168\.100\.0\/24/);
  for (const [expected, ...wrong] of [
    ['one of status, ports, macs', 'bogus'],
    ['one of status, ports, macs', '--bogus'],
    ['what vswitchctl ports --help lists', 'ports', '--name'],
    ['what vswitchctl ports --help lists', 'ports', 'too', 'many'],
    ['what vswitchctl capture --help lists', 'capture', '--all'],
    ['what vswitchctl port add --help lists', 'port', 'add'],
  ] as const) {
    const refused = spawnSync(bin('vswitchctl'), wrong, { encoding: 'utf8' });
    assert.is(refused.status, 2, wrong.join(' '));
    assert.match(refused.stderr, new RegExp(`^vswitchctl: .*; expected ${expected}.*\\n$`));
  }
  const nobody = spawnSync(bin('vswitchctl'), ['--run-dir', '/nonexistent'], { encoding: 'utf8' });
  assert.is(nobody.status, 3);
  assert.match(nobody.stderr, /no switch answers at \/nonexistent\/vsw0\.sock/);
});

test('replay writes what each port sent, and the counters', () => {
  const out = mkdtempSync(join(tmpdir(), 'vswitchd-replay-'));
  try {
    const at = join(projectRoot(), 'fixtures', 'arp', 'request-for-gateway');
    const inputs = ['p0', 'p1'].flatMap(port => ['--in', `${port}=${join(at, `in.${port}.pcap`)}`]);
    const { status, stderr } = spawnSync(bin('vswitchd'), ['replay', ...inputs, '--out', out], {
      encoding: 'utf8',
    });
    assert.is(status, 0, stderr);
    const counters = JSON.parse(readFileSync(join(out, 'counters.json'), 'utf8')) as {
      ports: Record<string, { txFrames: number }>;
    };
    assert.is(counters.ports.p0?.txFrames, 1);
    assert.is(readFileSync(join(out, 'p0.pcap')).readUInt32LE(0), 0xa1b23c4d);
    writeFileSync(join(out, 'cut.pcap'), readFileSync(join(at, 'in.p0.pcap')).subarray(0, 50));
    const cut = spawnSync(bin('vswitchd'), ['replay', '--in', `p0=${join(out, 'cut.pcap')}`, '--out', out], {
      encoding: 'utf8',
    });
    assert.is(cut.status, 2);
    assert.match(cut.stderr, /cut\.pcap: at byte 24: expected/);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});

for (const [what, words, sentence] of [
  ['a bad CIDR', ['--subnet', 'nonsense', '--taps', 'tap0'], /--subnet nonsense/],
  ['host bits', ['--subnet', '10.0.0.5/24', '--taps', 'tap0'], /10\.0\.0\.5\/24/],
  ['a /31', ['--subnet', '10.0.0.0/31', '--taps', 'tap0'], /\/30/],
  ['a long tap name', ['--subnet', '10.0.0.0/24', '--taps', 'tap0123456789012'], /at most 15/],
  ['the same tap twice', ['--subnet', '10.0.0.0/24', '--taps', 'tap0,tap0'], /twice/],
  ['an unknown option', ['--subnet', '10.0.0.0/24', '--taps', 'tap0', '--frob'], /--frob/],
] as const) {
  test(`${what} is refused with one sentence and code 2`, () => {
    const { status, stderr } = spawnSync(bin('vswitchd'), words, { encoding: 'utf8' });
    assert.is(status, 2, stderr);
    assert.match(stderr, sentence);
    assert.is(stderr.trim().split('\n').length, 1);
  });
}

test.run();
