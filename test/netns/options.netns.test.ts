// timeout: 60 s
// coverage: none
/** What real clients make of the options that are configured: search domains (119), routes (121), NTP servers (42), the MTU (26). */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../../src/lab.ts';
import { addGuest, dhclient, dhcpcd, type Guest, tapsOf, udhcpc } from './dhcp.ts';
import { SUBNET, stageTests } from './stage.ts';

const CONFIGURED = [
  ...['--mtu', '1400', '--domain', 'vm.test'],
  ...['--dhcp-option', 'domain-search=a.vm.test,b.vm.test'],
  ...['--dhcp-option', 'routes=10.9.0.0/16 via 192.168.100.3'],
  ...['--dhcp-option', 'ntp-server=192.168.100.4,192.168.100.5'],
];

const inStage = stageTests('op', import.meta.url);

/** A script for a client that leaves what it was told, variable by variable, in the file `told`. */
function telling({ folder }: Guest): string {
  const script = join(folder, 'tell');
  const test = '[ "$1" = bound ] || [ "$reason" = BOUND ]'; // udhcpc's way, and dhcpcd's
  writeFileSync(script, `#!/bin/sh\nif ${test}; then env > ${join(folder, 'told')}; fi\n`, { mode: 0o755 });
  return script;
}

/** Waits till a file of a guest has all these lines. */
async function has({ tap, folder }: Guest, name: string, lines: readonly string[]): Promise<void> {
  const read = (): string[] => {
    const file = join(folder, name);
    return existsSync(file)
      ? readFileSync(file, 'utf8')
          .split('\n')
          .map(line => line.trim())
      : [];
  };
  const lacking = (): string[] => lines.filter(line => !read().includes(line));
  await until(`${tap} was told`, 8_000, async () => lacking().length === 0).catch(() => undefined);
  assert.equal(lacking(), [], read().join('\n'));
}

inStage(
  'udhcpc, dhclient and dhcpcd are told what they ask for, and understand it',
  async ({ lab, host }) => {
    const guests = [await addGuest(lab, 0), await addGuest(lab, 1), await addGuest(lab, 2)];
    const [first, second, third] = guests as [Guest, Guest, Guest];
    await lab.startSwitch(host, '--subnet', SUBNET, ...tapsOf(guests), ...CONFIGURED);

    const wanted = ['search', 'staticroutes', 'ntpsrv', 'mtu'].flatMap(name => ['-O', name]);
    udhcpc(first, '-q', '-s', telling(first), ...wanted);
    dhclient(second, [
      'option routes code 121 = array of unsigned integer 8', // it has no name for it by itself
      'request subnet-mask, routers, domain-name, domain-search, ntp-servers, interface-mtu, routes',
    ]);
    const option = 'option domain_search, classless_static_routes, ntp_servers, interface_mtu';
    dhcpcd(third, ['noarp', option, `script ${telling(third)}`]);

    // The default route is among those of option 121, as a client that takes that one ignores the router.
    await has(first, 'told', [
      'search=a.vm.test b.vm.test',
      'staticroutes=10.9.0.0/16 192.168.100.3 0.0.0.0/0 192.168.100.1',
      'ntpsrv=192.168.100.4 192.168.100.5',
      'mtu=1400',
      'dns=192.168.100.1',
      'domain=vm.test',
    ]);
    await has(second, 'leases', [
      'option domain-search "a.vm.test.", "b.vm.test.";',
      'option routes 16,10,9,192,168,100,3,0,192,168,100,1;',
      'option ntp-servers 192.168.100.4,192.168.100.5;',
      'option interface-mtu 1400;',
      'option domain-name "vm.test";',
    ]);
    await has(third, 'told', [
      'new_domain_search=a.vm.test b.vm.test',
      'new_classless_static_routes=10.9.0.0/16 192.168.100.3 0.0.0.0/0 192.168.100.1',
      'new_ntp_servers=192.168.100.4 192.168.100.5',
      'new_interface_mtu=1400',
    ]);
  },
);

test.run();
