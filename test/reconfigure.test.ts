/** A running switch takes another file: what differs is changed in steps, and a step that fails undoes those before it. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { SettingsFile } from '../src/config/given.ts';
import { readConfig } from '../src/config.ts';
import type { ForwardView } from '../src/control/views.ts';
import { OperatorError } from '../src/errors.ts';
import type { ConfigEvent } from '../src/events/bus.ts';
import { Reconfigure } from '../src/reconfigure.ts';

const START = { subnet: '10.0.0.0/24', taps: 'tap0,tap1', forward: '80:10.0.0.10:80' };

interface Bench {
  readonly calls: string[];
  readonly told: ConfigEvent[];
  readonly log: { level: string };
  readonly forwards: ForwardView[];
  readonly reconfigure: Reconfigure;
}

/** `fails`: the call that does. */
function bench(fails = '', file?: string): Bench {
  const calls: string[] = [];
  const told: ConfigEvent[] = [];
  const ports = ['tap:tap0', 'tap:tap1'];
  const forwards = [{ protocol: 'tcp', port: 80, guest: '10.0.0.10', guestPort: 80 }];
  const call = async (what: string): Promise<void> => {
    calls.push(what);
    if (what === fails) throw new OperatorError(`${what} can't be had`, { code: 'Busy' });
  };
  const log = { level: 'info', info: () => undefined, warn: () => undefined, error: () => undefined };
  const reconfigure = new Reconfigure({
    config: readConfig(START),
    source: { options: START, file, written: START },
    police: ({ rules, otherwise }, names) => {
      calls.push(`police ${otherwise} ${rules.map(({ text }) => text)} for ${names}`);
    },
    serve: async config => call(`serve ${config.dhcp?.leaseTimeS} ${config.dhcp?.hosts.length}`),
    ports: {
      add: text => call(`+${text}`),
      remove: name => call(`-${name}`),
      texts: () => ports,
    },
    forwarding: {
      add: text => call(`+${text}`),
      remove: name => call(`-${name}`),
      list: () => forwards,
    },
    log: log as never,
    told: event => void told.push(event),
  });
  return { calls, told, log, forwards, reconfigure };
}

const file = (text: string): SettingsFile => ({
  name: 'a.toml',
  text: `subnet = "10.0.0.0/24"\n${text}`,
  format: 'toml',
  wins: true,
});

const refusal = (act: Promise<unknown>): Promise<string> =>
  act.then(
    () => {
      throw new Error('accepted');
    },
    (error: Error) => error.message,
  );

test('the same in other words is no difference', () => {
  const same = file('taps = ["tap1"]\nport = ["tap:tap0"]\nforward = ["tcp/80:10.0.0.10:80"]');
  assert.equal(bench().reconfigure.diff(same), []);
});

test('what differs is changed, what goes first, and told of', async () => {
  const { calls, told, log, reconfigure } = bench();
  const wanted = file('taps = ["tap0", "tap2"]\nforward = ["81:vm1:80"]\nlog-level = "debug"');
  const found = await reconfigure.apply(wanted);
  assert.equal(
    found.map(({ setting, removed, added }) => [setting, ...removed, '>', ...added]),
    [
      ['port', 'tap:tap1', '>', 'tap:tap2'],
      ['forward', 'tcp/80:10.0.0.10:80', '>', 'tcp/81:vm1:80'],
      ['log-level', 'info', '>', 'debug'],
    ],
  );
  assert.equal(calls, ['-tcp/80', '-tap1', '+tap:tap2', '+tcp/81:vm1:80']);
  assert.is(log.level, 'debug');
  assert.equal(told, [{ event: 'config-applied', file: 'a.toml', changes: 3 }]);
});

test('a step that fails: those before it are undone, the last first', async () => {
  const { calls, told, log, reconfigure } = bench('+tap:tap2');
  const wanted = file('taps = ["tap0", "tap2"]\nforward = []\nlog-level = "debug"');
  assert.is(await refusal(reconfigure.apply(wanted)), "+tap:tap2 can't be had");
  assert.equal(calls, ['-tcp/80', '-tap1', '+tap:tap2', '+tap:tap1', '+tcp/80:10.0.0.10:80']);
  assert.is(log.level, 'info');
  assert.is(told[0]?.event, 'config-refused');
});

test('what takes a restart is named, and nothing is done', async () => {
  const { calls, told, reconfigure } = bench();
  const wanted = file('taps = ["tap0", "tap2"]\nmtu = 1400\nageing = 60\nhost = ["vm1,tap0,10.0.0.9"]');
  assert.is(
    await refusal(reconfigure.apply(wanted)),
    "a.toml: mtu, ageing can't be changed while the switch runs; expected them as they are, or a restart",
  );
  assert.equal(calls, []);
  assert.is(told[0]?.event, 'config-refused');
});

test('reservations, lease time and records: served by the new ones, and by the old again when a later step fails', async () => {
  const lines =
    'taps = ["tap0", "tap1"]\nlease-time = "2h"\nhost = ["vm1,tap0,10.0.0.9"]\nforward = ["80:10.0.0.10:80"';
  const good = bench();
  const found = await good.reconfigure.apply(file(`${lines}]\ndns-record = ["nas=10.0.0.5"]`));
  assert.equal(
    found.map(({ setting, restart }) => [setting, restart]),
    [
      ['lease-time', false],
      ['host', false],
      ['dns-record', false],
    ],
  );
  assert.equal(good.calls, ['serve 7200 1']);
  assert.equal(good.reconfigure.diff(file(`${lines}]\ndns-record = ["nas=10.0.0.5"]`)), []);
  assert.is(good.reconfigure.written()['lease-time'], '2h');
  const bad = bench('+tcp/81:10.0.0.11:81');
  await refusal(bad.reconfigure.apply(file(`${lines}, "81:10.0.0.11:81"]`)));
  assert.equal(bad.calls, ['serve 7200 1', '+tcp/81:10.0.0.11:81', 'serve 43200 0']);
  assert.is(bad.reconfigure.written()['lease-time'], undefined);
});

test('egress rules: those about a port hold before it comes, and till it has gone', async () => {
  const lines = 'forward = ["80:10.0.0.10:80"]\n';
  const { calls, reconfigure } = bench();
  await reconfigure.apply(
    file(`${lines}taps = ["tap0", "tap1"]\negress = "none"\negress-rule = ["tap1 deny 9.0.0.0/8"]`),
  );
  assert.equal(calls.splice(0), ['police none tap1 deny 9.0.0.0/8 for tap0,tap1']);
  const after = file(
    `${lines}taps = ["tap0", "tap2"]\negress-rule = ["tap2 allow 1.1.1.1", "deny 8.0.0.0/8"]`,
  );
  const found = await reconfigure.apply(after);
  assert.equal(
    found.map(({ setting, removed, added }) => [setting, ...removed, '>', ...added]),
    [
      ['port', 'tap:tap1', '>', 'tap:tap2'],
      ['egress-rule', 'tap1 deny 9.0.0.0/8', '>', 'tap2 allow 1.1.1.1', 'deny 8.0.0.0/8'],
      ['egress', 'none', '>', 'all'],
    ],
  );
  assert.equal(calls.splice(0), [
    'police all tap1 deny 9.0.0.0/8,tap2 allow 1.1.1.1,deny 8.0.0.0/8 for tap0,tap2,tap1',
    '-tap1',
    '+tap:tap2',
    'police all tap2 allow 1.1.1.1,deny 8.0.0.0/8 for tap0,tap2',
  ]);
});

test('egress rules in another order are others; a step that fails brings the old ones back', async () => {
  const lines = 'forward = ["80:10.0.0.10:80"]\n';
  const rules = ['deny 9.0.0.0/8', 'allow 9.9.9.9'].map(rule => JSON.stringify(rule));
  const { calls, reconfigure } = bench('+tap:tap2');
  await reconfigure.apply(file(`${lines}taps = ["tap0", "tap1"]\negress-rule = [${rules}]`));
  calls.length = 0;
  const [found] = reconfigure.diff(
    file(`${lines}taps = ["tap0", "tap1"]\negress-rule = [${rules.toReversed()}]`),
  );
  assert.equal(found?.added, ['allow 9.9.9.9', 'deny 9.0.0.0/8']);
  await refusal(reconfigure.apply(file(`${lines}taps = ["tap0", "tap1", "tap2"]\negress = "none"`)));
  assert.equal(calls, [
    'police none  for tap0,tap1,tap2',
    '+tap:tap2',
    'police all deny 9.0.0.0/8,allow 9.9.9.9 for tap0,tap1',
  ]);
});

test('other resolvers: names, guests and egress rules go by them', async () => {
  const { calls, reconfigure } = bench();
  await reconfigure.apply(file('taps = ["tap0", "tap1"]\nforward = ["80:10.0.0.10:80"]\ndns = ["9.9.9.9"]'));
  assert.equal(calls, ['police all  for tap0,tap1', 'serve 43200 0']);
});

test('a file that is wrong is refused with its place', async () => {
  const { calls, reconfigure } = bench();
  assert.match(
    await refusal(reconfigure.apply(file('taps = ["tap0", "tap2"]\nmtuu = 7'))),
    /^a\.toml:3:1: unknown key "mtuu"/,
  );
  assert.equal(calls, []);
});

for (const [text, setting] of [
  ['subnet = "10.0.1.0/24"', 'subnet'],
  ['no-dhcp = true', 'no-dhcp'],
  ['no-dns = true', 'no-dns'],
  ['egress-rule = ["deny .example.org"]', 'egress-rule'],
  ['ageing = 60', 'ageing'],
  ['firewall = "none"', 'firewall'],
] as const)
  test(`${setting} is seen to differ, and to take a restart`, () => {
    const lines = 'taps = ["tap0", "tap1"]\nforward = ["80:10.0.0.10:80"]\n';
    const subnet = text.startsWith('subnet') ? '' : 'subnet = "10.0.0.0/24"\n';
    const forward = setting === 'subnet' ? lines.replaceAll('10.0.0.', '10.0.1.') : lines;
    const { reconfigure } = bench();
    const found = reconfigure.diff({
      name: 'b',
      text: `${subnet}${text}\n${forward}`,
      format: 'toml',
      wins: true,
    });
    assert.ok(
      found.some(each => each.setting === setting && each.restart),
      JSON.stringify(found),
    );
  });

test('what is written is read again, and is no difference', () => {
  const { reconfigure } = bench();
  const text = JSON.stringify(reconfigure.written());
  assert.equal(
    reconfigure
      .diff({ name: 'c', text, format: 'json', wins: true })
      .filter(({ setting }) => setting !== 'port'),
    [],
  );
});

test('a forward that was taken away by hand is not written', () => {
  const { forwards, reconfigure } = bench();
  assert.equal(reconfigure.written().forward, ['tcp/80:10.0.0.10:80']);
  forwards.length = 0;
  assert.is(reconfigure.written().forward, undefined);
});

test('a file that can not be read again is told of, and the switch goes on', async () => {
  const { calls, told, reconfigure } = bench('', '/nowhere/vsw0.toml');
  await reconfigure.reload();
  assert.equal(calls, []);
  assert.equal(
    told.map(event => [event.event, event.file]),
    [['config-refused', '/nowhere/vsw0.toml']],
  );
});

test.run();
