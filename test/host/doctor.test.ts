/** Findings on facts that were made up: what is told, how badly, and what is not told. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Given } from '../../src/config/given.ts';
import { readReplayConfig } from '../../src/config.ts';
import { diagnosisText } from '../../src/control/diagnosis.ts';
import { examine } from '../../src/host/doctor/doctor.ts';
import type { Facts } from '../../src/host/doctor/facts.ts';
import { type Finding, isOurs } from '../../src/host/doctor/finding.ts';
import { verdictOf } from '../../src/host/doctor/verdict.ts';
import type { NftItem, NftRule } from '../../src/host/nft.ts';

const subject = readReplayConfig({ taps: 'tap0,tap1' });

/** A host with nothing wrong. */
const SOUND: Facts = {
  subject,
  running: false,
  holder: undefined,
  root: true,
  missing: [],
  tunFault: undefined,
  natFault: undefined,
  ruleset: [],
  legacyForward: [],
  links: [],
  routes: [],
  settings: {},
  journal: [],
  subnets: {},
  taps: {},
  networkManager: {},
  networkd: {},
  unwritten: undefined,
  resolvers: 1,
  silent: [],
};
const UP: Partial<Facts> = { running: true, holder: 'vsw0 (pid 7)' };

const found = (facts: Partial<Facts>): Finding[] => examine({ ...SOUND, ...facts });
const ids = (facts: Partial<Facts>): string[] => found(facts).map(({ id, severity }) => `${id} ${severity}`);

const chain = (name: string, base: object = {}): NftItem => ({
  chain: { family: 'ip', table: 'filter', name, ...base },
});
const FORWARD = { type: 'filter', hook: 'forward' };
const rule = (name: string, ...expr: object[]): NftItem => ({
  rule: { family: 'ip', table: 'filter', chain: name, handle: 1, expr: expr as NftRule['expr'] },
});
const is = (key: string, right: unknown, op = '=='): object => ({
  match: { op, left: { meta: { key } }, right },
});

test('a sound host: nothing is found, whether the switch runs or not', () => {
  assert.equal(found({}), []);
  assert.equal(found(UP), []);
});

test('verdict: what is certain decides, what asks for more is passed over', () => {
  const [accept, drop] = [{ accept: null }, { drop: null }];
  const state = { match: { op: 'in', left: { ct: { key: 'state' } }, right: ['established'] } };
  const rows: [string, NftItem[], string][] = [
    ['an empty chain has its policy', [], 'drop'],
    ['all', [rule('F', accept)], 'accept'],
    ['one interface', [rule('F', is('iifname', 'vsw0'), accept)], 'accept'],
    ['another interface', [rule('F', is('iifname', 'eth0'), accept)], 'drop'],
    ['not another', [rule('F', is('iifname', 'eth0', '!='), accept)], 'accept'],
    ['some interfaces', [rule('F', is('iifname', { set: ['eth0', 'vsw*'] }), accept)], 'accept'],
    ['an interface that is not known', [rule('F', is('oifname', 'eth0'), accept)], 'drop'],
    [
      'some interfaces by a prefix',
      [rule('F', is('iifname', { prefix: { addr: 'x', len: 8 } }, '!='), accept)],
      'drop',
    ],
    ['a state', [rule('F', state, accept)], 'drop'],
    ['a match of iptables', [rule('F', { xt: { type: 'match', name: 'addrtype' } }, accept)], 'drop'],
    ['a remark and a counter', [rule('F', { xt: { name: 'comment' } }, { counter: {} }, accept)], 'accept'],
    ['the first counts', [rule('F', { reject: {} }), rule('F', accept)], 'drop'],
    ["iptables' REJECT", [rule('F', { xt: { type: 'target', name: 'REJECT' } }), rule('F', accept)], 'drop'],
    ['a jump', [rule('F', { jump: { target: 'J' } }), rule('J', accept)], 'accept'],
    [
      'a jump and back',
      [rule('F', { jump: { target: 'J' } }), rule('J', { return: null }), rule('J', accept)],
      'drop',
    ],
    ['after a jump', [rule('F', { jump: { target: 'J' } }), rule('F', accept)], 'accept'],
    ['after a goto', [rule('F', { goto: { target: 'J' } }), rule('F', accept)], 'drop'],
    ['a loop', [rule('F', { jump: { target: 'F' } })], 'drop'],
    ['another table', [{ rule: { ...(rule('F', accept).rule as NftRule), table: 'other' } }], 'drop'],
  ];
  const base = { family: 'ip', table: 'filter', chain: 'F' };
  for (const [what, rules, verdict] of rows)
    assert.is(
      verdictOf([chain('F', { policy: 'drop' }), ...rules], base, { iifname: 'vsw0' }),
      verdict,
      what,
    );
  assert.is(verdictOf([chain('F', { policy: 'accept' }), rule('F', drop)], base, {}), 'drop');
});

test('forward-drop: both ways are looked at, and who made the chain is named', () => {
  const docker = [
    chain('FORWARD', { ...FORWARD, policy: 'drop' }),
    chain('DOCKER-USER'),
    chain('ufw-before-forward'),
  ];
  const out = rule('FORWARD', is('iifname', 'vsw0'), { accept: null });
  const back = rule('FORWARD', is('oifname', 'vsw0'), { accept: null });
  assert.equal(ids({ ...UP, ruleset: [...docker, out] }), ['forward-drop error']);
  assert.equal(ids({ ...UP, ruleset: [...docker, out, back] }), []);
  assert.equal(ids({ ruleset: docker }), ['forward-drop note']);
  const own = rule(
    'FORWARD',
    is('oifname', 'vsw0'),
    { xt: { name: 'comment' } },
    { counter: {} },
    { drop: null },
  );
  assert.equal(ids({ ...UP, ruleset: [...docker, own, out, back] }), [], 'our own, by iptables');
  assert.equal(ids({ ...UP, ruleset: docker, subject: readReplayConfig({ uplink: 'none' }) }), []);
  const [finding] = found({ ...UP, ruleset: docker }) as [Finding];
  assert.match(finding.what, 'ip filter FORWARD (of Docker and ufw) drops');
  assert.ok(isOurs(finding));
  assert.equal(
    finding.fix.map(step => step.text),
    [
      `nft 'insert rule ip filter FORWARD oifname "vsw0" accept comment "vswitchd:vsw0"'`,
      `nft 'insert rule ip filter FORWARD iifname "vsw0" accept comment "vswitchd:vsw0"'`,
    ],
  );
});

test('firewalld beside a running switch is a note; iptables-legacy where it drops', () => {
  const firewalld: NftItem[] = [{ table: { family: 'inet', name: 'firewalld' } }];
  assert.equal(ids({ ...UP, ruleset: firewalld }), ['firewalld-reload note']);
  assert.equal(ids({ ruleset: firewalld }), []);
  const drops = '-P FORWARD DROP';
  assert.equal(ids({ legacyForward: [drops] }), ['legacy-drop warning']);
  assert.equal(ids({ ...UP, legacyForward: [drops, '-A FORWARD -i vsw0 -j ACCEPT'] }), ['legacy-drop error']);
  const both = ['-A FORWARD -i vsw0 -j ACCEPT', '-A FORWARD -o vsw0 -j ACCEPT'];
  assert.equal(ids({ ...UP, legacyForward: [drops, ...both] }), []);
  assert.equal(ids({ legacyForward: ['-P FORWARD ACCEPT'] }), []);
});

test('needs: tools, drivers, rights, name servers', () => {
  assert.equal(ids({ missing: ['ip', 'nft'] }), ['missing-tool error', 'missing-tool error']);
  assert.equal(ids({ missing: ['nft'], subject: { ...subject, firewall: 'none' } }), []);
  const [closed] = found({ tunFault: 'EPERM' }) as [Finding];
  assert.match(closed.what, /container/);
  assert.not(isOurs(closed));
  assert.ok(isOurs(found({ tunFault: 'ENOENT' })[0] as Finding));
  assert.equal(ids({ natFault: 'Operation not supported' }), ['no-nat error']);
  assert.equal(ids({ root: false }), ['not-root warning']);
  assert.equal(ids({ unwritten: 'disk full' }), ['leases-unwritten error']);
  assert.equal(ids({ unwritten: 'disk full', subject: readReplayConfig({ 'no-dhcp': true }) }), []);
  assert.equal(ids({ resolvers: 0 }), ['no-resolver error']);
  assert.equal(ids({ ...UP, resolvers: 0 }), ['no-resolver warning']);
  assert.equal(ids({ resolvers: 0, subject: readReplayConfig({ dns: '9.9.9.9' }) }), []);
  const told = (given: Given): string[] => ids({ resolvers: 0, subject: readReplayConfig(given) });
  assert.equal(told({ 'no-dhcp': true }), ['no-resolver error'], 'the service asks for all guests');
  assert.equal(told({ 'no-dhcp': true, 'no-dns': true }), []);
  assert.equal(told({ 'no-dns': true }), ['no-resolver error']);
  assert.equal(told({ 'no-dns': true, dns: '9.9.9.9' }), []);
  assert.equal(told({ uplink: 'none' }), []);
  assert.equal(ids({ ...UP, resolvers: 2, silent: ['9.9.9.9'] }), ['resolver-silent warning']);
  assert.equal(ids({ ...UP, silent: ['9.9.9.9'] }), ['resolver-silent error']);
});

test('the subnet: parts of a default route and ways to nowhere are none, and what is proposed is free', () => {
  const lan = { dst: '192.168.0.0/17', dev: 'eth0' };
  const local = { dst: '192.168.100.7', dev: 'eth0', type: 'local', table: 'local' };
  const clash = found({
    routes: [{ dst: 'default', dev: 'eth0' }, lan, local],
    subnets: { '192.168.128.0/24': 'x (pid 1)' },
  });
  assert.is(clash.length, 1);
  assert.equal(clash[0]?.fix[0]?.text, 'vswitchd --name vsw0 --subnet 192.168.129.0/24 --taps tap0,tap1');
  assert.equal(
    ids({
      routes: [
        { dst: '128.0.0.0/1', dev: 'wg0' },
        { ...lan, type: 'blackhole' },
      ],
    }),
    [],
  );
  assert.equal(ids({ ...UP, routes: [{ dst: '192.168.100.0/24', dev: 'vsw0' }] }), []);
  assert.equal(
    ids({ ...UP, subnets: { '192.168.100.0/24': 'vsw0 (pid 7)' }, taps: { tap0: 'vsw0 (pid 7)' } }),
    [],
  );
});

test('the name: held by one that does not answer, or by an interface', () => {
  assert.equal(ids({ holder: 'vsw0 (pid 7)' }), ['no-answer warning']);
  assert.equal(ids({ links: [{ name: 'vsw0' }] }), ['name-taken error']);
  assert.equal(ids({ links: [{ name: 'vsw0' }], subject: readReplayConfig({ uplink: 'none' }) }), []);
});

test('rp_filter: the stricter of the two settings, on another way out than the best', () => {
  const routes = [
    { dst: 'default', dev: 'eth1', metric: 200 },
    { dst: 'default', dev: 'eth0', metric: 100 },
    { dst: 'default', dev: 'wg0', table: '51820' },
  ];
  const filter = (all: string, eth1: string): Facts['settings'] => ({
    'net/ipv4/conf/all/rp_filter': all,
    'net/ipv4/conf/eth0/rp_filter': '1',
    'net/ipv4/conf/eth1/rp_filter': eth1,
    'net/ipv4/conf/wg0/rp_filter': '1',
  });
  for (const [all, eth1, expected] of [
    ['0', '1', ['rp-filter warning']],
    ['1', '0', ['rp-filter warning']],
    ['0', '2', []],
    ['2', '1', []],
  ] as const)
    assert.equal(ids({ routes, settings: filter(all, eth1) }), expected);
});

test('what was taken away: tables, shields and settings, not what is there', () => {
  const journal: Facts['journal'] = [
    { kind: 'table', family: 'inet', name: 'vswitchd_vsw0', body: '' },
    { kind: 'table', family: 'netdev', name: 'vswitchd_vsw0', body: '' },
    { kind: 'chain', table: 'vswitchd_vsw0', name: 'tap_tap0', interface: 'tap0' },
    { kind: 'sysctl', key: 'net/ipv6/conf/tap0/disable_ipv6', value: '1', before: '0' },
    { kind: 'tap', name: 'tap0', alias: 'vswitchd:vsw0:tap0' },
  ];
  const ours = { family: 'inet', table: 'vswitchd_vsw0', chain: 'postrouting', handle: 1, expr: [] };
  const there: NftItem[] = [
    { rule: ours },
    { table: { family: 'netdev', name: 'vswitchd_vsw0' } },
    { chain: { family: 'netdev', table: 'vswitchd_vsw0', name: 'tap_tap0' } },
  ];
  const settings = { 'net/ipv6/conf/tap0/disable_ipv6': '1' };
  assert.equal(ids({ ...UP, journal, ruleset: there, settings }), []);
  const [gone] = found({ ...UP, journal, settings: { 'net/ipv6/conf/tap0/disable_ipv6': '0' } }) as [Finding];
  assert.is(gone.id, 'taken-away');
  assert.is(gone.fix.length, 4);
  assert.equal(ids({ journal }), ['left-behind warning']);
  assert.equal(ids({ ...UP, missing: ['nft'], journal }), ['missing-tool error']);
});

test('taps: managed by somebody, or in a bridge', () => {
  const states = { tap0: 'connected', tap1: 'unmanaged', eth0: 'connected' };
  assert.equal(ids({ networkManager: states }), ['networkmanager warning']);
  assert.equal(ids({ networkManager: { tap1: 'unmanaged', eth0: 'connected' } }), []);
  assert.equal(ids({ networkd: { tap0: 'configuring' } }), ['networkd warning']);
  assert.equal(ids({ networkd: { tap0: 'unmanaged', vsw0: 'pending' } }), []);
  const bridge = { name: 'br0', kind: 'bridge' };
  const [theirs] = found({ links: [{ name: 'tap0', master: 'br0' }, bridge] }) as [Finding];
  assert.equal([theirs.id, isOurs(theirs)], ['tap-in-bridge', false]);
  const made = { name: 'tap0', master: 'br0', alias: 'vswitchd:vsw0:tap0' };
  assert.ok(isOurs(found({ links: [made, bridge] })[0] as Finding));
  assert.equal(
    ids({
      links: [
        { name: 'tap0', master: 'vrf0' },
        { name: 'vrf0', kind: 'vrf' },
      ],
    }),
    [],
  );
});

test('what people read: a sentence, then commands under whose they are', () => {
  const finding = { id: 'x', severity: 'error', what: 'it is broken', fix: ['a b', 'c'], ours: true };
  const findings = [
    finding,
    { ...finding, ours: false, fix: ['d'], lasting: ['e\nf'] },
    { ...finding, fix: [] },
  ];
  const mended = [
    { id: 'y', done: ['g'] },
    { id: 'z', done: ['h'], fault: 'refused' },
  ];
  assert.is(
    diagnosisText({ mended, findings }),
    [
      ...['mended: y', '  by:', '    g', 'not mended: z, refused', '  which was tried by:', '    h'],
      ...['error: it is broken', '  --fix does it:', '    a b', '    c'],
      ...['error: it is broken', '  to be done:', '    d', '  for good:', '    e', '    f'],
      'error: it is broken',
    ].join('\n'),
  );
  assert.is(diagnosisText({ mended: [], findings: [] }), 'nothing wrong found');
});

test.run();
