// timeout: 60 s
// coverage: none
/** klibc's ipconfig, which initial RAM disks ask for an address with (`ip=dhcp`): no client id, no size, answers by broadcast. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BROADCAST_FLAG, Code } from '../../src/wire/dhcp.ts';
import { addGuest, addressed, type Guest, leaseOf, listen, tapsOf } from './dhcp.ts';
import { GATEWAY, SUBNET, stageTests } from './stage.ts';

const ROUND = ['DISCOVER', 'OFFER', 'REQUEST selecting', 'ACK'];

const inStage = stageTests('ic', import.meta.url);

/** Resolves with the file that it leaves for the scripts of the RAM disk, as pairs. */
async function ipconfig({ lab, netns, tap, folder }: Guest): Promise<Map<string, string>> {
  const run = join(folder, 'run');
  mkdirSync(run, { recursive: true });
  const script = `mount --bind ${run} /run && exec /usr/lib/klibc/bin/ipconfig -t 5 -c dhcp -d ${tap}`;
  await lab.inside(netns, 'unshare', '-m', 'sh', '-c', script);
  const lines = readFileSync(join(run, `net-${tap}.conf`), 'utf8').matchAll(/^(\w+)='(.*)'$/gm);
  return new Map([...lines].map(([, name, value]) => [name as string, value as string]));
}

inStage(
  'ipconfig takes a lease and what a kernel without a disk needs, and the same again',
  async ({ lab, host }) => {
    const guest = await addGuest(lab, 0);
    const words = ['--subnet', SUBNET, ...tapsOf([guest]), '--domain', 'vm.test'];
    words.push('--boot', 'vmlinuz,192.168.100.7', '--dhcp-option', 'root-path=192.168.100.7:/srv/root');
    await lab.startSwitch(host, ...words);
    const ear = await listen(guest);
    const told = await ipconfig(guest);
    await ear.expect(ROUND);
    for (const { message, destination } of ear.heard()) {
      assert.is(message.flags, BROADCAST_FLAG);
      assert.is(destination, '255.255.255.255');
      assert.not(message.options.has(Code.ClientId) || message.options.has(Code.MaxSize));
    }
    const wanted = {
      IPV4ADDR: '192.168.100.10',
      IPV4BROADCAST: '192.168.100.255',
      IPV4NETMASK: '255.255.255.0',
      IPV4GATEWAY: GATEWAY,
      IPV4DNS0: '192.168.100.1',
      DNSDOMAIN: 'vm.test',
      ROOTSERVER: '192.168.100.7',
      ROOTPATH: '192.168.100.7:/srv/root',
      filename: 'vmlinuz',
      DHCPLEASETIME: '43200',
    };
    assert.equal(Object.fromEntries(Object.keys(wanted).map(name => [name, told.get(name)])), wanted);
    await lab.ping(guest.netns, GATEWAY);
    assert.is((await ipconfig(guest)).get('IPV4ADDR'), await addressed(guest));
    assert.is((await leaseOf(guest))?.address, '192.168.100.10');
  },
);

test.run();
