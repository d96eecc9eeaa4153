// timeout: 120 s
// coverage: none
/** Real DHCP clients take, keep and give back a lease: udhcpc, dhclient, dhcpcd. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LeaseView } from '../../src/control/views.ts';
import { until } from '../../src/lab.ts';
import { GATEWAY, plugIn, type Stage, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('cl', import.meta.url);
const withGuest = (name: string, act: (stage: Stage) => Promise<void>): void =>
  inStage(name, async stage => {
    await stage.lab.startSwitch(stage.host, ...TAPS, '--lease-time', '600', '--domain', 'vm.test');
    await plugIn(stage, 'tap0', stage.red);
    await act(stage);
  });

const stateOf = async ({ lab }: Stage, address: string): Promise<string | undefined> =>
  (await lab.ask<LeaseView[]>('leases')).find(lease => lease.address === address)?.state;

withGuest('udhcpc takes a lease, and the same again', async stage => {
  const { lab, red } = stage;
  const first = await lab.lease(red, 'tap0');
  await lab.ping(red, GATEWAY);
  assert.is(await lab.lease(red, 'tap0'), first);
  assert.is(await stateOf(stage, first), 'bound');
});

withGuest('dhclient takes a lease and releases it', async stage => {
  const { lab, red } = stage;
  const file = (name: string): string => join(lab.folder, name);
  // A script of our own: the packaged one writes the host's resolv.conf.
  writeFileSync(
    file('script'),
    `#!/bin/sh
case "$reason" in
BOUND|RENEW|REBIND|REBOOT)
  ip addr replace "$new_ip_address/$new_subnet_mask" dev "$interface"
  ip route replace default via "$new_routers" dev "$interface"
  echo "$new_domain_name $new_interface_mtu $new_broadcast_address $new_dhcp_lease_time" > ${file('options')} ;;
RELEASE) ip -4 addr flush dev "$interface" ;;
esac
`,
    { mode: 0o755 },
  );
  writeFileSync(
    file('conf'),
    'request subnet-mask, broadcast-address, routers, domain-name, interface-mtu;\n',
  );
  const words = ['-4', '-sf', file('script'), '-lf', file('leases'), '-pf', file('pid'), '-cf', file('conf')];
  await lab.inside(red, 'dhclient', ...words, '-1', 'tap0');
  const address = await lab.address(red, 'tap0');
  await lab.ping(red, GATEWAY);
  assert.is((await lab.inside(red, 'cat', file('options'))).trim(), 'vm.test 1500 192.168.100.255 600');
  await lab.inside(red, 'dhclient', ...words, '-r', 'tap0');
  await until('the lease is released', 3_000, async () => (await stateOf(stage, address)) === 'released');
});

withGuest('dhcpcd takes a lease, with its probe for the address', async stage => {
  const { lab, red } = stage;
  const run = join(lab.folder, 'run');
  mkdirSync(run);
  writeFileSync(
    join(lab.folder, 'dhcpcd.conf'),
    'ipv4only\nnohook resolv.conf, hostname, timesyncd\nnoipv4ll\n',
  );
  // It forks helpers and keeps files under /run and /var/lib: in a mount namespace these are its own.
  const script = `mount -t tmpfs none /run && mkdir -p /var/lib/dhcpcd && mount -t tmpfs none /var/lib/dhcpcd &&
    dhcpcd -f ${join(lab.folder, 'dhcpcd.conf')} -1 -w -t 15 tap0 > ${join(run, 'log')} 2>&1 < /dev/null
    code=$?; cat ${join(run, 'log')}; exit $code`;
  const said = await lab.inside(red, 'unshare', '-m', 'sh', '-c', script);
  assert.match(said, /leased 192\.168\.100\./);
  const address = await lab.address(red, 'tap0');
  await lab.ping(red, GATEWAY);
  assert.is(await stateOf(stage, address), 'bound');
});

test.run();
