/**
 * The names service: whom it believes, that the data plane is told before an answer goes on, how long names count and how
 * many there may be; and that hostile answers do no harm and none gets lost.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, B, GATEWAY } from '../../fixtures/arp.ts';
import { dnsAnswer, NEAR, RESOLVER } from '../../fixtures/egress.ts';
import { ip, udpPacket } from '../../fixtures/packets.ts';
import { down, WORLD } from '../../fixtures/routed.ts';
import { lifetimeS, NameBook, type NameEntry } from '../../src/service/names/book.ts';
import { NameService, type WatchedDomain } from '../../src/service/names/service.ts';
import { formatIp4, type Ip4 } from '../../src/wire/address.ts';
import { random } from '../random.ts';

const DAY_S = 86_400;

class Bench {
  /** What happened, in order: `guest address domain until`, `forget …`, `send`. */
  readonly happened: string[] = [];
  readonly logged: string[] = [];
  readonly service: NameService;
  resolvers: Ip4[] = [RESOLVER];
  asked = 0;
  full = false;
  dead = false;

  constructor(domains: readonly WatchedDomain[], maxNames = 64) {
    this.service = new NameService({
      domains,
      maxNames,
      gateway: GATEWAY,
      resolvers: () => {
        this.asked++;
        return this.resolvers;
      },
      tell: (learnt, forgotten) => {
        if (this.dead) throw new Error('the data plane is gone');
        for (let at = 0; at < forgotten.length; at += 4)
          this.happened.push(`forget ${words(forgotten, at, 3)}`);
        for (let at = 0; at < learnt.length; at += 4)
          this.happened.push(`${words(learnt, at, 3)} until ${learnt[at + 3]}`);
      },
      send: (_frame, egress) => {
        if (!this.full) this.happened.push(egress === undefined ? 'send' : `send to ${egress}`);
        return !this.full;
      },
      log: (_level, sentence) => this.logged.push(sentence),
    });
  }

  async take(nowMs: number, ...frames: readonly Uint8Array[]): Promise<string[]> {
    for (const frame of frames) this.service.handle(frame, nowMs);
    await this.service.settled();
    return this.happened.splice(0);
  }
}

const words = (from: Int32Array, at: number, count: number): string =>
  [...from.subarray(at, at + count)].map((word, i) => (i < 2 ? formatIp4(word) : word)).join(' ');

const frame = (message: Uint8Array, server = RESOLVER, guest: Ip4 = A): Uint8Array =>
  down(udpPacket({ source: server, destination: guest }, { from: 53, to: 4000 }, message));

const ALLOW: WatchedDomain = { name: 'example.com', below: true, allow: true };
const DENY: WatchedDomain = { name: 'bad.test', below: true, allow: false };
const EXACT: WatchedDomain = { name: 'one.test', below: false, allow: true };
const of = (name: string, ttl = 30) => dnsAnswer(name, [[name, NEAR]], ttl);

test('an answer of our own goes to the port that asked', async () => {
  const bench = new Bench([ALLOW]);
  bench.service.handle(frame(of('www.example.com'), GATEWAY), 0, 3);
  assert.is((await bench.take(0)).at(-1), 'send to 3');
});

test('the data plane is told before the answer goes on, once for all of a turn', async () => {
  const bench = new Bench([ALLOW, EXACT]);
  const told = await bench.take(
    5_999,
    frame(of('example.com')),
    frame(of('a.b.Example.com')),
    frame(of('one.test'), RESOLVER, B),
  );
  assert.equal(told, [
    '192.168.100.10 198.51.100.80 0 until 95',
    '192.168.100.11 198.51.100.80 1 until 95',
    'send',
    'send',
    'send',
  ]);
  assert.equal(
    await bench.take(6_000, frame(of('example.com', 10))),
    ['send'],
    'nothing new: it lives on till its later end',
  );
  assert.equal(await bench.take(7_000, frame(of('example.com'))), [
    '192.168.100.10 198.51.100.80 0 until 97',
    'send',
  ]);
  assert.equal(bench.service.counters, { answers: 5, unread: 0, untrusted: 0, unsent: 0 });
});

test('names that no rule is about go on, unknown', async () => {
  const bench = new Bench([ALLOW, EXACT]);
  for (const name of ['example.org', 'notexample.com', 'example.com.evil.test', 'a.one.test', 'com'])
    assert.equal(await bench.take(0, frame(of(name))), ['send'], name);
  const broken = of('example.com').slice(0, -1);
  assert.equal(await bench.take(0, frame(broken), new Uint8Array(7)), ['send', 'send']);
  assert.equal(bench.service.counters, { answers: 7, unread: 2, untrusted: 0, unsent: 0 });
  assert.equal(bench.service.names(0), []);
});

test('who is believed: resolvers and the host for what allows, anybody for what denies', async () => {
  const bench = new Bench([ALLOW, DENY]);
  const alias = dnsAnswer('www.example.com', [
    ['www.example.com', 'x.bad.test'],
    ['x.bad.test', NEAR],
  ]);
  const cloak = dnsAnswer('x.bad.test', [
    ['x.bad.test', 'www.example.com'],
    ['www.example.com', NEAR],
  ]);
  assert.equal(await bench.take(0, frame(alias, WORLD)), ['192.168.100.10 198.51.100.80 1 until 90', 'send']);
  assert.is(bench.service.counters.untrusted, 1);
  assert.equal(await bench.take(1_000, frame(alias)), [
    '192.168.100.10 198.51.100.80 0 until 91',
    '192.168.100.10 198.51.100.80 1 until 91',
    'send',
  ]);
  assert.equal(
    await bench.take(2_000, frame(cloak)),
    ['192.168.100.10 198.51.100.80 1 until 92', 'send'],
    'an alias allows nothing',
  );
  assert.equal(await bench.take(3_000, frame(of('example.com'), GATEWAY)), [
    '192.168.100.10 198.51.100.80 0 until 93',
    'send',
  ]);
  assert.is(bench.asked, 1);
  bench.resolvers = [];
  assert.equal(await bench.take(10_000, frame(of('example.com')), frame(of('example.com'))), [
    'send',
    'send',
  ]);
  assert.is(bench.asked, 2);
  assert.is(bench.logged.length, 1);
  assert.match(bench.logged[0] ?? '', '--dns names one');
});

test('times: a minute more than the time to live, of a day at the most', () => {
  assert.equal([0, 1, 300, DAY_S, DAY_S + 1, 2 ** 31 - 1].map(lifetimeS), [
    60,
    61,
    360,
    DAY_S + 60,
    DAY_S + 60,
    DAY_S + 60,
  ]);
});

test('what the views show has not run out', async () => {
  const bench = new Bench([ALLOW]);
  await bench.take(
    0,
    frame(of('example.com', 0)),
    frame(dnsAnswer('b.example.com', [['b.example.com', WORLD]])),
  );
  const names = (nowMs: number) =>
    bench.service.names(nowMs).map(({ name, expiresS }) => `${name} ${expiresS}`);
  assert.equal(names(59_999), ['example.com 60', 'b.example.com 90']);
  assert.equal(names(60_000), ['b.example.com 90']);
  assert.equal(names(90_000), []);
});

test('a data plane that takes no more, or is gone: counted and told, nothing is thrown', async () => {
  const bench = new Bench([ALLOW]);
  bench.full = true;
  await bench.take(0, frame(of('example.com')));
  assert.is(bench.service.counters.unsent, 1);
  bench.dead = true;
  await bench.take(0, frame(of('b.example.com', 900)));
  assert.match(bench.logged[0] ?? '', 'names could not be told to the data plane: the data plane is gone');
});

test('a long burst is told of in parts, and in order', async () => {
  const bench = new Bench([ALLOW], 4096);
  const frames = Array.from({ length: 200 }, (_, i) =>
    frame(dnsAnswer('example.com', [['example.com', (NEAR + i) as Ip4]])),
  );
  const happened = await bench.take(0, ...frames);
  assert.is(happened.length, 400);
  for (let i = 0; i < 200; i++) {
    const known = happened.findIndex(line => line.includes(` ${formatIp4(NEAR + i)} `));
    const sent = happened.map((line, at) => (line === 'send' ? at : -1)).filter(at => at >= 0)[i] as number;
    assert.ok(known >= 0 && known < sent, `${i}`);
  }
});

const entry = (guest: number, address: number, expiresS: number, domain = 0): NameEntry => ({
  guest,
  address,
  domain,
  name: 'n',
  expiresS,
});

test('book: one guest has its share, the oldest goes; of all, what has run out, then the oldest of who has most', () => {
  const book = new NameBook(8, 4);
  for (let i = 0; i < 4; i++) book.learn(entry(1, i, 100), 0);
  book.learn(entry(1, 0, 101), 0); // heard again: the youngest now
  book.learn(entry(1, 9, 100), 0);
  const addresses = (guest: number): number[] =>
    book.entries(0).flatMap(each => (each.guest === guest ? [each.address] : []));
  assert.equal(addresses(1), [2, 3, 0, 9]);
  assert.equal(
    book.changes().forgotten.map(each => each.address),
    [1],
  );
  for (let i = 0; i < 3; i++) book.learn(entry(2, i, 50), 0);
  book.learn(entry(3, 0, 100), 0);
  book.changes();
  book.learn(entry(3, 1, 100), 49);
  assert.equal(
    book.changes().forgotten.map(each => [each.guest, each.address]),
    [[1, 2]],
  );
  book.learn(entry(3, 2, 100), 50);
  assert.equal(
    book.changes().forgotten.map(each => [each.guest, each.address]),
    [
      [2, 0],
      [2, 1],
      [2, 2],
    ],
  );
  assert.equal([addresses(1), addresses(2), addresses(3)], [[3, 0, 9], [], [0, 1, 2]]);
});

test('book: whoever follows its changes has the same, and never more than there may be', () => {
  const next = random(11);
  const book = new NameBook(50, 20);
  const copy = new Map<string, number>();
  for (let i = 0, nowS = 0; i < 20_000; i++) {
    if (next(20) === 0) nowS++;
    for (let burst = next(9); burst > 0; burst--)
      book.learn(entry(next(6), next(40), nowS + next(30), next(2)), nowS);
    const { learnt, forgotten } = book.changes();
    for (const { guest, address, domain } of forgotten) copy.delete(`${guest} ${address} ${domain}`);
    for (const { guest, address, domain, expiresS } of learnt)
      copy.set(`${guest} ${address} ${domain}`, expiresS);
    assert.ok(copy.size <= 50, `${copy.size}`);
    const live = [...copy]
      .filter(([, expiresS]) => expiresS > nowS)
      .map(([key, expiresS]) => `${key} ${expiresS}`);
    const kept = book
      .entries(nowS)
      .map(({ guest, address, domain, expiresS }) => `${guest} ${address} ${domain} ${expiresS}`);
    assert.equal(live.sort(), kept.sort());
  }
});

test('100,000 damaged answers: nothing is thrown, each goes on, and the names stay bounded', async () => {
  const next = random(20_261_124);
  const bench = new Bench([ALLOW, DENY, EXACT], 128);
  let sent = 0;
  const names = ['example.com', 'a.example.com', 'x.bad.test', 'one.test', 'other.test'];
  for (let i = 0; i < 100_000; i++) {
    const name = names[next(names.length)] as string;
    const records = Array.from({ length: 1 + next(6) }, () => [name, next(2 ** 31) as Ip4] as const);
    const guest = next(4) === 0 ? ip('192.168.100.0') + next(256) : A;
    let bytes = frame(dnsAnswer(name, records, next(600)), next(3) === 0 ? WORLD : RESOLVER, guest as Ip4);
    for (let changes = next(4); changes > 0; changes--) bytes[next(bytes.length)] = next(256);
    if (next(10) === 0) bytes = bytes.slice(0, next(bytes.length));
    sent += (await bench.take(i, bytes)).filter(line => line === 'send').length;
    if (i % 1000 === 0) assert.ok(bench.service.names(i).length <= 128);
  }
  assert.is(sent, 100_000);
  const { answers, unread, untrusted } = bench.service.counters;
  assert.is(answers, 100_000);
  assert.ok(
    (unread as number) > 10_000 && (untrusted as number) > 1_000,
    JSON.stringify(bench.service.counters),
  );
  assert.equal(bench.logged, []);
});

test.run();
