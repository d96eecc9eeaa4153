/** The command line and the programs as they are run: options, help, refusals, logs, sd_notify. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type CommandLine, parseCommandLine } from '../src/cli.ts';
import { describeError, exitCodeOf, OperatorError } from '../src/errors.ts';
import { openLog } from '../src/log.ts';
import { notify } from '../src/notify.ts';
import { SETTINGS } from '../src/options.ts';
import { checkPrivilege, ownRights } from '../src/privilege.ts';
import { VERSION } from '../src/version.ts';

const parse = (line: string): CommandLine => parseCommandLine(line.split(' ').filter(word => word !== ''));
const RUN = '--subnet 10.0.0.0/24 --taps tap0';

/** The lists of a DHCP service that nobody has said more about. */
const NOTHING_MORE = { hosts: [], pools: [], options: [], tags: [], boots: [] };

function refusal(act: () => unknown): OperatorError {
  try {
    act();
  } catch (error) {
    assert.instance(error, OperatorError);
    return error as OperatorError;
  }
  throw new Error('accepted');
}

test('run: every option reaches the configuration', () => {
  const records = ['--dns-record', 'nas=10.0.0.9', '--dns-record', 'note TXT a,b'];
  const line = parseCommandLine([
    ...records,
    ...(
      '--subnet 10.0.0.0/24 --taps tap0 --taps tap1@red --port tap:tap2:device --port stream:/r/vm3.sock,guests=2 --name lab --mtu 1400 --ageing 60 --max-macs 1024 --guard strict --port-macs 4,shutdown --storm-limit broadcast=100,macs=5 --host-access services ' +
      '--dhcp-range 10.0.0.20-10.0.0.30 --lease-time 30m --dhcp-probe 90 --lease-hook /h --release-on-detach --dns 9.9.9.9 --domain lab.test --uplink none ' +
      '--nat-address 10.0.0.9 --nat-filtering endpoint --max-flows 99 --max-guest-flows 9 --egress internet-only --firewall none --metrics [::1]:9560 --state-dir /s --run-dir /r --log-level debug --dry-run'
    ).split(' '),
  ]);
  assert.is(line.command, 'run');
  if (line.command !== 'run') return;
  assert.ok(line.dryRun);
  const { subnet, dhcp, taps, natAddress, ...rest } = line.config;
  assert.is(subnet.text, '10.0.0.0/24');
  assert.equal(
    taps.map(tap => tap.name),
    ['tap0', 'tap1', 'tap2'],
  );
  assert.is(natAddress, 0x0a000009);
  assert.equal(dhcp, {
    first: 0x0a000014,
    last: 0x0a00001e,
    leaseTimeS: 1800,
    probeMs: 90,
    dns: [0x09090909],
    domain: 'lab.test',
    ...NOTHING_MORE,
  });
  assert.equal(rest, {
    name: 'lab',
    mtu: 1400,
    ageingS: 60,
    maxMacs: 1024,
    ports: [{ kind: 'stream', name: 'vm3', path: '/r/vm3.sock', mode: 'server', guests: 2 }],
    uplink: { kind: 'none' },
    dns: {
      domain: 'lab.test',
      upstreams: [0x09090909],
      records: [
        { name: 'nas.lab.test', type: 'A', data: '10.0.0.9' },
        { name: 'note.lab.test', type: 'TXT', data: ['a,b'] },
      ],
    },
    guard: 'strict',
    portMacs: { max: 4, shutdown: true },
    stormLimit: { broadcast: 100, macs: 5 },
    hostAccess: 'services',
    user: undefined,
    natFiltering: 'endpoint',
    maxFlows: 99,
    maxGuestFlows: 9,
    forwards: [],
    lan: undefined,
    egress: { rules: [], otherwise: 'internet-only', resolvers: [0x09090909] },
    cloudInit: undefined,
    firewall: 'none',
    leaseHook: '/h',
    releaseOnDetach: true,
    metrics: { address: '::1', port: 9560 },
    stateDir: '/s',
    runDir: '/r',
    logLevel: 'debug',
  });
});

test('run: port forwards, in parts and with commas', () => {
  const line = parse(`${RUN} --forward 8080:10.0.0.7:80 --forward udp/53:vm1:5353,tcp/22:10.0.0.8:22`);
  assert.equal(line.command === 'run' && line.config.forwards, [
    { protocol: 'tcp', port: 8080, guest: 0x0a000007, guestPort: 80 },
    { protocol: 'udp', port: 53, guest: 'vm1', guestPort: 5353 },
    { protocol: 'tcp', port: 22, guest: 0x0a000008, guestPort: 22 },
  ]);
});

test('run: --no-dns goes with --dns, in any order', () => {
  for (const words of ['--no-dns --dns 9.9.9.9', '--dns 9.9.9.9 --no-dns']) {
    const line = parse(`${RUN} ${words}`);
    assert.ok(line.command === 'run');
    if (line.command === 'run')
      assert.equal([line.config.dns, line.config.dhcp?.dns], [undefined, [0x09090909]]);
  }
});

test('run: --no-nat', () => {
  const line = parse(`${RUN} --no-nat`);
  assert.ok(line.command === 'run' && line.config.natAddress === 0);
});

test('run: what an isolated network can’t have', () => {
  const line = parse(`${RUN} --lan eth0 --forward udp/53:10.0.0.9:53 --firewall ufw`);
  assert.is(line.command, 'run');
  if (line.command !== 'run') return;
  assert.is(line.config.lan, 'eth0');
  assert.is(line.config.firewall, 'ufw');
  assert.equal(line.config.forwards, [{ protocol: 'udp', port: 53, guest: 0x0a000009, guestPort: 53 }]);
});

test('run: egress rules, in parts and with commas', () => {
  const words = [
    '--subnet',
    '10.0.0.0/24',
    '--taps',
    'tap0',
    '--egress-rule',
    'deny 10.0.0.0/8,deny icmp any',
  ];
  const line = parseCommandLine([...words, '--egress-rule', 'tap0 allow tcp/443 .debian.org']);
  assert.equal(line.command === 'run' && line.config.egress.rules.map(rule => rule.text), [
    'deny 10.0.0.0/8',
    'deny icmp any',
    'tap0 allow tcp/443 .debian.org',
  ]);
});

test('run: --no-dhcp, and no dry run unless asked for', () => {
  const line = parse(`${RUN} --no-dhcp`);
  assert.ok(line.command === 'run' && !line.dryRun && line.config.dhcp === undefined);
});

test('undo needs no network', () => {
  assert.equal(parse('--undo --name lab --state-dir /s'), {
    command: 'undo',
    place: { name: 'lab', stateDir: '/s', runDir: '/run/vswitchd', logLevel: 'info' },
  });
});

test('demo and replay', () => {
  assert.equal(parse('demo'), { command: 'demo' });
  const line = parse('replay --in p0=a.pcap --in p1=dir/b=c.pcap --out result --subnet 10.0.0.0/24');
  assert.ok(line.command === 'replay');
  if (line.command !== 'replay') return;
  assert.equal(line.inputs, [
    { port: 'p0', path: 'a.pcap' },
    { port: 'p1', path: 'dir/b=c.pcap' },
  ]);
  assert.is(line.outDir, 'result');
  assert.is(line.config.subnet.text, '10.0.0.0/24');
});

test('help names every option, shows an example and the QEMU line; version is that of package.json', () => {
  const help = parse('--help');
  assert.ok(help.command === 'print');
  if (help.command !== 'print') return;
  for (const name of [...Object.keys(SETTINGS), 'config', 'dry-run', 'undo', 'version'])
    assert.match(help.text, `--${name}`);
  assert.match(help.text, 'vswitchd --subnet 192.168.100.0/24 --taps tap0,tap1');
  assert.match(help.text, 'ifname=tap0,script=no,downscript=no');
  assert.ok(help.text.split('\n').every(line => line.length <= 110));
  assert.equal(parse('--version'), { command: 'print', text: VERSION });
  assert.match(VERSION, /^\d+\.\d+\.\d+/);
});

test('bad usage is one sentence, exit code 2', () => {
  const rows: [string, RegExp][] = [
    ['', /^--subnet is missing; expected/],
    ['--taps', /^option '--taps <LIST>' argument missing; expected/],
    ['--tap tap0', /^unknown option '--tap' \(Did you mean --taps\?\); expected/],
    [`${RUN} extra`, /^unexpected argument "extra"; expected/],
    ['start', /^unexpected argument "start"; expected/],
    ['demo now', /^unexpected argument "now"; expected/],
    [`${RUN} --mtu 1`, /^--mtu 1: expected/],
    ['replay', /^--in is missing; expected/],
    ['replay --in p0=a', /^--out is missing; expected/],
    ['replay --in p0 --out d', /^--in p0: expected PORT=FILE/],
    ['replay --in p0= --out d', /^--in p0=: expected PORT=FILE/],
    ['replay --in ../p=a --out d', /^--in \.\.\/p=a: expected PORT=FILE/],
    ['replay --in p=a --in p=b --out d', /^--in p=b: names p twice; expected/],
  ];
  for (const [line, expected] of rows) {
    const error = refusal(() => parse(line));
    assert.match(error.message, expected);
    assert.not.match(error.message, /\n/);
    assert.is(error.exitCode, 2);
  }
});

test('privilege: neither the right nor the device is taken for granted', () => {
  const all = (1n << 12n) | (1n << 13n);
  checkPrivilege({ capabilities: all, tunDevice: '/dev/null' });
  const noRight = refusal(() => checkPrivilege({ capabilities: 1n << 12n, tunDevice: '/dev/null' }));
  assert.match(noRight.message, /as root/);
  assert.equal([noRight.code, noRight.exitCode], ['Privilege', 2]);
  const noDevice = refusal(() => checkPrivilege({ capabilities: all, tunDevice: '/dev/none' }));
  assert.match(noDevice.message, '/dev/none');
  assert.equal([noDevice.code, noDevice.exitCode], ['NoDevice', 2]);
  assert.is(typeof ownRights().capabilities, 'bigint');
});

test('errors: an operator fault is a sentence, anything else a fault with its stack', () => {
  const cause = new Error('deep');
  const busy = new OperatorError('tap0 is taken', { code: 'Busy', cause });
  assert.equal([describeError(busy), exitCodeOf(busy), busy.cause], ['tap0 is taken', 3, cause]);
  assert.match(describeError(cause), /deep\n +at /);
  assert.is(describeError('text'), 'text');
  assert.is(exitCodeOf(cause), 1);
});

test('errors: reportAndExit ends the program with the sentence and the code', () => {
  const module = new URL('../src/errors.js', import.meta.url).href;
  const code = `import('${module}').then(m => m.reportAndExit(new m.OperatorError('no', { code: 'Busy' })))`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  assert.equal([status, stderr], [3, 'vswitchd: no\n']);
});

test('log: JSON where nobody looks on, lines for people on a terminal', () => {
  const module = new URL('../src/log.js', import.meta.url).href;
  const folder = mkdtempSync(join(tmpdir(), 'vswitchd-log-'));
  const output = (terminal: boolean): string => {
    const code = `import('${module}').then(async m => {
      const log = await m.openLog('info', ${terminal});
      log.debug('hidden'); log.info({ ports: 2 }, 'ready'); process.exit(0); })`;
    return spawnSync(process.execPath, ['-e', code], { encoding: 'utf8', cwd: folder }).stdout;
  };
  const { time, ...line } = JSON.parse(output(false)) as Record<string, unknown>;
  assert.equal(line, { level: 30, ports: 2, msg: 'ready' });
  assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
  assert.match(output(true), /INFO.*ready/);
  assert.not.match(output(true), /hidden/);
  rmSync(folder, { recursive: true });
});

test('log: opens in this process', async () => {
  const log = await openLog('error', false);
  assert.is(log.level, 'error');
  assert.is((await openLog('warn', true)).level, 'warn');
});

test('sd_notify: tells the manager if there is one, and never fails', () => {
  const sent: string[][] = [];
  const send = (path: string, text: string): void => void sent.push([path, text]);
  assert.ok(notify('READY=1', 'two ports\nup', '@manager', send));
  assert.ok(notify('STOPPING=1', 'undoing', '/run/notify', send));
  assert.equal(sent, [
    ['@manager', `READY=1\nSTATUS=two ports up\nMAINPID=${process.pid}`],
    ['/run/notify', 'STOPPING=1\nSTATUS=undoing'],
  ]);
  assert.not(notify('READY=1', '', 'vsock:1', send));
  const refuse = (): void => {
    throw new Error('ECONNREFUSED');
  };
  assert.not(notify('READY=1', '', '/run/notify', refuse));
});

test.run();
