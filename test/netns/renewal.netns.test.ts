// timeout: 120 s
// coverage: none
/** How real clients keep an address: renewing at T1, rebinding at T2, and coming back after they or the switch were away. */
import type { ChildProcess } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LeaseView } from '../../src/control/views.ts';
import { ended, type Lab, until } from '../../src/lab.ts';
import { Code, uint32 } from '../../src/wire/dhcp.ts';
import {
  addGuest,
  addressed,
  addressIn,
  dhclient,
  dhcpcd,
  type Ear,
  type Guest,
  type Heard,
  leaseOf,
  listen,
  loseUnicasts,
  remembered,
  stateOf,
  tapsOf,
  udhcpc,
  unplugged,
} from './dhcp.ts';
import { GATEWAY, SUBNET, stageTests } from './stage.ts';

const inStage = stageTests('rn', import.meta.url);
/** T1 is half of it, T2 seven eighths. */
const LEASE_S = 12;
const FIRST = ['DISCOVER', 'OFFER', 'REQUEST selecting', 'ACK'];

async function guestsOf(lab: Lab, count: number): Promise<Guest[]> {
  const guests = [];
  for (let i = 0; i < count; i++) guests.push(await addGuest(lab, i));
  return guests;
}

const startSwitch = (guests: readonly Guest[], host: string, subnet: string, leaseS = 600) =>
  (guests[0] as Guest).lab.startSwitch(
    host,
    '--subnet',
    subnet,
    ...tapsOf(guests),
    '--lease-time',
    String(leaseS),
  );

/** Holds a guest's conversation against what it should be, and its lease's end against the last ACK. */
async function checkExtension(guest: Guest, ear: Ear, expected: string): Promise<void> {
  await ear.until(expected, LEASE_S * 1000);
  await ear.until('ACK', 1_000, 2);
  await ear.expect([...FIRST, expected, 'ACK']);
  const heard = ear.heard();
  const [first, last] = heard.filter(({ what }) => what === 'ACK');
  const seconds = (code: Code): number =>
    uint32((first as Heard).message.options.get(code) ?? new Uint8Array(4));
  assert.equal([seconds(Code.RenewalTime), seconds(Code.RebindingTime)], [6, 10]);
  const asked = heard.findLast(({ what }) => what === expected);
  const address = await addressed(guest);
  assert.is(asked?.source, address);
  assert.is(asked?.destination, expected === 'REQUEST renewing' ? GATEWAY : '255.255.255.255');
  assert.is(last?.destination, address);
  const lease = await leaseOf(guest);
  assert.is(lease?.state, 'bound');
  assert.ok((lease?.expires as number) - (first?.seconds as number) > LEASE_S + 2, 'the lease ends later');
}

inStage(
  'udhcpc, dhclient and dhcpcd renew by unicast at T1 and rebind by broadcast at T2',
  async ({ lab, host }) => {
    const guests = await guestsOf(lab, 6);
    await startSwitch(guests, host, SUBNET, LEASE_S);
    const act = async (
      start: (guest: Guest) => ChildProcess,
      guest: Guest,
      expected: string,
    ): Promise<void> => {
      const ear = await listen(guest);
      if (expected === 'REQUEST rebinding') await loseUnicasts(guest);
      const client = start(guest);
      await addressed(guest);
      // It takes every lease for at least 122 s long, so that it would renew after 61; it may be told to do it now.
      if (start === udhcpc) setTimeout(() => client.kill('SIGUSR1'), 4_000);
      await checkExtension(guest, ear, expected);
    };
    // dhclient asks by broadcast when T2 is over; here it takes that for earlier, so as to have two seconds left for it.
    const dhclientEarly = (guest: Guest) => dhclient(guest, ['supersede dhcp-rebinding-time 8']);
    const quietDhcpcd = (guest: Guest) => dhcpcd(guest, ['noarp']);
    const renewing = [udhcpc, dhclient, quietDhcpcd].map((start, i) =>
      act(start, guests[i] as Guest, 'REQUEST renewing'),
    );
    const rebinding = [udhcpc, dhclientEarly, quietDhcpcd].map((start, i) =>
      act(start, guests[i + 3] as Guest, 'REQUEST rebinding'),
    );
    await Promise.all([...renewing, ...rebinding]);
  },
);

inStage(
  'clients that start again, and a switch that does, find the same addresses',
  async ({ lab, host }) => {
    const guests = await guestsOf(lab, 4);
    const [first, second, third, fourth] = guests as [Guest, Guest, Guest, Guest];
    let vswitchd = await startSwitch(guests, host, SUBNET);
    const ears = await Promise.all(guests.map(guest => listen(guest)));
    const clients = [dhclient(first), dhcpcd(second, ['noarp']), udhcpc(third, '-q')];
    const addresses = await Promise.all([remembered(first), addressed(second), addressed(third)]);
    const same = async () =>
      assert.equal(await Promise.all([first, second, third].map(guest => addressed(guest))), addresses);

    await Promise.all(clients.map(client => ended(client, 'SIGKILL', 1_000)));
    for (const { netns, tap } of [first, second, third]) await lab.ip(netns, 'addr', 'flush', 'dev', tap);
    const again = [
      dhclient(first),
      dhcpcd(second, ['noarp']),
      udhcpc(third, '-q', '-r', addresses[2] as string),
    ];
    await same();
    await ears[0]?.expect([...FIRST, 'REQUEST init-reboot', 'ACK']);
    await ears[1]?.expect([...FIRST, 'REQUEST init-reboot', 'ACK']);
    await ears[2]?.expect([...FIRST, ...FIRST]);

    await ended(vswitchd, 'SIGTERM', 5_000);
    await unplugged(second);
    await ended(again[0] as ChildProcess, 'SIGKILL', 1_000);
    vswitchd = await startSwitch(guests, host, SUBNET);
    assert.equal(
      (await lab.ask<LeaseView[]>('leases')).map(({ state }) => state),
      ['bound', 'bound', 'bound'],
    );
    dhclient(first);
    for (const ear of ears.slice(0, 2)) await ear.until('REQUEST init-reboot', 8_000, 2);
    await same();
    udhcpc(fourth, '-q');
    assert.not(addresses.includes(await addressed(fourth)), 'a new client gets none of theirs');
  },
);

inStage(
  'clients that come from another network are told so, and get an address of this one',
  async ({ lab, host }) => {
    const guests = await guestsOf(lab, 2);
    const [first, second] = guests as [Guest, Guest];
    const before = await startSwitch(guests, host, '10.77.0.0/24');
    const client = dhclient(first);
    dhcpcd(second, ['noarp']);
    const old = await Promise.all([remembered(first), addressed(second)]);
    assert.match(old.join(), /^10\.77\.0\.\d+,10\.77\.0\.\d+$/);
    await ended(client, 'SIGKILL', 1_000);
    const ears = await Promise.all(guests.map(guest => listen(guest)));
    await ended(before, 'SIGTERM', 5_000);
    await unplugged(second);
    await startSwitch(guests, host, SUBNET);
    dhclient(first);
    for (const [index, ear] of ears.entries()) {
      await ear.until('ACK', 8_000);
      await ear.expect(['REQUEST init-reboot', 'NAK', ...FIRST]);
      const [asked, refused] = ear.heard();
      assert.is(addressIn((asked as Heard).message, Code.RequestedAddress), old[index]);
      assert.is(refused?.destination, '255.255.255.255');
      await until('it has an address of this network', 8_000, async () =>
        /192\.168\.100\./.test(await lab.ip((guests[index] as Guest).netns, '-br', '-4', 'addr')),
      );
    }
  },
);

inStage('udhcpc and dhcpcd release; dhcpcd with an address of its own is informed', async stage => {
  const { lab, host } = stage;
  const guests = await guestsOf(lab, 3);
  const [first, second, third] = guests as [Guest, Guest, Guest];
  await lab.startSwitch(host, '--subnet', SUBNET, ...tapsOf(guests), '--domain', 'vm.test');
  const ears = await Promise.all(guests.map(guest => listen(guest)));
  const clients = [udhcpc(first, '-R'), dhcpcd(second, ['noarp'])];
  for (const [index, signal] of (['SIGTERM', 'SIGALRM'] as const).entries()) {
    const address = await addressed(guests[index] as Guest);
    await lab.ping((guests[index] as Guest).netns, GATEWAY, 1); // it does not wait for ARP when it says good-bye
    await ended(clients[index] as ChildProcess, signal, 8_000);
    await until(`${address} is released`, 8_000, async () => (await stateOf(lab, address)) === 'released');
    await ears[index]?.expect([...FIRST, 'RELEASE']);
    assert.is(ears[index]?.heard().at(-1)?.destination, GATEWAY);
  }
  await lab.ip(third.netns, 'addr', 'add', '192.168.100.9/24', 'dev', third.tap);
  dhcpcd(third, [], '--inform');
  await ears[2]?.until('ACK', 5_000);
  await ears[2]?.expect(['INFORM', 'ACK']);
  const ack = ears[2]?.heard().at(-1);
  assert.is(ack?.destination, '192.168.100.9');
  assert.is(ack?.message.yiaddr, 0);
  assert.is(ack?.message.options.has(Code.LeaseTime), false, 'RFC 2131 §4.3.5: no times');
  assert.is(addressIn((ack as Heard).message, Code.Router), GATEWAY);
  await lab.ping(third.netns, GATEWAY);
  assert.is(await leaseOf(third), undefined);
});

test.run();
