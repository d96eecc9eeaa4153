/**
 * DNS answers: what the codec reads of messages that dns-packet writes, chains of aliases, and that no message does harm,
 * however broken. dns-packet reads the same addresses out of those that are whole.
 */
import dnsPacket, { type Answer as PacketAnswer } from 'dns-packet';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatIp4 } from '../../src/wire/address.ts';
import { readAnswer } from '../../src/wire/dns.ts';
import { type Random, random } from '../random.ts';

type Kind = 'A' | 'CNAME';

const HEADER = 12;

const pointerTo = (at: number): number[] => [0xc0 | (at >> 8), at & 0xff];

const a = (name: string, data: string, ttl = 60): PacketAnswer => ({ type: 'A', name, data, ttl });
const cname = (name: string, data: string, ttl = 60): PacketAnswer => ({ type: 'CNAME', name, data, ttl });

const response = (name: string, answers: PacketAnswer[], more: Partial<dnsPacket.Packet> = {}): Uint8Array =>
  // a copy: a Buffer's slice would be the same memory
  Uint8Array.from(
    dnsPacket.encode({
      type: 'response',
      id: 7,
      flags: dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE,
      questions: [{ type: 'A', name }],
      answers,
      ...more,
    }),
  );

/** "name aliases… > address/ttl …", or what was read instead. */
function read(message: Uint8Array): string {
  const answer = readAnswer(message);
  if (answer === undefined) return 'none';
  const addresses = answer.addresses.map(({ ip, ttlS }) => `${formatIp4(ip)}/${ttlS}`);
  return [answer.name, ...answer.aliases, '>', ...addresses].join(' ');
}

test('addresses of the name that was asked for, with their times to live', () => {
  assert.is(
    read(
      response('www.example.com', [a('www.example.com', '192.0.2.1', 5), a('www.example.com', '192.0.2.2')]),
    ),
    'www.example.com > 192.0.2.1/5 192.0.2.2/60',
  );
  assert.is(
    read(response('WWW.Example.com', [a('www.EXAMPLE.com', '192.0.2.1')])),
    'www.example.com > 192.0.2.1/60',
  );
  assert.is(read(response('a.b', [a('c.b', '192.0.2.1')])), 'a.b >', 'of another name');
  assert.is(read(response('a.b', [])), 'a.b >');
  const others: PacketAnswer[] = [
    { type: 'AAAA', name: 'a.b', data: '2001:db8::1', ttl: 1 },
    { type: 'TXT', name: 'a.b', data: 'x', ttl: 1 },
    { type: 'A', name: 'a.b', data: '192.0.2.9', ttl: 1, class: 'CH' },
  ];
  assert.is(read(response('a.b', [...others, a('a.b', '192.0.2.1')])), 'a.b > 192.0.2.1/60');
  const elsewhere = { authorities: [a('a.b', '192.0.2.3')], additionals: [a('a.b', '192.0.2.4')] };
  assert.is(read(response('a.b', [a('a.b', '192.0.2.1')], elsewhere)), 'a.b > 192.0.2.1/60');
});

test('aliases are followed from the question on, in whatever order; the least time to live counts', () => {
  const chain = [cname('a.b', 'c.d', 30), cname('c.d', 'e.f', 600), a('e.f', '192.0.2.1', 300)];
  const expected = 'a.b c.d e.f > 192.0.2.1/30';
  assert.is(read(response('a.b', chain)), expected);
  assert.is(read(response('a.b', [...chain].reverse())), expected);
  assert.is(read(response('x.y', chain)), 'x.y >', 'a chain that begins elsewhere');
  assert.is(
    read(response('a.b', [cname('a.b', 'c.d'), cname('c.d', 'a.b'), a('c.d', '192.0.2.1')])),
    'a.b c.d > 192.0.2.1/60',
    'a ring',
  );
  const long = Array.from({ length: 40 }, (_, i) => cname(`n${i}.b`, `n${i + 1}.b`));
  assert.is(readAnswer(response('n0.b', long))?.aliases.length, 16);
});

test('what is no good answer to one question is none', () => {
  const good = response('a.b', [a('a.b', '192.0.2.1')]);
  const changed = (at: number, value: number): Uint8Array => {
    const copy = good.slice();
    copy[at] = value;
    return copy;
  };
  assert.is(read(good), 'a.b > 192.0.2.1/60');
  assert.is(read(changed(2, 0x01)), 'none', 'a query');
  assert.is(read(changed(2, 0x89)), 'none', 'another operation');
  assert.is(read(changed(3, 0x83)), 'none', 'no such name');
  assert.is(read(changed(2, 0x83)), 'a.b > 192.0.2.1/60', 'truncated, with what there is of it');
  assert.is(read(changed(5, 2)), 'none', 'two questions');
  assert.is(read(changed(5, 0)), 'none', 'no question');
  assert.is(read(changed(7, 2)), 'none', 'fewer records than it says');
  for (let length = 0; length < good.length; length++) assert.is(read(good.slice(0, length)), 'none');
});

test('a time to live with the highest bit set is none, RFC 2181', () => {
  const message = response('a.b', [a('a.b', '192.0.2.1', 0)]);
  message[message.length - 10] = 0xff;
  assert.is(read(message), 'a.b > 192.0.2.1/0');
});

test('names: a dot within a label is no dot, pointers go backwards and end', () => {
  const header = [0, 1, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
  const named = (...name: number[]): string => read(Uint8Array.from([...header, ...name, 0, 1, 0, 1]));
  assert.is(named(3, 0x61, 0x2e, 0x62, 1, 0x63, 0), 'a\\046b.c >');
  assert.is(named(1, 0xff, 1, 0x5c, 0), '\\255.\\092 >');
  assert.is(named(0), ' >', 'the root');
  assert.is(named(0xc0, 12), 'none', 'to itself');
  assert.is(named(0xc0, 40), 'none', 'forwards');
  assert.is(named(1, 0x61, 0xc0, 12), 'none', 'round and round');
  assert.is(named(0x40, 0), 'none', 'a label of a kind that nobody uses');
  assert.is(
    named(
      ...Array(4)
        .fill([63, ...Array(63).fill(0x61)])
        .flat(),
      0,
    ),
    'none',
    'longer than 255 bytes',
  );
  assert.is(named(5, 0x61), 'none', 'longer than the message');
  assert.is(
    read(Uint8Array.from([...header, 0xc0, 18, 0, 1, 0, 1, 1, 0x61, 0])),
    'none',
    'forwards, to a name',
  );
});

function whole(next: Random): Uint8Array {
  const names = ['a.b', 'c.d', 'www.a.b', 'e.f.g.example'];
  const name = (): string => names[next(names.length)] as string;
  const answers = Array.from({ length: next(8) }, () =>
    next(3) === 0
      ? cname(name(), name(), next(1000))
      : a(name(), `10.0.${next(256)}.${next(256)}`, next(1000)),
  );
  return response(name(), answers);
}

test('dns-packet finds the same addresses', () => {
  const next = random(7);
  for (let i = 0; i < 5_000; i++) {
    const message = whole(next);
    const answer = readAnswer(message);
    const decoded = dnsPacket.decode(Buffer.from(message));
    const of = (kind: Kind) => (decoded.answers ?? []).filter(record => record.type === kind);
    const targets = new Map(
      of('CNAME').map(record => [record.name, String((record as { data: unknown }).data)]),
    );
    const names = [decoded.questions?.[0]?.name ?? ''];
    for (let at = 0; at < names.length; at++) {
      const target = targets.get(names[at] as string);
      if (target !== undefined && !names.includes(target)) names.push(target);
    }
    const expected = of('A').flatMap(record =>
      names.includes(record.name) ? [String((record as { data: unknown }).data)] : [],
    );
    assert.equal(
      answer?.addresses.map(({ ip }) => formatIp4(ip)),
      expected,
    );
    assert.equal([answer?.name, ...(answer?.aliases ?? [])], names);
  }
});

test('300,000 mutated and random messages: nothing is thrown, and what is read is bounded', () => {
  const next = random(20_261_124);
  let readable = 0;
  let longestMs = 0;
  for (let i = 0; i < 300_000; i++) {
    const message =
      next(8) === 0 ? Uint8Array.from({ length: next(300) }, () => next(256)) : whole(next).slice();
    for (let changes = next(5); changes > 0 && message.length > 0; changes--)
      message[next(message.length)] = next(4) === 0 ? 0xc0 : next(256);
    const begun = performance.now();
    const answer = readAnswer(next(8) === 0 ? message.subarray(0, next(message.length + 1)) : message);
    longestMs = Math.max(longestMs, performance.now() - begun);
    if (answer === undefined) continue;
    readable++;
    assert.ok(answer.addresses.length <= message.length / 14);
    assert.ok([answer.name, ...answer.aliases].every(name => name.length <= 4 * 255));
    assert.ok(answer.aliases.length <= 16);
  }
  assert.ok(readable > 30_000, `${readable} readable`);
  assert.ok(longestMs < 1_000, `${longestMs} ms`);
});

/** As many aliases as fit a frame, each with two names of 194 bytes behind `pointers` pointers. */
function worst(pointers: number): Uint8Array {
  const label = [63, ...Array(63).fill(0x61)];
  const question = [...label, ...label, ...label, 0, 0, 5, 0, 1];
  // the pointers stand in a record of a type that is passed over, each to the one before
  const first = [0, 0, 99, 0, 1, 0, 0, 0, 1, 0, 2 * (pointers - 1)];
  const top = HEADER + question.length + first.length;
  const steps = Array.from({ length: pointers - 1 }, (_, i) =>
    pointerTo(i === 0 ? HEADER : top + 2 * (i - 1)),
  );
  const last = pointerTo(top + 2 * (pointers - 2));
  const records: number[] = [];
  let count = 1;
  for (; records.length < 1_700; count++) records.push(...last, 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, ...last);
  const header = [0, 1, 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
  return Uint8Array.from([...header, ...question, ...first, ...steps.flat(), ...records]);
}

test('32 pointers in a name are followed and no more, and the worst message takes little time', () => {
  assert.is(readAnswer(worst(33)), undefined);
  const message = worst(32);
  assert.is(readAnswer(message)?.name.length, 3 * 63 + 2);
  const begun = performance.now();
  for (let i = 0; i < 200; i++) readAnswer(message);
  const ms = (performance.now() - begun) / 200;
  assert.ok(ms < 10, `${ms} ms`);
});

test.run();
