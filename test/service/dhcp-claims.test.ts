// timeout: 120 s
/**
 * Who gets which address: reservations that come while leases run, guests that are swapped, move or are copied, pools, and
 * restarts between. By example, and by property: no two machines ever have one address, and nobody a reserved one but its owner.
 */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { clientMac, ip, type Said, SERVER } from '../../fixtures/dhcp.ts';
import type { HostReservation } from '../../src/config.ts';
import { MemoryStore } from '../../src/service/dhcp/store.ts';
import { formatIp4, type Ip4 } from '../../src/wire/address.ts';
import { Code, MessageType } from '../../src/wire/dhcp.ts';
import { bench } from './dhcp-bench.ts';

const { Discover, Request, Decline, Ack, Nak, Offer, Release } = MessageType;
const RANGE = { first: ip('192.168.100.10'), last: ip('192.168.100.20') };
const id = (...bytes: number[]) => ({
  options: new Map([[Code.ClientId as number, Uint8Array.from(bytes)]]),
});

const byMac = (client: number, address: string, name = ''): HostReservation => ({
  name,
  identity: { kind: 'mac', mac: clientMac(client) },
  address: ip(address),
  tags: [],
});
const byPort = (port: number, address: string): HostReservation => ({
  name: '',
  identity: { kind: 'port', port: `tap${port}` },
  address: ip(address),
  tags: [],
});
const byId = (hex: string, address: string): HostReservation => ({
  name: '',
  identity: { kind: 'client', id: hex },
  address: ip(address),
  tags: [],
});

/** The same leases in a new process, with another configuration. */
const again = (store: MemoryStore, hosts: readonly HostReservation[] = []) =>
  bench({ ...RANGE, store, hosts });

test('a squatter keeps its lease till its renewal; the owner has another meanwhile, then its own', async () => {
  const store = new MemoryStore();
  assert.is(await again(store).take(1), '192.168.100.10');
  const { say, take, clock } = again(store, [byMac(2, '192.168.100.10', 'db')]);
  assert.is(await take(2), '192.168.100.11', 'till it is free');
  const other = ip('192.168.100.11');
  assert.is((await say(Request, { client: 2, ciaddr: other }))?.message.type, Ack, 'and may keep that');
  const mine = ip('192.168.100.10');
  assert.is((await say(Request, { client: 1, ciaddr: mine }))?.message.type, Nak, 'the squatter is told');
  assert.is(await take(1), '192.168.100.12');
  assert.is(store.records.get(mine), undefined, 'and it is off the disk, too');
  assert.is((await say(Request, { client: 2, ciaddr: other }))?.message.type, Nak);
  assert.is(await take(2), '192.168.100.10');
  assert.is(store.records.get(other), undefined);
  assert.is(store.records.get(mine)?.hostname, 'db');
  clock.nowMs += 7200_000;
  assert.is(await take(3), '192.168.100.11', 'the oldest that was free; never the reserved one');
});

test('a squatter whose lease has run out, or that gave it back, is in nobody’s way', async () => {
  const store = new MemoryStore();
  const before = again(store);
  const ciaddr = ip(await before.take(1));
  await before.say(Release, { client: 1, ciaddr, server: SERVER });
  assert.is(await again(store, [byMac(2, '192.168.100.10')]).take(2), '192.168.100.10');
});

test('a reserved address is restored, outside the range too, and dropped with its reservation', async () => {
  const store = new MemoryStore();
  const host = byMac(1, '192.168.100.99');
  assert.is(await again(store, [host]).take(1), '192.168.100.99');
  assert.equal(
    again(store, [host])
      .service.leases()
      .map(lease => lease.address),
    ['192.168.100.99'],
  );
  const { say, take, service } = again(store);
  assert.is(service.leases().length, 0);
  assert.is((await say(Request, { client: 1, ciaddr: host.address }))?.message.type, Nak);
  assert.is(await take(1), '192.168.100.10');
});

test('a port’s address goes to whoever is plugged in, at once, and its lease has the port’s name', async () => {
  const store = new MemoryStore();
  const { say, take, service } = bench({ ...RANGE, store, hosts: [byPort(0, '192.168.100.50')] });
  assert.is(await take(1, id(255, 1)), '192.168.100.50');
  assert.is(await take(2, id(255, 2)), '192.168.100.50');
  assert.equal(
    service.leases().map(lease => [lease.client, lease.mac]),
    [['port:tap0', '02:00:00:00:00:02']],
  );
  const elsewhere = await say(Discover, { client: 1, ...id(255, 1) }, 1);
  assert.is(formatIp4(elsewhere!.message.yiaddr), '192.168.100.10');
});

test('a port’s reservation that comes while its guest has a lease elsewhere', async () => {
  const store = new MemoryStore();
  const ciaddr = ip(await again(store).take(1, id(255, 1)));
  const { say, take } = again(store, [byPort(0, '192.168.100.50')]);
  assert.is((await say(Request, { client: 1, ...id(255, 1), ciaddr }))?.message.type, Nak);
  assert.is(await take(1, id(255, 1)), '192.168.100.50');
  assert.equal([...store.records.keys()].map(formatIp4), ['192.168.100.50'], 'its former lease is gone');
});

test('a MAC’s address under another client id: firmware and the system that it boots', async () => {
  const { take } = bench({ ...RANGE, hosts: [byMac(1, '192.168.100.50')] });
  for (const said of [{}, id(0, 1, 2, 3), id(255, 9), {}]) assert.is(await take(1, said), '192.168.100.50');
});

test('a client id’s address goes to the first machine that has it, not to its copy', async () => {
  const { say, take, logged } = bench({ ...RANGE, hosts: [byId('ff09', '192.168.100.50')] });
  assert.is(await take(1, id(255, 9)), '192.168.100.50');
  const copy = await say(Discover, { client: 2, ...id(255, 9) }, 1);
  assert.is(formatIp4(copy!.message.yiaddr), '192.168.100.10');
  assert.is(logged.length, 1);
});

test('copies: one warning each, with both places, and a bound on their number', async () => {
  const { say, take, logged } = bench({ maxOffers: 10_000 });
  const twice = async (n: number) => {
    await take(n, id(255, n >> 8, n));
    for (let i = 0; i < 2; i++) await say(Discover, { client: 5000 + n, ...id(255, n >> 8, n) }, 1);
  };
  await twice(1);
  assert.equal(logged.length, 1);
  assert.match(logged[0]!, /02:00:00:00:13:89 on tap1 .* 02:00:00:00:00:01 on tap0 \(192\.168\.100\.2\)/);
  for (let n = 2; n <= 240; n++) await twice(n);
  const bounded = bench({
    network: ip('10.0.0.0'),
    mask: ip('255.0.0.0'),
    first: ip('10.0.0.2'),
    last: ip('10.0.9.0'),
  });
  for (let n = 1; n <= 400; n++) {
    await bounded.say(Request, {
      client: n,
      requested: (ip('10.0.1.0') + n) as Ip4,
      server: SERVER,
      ...id(255, n >> 8, n),
    });
    await bounded.say(Discover, { client: 5000 + n, ...id(255, n >> 8, n) }, 1);
  }
  assert.is(bounded.logged.length, 256);
});

test('a guest that moved to another port is the same guest, and its copy on the old one the copy', async () => {
  const { say, take, logged, service } = bench(RANGE);
  const mine = ip(await take(1, id(255, 1)));
  assert.is((await say(Request, { client: 1, ...id(255, 1), requested: mine }, 7))?.message.type, Ack);
  assert.is(logged.length, 0);
  assert.is(service.leases()[0]?.port, 'tap7');
  const copy = await say(Discover, { client: 2, ...id(255, 1) }, 0);
  assert.is.not(copy!.message.yiaddr, mine);
  assert.is(logged.length, 1);
});

// What the property below does: each machine has a MAC, some share a client id; a port has one machine at a time.
const MACHINES = 6;
const PORTS = 4;
/** Machines 4 and 5 are copies of 1 and 2; 3 has none, 6 has one of its own. */
const idOf = (machine: number): Partial<Said> =>
  ({ 1: id(255, 1), 4: id(255, 1), 2: id(255, 2), 5: id(255, 2), 6: id(255, 6) })[machine] ?? {};
const POOL: readonly Ip4[] = Array.from({ length: 11 }, (_, i) => (RANGE.first + i) as Ip4);

type Step =
  | { readonly kind: 'plug'; readonly machine: number; readonly port: number }
  | {
      readonly kind: 'take' | 'renew' | 'reboot' | 'release' | 'decline' | 'discover';
      readonly machine: number;
    }
  | { readonly kind: 'steal'; readonly machine: number; readonly address: number }
  | { readonly kind: 'wait'; readonly seconds: number }
  | { readonly kind: 'restart'; readonly hosts: readonly HostReservation[] };

const machine = fc.integer({ min: 1, max: MACHINES });
const address = fc.integer({ min: 0, max: POOL.length - 1 });
const hosts = fc
  .uniqueArray(fc.tuple(fc.constantFrom('mac1', 'mac3', 'id1', 'id6', 'tap0', 'tap2'), address), {
    maxLength: 3,
    selector: ([who]) => who,
  })
  .map(list => list.filter(([, at], i) => list.findIndex(([, other]) => other === at) === i))
  .map(list =>
    list.map(([who, at]) => {
      const text = formatIp4(POOL[at]!);
      if (who.startsWith('mac')) return byMac(Number(who.slice(3)), text);
      return who.startsWith('id') ? byId(`ff0${who.slice(2)}`, text) : byPort(Number(who.slice(3)), text);
    }),
  );
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('plug' as const), machine, port: fc.nat(PORTS - 1) }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constantFrom('take', 'take', 'renew', 'reboot', 'release', 'decline', 'discover'),
      machine,
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('steal' as const), machine, address }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      seconds: fc.constantFrom(10, 700, 1900, 4000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), hosts }) },
);

/** What a machine believes: its address, and till when. */
interface Belief {
  address: Ip4;
  untilMs: number;
}

async function play(steps: readonly Step[]): Promise<void> {
  const store = new MemoryStore();
  let server = bench({ ...RANGE, store });
  let kept: readonly HostReservation[] = [];
  const portOf = new Map<number, number>();
  const beliefs = new Map<number, Belief>();
  const remembered = new Map<number, Ip4>();

  const owns = (host: HostReservation, who: number): boolean => {
    const { identity } = host;
    if (identity.kind === 'port') return identity.port === `tap${portOf.get(who)}`;
    if (identity.kind === 'mac') return identity.mac.lo === clientMac(who).lo;
    return idOf(who).options?.get(Code.ClientId)?.[1] === Number.parseInt(identity.id.slice(2), 16);
  };
  const say = async (who: number, type: MessageType, said: Said = {}) => {
    const answer = await server.say(type, { client: who, ...idOf(who), ...said }, portOf.get(who));
    if (answer?.message.type === Nak) beliefs.delete(who);
    if (answer === undefined || answer.message.yiaddr === 0) return undefined;
    const given = answer.message.yiaddr;
    const host = kept.find(each => each.address === given);
    assert.ok(host === undefined || owns(host, who), `${formatIp4(given)} is kept, and not for ${who}`);
    if (answer.message.type === Offer) return given;
    for (const [other, belief] of beliefs)
      if (other !== who && belief.address === given && belief.untilMs > server.clock.nowMs)
        throw new Error(`${formatIp4(given)} for ${who}, and ${other} has it`);
    beliefs.set(who, { address: given, untilMs: server.clock.nowMs + 3600_000 });
    remembered.set(who, given);
    return given;
  };
  for (const one of steps) {
    if (one.kind === 'wait') server.clock.nowMs += one.seconds * 1000;
    else if (one.kind === 'restart') {
      const { nowMs } = server.clock;
      kept = one.hosts;
      server = bench({ ...RANGE, store, hosts: kept });
      server.clock.nowMs = nowMs;
    } else if (one.kind === 'plug') {
      // Whoever was on the port is off, and who is plugged in begins anew: its link was down.
      for (const [who, port] of portOf)
        if (port === one.port || who === one.machine) {
          portOf.delete(who);
          beliefs.delete(who);
        }
      portOf.set(one.machine, one.port);
    } else if (portOf.has(one.machine)) await act(one);
    const views = server.service.leases().filter(view => view.client !== '');
    assert.is(new Set(views.map(view => view.client)).size, views.length, 'one address a client');
  }

  async function act(one: Extract<Step, { machine: number }>): Promise<void> {
    const who = one.machine;
    const belief = beliefs.get(who);
    const has = belief !== undefined && belief.untilMs > server.clock.nowMs ? belief.address : undefined;
    if (one.kind === 'discover' || one.kind === 'take') {
      beliefs.delete(who);
      const requested = await say(who, Discover);
      if (one.kind === 'take' && requested !== undefined)
        await say(who, Request, { requested, server: SERVER });
    } else if (one.kind === 'steal') {
      beliefs.delete(who);
      await say(who, Request, { requested: POOL[one.address]!, server: SERVER });
    } else if (one.kind === 'reboot') {
      const requested = remembered.get(who);
      if (requested !== undefined) await say(who, Request, { requested });
    } else if (has !== undefined) {
      if (one.kind === 'renew') await say(who, Request, { ciaddr: has });
      else beliefs.delete(who);
      if (one.kind === 'release') await say(who, Release, { ciaddr: has, server: SERVER });
      if (one.kind === 'decline') await say(who, Decline, { requested: has, server: SERVER });
    }
  }
}

test('whatever machines say, move and copy: no address twice, and reserved ones to their owners alone', async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }), play), {
    seed: 2131,
    numRuns: 4_000,
  });
});

test.run();
