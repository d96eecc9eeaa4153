/** Leases that end are told of once, in their order, in bounded steps, and never of an address that was renewed. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { clientFrame, GATEWAY_MAC, ip, SERVER } from '../../fixtures/dhcp.ts';
import { Expiry } from '../../src/service/dhcp/expiry.ts';
import { type LeaseRecord, LeaseState } from '../../src/service/dhcp/leases.ts';
import { DhcpService } from '../../src/service/dhcp/service.ts';
import { MemoryStore } from '../../src/service/dhcp/store.ts';
import { Seldom } from '../../src/service/seldom.ts';
import { formatIp4, type Ip4 } from '../../src/wire/address.ts';
import { MessageType } from '../../src/wire/dhcp.ts';

const { Request, Release } = MessageType;
const START_MS = 1_800_000_000_000;

const record = (address: number, expiresS: number): LeaseRecord => ({
  ip: address as Ip4,
  state: LeaseState.Bound,
  key: 'id:01',
  mac: '',
  hostname: '',
  port: '',
  expiresS,
});

test('as a sorted list would: any order of leases, renewals and ends', () => {
  const address = fc.integer({ min: 0, max: 30 });
  const step = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), address, atS: fc.integer({ min: 0, max: 100 }) }),
    fc.record({ kind: fc.constant('unset' as const), address }),
    fc.record({ kind: fc.constant('take' as const), nowS: fc.integer({ min: 0, max: 100 }), limit: address }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: 'max' }), steps => {
      const expiry = new Expiry();
      const model = new Map<number, number>();
      for (const one of steps) {
        if (one.kind === 'set') {
          expiry.set(one.address as Ip4, record(one.address, one.atS));
          model.set(one.address, one.atS);
        } else if (one.kind === 'unset') {
          expiry.set(one.address as Ip4, undefined);
          model.delete(one.address);
        } else {
          const ended = [...model].filter(([, atS]) => atS <= one.nowS).map(([, atS]) => atS);
          ended.sort((a, b) => a - b);
          const taken = expiry.take(one.nowS, one.limit);
          assert.equal(
            taken.map(({ expiresS }) => expiresS),
            ended.slice(0, one.limit),
          );
          for (const { ip: gone, expiresS } of taken) {
            assert.is(model.get(gone), expiresS);
            model.delete(gone);
          }
        }
        assert.is(expiry.size, model.size);
      }
      for (const [key, atS] of model)
        assert.is(expiry.endedAt(key as Ip4, 50) !== undefined, atS <= 50, `address ${key}`);
    }),
    { seed: 1, numRuns: 300 },
  );
});

/** A service that writes down what it tells: `expired 10`, `changed 10 Bound`. */
function bench(store = new MemoryStore(), last = '192.168.100.12') {
  const told: string[] = [];
  const logged: string[] = [];
  const clock = { nowMs: START_MS };
  const service = new DhcpService({
    network: ip('192.168.0.0'),
    mask: ip('255.255.0.0'),
    broadcast: ip('192.168.255.255'),
    gateway: SERVER,
    gatewayMac: GATEWAY_MAC,
    natAddress: ip('192.168.100.254'),
    mtu: 1500,
    first: ip('192.168.100.10'),
    last: ip(last),
    leaseTimeS: 60,
    dns: [ip('9.9.9.9')],
    domain: '',
    store,
    send: () => undefined,
    resolvers: () => [],
    portName: index => `tap${index}`,
    log: (level, sentence) => logged.push(`${level}: ${sentence}`),
    changed: changes => {
      for (const change of changes)
        told.push(`changed ${change.ip & 255} ${LeaseState[change.after?.state ?? -1] ?? 'gone'}`);
    },
    expired: records => {
      for (const one of records) told.push(`expired ${one.ip & 255}`);
    },
    now: () => clock.nowMs,
  });
  const take = async (client: number, n: number): Promise<void> => {
    const requested = (ip('192.168.100.10') + n) as Ip4;
    service.handle(clientFrame(Request, { client, requested, server: SERVER }), client, clock.nowMs);
    await service.settled();
  };
  const tick = (ms: number): void => {
    clock.nowMs += ms;
    service.tick();
  };
  return { service, store, told, logged, clock, take, tick };
}

test('the end of a lease is told of once; the record stays', async () => {
  const { take, tick, told, service } = bench();
  await take(1, 0);
  tick(59_999);
  assert.equal(told, ['changed 10 Bound']);
  tick(1);
  tick(60_000);
  assert.equal(told, ['changed 10 Bound', 'expired 10']);
  assert.is(service.leases()[0]?.state, 'expired');
});

test('a renewed lease ends later, a released one not at all', async () => {
  const { take, tick, told, service, clock } = bench();
  await take(1, 0);
  await take(2, 1);
  tick(30_000);
  await take(1, 0);
  const released = { client: 2, ciaddr: ip('192.168.100.11'), server: SERVER };
  service.handle(clientFrame(Release, released), 2, clock.nowMs);
  await service.settled();
  tick(59_000);
  assert.not.ok(told.some(line => line.startsWith('expired')));
  tick(1_000);
  assert.equal(told.slice(-1), ['expired 10']);
});

test('an address that goes to the next client before a tick: the end is told of first', async () => {
  const { take, told, clock } = bench(new MemoryStore(), '192.168.100.10');
  await take(1, 0);
  clock.nowMs += 60_000;
  await take(2, 0);
  assert.equal(told, ['changed 10 Bound', 'expired 10', 'changed 10 Bound']);
});

test('leases of before a restart end too; what had ended while nobody ran is not told of', async () => {
  const first = bench();
  await first.take(1, 0);
  first.clock.nowMs += 30_000;
  await first.take(2, 1);
  const later = bench(first.store);
  later.clock.nowMs += 70_000;
  const again = bench(first.store);
  again.tick(59_000);
  assert.equal(again.told, []);
  again.tick(31_000);
  assert.equal(again.told, ['expired 10', 'expired 11']);
});

test('40,000 ends at once are told of in steps', async () => {
  const store = new MemoryStore();
  for (let n = 0; n < 39_000; n++) {
    const one = record(ip('192.168.100.10') + n, START_MS / 1000 + 10);
    store.records.set(one.ip, { ...one, key: `id:${n}` });
  }
  const { tick, told } = bench(store, '192.168.255.254');
  const held = store.records.size;
  tick(10_000);
  assert.is(told.length, 1_024);
  for (let n = 0; n < 60; n++) tick(1_000);
  assert.is(told.length, held - 1, 'all but the NAT address, which is no guest’s');
});

test('a port’s leases are released together, in one commit, and found again', async () => {
  const { service, store, take, told } = bench();
  await take(1, 0);
  await take(2, 1);
  const { commits } = store;
  service.releasePort('tap1');
  service.releasePort('tap9');
  await service.settled();
  assert.is(store.commits, commits + 1);
  assert.equal(told.slice(2), ['changed 10 Released']);
  assert.equal(
    service.leases().map(({ state }) => state),
    ['released', 'bound'],
  );
  service.releasePort('tap1');
  await service.settled();
  assert.is(told.length, 3, 'nothing left to release');
});

test('a disk that is full: one line, however many ask; a line when it is not; nothing told of meanwhile', async () => {
  const store = new MemoryStore();
  const { service, take, told, logged, clock } = bench(store);
  const commit = store.commit.bind(store);
  store.commit = async () => {
    throw new Error('database or disk is full');
  };
  for (let n = 0; n < 5; n++) await take(1, 0);
  assert.is(service.fault, 'database or disk is full');
  assert.is(service.counters.ignored.NotStored, 5);
  service.releasePort('tap1');
  await service.settled();
  store.commit = commit;
  clock.nowMs += 1_000;
  await take(1, 0);
  assert.is(service.fault, undefined);
  assert.equal(told, ['changed 10 Bound']);
  assert.equal(logged, [
    'error: leases could not be written, so no address is acknowledged till they can be: database or disk is full',
    'warn: leases are written again, and addresses acknowledged',
  ]);
  assert.is(formatIp4(store.load()[0]!.ip), '192.168.100.10');
});

test('a sentence is said seldom, and then how many were not', () => {
  const seldom = new Seldom(2, 1_000);
  assert.equal(
    [0, 1, 2, 3, 1_000, 1_001, 1_002].map(ms => seldom.say('x', ms)),
    ['x', 'x', undefined, undefined, 'x (and 2 like it since the last line)', 'x', undefined],
  );
  assert.is(seldom.say('x', -5_000), 'x (and 1 like it since the last line)', 'a clock that was set back');
});

test.run();
