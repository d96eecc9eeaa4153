/** The cache: never more bytes than it may have, what is used stays, and no name or guest can make it slow. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Cache, kindOf } from '../../src/service/dns/cache.ts';
import type { Reply } from '../../src/service/dns/reply.ts';
import { random } from '../random.ts';
import { collectedHeap } from '../slope.ts';

const reply = (bytes: number, ttlS = 60): Reply => ({
  data: Buffer.allocUnsafeSlow(bytes),
  bytes,
  ttlS,
  error: undefined,
});
const A = kindOf(1, 0);

test('a reply is found by name, type and bits, till its time is over', () => {
  const cache = new Cache(1 << 16);
  const [one, two, three] = [reply(50), reply(50), reply(50, 1)];
  cache.put('a.test', A, one, 0);
  cache.put('a.test', kindOf(1, 1), two, 0);
  cache.put('a.test', kindOf(28, 0), three, 500);
  assert.is(cache.get('a.test', A, 0)?.reply, one);
  assert.is(cache.get('a.test', kindOf(1, 1), 0)?.reply, two);
  assert.is(cache.get('a.test', kindOf(28, 0), 1_499)?.reply, three);
  assert.is(cache.get('a.test', kindOf(28, 0), 1_500), undefined);
  assert.is(cache.entries, 2);
  assert.is(cache.get('b.test', A, 0), undefined);
  cache.put('a.test', A, two, 0);
  assert.is(cache.get('a.test', A, 0)?.reply, two, 'the later one');
  assert.is(cache.entries, 2);
  cache.put('c.test', A, reply(50, 0), 0);
  assert.is(cache.get('c.test', A, 0), undefined, 'no time to live');
  cache.put('c.test', A, reply(10_000), 0);
  assert.is(cache.get('c.test', A, 0), undefined, 'more than an eighth');
  cache.clear();
  assert.equal([cache.entries, cache.bytes, cache.get('a.test', A, 0)], [0, 0, undefined]);
});

test('names that are used stay while a guest asks for others without end', () => {
  const cache = new Cache(1 << 16);
  for (let i = 0; i < 20; i++) cache.put(`hot${i}.test`, A, reply(100), 0);
  for (let i = 0; i < 20_000; i++) {
    cache.put(`cold${i}.test`, A, reply(100), 0);
    assert.ok(cache.bytes <= 1 << 16);
    if (i % 10 === 0)
      for (let hot = 0; hot < 20; hot++) assert.ok(cache.get(`hot${hot}.test`, A, 0), `${i} ${hot}`);
  }
  assert.ok(cache.evicted > 19_000);
});

test('one name has 16 kinds at most: the oldest goes', () => {
  const cache = new Cache(1 << 20);
  for (let type = 1; type <= 1_000; type++) cache.put('a.test', kindOf(type, 0), reply(50), 0);
  assert.is(cache.entries, 16);
  assert.ok(
    cache.get('a.test', kindOf(985, 0), 0) !== undefined &&
      cache.get('a.test', kindOf(984, 0), 0) === undefined,
  );
});

test('whatever comes: what is counted is what is there, and nothing is found that was not put in', () => {
  const next = random(5);
  const cache = new Cache(40_000);
  const model = new Map<string, { reply: Reply; untilMs: number }>();
  for (let i = 0, nowMs = 0; i < 100_000; i++, nowMs += next(40)) {
    const [name, kind] = [`${next(60)}.test`, kindOf(1 + next(20), next(4))];
    const key = `${name} ${kind}`;
    if (next(3) === 0) {
      const kept = reply(next(300), next(5));
      cache.put(name, kind, kept, nowMs);
      if (kept.ttlS > 0) model.set(key, { reply: kept, untilMs: nowMs + kept.ttlS * 1000 });
      continue;
    }
    const found = cache.get(name, kind, nowMs);
    if (found === undefined) continue;
    assert.is(found.reply, model.get(key)?.reply);
    assert.ok(nowMs < (model.get(key)?.untilMs ?? 0));
  }
  assert.ok(cache.bytes <= 40_000 && cache.entries > 20);
});

test('the bytes that it counts are about those that it takes', () => {
  const before = collectedHeap();
  const cache = new Cache(32 << 20);
  for (let i = 0; cache.evicted === 0; i++)
    cache.put(`www.host${i}.example.com`, A, reply(80 + (i % 100)), 0);
  const taken = collectedHeap() - before;
  assert.ok(taken < 1.15 * cache.bytes, `${taken} bytes for ${cache.bytes}, ${cache.entries} entries`);
  assert.ok(taken > 0.4 * cache.bytes, `${taken} bytes for ${cache.bytes}, ${cache.entries} entries`);
});

test.run();
