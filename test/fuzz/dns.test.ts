// timeout: 180 s
/**
 * Whatever guests ask and servers answer: nothing is thrown, nothing goes on for ever, no answer is longer than its client
 * takes, and each is to the question. What comes out of the cache is what came fresh. dns-packet reads whole messages alike.
 */
import dnsPacket, { type Answer } from 'dns-packet';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readReply } from '../../src/service/dns/reply.ts';
import { DNS_HEADER, readName, readQuestion } from '../../src/wire/dns.ts';
import { readQuery } from '../../src/wire/dnsquery.ts';
import { readU32, recordAt } from '../../src/wire/dnsrecords.ts';
import { type Random, random } from '../random.ts';
import { a, answer, cname, decode, encode, opt, query, RD, soa, World } from '../service/dns-world.ts';

const QUERIES = Number(process.env.VSWITCHD_FUZZ_QUERIES ?? 50_000);
const TYPES = ['A', 'AAAA', 'CNAME', 'TXT', 'MX', 'SOA', 'ANY', 'AXFR', 'PTR', 'SRV'];
const NAMES = ['a.test', 'WWW.a.test', 'b.c.d.e.example', 'x.test', '.', 'long'.repeat(15).concat('.test')];

const pick = <T>(next: Random, from: readonly T[]): T => from[next(from.length)] as T;

function someQuery(next: Random): Uint8Array {
  const additionals = next(2) === 0 ? [] : [opt({ udpPayloadSize: next(5000), flags: next(2) << 15 })];
  const flags = RD | (next(4) === 0 ? dnsPacket.CHECKING_DISABLED : 0);
  return query(pick(next, NAMES), pick(next, TYPES), { id: next(65_536), flags, additionals });
}

/** Changes some bytes, or the length. */
function damaged(next: Random, message: Uint8Array): Uint8Array {
  let bytes = message.slice();
  for (let changes = next(4); changes > 0 && bytes.length > 0; changes--)
    bytes[next(bytes.length)] = pick(next, [0, 1, 0xc0, 0xff, 12, next(256)]);
  if (next(12) === 0) bytes = bytes.slice(0, next(bytes.length + 1));
  if (next(30) === 0) bytes = Uint8Array.from([...bytes, ...Array(next(9)).fill(0)]);
  return bytes;
}

function someRecords(next: Random, name: string): Answer[] {
  const names = [name, 'a.test', 'other.example', 'deep.a.test'];
  const make = [
    () => a(pick(next, names), `10.0.0.${next(256)}`, next(1000)),
    () => cname(pick(next, names), pick(next, names), next(1000)),
    () => soa(pick(next, names), next(1000), next(1000)),
    () => ({ type: 'TXT', name: pick(next, names), ttl: next(1000), data: 'x'.repeat(next(200)) }) as Answer,
    () =>
      ({
        type: 'MX',
        name: pick(next, names),
        ttl: next(1000),
        data: { preference: 1, exchange: 'mx.test' },
      }) as Answer,
  ];
  return Array.from({ length: next(next(6) === 0 ? 60 : 6) }, () => pick(next, make)());
}

function someAnswer(next: Random, to: Uint8Array): Uint8Array {
  const name = decode(to).questions?.[0]?.name ?? '';
  const rcode = pick(next, [0, 0, 0, 0, 3, 2, 1, 5]);
  const flags = next(12) === 0 ? dnsPacket.TRUNCATED_RESPONSE : 0;
  const additionals = [...(next(3) === 0 ? someRecords(next, name) : []), ...(next(2) === 0 ? [opt()] : [])];
  return answer(to, someRecords(next, name), {
    rcode,
    flags,
    authorities: someRecords(next, name),
    additionals,
  });
}

/** What holds for every response, whatever was asked. */
function check(asked: Uint8Array, response: Uint8Array, limit: number): void {
  assert.ok(
    response.length >= DNS_HEADER && response.length <= limit,
    `${response.length} of ${limit} bytes`,
  );
  assert.ok(((response[2] as number) & 0x80) !== 0);
  assert.equal([response[0], response[1]], [asked[0], asked[1]]);
  const read = readQuery(asked);
  if (typeof read === 'number') {
    assert.is(response.length, DNS_HEADER);
    return;
  }
  const end = read.question.end;
  assert.equal([...response.subarray(DNS_HEADER, end)], [...asked.subarray(DNS_HEADER, end)]);
  let at = end;
  const count = [6, 8, 10].reduce(
    (sum, from) => sum + ((response[from] as number) << 8) + (response[from + 1] as number),
    0,
  );
  for (let i = 0; i < count; i++) {
    const record = recordAt(response, at);
    assert.ok(record !== undefined);
    at = record?.end ?? 0;
  }
  assert.is(at, response.length, 'nothing behind the last record');
}

test(`${QUERIES} queries, some damaged, to servers that answer with damage: nothing is thrown, each is answered well`, () => {
  const next = random(20_261_125);
  const world = new World({ maxCacheBytes: 1 << 17 });
  for (const address of ['192.0.2.1', '192.0.2.2'])
    world.server(address, message => {
      if (next(40) === 0) return next(2) === 0 ? undefined : { failed: true };
      const whole = someAnswer(next, message);
      return { message: next(3) === 0 ? damaged(next, whole) : whole, afterMs: next(30) };
    });
  let [answered, undue] = [0, 0];
  for (let i = 0; i < QUERIES; i++) {
    const asked = next(3) === 0 ? damaged(next, someQuery(next)) : someQuery(next);
    const tcp = next(8) === 0;
    const read = readQuery(asked);
    const limit = tcp ? 65_535 : Math.min(typeof read === 'number' ? 512 : read.maxUdpBytes, 1_232);
    world.resolver.resolve(
      asked,
      tcp,
      response => {
        if (response === undefined) undue++;
        else {
          answered++;
          check(asked, response, limit);
        }
      },
      next(6),
    );
    if (next(4) === 0) world.pass(next(20));
    if (next(5_000) === 0) world.resolver.flush();
  }
  world.pass(20_000);
  assert.is(answered + undue, QUERIES);
  assert.equal([world.open, world.timers, world.resolver.view().waiting], [0, 0, 0]);
  const { queries, servfail, truncated, ...others } = world.resolver.counters;
  assert.is(
    Object.values(others).reduce((sum, each) => sum + each, 0),
    QUERIES,
    JSON.stringify(others),
  );
  assert.is(queries, QUERIES);
  const { dropped, formerr, notimp, refused, forwarded, cached, joined, local } = others;
  for (const each of [
    servfail,
    truncated,
    dropped,
    formerr,
    notimp,
    refused,
    forwarded,
    cached,
    joined,
    local,
  ])
    assert.ok(each > 100, JSON.stringify(world.resolver.counters));
  assert.ok(world.resolver.view().cache.bytes <= 1 << 17);
});

test('bytes of no kind: nothing is thrown, and no reading takes long', () => {
  const next = random(7);
  const { question } = readQuery(query('a.test')) as {
    question: NonNullable<ReturnType<typeof readQuestion>>;
  };
  const begunMs = performance.now();
  for (let i = 0; i < 300_000; i++) {
    const bytes = Uint8Array.from({ length: next(80) }, () => pick(next, [0, 1, 0xc0, 12, next(256)]));
    readQuery(bytes);
    readReply(bytes, question);
  }
  // pointers to pointers, each record's owner behind 32 of them
  const pointers = Array.from({ length: 32_000 }, (_, i) => [
    0xc0 | (Math.max(i - 1, 0) >> 8),
    12 + 2 * Math.max(i - 1, 0),
  ]).flat();
  const worst = Uint8Array.from([
    0,
    0,
    0x80,
    0,
    0,
    1,
    0x7f,
    0xff,
    0,
    0,
    0,
    0,
    ...query('a.test').slice(12),
    ...pointers,
  ]);
  for (let i = 0; i < 100; i++) readReply(worst, question);
  assert.ok(performance.now() - begunMs < 30_000);
});

const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,20}$/);
const name = fc.array(label, { minLength: 1, maxLength: 5 }).map(labels => labels.join('.'));

test('property: what comes out of the cache is what came fresh, but for id, case and times to live', () => {
  fc.assert(
    fc.property(name, fc.integer({ min: 1, max: 2 ** 31 - 1 }), fc.nat({ max: 50 }), (asked, seed, passS) => {
      const next = random(seed);
      const world = new World({}, seed).server('192.0.2.1', message => {
        const records = [
          a(asked, '192.0.2.7', 100 + next(100)),
          ...someRecords(next, asked).map(each => ({ ...each, ttl: 60 + next(900) })),
        ];
        const authorities = someRecords(next, asked).map(each => ({ ...each, ttl: 60 + next(900) }));
        return {
          message: answer(message, records, {
            authorities,
            additionals: [a('ns.test', '192.0.2.8', 99), opt()],
          }),
        };
      });
      const edns = next(2) === 0 ? [] : [opt({ udpPayloadSize: 512 + next(900) })];
      const fresh = world.ask(query(asked, 'A', { id: 1, additionals: edns })).response as Uint8Array;
      world.pass(1_000 * passS);
      const kept = world.ask(query(asked.toUpperCase(), 'A', { id: 2, additionals: edns }))
        .response as Uint8Array;
      assert.equal([world.sent.length, world.resolver.counters.cached], [1, 1]);
      assert.is(decode(kept).questions?.[0]?.name, asked.toUpperCase());
      const plain = (message: Uint8Array, agedS: number): unknown => {
        const { id, questions, ...read } = decode(message);
        assert.ok(id === 1 || id === 2);
        const { answers, authorities, additionals, ...header } = read;
        const aged = [answers, authorities, additionals].map(records =>
          records?.map(record =>
            record.type === 'OPT' ? record : { ...record, ttl: (record as { ttl: number }).ttl - agedS },
          ),
        );
        return JSON.stringify([questions?.map(each => each.name.toLowerCase()), header, aged]);
      };
      assert.is(plain(kept, 0), plain(fresh, passS));
    }),
    { numRuns: 1_000 },
  );
});

test('property: dns-packet reads the same questions and records', () => {
  fc.assert(
    fc.property(name, fc.integer({ min: 1, max: 2 ** 31 - 1 }), (asked, seed) => {
      const next = random(seed);
      const records = someRecords(next, asked);
      // dns-packet writes 4096 where it is told 0.
      const edns = opt({ udpPayloadSize: 1 + next(65_535), flags: next(2) << 15 });
      const message = encode({
        type: 'query',
        id: next(65_536),
        flags: RD,
        questions: [{ type: 'MX', name: asked }],
        additionals: [...records, edns],
      });
      const read = readQuery(message);
      assert.ok(typeof read !== 'number');
      if (typeof read === 'number') return;
      const theirs = decode(message);
      assert.equal(read.question, {
        name: asked.toLowerCase(),
        type: 15,
        class: 1,
        end: DNS_HEADER + asked.length + 6,
      });
      assert.is(read.id, theirs.id);
      assert.equal([read.maxUdpBytes, read.dnssecOk], [Math.max(edns.udpPayloadSize, 512), edns.flags !== 0]);
      let at = read.question.end;
      const mine = records.map(() => {
        const record = recordAt(message, at);
        assert.ok(record);
        if (record === undefined) return [];
        at = record.end;
        return [readName(message, record.at)?.name, record.type, record.class, readU32(message, record.ttl)];
      });
      const numbers: Record<string, number> = { A: 1, CNAME: 5, SOA: 6, MX: 15, TXT: 16 };
      const others = (theirs.additionals ?? []).slice(0, records.length) as {
        name: string;
        type: string;
        ttl: number;
      }[];
      assert.equal(
        mine,
        others.map(each => [each.name.toLowerCase(), numbers[each.type], 1, each.ttl]),
      );
      assert.equal(readQuestion(message), read.question);
    }),
    { numRuns: 5_000 },
  );
});

test.run();
