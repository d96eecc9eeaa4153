/** Text to configuration: defaults, lists, files, and one clear sentence for each mistake. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseCommandLine } from '../src/cli.ts';
import { type Config, readReplayConfig } from '../src/config.ts';
import { OperatorError } from '../src/errors.ts';
import { notify } from '../src/notify.ts';
import { checkPrivilege } from '../src/privilege.ts';
import { formatIp4 } from '../src/wire/address.ts';

const USUAL = ['--subnet', '192.168.100.0/24', '--taps', 'tap0,tap1'];

function configOf(...words: string[]): Config {
  const line = parseCommandLine(words);
  if (line.command !== 'run') throw new Error(`not a run: ${line.command}`);
  return line.config;
}

function mistake(...words: string[]): OperatorError {
  try {
    parseCommandLine(words);
  } catch (error) {
    if (error instanceof OperatorError) return error;
    throw error;
  }
  throw new Error(`accepted: ${words.join(' ')}`);
}

test('the two options that must be given give the rest', () => {
  const config = configOf(...USUAL);
  assert.is(config.name, 'vsw0');
  assert.is(formatIp4(config.subnet.gateway), '192.168.100.1');
  assert.is(formatIp4(config.natAddress), '192.168.100.254');
  assert.equal(
    config.taps.map(tap => [tap.name, tap.end]),
    [
      ['tap0', 'auto'],
      ['tap1', 'auto'],
    ],
  );
  assert.is(formatIp4(config.dhcp?.first ?? 0), '192.168.100.10');
  assert.is(formatIp4(config.dhcp?.last ?? 0), '192.168.100.253');
  assert.ok(Object.isFrozen(config));
});

test('the pool never holds gateway, NAT, network or broadcast address, down to a /30', () => {
  for (let prefix = 16; prefix <= 30; prefix++) {
    const config = readReplayConfig({ subnet: `10.0.0.0/${prefix}` });
    const { subnet, dhcp, natAddress } = config;
    if (dhcp === undefined) throw new Error('no pool');
    assert.ok(dhcp.first <= dhcp.last, `/${prefix}`);
    for (const taken of [subnet.network, subnet.gateway, subnet.broadcast, natAddress])
      assert.not.ok(taken >= dhcp.first && taken <= dhcp.last, `/${prefix} holds ${formatIp4(taken)}`);
  }
});

test('taps elsewhere and at a chosen end', () => {
  const config = configOf(
    '--subnet',
    '10.0.0.0/24',
    '--taps',
    'tap0@red,tap1:device',
    '--taps',
    'tap2:interface',
  );
  assert.equal(
    config.taps.map(tap => [tap.name, tap.netns, tap.end]),
    [
      ['tap0', 'red', 'auto'],
      ['tap1', undefined, 'device'],
      ['tap2', undefined, 'interface'],
    ],
  );
});

for (const [sentence, ...words] of [
  [/--subnet 10\.0\.0\.5\/24: .*expected/, '--subnet', '10.0.0.5/24', '--taps', 'a'],
  [/--subnet 10\.0\.0\.0\/31: .*expected/, '--subnet', '10.0.0.0/31', '--taps', 'a'],
  [/--subnet 10\.0\.0\.0\/08: .*expected/, '--subnet', '10.0.0.0/08', '--taps', 'a'],
  [/--subnet .*missing/, '--taps', 'a'],
  [/--taps .*missing/, '--subnet', '10.0.0.0/24'],
  [/--taps .*twice/, '--subnet', '10.0.0.0/24', '--taps', 'a,a'],
  [/--taps .*15/, '--subnet', '10.0.0.0/24', '--taps', 'abcdefghijklmnop'],
  [
    /--dhcp-range .*outside 10\.0\.0\.0\/24/,
    '--subnet',
    '10.0.0.0/24',
    '--taps',
    'a',
    '--dhcp-range',
    '10.0.1.1-10.0.1.9',
  ],
  [/--dhcp-range .*gateway/, '--subnet', '10.0.0.0/24', '--taps', 'a', '--dhcp-range', '10.0.0.1-10.0.0.9'],
  [/--ageing 5: /, ...USUAL, '--ageing', '5'],
  [/--mtu x: /, ...USUAL, '--mtu', 'x'],
  [/--lease-time soon: /, ...USUAL, '--lease-time', 'soon'],
  [/--uplink magic: /, ...USUAL, '--uplink', 'magic'],
  [/--firewall pf: /, ...USUAL, '--firewall', 'pf'],
  [/--frobnicate/, ...USUAL, '--frobnicate'],
  [/unexpected argument "extra"/, ...USUAL, 'extra'],
  [/--in .*missing/, 'replay', '--out', 'x'],
  [/--in p0: expected PORT=FILE/, 'replay', '--in', 'p0', '--out', 'x'],
] as const) {
  test(`refused: ${words.join(' ')}`, () => {
    const error = mistake(...words);
    assert.match(error.message, sentence);
    assert.is(error.exitCode, 2);
    assert.not.match(error.message, /\n/);
  });
}

test('a file has the options’ names, options win, and its mistakes name the file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vswitchd-config-'));
  const file = join(folder, 'switch.toml');
  try {
    writeFileSync(file, 'subnet = "10.1.0.0/24"\ntaps = ["a", "b"]\nageing = 60\n');
    const config = configOf('--config', file, '--ageing', '90');
    assert.is(config.subnet.text, '10.1.0.0/24');
    assert.is(config.ageingS, 90);
    assert.is(config.taps.length, 2);
    writeFileSync(file, 'subnett = "10.1.0.0/24"\n');
    assert.match(mistake('--config', file).message, /switch\.toml:1:1: unknown key "subnett"/);
    const json = join(folder, 'switch.json');
    for (const text of ['null', '[]', '5', '"subnet"']) {
      writeFileSync(json, text);
      assert.match(
        mistake('--config', json).message,
        /switch\.json: is no object; expected options' names as keys/,
      );
    }
    writeFileSync(file, 'subnet = \n');
    assert.match(mistake('--config', file).message, /switch\.toml:1:\d+: /);
    assert.match(mistake('--config', join(folder, 'none')).message, /can(not|'t) be read/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('help and version are text', () => {
  const help = parseCommandLine(['--help']);
  assert.ok(help.command === 'print' && /--subnet <CIDR>/.test(help.text) && /qemu-system/.test(help.text));
  assert.equal(parseCommandLine(['--version']), { command: 'print', text: '0.1.0' });
});

test('undo needs a name and a place only', () => {
  const line = parseCommandLine(['--undo', '--name', 'x0', '--state-dir', '/tmp/x']);
  assert.ok(line.command === 'undo' && line.place.name === 'x0' && line.place.stateDir === '/tmp/x');
});

test('without rights or without the tun driver: a sentence each', () => {
  assert.throws(() => checkPrivilege({ capabilities: 0n, tunDevice: '/dev/null' }), /run it as root/);
  const capabilities = (1n << 12n) | (1n << 13n);
  assert.throws(() => checkPrivilege({ capabilities, tunDevice: '/nonexistent' }), /modprobe tun/);
  checkPrivilege({ capabilities, tunDevice: '/dev/null' });
  const two = { capabilities, tunDevice: '/dev/null' };
  checkPrivilege(two, [{ name: 'tap0' }]);
  assert.throws(() => checkPrivilege(two, [{ name: 'tap0', netns: 'red' }]), /tap0@red: .*CAP_SYS_ADMIN/);
  checkPrivilege({ ...two, capabilities: capabilities | (1n << 21n) }, [{ name: 'tap0', netns: 'red' }]);
});

test('sd_notify: one datagram where there is a service manager, no fault where there is none', () => {
  const sent: string[][] = [];
  const send = (path: string, text: string): void => void sent.push([path, text]);
  assert.ok(notify('READY=1', 'two\nlines', '/run/notify', send));
  assert.equal(sent, [['/run/notify', `READY=1\nSTATUS=two lines\nMAINPID=${process.pid}`]]);
  assert.not.ok(notify('READY=1', '', undefined, send));
  assert.not.ok(
    notify('READY=1', '', '/run/notify', () => {
      throw new Error('nobody listens');
    }),
  );
});

test.run();
