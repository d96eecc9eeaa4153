// timeout: 90 s
// coverage: none
/** Guests of a network behind a guest: ISC's relay between them and the switch, which serves their network from a pool. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lineFrom, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { Code } from '../../src/wire/dhcp.ts';
import {
  addGuest,
  addressed,
  dhclient,
  type Ear,
  type Guest,
  listen,
  loseUnicasts,
  stateOf,
  tapsOf,
  udhcpc,
} from './dhcp.ts';
import { GATEWAY, type Stage, SUBNET, stageTests } from './stage.ts';

const RELAY = join(projectRoot(), 'node_modules/.cache/vswitchd-test/usr/sbin/dhcrelay');
const ROUTER = '10.50.0.1';
const POOL = `10.50.0.0/24,10.50.0.10-10.50.0.99,router:${ROUTER}`;
const ROUND = ['DISCOVER', 'OFFER', 'REQUEST selecting', 'ACK'];

const inStage = stageTests('ry', import.meta.url);

/** A guest of the switch that routes to a network of its own, and a guest there. */
async function behindRelay({ lab, host }: Stage, ...options: string[]): Promise<[relay: Guest, far: Guest]> {
  const relay = await addGuest(lab, 0);
  const netns = await lab.netns('far');
  const folder = join(lab.folder, 'far');
  mkdirSync(folder);
  await lab.cable([relay.netns, 'eth1', `${ROUTER}/24`], [netns, 'eth0', '0.0.0.0/32']);
  await lab.ip(relay.netns, 'addr', 'add', '192.168.100.2/24', 'dev', relay.tap);
  await lab.inside(relay.netns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  await lab.startSwitch(host, '--subnet', SUBNET, ...tapsOf([relay]), '--pool', POOL);
  const words = ['-d', '-4', ...options, '-iu', relay.tap, '-id', 'eth1', GATEWAY];
  await lineFrom(lab.spawn(relay.netns, RELAY, ...words), /Sending on +Socket\/fallback/, 5_000);
  return [relay, { lab, netns, tap: 'eth0', mac: '', folder }];
}

/** What the relay added, in each message that it passed on and each answer to one. */
const additions = (ear: Ear): string[] =>
  ear
    .heard()
    .filter(({ message }) => message.giaddr !== 0)
    .map(({ message }) => Buffer.from(message.options.get(Code.RelayAgent) ?? []).toString('hex'));

/** Option 82 with a circuit id, RFC 3046 §2.0: the name of the relay's interface. */
const CIRCUIT = `0104${Buffer.from('eth1').toString('hex')}`;

for (const [how, options, added] of [
  ['without option 82', [], ''],
  ['with option 82', ['-a'], CIRCUIT],
] as const) {
  inStage(
    `udhcpc behind a relay, ${how}: a lease, renewing past the relay, rebinding, release`,
    async stage => {
      const { lab } = stage;
      const [relay, far] = await behindRelay(stage, ...options);
      const [near, there] = [await listen(relay), await listen(far)];
      const client = udhcpc(far);
      const address = await addressed(far);
      assert.is(address, '10.50.0.10');
      await there.expect(ROUND);
      // udhcpc's script sets it behind the address.
      const routed = new RegExp(`^default via ${ROUTER} `);
      await until('the route is set', 5_000, async () => routed.test(await lab.ip(far.netns, 'route')));

      // The relay passes on what it sees of this too, so that the client may be answered twice.
      client.kill('SIGUSR1');
      await near.until('REQUEST renewing', 8_000);
      await until('the answer comes by the router', 8_000, async () =>
        there.heard().some(({ what, source }) => what === 'ACK' && source === GATEWAY),
      );
      assert.is(near.heard().find(({ what }) => what === 'REQUEST renewing')?.source, address);
      await there.until('ACK', 8_000, 2);

      await loseUnicasts(far);
      await new Promise(resolve => setTimeout(resolve, 500)); // while it is busy with an answer, it would begin anew
      client.kill('SIGUSR1');
      await there.until('REQUEST rebinding', 5_000);
      await until('the answer comes by the relay', 8_000, async () => {
        const heard = there.heard();
        const asked = heard.findIndex(({ what }) => what === 'REQUEST rebinding');
        return heard.slice(asked).some(({ what, source }) => what === 'ACK' && source === ROUTER);
      });

      await lab.inside(far.netns, 'nft', 'flush', 'ruleset');
      client.kill('SIGUSR2');
      await until('the lease is released', 8_000, async () => (await stateOf(lab, address)) === 'released');
      assert.equal([...new Set(additions(near))], [added]);
      const refused = [...near.heard(), ...there.heard()].filter(({ what }) => what === 'NAK');
      assert.equal(refused, []);
    },
  );
}

inStage(
  'dhclient from elsewhere, behind a relay: NAK by broadcast, and an address of the pool',
  async stage => {
    const [relay, far] = await behindRelay(stage, '-a');
    const [near, there] = [await listen(relay), await listen(far)];
    const times = ['renew', 'rebind', 'expire'].map(name => `${name} 2 2037/01/20 00:00:00;`).join(' ');
    const lease = 'interface "eth0"; fixed-address 10.99.0.5; option subnet-mask 255.255.255.0;';
    writeFileSync(join(far.folder, 'leases'), `lease { ${lease} ${times} }\n`);
    dhclient(far);
    await there.expect(['REQUEST init-reboot', 'NAK', ...ROUND], 8_000);
    const refusal = there.heard().find(({ what }) => what === 'NAK');
    assert.equal([refusal?.source, refusal?.destination], [ROUTER, '255.255.255.255']);
    await near.until('NAK', 8_000);
    assert.is(near.heard().find(({ what }) => what === 'NAK')?.destination, ROUTER);
    await until('it has an address of the pool', 8_000, async () =>
      /10\.50\.0\.10/.test(await stage.lab.ip(far.netns, '-br', '-4', 'addr')),
    );
  },
);

test.run();
