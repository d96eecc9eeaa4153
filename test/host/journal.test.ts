/** The journal over kills and faults, and the plan as data. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readReplayConfig } from '../../src/config.ts';
import { type Change, describe } from '../../src/host/changes.ts';
import { Journal } from '../../src/host/journal.ts';
import { type Present, plan, setting } from '../../src/host/plan.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-journal-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string): string => join(folder, name);

const forward: Change = { kind: 'sysctl', key: 'net/ipv4/ip_forward', value: '1', before: '0' };
const tap: Change = { kind: 'tap', name: 'tap0', alias: 'vswitchd:vsw0:tap0' };

test('what was recorded is there for the next instance, in order', () => {
  const file = path('order');
  const first = new Journal(file);
  first.record([forward]);
  first.record([tap]);
  assert.equal(new Journal(file).changes, [forward, tap]);
});

test('the last change forgotten takes the file along; again is no fault', () => {
  const file = path('empty');
  const journal = new Journal(file);
  journal.record([forward, tap]);
  journal.forget([forward]);
  assert.equal(new Journal(file).changes, [tap]);
  journal.forget([tap]);
  journal.forget([tap]);
  assert.throws(() => readFileSync(file), /ENOENT/);
});

test('a file that a kill kept from taking its place goes with the last change, or where there is none', () => {
  const file = path('next');
  const journal = new Journal(file);
  for (const changes of [[], [forward]]) {
    journal.record(changes);
    writeFileSync(`${file}.new`, '{"kind":');
    journal.forget(changes);
    assert.not(existsSync(`${file}.new`));
  }
});

test('a last line cut off by a kill is a change that was not made', () => {
  const file = path('cut');
  new Journal(file).record([forward, tap]);
  writeFileSync(file, readFileSync(file, 'utf8').slice(0, -20));
  assert.equal(new Journal(file).changes, [forward]);
});

test('a line in the middle that is no record is told, with its place', () => {
  const file = path('bad');
  writeFileSync(file, `nonsense\n${JSON.stringify(tap)}\n`);
  assert.throws(() => new Journal(file), /bad:1 is no record of a change/);
});

test('a journal that can’t be written is told before anything is changed', () => {
  const file = path('order');
  assert.throws(
    () => new Journal(join(file, 'below-a-file')).record([tap]),
    /ENOTDIR|can't be (read|written)/,
  );
});

/** A host with nothing on it, where nft does all. */
const BARE: Present = {
  backend: { name: 'nft', reason: 'asked for', nat: 'nft', shields: 'nft' },
  chains: [],
  others: [],
  resolved: false,
  sysctl: () => '0',
};

test('the plan: what there is to change, and nothing that is so already', () => {
  const config = readReplayConfig({ subnet: '10.0.0.0/24' });
  const chain = { family: 'ip', table: 'filter', chain: 'FORWARD', hook: 'forward' } as const;
  const changes = plan(config, { ...BARE, chains: [chain] });
  assert.equal(
    changes.map(change => change.kind),
    ['sysctl', 'table', 'table', 'rule', 'rule'],
  );
  const text = changes.map(describe).join('\n');
  assert.match(text, /ip saddr 10\.0\.0\.254 oifname != "vsw0" masquerade/);
  assert.match(text, /insert rule ip filter FORWARD iifname "vsw0" accept comment "vswitchd:vsw0"/);
  assert.equal(setting({ sysctl: () => '1' }, 'net/ipv4/ip_forward', '1'), []);
  assert.equal(setting({ sysctl: () => undefined }, 'net/ipv6/conf/x/disable_ipv6', '1'), []);
});

test('an isolated network, passt, a LAN, or no firewall: no rules', () => {
  for (const uplink of ['none', 'passt', 'bridge:eth0'])
    assert.equal(
      plan(readReplayConfig({ uplink }), BARE).map(change => change.kind),
      ['table'],
      uplink,
    );
  const bare = plan(readReplayConfig({ firewall: 'none' }), {
    ...BARE,
    backend: { name: 'none', reason: 'asked for', nat: 'none', shields: 'tc' },
  });
  assert.equal(
    bare.map(change => change.kind),
    ['sysctl'],
  );
  assert.match(describe({ kind: 'tc', interface: 'tap0', qdisc: true }), /tc filter/);
  assert.match(describe(tap), /ip tuntap add dev tap0/);
});

test.run();
