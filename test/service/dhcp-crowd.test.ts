/** When too many ask: those who have an address keep it, and the operator is told once why the others get none. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { clientFrame, ip } from '../../fixtures/dhcp.ts';
import { formatIp4 } from '../../src/wire/address.ts';
import { MessageType } from '../../src/wire/dhcp.ts';
import { bench } from './dhcp-bench.ts';

const { Discover, Request, Decline, Nak } = MessageType;
const ports = (): string[] => ['tap0', 'tap1', 'tap2', 'tap3'];
const eight = { first: ip('192.168.100.10'), last: ip('192.168.100.17'), ports };

test('a client that has an address is offered it, however many offers are out', async () => {
  const { say, take, service } = bench({ maxOffers: 4 });
  const mine = await take(1);
  for (const client of [2, 3]) assert.ok(await say(Discover, { client }));
  assert.is(await say(Discover, { client: 4 }), undefined);
  assert.is(service.counters.ignored.OffersExhausted, 1);
  const again = await say(Discover, { client: 1 }); // started anew
  assert.is(again && formatIp4(again.message.yiaddr), mine);
});

test('who only ever asked is no known client', async () => {
  const { say, clock, service } = bench({ maxOffers: 4 });
  for (const client of [1, 2]) assert.ok(await say(Discover, { client }));
  clock.nowMs += 61_000;
  for (const client of [3, 4]) assert.ok(await say(Discover, { client }));
  assert.is(await say(Discover, { client: 1 }), undefined);
  assert.is(service.counters.ignored.OffersExhausted, 1);
});

test('no address left: told once in ten minutes, with the port and what to do', async () => {
  const { say, take, clock, logged } = bench({ first: ip('192.168.100.10'), last: ip('192.168.100.10') });
  await take(1);
  for (const client of [2, 3, 4]) assert.is(await say(Discover, { client }), undefined);
  assert.is(logged.length, 1);
  assert.match(logged[0] as string, /^02:.* on tap0 gets no address, as none is left; .*--dhcp-range/);
  clock.nowMs += 601_000;
  await say(Discover, { client: 5 });
  assert.is(logged.length, 2);
});

test('a port that asks more than can wait takes nobody else a place', async () => {
  const { service, sent, clock } = bench({
    network: ip('192.168.0.0'),
    mask: ip('255.255.0.0'),
    broadcast: ip('192.168.255.255'),
    last: ip('192.168.120.0'),
  });
  const ask = (client: number, port: number): void =>
    service.handle(clientFrame(Discover, { client }), port, clock.nowMs);
  for (let client = 1; client <= 5_000; client++) ask(client, 0);
  for (let port = 1; port <= 100; port++) ask(5_000 + port, port);
  await service.settled();
  assert.is(sent.filter(({ egress }) => egress > 0).length, 100);
  assert.is(service.counters.received.Discover, 1_024 + 100);
  assert.is(service.counters.ignored.QueueFull, 5_000 - 1_024);
});

test('however many ports ask, one more is heard', async () => {
  const { service, clock } = bench();
  for (let port = 0; port < 8; port++)
    for (let client = 1; client <= 1_024; client++)
      service.handle(clientFrame(Discover, { client: 1_024 * port + client }), port, clock.nowMs);
  service.handle(clientFrame(Discover, { client: 9_999 }), 8, clock.nowMs);
  await service.settled();
  assert.is(service.counters.received.Discover, 4_096 + 4 * 16 + 1);
});

test('offers that nobody takes: a port has half of them, and each a few however many there are', async () => {
  const { say, service, clock } = bench({ maxOffers: 512 });
  let client = 0;
  const ask = async (count: number, port: number): Promise<number> => {
    let offers = 0;
    for (let i = 0; i < count; i++)
      if ((await say(Discover, { client: ++client }, port)) !== undefined) offers++;
    return offers;
  };
  clock.nowMs += 1;
  assert.equal([await ask(300, 0)], [252], 'there are no more addresses');
  assert.is(service.counters.ignored.OffersExhausted, 0);
  const wide = bench({
    ...{ network: ip('192.168.0.0'), mask: ip('255.255.0.0'), broadcast: ip('192.168.255.255') },
    ...{ last: ip('192.168.120.0'), maxOffers: 512 },
  });
  const given = [0, 0, 0, 0];
  for (const port of [0, 1, 2, 3])
    for (let i = 0; i < 400; i++)
      if ((await wide.say(Discover, { client: ++client }, port)) !== undefined) given[port]!++;
  assert.equal(given, [256, 256, 2, 2]);
});

test('the last addresses are kept for ports that have none', async () => {
  const { say, take, clock, service } = bench(eight);
  const all: string[] = [];
  for (let client = 1; client <= 8; client++) {
    const offer = await say(Discover, { client });
    if (offer !== undefined) all.push(formatIp4(offer.message.yiaddr));
  }
  assert.is(all.length, 5, 'one each is left for three ports');
  const left = ip('192.168.100.17');
  const named = await say(Request, { client: 9, requested: left, server: ip('192.168.100.1') });
  assert.is(named?.message.type, Nak, 'nor by its name');
  const others: string[] = [];
  for (const port of [1, 2, 3])
    others.push(formatIp4((await say(Discover, { client: 100 + port }, port))!.message.yiaddr));
  assert.is(new Set([...all, ...others]).size, 8);
  assert.is(service.counters.ignored.PoolExhausted, 3);
  clock.nowMs += 61_000; // all offers have ended
  await take(200);
});

test('who declines what he gets takes the last addresses from nobody', async () => {
  const { say, take } = bench(eight);
  for (let client = 1; client <= 8; client++) {
    const offer = await say(Discover, { client });
    if (offer === undefined) continue;
    const requested = offer.message.yiaddr;
    await say(Request, { client, requested, server: ip('192.168.100.1') });
    await say(Decline, { client, requested, server: ip('192.168.100.1') });
  }
  for (const port of [1, 2, 3]) assert.ok(await say(Discover, { client: 100 + port }, port));
  assert.is(await say(Discover, { client: 300 }), undefined);
  assert.is(await say(Discover, { client: 301 }, 1), undefined);
  assert.ok(take);
});

test('where there are more ports than addresses, whoever comes gets half of them', async () => {
  const { say } = bench({ ...eight, ports: () => Array.from({ length: 200 }, (_, port) => `tap${port}`) });
  let offers = 0;
  for (let client = 1; client <= 8; client++) if ((await say(Discover, { client })) !== undefined) offers++;
  assert.is(offers, 4);
  for (const port of [1, 2, 3, 4]) assert.ok(await say(Discover, { client: 100 + port }, port));
});

test.run();
