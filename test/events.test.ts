/** Events: what a change of a lease means, who hears of it, and leases that go with their ports. */
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { EventBus, type SwitchEvent } from '../src/events/bus.ts';
import { DetachWatch } from '../src/events/detach.ts';
import { eventOf, leaseEvent } from '../src/events/leases.ts';
import { type LeaseRecord, LeaseState } from '../src/service/dhcp/leases.ts';
import { parseIp4 } from '../src/wire/address.ts';

const { Bound, Declined, Offered, Released } = LeaseState;
const NOW_S = 1_000;
const ip = parseIp4('10.0.0.10')!;

const lease = (state: LeaseState, expiresS: number, key = 'id:01'): LeaseRecord => ({
  ...{ ip, state, key, expiresS },
  ...{ mac: '02:00:00:00:00:01', hostname: 'vm1', port: 'tap0' },
});

const running = lease(Bound, 2_000);
const over = lease(Bound, 999);

/** What was, what is, and what has happened. */
const CHANGES: readonly [string, LeaseRecord | undefined, LeaseRecord | undefined, string | undefined][] = [
  ['a new client', undefined, running, 'lease-bound'],
  ['an offer that was taken', lease(Offered, 0), running, 'lease-bound'],
  ['a renewal', running, lease(Bound, 3_000), 'lease-renewed'],
  ['a client that is back after the end', over, running, 'lease-bound'],
  ['a client that is back after a release', lease(Released, 500), running, 'lease-bound'],
  ['an address that had been another’s', lease(Bound, 900, 'id:02'), running, 'lease-bound'],
  ['a release', running, lease(Released, NOW_S), 'lease-released'],
  ['a release after the end', over, lease(Released, 999), undefined],
  ['a client that has another address now', running, undefined, 'lease-released'],
  ['the same after the end', over, undefined, undefined],
  ['a decline', running, lease(Declined, 1_600, ''), 'lease-declined'],
  ['an offer that was declined', lease(Offered, 0), lease(Declined, 1_600, ''), 'lease-declined'],
];

for (const [what, before, after, wanted] of CHANGES)
  test(`${what}: ${wanted ?? 'no event'}`, () => {
    assert.is(eventOf({ ip, before, after }, NOW_S)?.event, wanted);
  });

test('who declined is told, though the record knows no client; a conflict has none', () => {
  const record = { ...lease(Declined, 1_600, ''), hostname: '' };
  const declined = eventOf({ ip, before: running, after: record }, NOW_S);
  assert.equal([declined?.client, declined?.hostname, declined?.expires], ['id:01', 'vm1', 1_600]);
  const found = eventOf({ ip, before: undefined, after: record, conflict: true }, NOW_S);
  assert.equal([found?.event, found?.client, found?.hostname], ['lease-conflict', '', '']);
});

test('a lease’s fields are flat, and texts are empty where nothing is known', () => {
  assert.equal(leaseEvent('lease-expired', { ...over, hostname: '' }), {
    event: 'lease-expired',
    address: '10.0.0.10',
    mac: '02:00:00:00:00:01',
    client: 'id:01',
    hostname: '',
    port: 'tap0',
    expires: 999,
  });
});

test('listeners hear events with their time, till they have gone', () => {
  const bus = new EventBus(() => 77);
  const heard: SwitchEvent[] = [];
  bus.emit({ event: 'port-up', port: 'tap0' });
  const off = bus.on(event => heard.push(event));
  bus.emit({ event: 'port-down', port: 'tap0' });
  off();
  bus.emit({ event: 'port-up', port: 'tap0' });
  assert.equal(heard, [{ time: 77, event: 'port-down', port: 'tap0' }]);
});

test('a port that stays down is told of once; one that comes back, or goes with the switch, is not', async () => {
  const released: string[] = [];
  const watch = new DetachWatch(port => released.push(port), 60);
  watch.port('tap0', false);
  watch.port('tap1', false);
  watch.port('tap2', false);
  watch.port('tap2', false);
  await sleep(10);
  watch.port('tap1', true);
  assert.equal(released, []);
  await sleep(120);
  assert.equal(released.sort(), ['tap0', 'tap2']);
  watch.port('tap3', false);
  watch.stop();
  watch.port('tap4', false);
  await sleep(120);
  assert.is(released.length, 2);
});

test.run();
