// timeout: 180 s
// coverage: none
/** Reservations, copies, options and relays with real programs: udhcpc, dhclient, and isc-dhcp's relay. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LeaseView } from '../../src/control/views.ts';
import { until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { plugIn, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('ad', import.meta.url);
const SCRIPT = join(projectRoot(), 'tools', 'udhcpc-script.sh');
const RELAY = join(projectRoot(), 'node_modules', '.cache', 'vswitchd-test', 'usr', 'sbin', 'dhcrelay');

inStage(
  'a tap’s address is its guest’s, with another MAC at once; and what dhclient is told',
  async stage => {
    const { lab, host, red } = stage;
    const told = [
      'ntp-server=192.168.100.9',
      'domain-search=vm.test,db.vm.test',
      'routes=10.8.0.0/13 via 192.168.100.9',
    ];
    await lab.startSwitch(
      host,
      ...TAPS,
      ...['--host', 'vm1,tap0,192.168.100.5', '--domain', 'vm.test'],
      ...told.flatMap(option => ['--dhcp-option', option]),
    );
    await plugIn(stage, 'tap0', red);
    assert.is(await lab.lease(red, 'tap0'), '192.168.100.5');
    await lab.ip(red, 'addr', 'flush', 'dev', 'tap0');
    await lab.ip(red, 'link', 'set', 'tap0', 'address', '02:00:00:00:aa:aa');
    const file = (name: string): string => join(lab.folder, name);
    writeFileSync(
      file('script'),
      `#!/bin/sh
[ "$reason" = BOUND ] && echo "$new_ip_address|$new_host_name|$new_ntp_servers|$new_domain_search|$new_routes" > ${file('told')}
exit 0
`,
      { mode: 0o755 },
    );
    writeFileSync(
      file('conf'),
      'option routes code 121 = array of unsigned integer 8;\nrequest subnet-mask, host-name, ntp-servers, domain-search, routes;\n',
    );
    const words = ['-sf', file('script'), '-lf', file('leases'), '-pf', file('pid'), '-cf', file('conf')];
    await lab.inside(red, 'dhclient', '-4', ...words, '-1', 'tap0');
    assert.is(
      readFileSync(file('told'), 'utf8').trim(),
      '192.168.100.5|vm1|192.168.100.9|vm.test. db.vm.test.|13 10 8 192 168 100 9 0 192 168 100 1',
    );
    await lab.inside(red, 'dhclient', '-4', ...words, '-x', 'tap0');
    assert.equal(
      (await lab.ask<LeaseView[]>('leases')).map(lease => [lease.address, lease.mac, lease.hostname]),
      [['192.168.100.5', '02:00:00:00:aa:aa', 'vm1']],
    );
  },
);

inStage('copies of one image, with one client id, get an address each', async stage => {
  const { lab, host, red, blue } = stage;
  await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  const id = '0x3d:ff0102030405060708';
  const first = await lab.lease(red, 'tap0', '-x', id);
  const second = await lab.lease(blue, 'tap1', '-x', id);
  assert.is.not(first, second);
  await lab.ping(red, second);
  assert.equal(
    (await lab.ask<LeaseView[]>('leases')).map(lease => [lease.address, lease.port]),
    [
      [first, 'tap0'],
      [second, 'tap1'],
    ],
  );
});

inStage('a network behind a relay: a lease by it, and its renewal past it', async stage => {
  const { lab, host, red, blue } = stage;
  await lab.startSwitch(host, ...TAPS, '--pool', '10.5.0.0/24,10.5.0.20-10.5.0.29');
  await plugIn(stage, 'tap0', red);
  await lab.ip(red, 'addr', 'add', '192.168.100.2/24', 'dev', 'tap0');
  await lab.cable([red, 'down0', '10.5.0.1/24'], [blue, 'eth0', '10.5.0.99/24']);
  await lab.ip(blue, 'addr', 'flush', 'dev', 'eth0');
  await lab.inside(red, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  const relay = lab.spawn(
    red,
    RELAY,
    '-4',
    '-d',
    '-a',
    '-id',
    'down0',
    '-iu',
    'tap0',
    '-pf',
    join(lab.folder, 'relay.pid'),
    '192.168.100.1',
  );
  relay.stderr?.resume();
  await until('the relay listens', 5_000, async () => (await lab.inside(red, 'ss', '-lun')).includes(':67 '));
  const client = lab.spawn(blue, 'udhcpc', '-i', 'eth0', '-f', '-t', '5', '-T', '1', '-s', SCRIPT);
  client.stderr?.resume();
  const leaseOf = async (): Promise<LeaseView | undefined> =>
    (await lab.ask<LeaseView[]>('leases')).find(lease => lease.state === 'bound');
  await until('the client has its lease', 10_000, async () => (await leaseOf()) !== undefined);
  const before = (await leaseOf())!;
  assert.is(before.address, '10.5.0.20');
  await until('and the address', 5_000, async () =>
    (await lab.ip(blue, 'addr', 'show', 'dev', 'eth0')).includes('10.5.0.20/24'),
  );
  relay.kill('SIGKILL'); // the renewal must do without
  await new Promise(resolve => setTimeout(resolve, 1_100));
  client.kill('SIGUSR1');
  await until('the lease is renewed', 5_000, async () => ((await leaseOf())?.expires ?? 0) > before.expires);
  assert.match(await lab.ip(blue, 'route', 'show', 'default'), /via 10\.5\.0\.1 /);
});

test.run();
