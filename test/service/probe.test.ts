/** Addresses are asked for before a stranger is offered them: what is asked, who is believed, and what waits for it. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  ANY,
  answerOf,
  clientFrame,
  clientMac,
  GATEWAY_MAC,
  ip,
  type Said,
  SERVER,
} from '../../fixtures/dhcp.ts';
import { arpFrame, mac } from '../../fixtures/packets.ts';
import { type Change, LeaseState } from '../../src/service/dhcp/leases.ts';
import { type InUse, Prober, probeFor } from '../../src/service/dhcp/probe.ts';
import { DhcpService, type DhcpServiceOptions } from '../../src/service/dhcp/service.ts';
import { MemoryStore } from '../../src/service/dhcp/store.ts';
import { formatIp4, type Ip4, type Mac } from '../../src/wire/address.ts';
import { REPLY, REQUEST } from '../../src/wire/arp.ts';
import { MessageType } from '../../src/wire/dhcp.ts';
import { NETWORK } from './dhcp-bench.ts';

const { Discover, Offer, Request, Decline, Release } = MessageType;
const STATIC = mac('02:00:00:00:00:77');
const TEN = ip('192.168.100.10');
const hex = (frame: Uint8Array): string => Buffer.from(frame).toString('hex');

/** What somebody who has the address says to a probe. */
const answer = (senderIp: Ip4, sender: Mac = STATIC): Uint8Array =>
  arpFrame({ operation: REPLY, sender, senderIp, target: GATEWAY_MAC, targetIp: ANY }, GATEWAY_MAC);

/** A service whose time passes when it is told to; `asked` are the addresses of its probes, `offers` what it offered whom. */
function bench(more: Partial<DhcpServiceOptions> = {}) {
  const asked: string[] = [];
  const offers: string[] = [];
  const logged: string[] = [];
  const changes: Change[] = [];
  const alarms: { atMs: number; act: () => void }[] = [];
  const clock = { nowMs: 1_800_000_000_000 };
  const service = new DhcpService({
    ...NETWORK,
    first: TEN,
    last: ip('192.168.100.99'),
    leaseTimeS: 3600,
    probeMs: 200,
    dns: [ip('9.9.9.9')],
    domain: '',
    store: new MemoryStore(),
    send: (frame, egress) => {
      const { message } = answerOf(frame);
      if (message.type === Offer)
        offers.push(`${formatIp4(message.yiaddr)} xid ${message.xid} port ${egress}`);
    },
    flood: frame => {
      const address = formatIp4(new DataView(frame.buffer).getInt32(38));
      assert.is(hex(frame), hex(probeFor(ip(address), GATEWAY_MAC)));
      asked.push(address);
    },
    after: (ms, act) => void alarms.push({ atMs: clock.nowMs + ms, act }),
    resolvers: () => [],
    portName: index => `tap${index}`,
    log: (_level, sentence) => logged.push(sentence),
    changed: made => changes.push(...made),
    now: () => clock.nowMs,
    ...more,
  });
  const hand = async (frame: Uint8Array, ingress = 0): Promise<void> => {
    service.handle(frame, ingress, clock.nowMs);
    await service.settled();
  };
  const say = (type: MessageType, said: Said = {}): Promise<void> =>
    hand(clientFrame(type, { xid: 1, ...said }), said.client ?? 1);
  const pass = async (ms: number): Promise<void> => {
    clock.nowMs += ms;
    for (const alarm of alarms.filter(({ atMs }) => atMs <= clock.nowMs)) {
      alarms.splice(alarms.indexOf(alarm), 1);
      alarm.act();
    }
    await service.settled();
  };
  const take = async (client: number): Promise<Ip4> => {
    await say(Discover, { client });
    await pass(200);
    const requested = ip((offers.at(-1) as string).split(' ')[0] as string);
    await say(Request, { client, requested, server: SERVER });
    return requested;
  };
  return { service, asked, offers, logged, changes, clock, hand, say, pass, take };
}

test('a new client’s address is asked for, and offered when nobody has answered in time', async () => {
  const { say, pass, asked, offers, service } = bench();
  await say(Discover);
  assert.equal([asked, offers], [['192.168.100.10'], []]);
  assert.is(service.probes.running, 1);
  await pass(199);
  assert.equal(offers, []);
  await pass(1);
  assert.equal(offers, ['192.168.100.10 xid 1 port 1']);
  assert.equal(service.probes, { sent: 1, free: 1, conflicts: 0, skipped: 0, running: 0 });
});

test('somebody answers: quarantined, told once with the MAC, and the next address is asked for', async () => {
  const { say, hand, pass, asked, offers, logged, changes, service } = bench();
  await say(Discover);
  await hand(answer(TEN), 7);
  assert.equal(asked, ['192.168.100.10', '192.168.100.11']);
  assert.equal(logged, [
    '192.168.100.10 is in use by 02:00:00:00:00:77 on tap7, which has no lease of it; nobody is given it for 600 s',
  ]);
  assert.equal(
    changes.map(({ ip: address, before, after, conflict }) => [address, before, after?.state, conflict]),
    [[TEN, undefined, LeaseState.Declined, true]],
  );
  const [lease] = service.leases();
  assert.equal(
    [lease?.address, lease?.state, lease?.mac],
    ['192.168.100.10', 'declined', '02:00:00:00:00:77'],
  );
  await pass(200);
  assert.equal(offers, ['192.168.100.11 xid 1 port 1']);
  assert.equal(service.pool(), { size: 90, free: 88, bound: 0, offered: 1, quarantined: 1 });
  assert.is(service.probes.conflicts, 1);
});

test('the quarantine ends, and the address is asked for again', async () => {
  const { say, hand, pass, asked, service } = bench({ last: TEN });
  await say(Discover);
  await hand(answer(TEN));
  await pass(599_000);
  await say(Discover);
  assert.is(service.counters.ignored.PoolExhausted, 2);
  assert.is(service.pool().quarantined, 1);
  await pass(1_000);
  await say(Discover);
  assert.equal(asked, ['192.168.100.10', '192.168.100.10']);
  assert.equal(service.pool(), { size: 1, free: 0, bound: 0, offered: 1, quarantined: 0 });
});

test('a declined address: a line in the log, nobody gets it for a time, then somebody does', async () => {
  const { say, take, pass, logged, service } = bench({ last: TEN });
  await take(1);
  await say(Decline, { client: 1, requested: TEN, server: SERVER });
  assert.equal(logged, [
    '02:00:00:00:00:01 on tap1 declined 192.168.100.10, as somebody else uses it; nobody is given it for 600 s',
  ]);
  assert.is(service.pool().quarantined, 1);
  await say(Discover, { client: 2 });
  assert.is(service.counters.ignored.PoolExhausted, 1);
  await pass(600_000);
  assert.is(await take(2), TEN);
});

test('retransmissions begin no second probe; the last one is answered, once', async () => {
  const { say, pass, asked, offers } = bench();
  await say(Discover, { xid: 1 });
  await pass(100);
  await say(Discover, { xid: 2 });
  await say(Discover, { xid: 3 });
  await pass(100);
  assert.equal([asked, offers], [['192.168.100.10'], ['192.168.100.10 xid 3 port 1']]);
  await say(Discover, { xid: 4 }); // the offer was lost, and is still out
  assert.equal([asked.length, offers.at(-1)], [1, '192.168.100.10 xid 4 port 1']);
  await pass(200);
  assert.is(offers.length, 2);
});

test('an offer that nobody took is no claim: asked for again', async () => {
  const { say, pass, asked } = bench();
  await say(Discover);
  await pass(200);
  await pass(61_000);
  await say(Discover);
  assert.equal(asked, ['192.168.100.10', '192.168.100.10']);
});

test('who is known is not kept waiting: bound, released, expired', async () => {
  const { say, pass, take, asked, offers } = bench();
  const mine = await take(1);
  const again = async (): Promise<void> => {
    await say(Discover, { client: 1, xid: 9 });
    assert.is(offers.at(-1), '192.168.100.10 xid 9 port 1');
  };
  await again();
  await say(Release, { client: 1, ciaddr: mine, server: SERVER });
  await again();
  await say(Request, { client: 1, requested: mine, server: SERVER });
  await pass(7_200_000);
  await again();
  assert.equal(asked, ['192.168.100.10']);
});

test('others are answered meanwhile', async () => {
  const { say, take, pass, offers } = bench();
  await take(1);
  await say(Discover, { client: 2 });
  await say(Discover, { client: 1, xid: 5 });
  assert.is(offers.at(-1), '192.168.100.10 xid 5 port 1');
  await pass(200);
  assert.is(offers.at(-1), '192.168.100.11 xid 1 port 2');
});

test('at most so many at once; the others’ offers leave unasked and are counted', async () => {
  const { say, pass, asked, offers, service } = bench({ maxProbes: 2 });
  for (const client of [1, 2, 3, 4]) await say(Discover, { client });
  assert.equal([asked.length, offers.length, service.probes.skipped], [2, 2, 2]);
  await pass(200);
  assert.is(offers.length, 4);
});

test('the client’s own answer, a stranger’s address, an answer too late: no conflict', async () => {
  const { say, hand, pass, offers, service } = bench();
  await say(Discover);
  await hand(answer(TEN, clientMac(1)));
  await hand(answer(ip('192.168.100.50')));
  await hand(arpFrame({ operation: REQUEST, sender: STATIC, senderIp: TEN, targetIp: ANY }, GATEWAY_MAC));
  await pass(200);
  await hand(answer(TEN));
  assert.equal(offers, ['192.168.100.10 xid 1 port 1']);
  assert.is(service.probes.conflicts, 0);
  assert.is(service.counters.ignored.NotDhcp, 0);
});

test('a relay’s client is on another network: not asked there', async () => {
  const { say, asked, offers } = bench();
  await say(Discover, { giaddr: ip('192.168.100.200') });
  assert.equal([asked.length, offers.length], [0, 1]);
});

test('a client that goes to another server meanwhile gets no offer', async () => {
  const { say, pass, offers } = bench();
  await say(Discover);
  await say(Request, { requested: ip('10.0.0.9'), server: ip('10.0.0.1') });
  await pass(200);
  assert.equal(offers, []);
});

test('0 ms: nobody is asked', async () => {
  const { say, asked, offers } = bench({ probeMs: 0 });
  await say(Discover);
  assert.equal([asked.length, offers.length], [0, 1]);
});

test('everybody’s address in use: each is asked for once, and the log stays short', async () => {
  const { say, hand, asked, logged, service } = bench();
  await say(Discover);
  for (let at = 0; at < asked.length; at++) await hand(answer(ip(asked[at] as string)));
  assert.is(asked.length, 90);
  assert.is(new Set(asked).size, 90);
  assert.is(service.counters.ignored.PoolExhausted, 1);
  assert.is(service.pool().quarantined, 90);
  const inUse = logged.filter(line => line.includes('in use by'));
  assert.is(inUse.length, 10);
  assert.equal(
    logged
      .filter(line => !inUse.includes(line))
      .map(line => line.includes('gets no address, as none is left')),
    [true],
  );
});

test('a port that answers for everybody is believed till only the others’ addresses are left', async () => {
  const few = { last: ip('192.168.100.15'), ports: () => ['tap1', 'tap2', 'tap3', 'tap7'] };
  const { say, hand, pass, asked, offers, logged, service } = bench(few);
  await say(Discover);
  for (let i = 0; i < 6; i++) await hand(answer(ip(asked.at(-1) as string)), 7);
  await pass(200);
  assert.is(offers.length, 1, asked.join());
  assert.match(logged.at(-1) as string, /on tap7 answers for .* too, and is not believed/);
  await say(Discover, { client: 2 });
  await hand(answer(ip(asked.at(-1) as string)), 7);
  await say(Discover, { client: 3 });
  await hand(answer(ip(asked.at(-1) as string)), 7);
  assert.is(offers.length, 3);
  assert.is(new Set(offers.map(offer => offer.split(' ')[0])).size, 3);
  assert.is(service.pool().quarantined, 3);
});

test('a conflict that can’t be written: the client has the next address all the same', async () => {
  const store = new MemoryStore();
  store.commit = async () => {
    throw new Error('full');
  };
  const { say, hand, pass, offers, changes } = bench({ store });
  await say(Discover);
  await hand(answer(TEN));
  await pass(200);
  assert.equal([offers, changes], [['192.168.100.11 xid 1 port 1'], []]);
});

test('whatever comes in: what is held comes back once, and nothing throws', () => {
  const address = fc.integer({ min: 0, max: 5 }).map(n => (TEN + n) as Ip4);
  const step = fc.oneof(
    fc.record({ kind: fc.constant('hold' as const), address, asks: fc.boolean() }),
    fc.record({ kind: fc.constant('answer' as const), address, by: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constant('noise' as const), bytes: fc.uint8Array({ maxLength: 60 }) }),
    fc.record({
      kind: fc.constant('bent' as const),
      address,
      at: fc.nat(41),
      byte: fc.nat(255),
      cut: fc.nat(42),
    }),
    fc.record({ kind: fc.constant('time' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), steps => {
      const alarms: (() => void)[] = [];
      const held = new Map<Ip4, number>();
      let sent = 0;
      const prober = new Prober<number>({
        timeMs: 200,
        maxProbes: 3,
        mac: GATEWAY_MAC,
        send: () => sent++,
        after: (_ms, act) => void alarms.push(act),
        verdict: (at: Ip4, number: number, _by: InUse | undefined) => {
          assert.is(held.get(at), number, 'the last that was held');
          held.delete(at);
        },
      });
      for (const [number, one] of steps.entries()) {
        if (one.kind === 'hold') {
          if (prober.hold(one.address, clientMac(1), number, one.asks)) held.set(one.address, number);
          else assert.not.ok(held.has(one.address));
        } else if (one.kind === 'answer') {
          const wasHeld = held.has(one.address);
          assert.ok(prober.hear(answer(one.address, clientMac(one.by)), 1));
          if (one.by === 1) assert.is(held.has(one.address), wasHeld);
          else assert.not.ok(held.has(one.address));
        } else if (one.kind === 'bent') {
          const frame = answer(one.address);
          frame[one.at] = one.byte;
          prober.hear(frame.subarray(0, 42 - (one.cut < 10 ? one.cut : 0)), 1);
        } else if (one.kind === 'noise') prober.hear(one.bytes, 1);
        else for (const act of alarms.splice(0)) act();
        assert.is(prober.running, held.size);
        assert.ok(prober.running <= 3);
      }
      for (const act of alarms.splice(0)) act();
      assert.is(held.size, 0);
      const { counters } = prober;
      assert.is(counters.sent, sent);
      assert.is(counters.free + counters.conflicts, sent);
    }),
    { seed: 1, numRuns: 500 },
  );
});

test.run();
