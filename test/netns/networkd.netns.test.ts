// timeout: 60 s
// coverage: none
/** systemd-networkd as it is, in a guest's namespace: what most distributions' cloud images ask for addresses with. */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, until } from '../../src/lab.ts';
import { Code } from '../../src/wire/dhcp.ts';
import { addGuest, addressed, type Guest, leaseOf, listen, tapsOf } from './dhcp.ts';
import { GATEWAY, SUBNET, stageTests } from './stage.ts';

const FIRST = ['DISCOVER', 'OFFER', 'REQUEST selecting', 'ACK'];
const SETTINGS = ['Hostname=vm1', 'UseDomains=yes', 'UseMTU=yes', 'RequestOptions=119'];

const inStage = stageTests('nd', import.meta.url);

/** It reads and writes below /etc, /run and /var/lib: all its own here. With /sys read-only it does without udev. */
function networkd({ lab, netns, tap, folder }: Guest): ChildProcess {
  for (const name of ['network', 'run', 'lib']) mkdirSync(join(folder, name));
  const network = `[Match]\nName=${tap}\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n`;
  writeFileSync(join(folder, 'network/10-tap.network'), `${network}[DHCPv4]\n${SETTINGS.join('\n')}\n`);
  writeFileSync(join(folder, 'machine-id'), '4c405bf73c004c405bf73c004c405bf7\n');
  const script = [
    `mount --bind ${folder}/run /run`,
    'install -d -m 755 /run/systemd && install -d -m 755 -o systemd-network -g systemd-network /run/systemd/netif',
    `mkdir -p /var/lib/systemd && mount --bind ${folder}/lib /var/lib/systemd`,
    `mkdir -p /etc/systemd/network && mount --bind ${folder}/network /etc/systemd/network`,
    `mount --bind ${folder}/machine-id /etc/machine-id`,
    'mount -o remount,ro /sys',
    'exec /lib/systemd/systemd-networkd',
  ].join(' && ');
  return lab.spawn(netns, 'unshare', '-m', 'sh', '-c', script);
}

inStage('systemd-networkd takes a lease by its DUID, renews, and releases it at its end', async stage => {
  const { lab, host } = stage;
  const guest = await addGuest(lab, 0);
  const words = ['--subnet', SUBNET, ...tapsOf([guest]), '--lease-time', '10', '--mtu', '1400'];
  words.push('--domain', 'vm.test', '--dhcp-option', 'domain-search=a.test,b.test');
  words.push('--dhcp-option', 'ntp-server=192.168.100.4');
  words.push('--dhcp-option', 'routes=10.9.0.0/16 via 192.168.100.3');
  await lab.startSwitch(host, ...words);
  const ear = await listen(guest);
  const client = networkd(guest);
  await addressed(guest);
  const lease = await leaseOf(guest);
  assert.equal([lease?.state, lease?.hostname], ['bound', 'vm1']);
  const [discover] = ear.heard();
  const id = discover?.message.options.get(Code.ClientId);
  assert.is(id?.[0], 255, 'an IAID and a DUID, RFC 4361');

  const leases = join(guest.folder, 'run/systemd/netif/leases');
  await until('it has written what it was told', 8_000, async () => readdirSync(leases).length === 1);
  const told = readFileSync(join(leases, readdirSync(leases)[0] as string), 'utf8');
  for (const line of ['DNS=192.168.100.1', 'NTP=192.168.100.4', 'MTU=1400', 'DOMAINNAME=vm.test'])
    assert.ok(told.split('\n').includes(line), `${line} in ${told}`);
  assert.match(told, /DOMAIN_SEARCH_LIST=a\.test b\.test/);
  const routes = await lab.ip(guest.netns, 'route');
  assert.match(routes, new RegExp(`^default via ${GATEWAY} `));
  assert.match(routes, /^10\.9\.0\.0\/16 via 192\.168\.100\.3 /m);
  assert.match(await lab.ip(guest.netns, 'link', 'show', guest.tap), / mtu 1400 /);

  await ear.expect([...FIRST, 'REQUEST renewing', 'ACK'], 8_000);
  await ended(client, 'SIGTERM', 8_000);
  await until('its lease is released', 8_000, async () => (await leaseOf(guest))?.state === 'released');
  await ear.expect([...FIRST, 'REQUEST renewing', 'ACK', 'RELEASE']);
});

test.run();
