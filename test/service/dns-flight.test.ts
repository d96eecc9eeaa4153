/**
 * How servers are asked: the fastest first, the next when it is slow, all of them in bounded time; what is no answer to what
 * was asked is not seen; and servers that mix up cases, know no EDNS or are dead are found out.
 */
import dnsPacket from 'dns-packet';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  a,
  answer,
  type Behaviour,
  decode,
  encode,
  extendedError,
  FORMERR,
  NOTIMP,
  NXDOMAIN,
  opt,
  query,
  REFUSED,
  SERVFAIL,
  World,
} from './dns-world.ts';

const [ONE, TWO, THREE] = ['192.0.2.1', '192.0.2.2', '192.0.2.3'];
const GOOD = 'NOERROR x.test A 300 192.0.2.1';

const after =
  (afterMs: number, data = '192.0.2.1'): Behaviour =>
  message => ({ message: answer(message, [a('x.test', data)]), afterMs });
const saying =
  (rcode: number): Behaviour =>
  message => ({ message: answer(message, [], { rcode }) });
const silent: Behaviour = () => undefined;
const closed: Behaviour = () => ({ failed: true });

let names = 0;
/** A name that nobody has asked for yet. */
const fresh = (): Uint8Array => query(`n${names++}.test`);
const sentTo = (world: World): string =>
  world.sent
    .splice(0)
    .map(({ to, tcp }) => `${to.at(-1)}${tcp ? 't' : ''}`)
    .join(' ');
const nameOf = (message: Uint8Array): string => decode(message).questions?.[0]?.name ?? '';

test('the fastest server is asked, when it is known; another now and then, for its speed', () => {
  const world = new World().server(ONE, after(30)).server(TWO, after(5)).server(THREE, after(90));
  for (let i = 0; i < 8; i++) {
    world.ask(fresh());
    world.pass(2_000);
  }
  sentTo(world);
  for (let i = 0; i < 4; i++) assert.is(world.ask(fresh()).tookMs, 5);
  assert.is(sentTo(world), '2 2 2 2');
  world.pass(10_000);
  world.ask(fresh());
  world.ask(fresh());
  assert.is(sentTo(world), '2 1 2 3', 'each of the others beside it, once');
  const rtts = world.resolver.view().upstreams.map(({ rttMs }) => Math.round(rttMs ?? 0));
  assert.equal(rtts, [30, 5, 90]);
});

test('a server that is slow for once is overtaken by the next, and stays what it was', () => {
  let slow = false;
  const world = new World()
    .server(ONE, message => after(slow ? 3_000 : 5)(message, false))
    .server(TWO, after(10, '192.0.2.2'));
  for (let i = 0; i < 20; i++) world.ask(fresh());
  world.pass(5_000);
  world.sent.length = 0;
  slow = true;
  const { response, tookMs } = world.ask(fresh());
  assert.equal(
    decode(response as Uint8Array).answers?.map(each => (each as { data: string }).data),
    ['192.0.2.2'],
  );
  assert.is(tookMs, 30, '20 ms of patience at least, and the 10 of the other');
  assert.is(sentTo(world), '1 2');
});

test('no server answers: SERVFAIL within five seconds, all were asked several times, and why is said', () => {
  const world = new World().server(ONE, silent).server(TWO, silent);
  const asked = query('x.test', 'A', { additionals: [opt()] });
  const { response, tookMs } = world.ask(asked);
  assert.is(tookMs, 5_000);
  assert.is(extendedError(response as Uint8Array), '22 no DNS server of the host answered in time');
  assert.is(sentTo(world), '1 2 1 2 1 2 1 2');
  world.pass(10);
  assert.is(world.open, 0);
  assert.is(world.ask(asked).tookMs, 0, 'remembered for a second');
  world.pass(1_000);
  assert.is(world.ask(asked).tookMs, 5_000);
});

test('nobody is there, says the host: SERVFAIL at once', () => {
  const world = new World().server(ONE, closed).server(TWO, closed);
  const { response, tookMs } = world.ask(query('x.test', 'A', { additionals: [opt()] }));
  assert.is(tookMs, 1);
  assert.is(extendedError(response as Uint8Array), '23 no DNS server of the host could answer');
});

test('errors and refusals of one server are not the last word; what a server said of its error goes on', () => {
  for (const first of [saying(SERVFAIL), saying(REFUSED), closed]) {
    const world = new World().server(ONE, first).server(TWO, after(3));
    assert.is(world.says(query('x.test')), GOOD);
    assert.is(sentTo(world), '1 2');
  }
  const bogus = { code: 15, data: Buffer.from([0, 6, ...Buffer.from('bogus')]) } as never;
  const world = new World()
    .server(ONE, message => ({
      message: answer(message, [], { rcode: SERVFAIL, additionals: [opt({ options: [bogus] })] }),
    }))
    .server(TWO, saying(REFUSED));
  const { response } = world.ask(query('x.test', 'A', { additionals: [opt()] }));
  assert.is(extendedError(response as Uint8Array), '6 bogus');
});

test('a lost datagram is sent again, from another port, with another id', () => {
  let lost = 1;
  const world = new World().server(ONE, message => (lost-- > 0 ? undefined : after(5)(message, false)));
  const { tookMs } = world.ask(query('x.test'));
  assert.is(tookMs, 505);
  const [first, second] = world.sent;
  assert.is.not(decode(first?.message as Uint8Array).id, decode(second?.message as Uint8Array).id);
});

test('answers to something else are not seen: another id, name, type, class, a query, no header', () => {
  const wrong: ((message: Uint8Array) => Uint8Array)[] = [
    m => change(answer(m, [a('x.test', '203.0.113.1')]), at => (at[0] = (at[0] as number) ^ 1)),
    m => change(answer(m, [a('x.test', '203.0.113.1')]), at => (at[1] = (at[1] as number) ^ 1)),
    m => change(answer(m, [a('x.test', '203.0.113.1')]), at => (at[13] = 0x71)),
    m => change(answer(m, [a('x.test', '203.0.113.1')]), at => (at[21] = 28)),
    m => change(answer(m, [a('x.test', '203.0.113.1')]), at => (at[23] = 3)),
    m => change(answer(m, [a('x.test', '203.0.113.1')]), at => (at[2] = 1)),
    m => change(answer(m, [a('x.test', '203.0.113.1')]), at => (at[2] = 0xa8)),
    m => answer(m, []).slice(0, 11),
    m => answer(m, []).slice(0, 12),
    () => new Uint8Array(0),
    m => m,
  ];
  for (const [i, make] of wrong.entries()) {
    const world = new World();
    world.server(ONE, message => {
      // the forgery comes first, the answer later
      const receive = world.forge(make(message));
      world.after(1, receive);
      return { message: answer(message, [a('x.test')]), afterMs: 9 };
    });
    const { response, tookMs } = world.ask(query('x.test'));
    assert.equal([world.forged, tookMs], [1, 9], `${i}`);
    assert.equal(
      (decode(response as Uint8Array).answers as { data: string }[])[0]?.data,
      '192.0.2.1',
      `${i}`,
    );
  }
});

test('a type is no letter, though its number be one', () => {
  const world = new World();
  world.server(ONE, message => {
    world.after(1, world.forge(change(answer(message, []), at => (at[21] = (at[21] as number) ^ 0x20))));
    return { message: answer(message, [], { rcode: NXDOMAIN }), afterMs: 5 };
  });
  assert.is(
    world.ask(query('x.test', 'UNKNOWN_65')).tookMs,
    10,
    'asked twice, as nobody knows yet whether the case matters',
  );
  assert.is(world.forged, 2);
});

const change = (message: Uint8Array, how: (message: Uint8Array) => void): Uint8Array => {
  how(message);
  return message;
};

test('names go out in mixed case, differently each time', () => {
  const world = new World().server(ONE, after(1));
  const seen = new Set<string>();
  for (let i = 0; i < 20; i++) {
    world.ask(query('abcdefghijklmnop.test'));
    world.resolver.flush();
  }
  for (const { message } of world.sent) seen.add(nameOf(message));
  assert.is(seen.size, 20);
  assert.ok([...seen].every(name => name.toLowerCase() === 'abcdefghijklmnop.test'));
});

const lowered: Behaviour = message => ({ message: answer(lower(message), [a('x.test')]) });
const lower = (message: Uint8Array): Uint8Array => {
  const { id, questions } = decode(message);
  return encode({
    id: id as number,
    questions: (questions ?? []).map(each => ({ ...each, name: each.name.toLowerCase() })),
  });
};

test('a server that changes the case is asked by TCP, and in lower case from then on', () => {
  const world = new World().server(ONE, lowered);
  assert.is(world.says(query('abcdefgh.test')), GOOD);
  assert.is(sentTo(world), '1 1t');
  assert.match(world.logged[0] ?? '', 'changes the case of names');
  assert.is(world.says(query('ijklmnop.test')), GOOD);
  assert.is(nameOf(world.sent[0]?.message as Uint8Array), 'ijklmnop.test');
  assert.is(sentTo(world), '1');
  assert.is(world.resolver.view().upstreams[0]?.keepsCase, false);
  world.pass(3_600_000);
  world.ask(query('qrstuvwx.test'));
  assert.is(sentTo(world), '1 1t', 'an hour later it is tried again');
});

test('where that server has no TCP, three such answers are believed, and no fewer', () => {
  for (const tcp of [closed, silent]) {
    const world = new World().server(ONE, (message, isTcp) => (isTcp ? tcp : lowered)(message, isTcp));
    assert.is(world.says(query('abcdefgh.test')), GOOD);
    assert.is(sentTo(world), '1 1t 1 1t 1');
    world.says(query('ijklmnop.test'));
    assert.is(sentTo(world), '1');
  }
});

test('a forged answer in another case costs a question by TCP and nothing else', () => {
  const world = new World();
  let forging = true;
  world.server(ONE, (message, tcp) => {
    if (forging && !tcp) world.after(1, world.forge(answer(lower(message), [a('x.test', '203.0.113.1')])));
    return { message: answer(message, [a('x.test')]), afterMs: 5 };
  });
  for (let i = 0; i < 2; i++) assert.is(world.says(query(`abcdefgh${i}.test`)), GOOD);
  assert.is(sentTo(world), '1 1t 1 1t');
  forging = false;
  assert.is(world.says(query('ijklmnop.test')), GOOD);
  assert.is(world.resolver.view().upstreams[0]?.keepsCase, true);
});

test('a server that knows names in lower case alone is found out', () => {
  const world = new World().server(ONE, message =>
    nameOf(message) === nameOf(message).toLowerCase()
      ? { message: answer(message, [a('x.test')]) }
      : { message: answer(message, [], { rcode: NXDOMAIN }) },
  );
  assert.is(world.says(query('abcdefgh.test')), GOOD);
  assert.is(sentTo(world), '1 1');
  assert.is(world.says(query('ijklmnop.test')), GOOD);
  assert.is(sentTo(world), '1');
});

test('a server that does not know EDNS is asked without, by whatever it shows', () => {
  const bad = (message: Uint8Array): Uint8Array[] => [
    answer(message, [], { rcode: FORMERR }),
    answer(message, [], { rcode: NOTIMP }),
    answer(message, [], { rcode: FORMERR }).slice(0, 12).fill(0, 4, 6),
    answer(message, [], { additionals: [opt({ extendedRcode: 1 } as never)] }),
  ];
  for (let i = 0; i < 4; i++) {
    const world = new World().server(ONE, message => {
      const edns = (decode(message).additionals?.length ?? 0) > 0;
      return { message: edns ? (bad(message)[i] as Uint8Array) : answer(message, [a('x.test')]) };
    });
    assert.is(world.says(query('x.test')), GOOD, `${i}`);
    assert.is(sentTo(world), '1 1', `${i}`);
    assert.is(world.says(query('y.test')), GOOD);
    assert.is(sentTo(world), '1', 'remembered');
  }
  const world = new World().server(ONE, saying(FORMERR));
  assert.is(world.says(query('x.test')), 'SERVFAIL');
  assert.is(world.says(query('y.test')), 'SERVFAIL');
  assert.is(sentTo(world), '1 1 1 1', 'it was not EDNS');
});

test('truncated: the same server by TCP; by another, where that fails', () => {
  const truncated: Behaviour = (message, tcp) =>
    tcp ? { failed: true } : { message: answer(message, [], { flags: dnsPacket.TRUNCATED_RESPONSE }) };
  const world = new World().server(ONE, truncated).server(TWO, after(3));
  assert.is(world.says(query('x.test')), GOOD);
  assert.is(sentTo(world), '1 2 1t');
  const alone = new World().server(ONE, truncated);
  assert.is(alone.says(query('x.test')), 'SERVFAIL');
  const cut = new World().server(ONE, (message, tcp) => {
    const whole = answer(message, [a('x.test')], { flags: tcp ? 0 : dnsPacket.TRUNCATED_RESPONSE });
    return { message: tcp ? whole : whole.slice(0, whole.length - 3) };
  });
  assert.is(cut.says(query('x.test')), GOOD, 'cut in the middle of a record');
});

test('a broken answer is no answer: the next server is asked', () => {
  const world = new World()
    .server(ONE, message => ({ message: change(answer(message, [a('x.test')]), at => (at[7] = 9)) }))
    .server(TWO, after(3));
  assert.is(world.says(query('x.test')), GOOD);
  assert.is(sentTo(world), '1 2 1', 'with EDNS, the other, without EDNS');
});

test('a dead server is asked last, tried again ever more rarely, and comes back', () => {
  let dead = true;
  const world = new World()
    .server(ONE, message => (dead ? undefined : after(1)(message, false)))
    .server(TWO, after(10));
  for (let i = 0; i < 3; i++) {
    world.ask(fresh());
    world.pass(11_000);
  }
  assert.match(world.logged.join('; '), '192.0.2.1 does not answer');
  sentTo(world);
  const tries = (): number => {
    for (let i = 0; i < 60; i++) {
      assert.is(world.ask(fresh()).tookMs, 10, 'nobody waits for it');
      world.pass(990);
    }
    return world.sent.splice(0).filter(({ to }) => to === ONE).length;
  };
  const first = tries();
  const second = tries();
  assert.ok(first >= 4 && first <= 8 && second <= 2, `${first}, then ${second} in a minute`);
  dead = false;
  for (let i = 0; i < 120; i++) {
    world.ask(fresh());
    world.pass(1_000);
  }
  sentTo(world);
  assert.is(world.ask(fresh()).tookMs, 1);
  assert.match(world.logged.join('; '), '192.0.2.1 answers again');
});

test('all servers are dead and one comes back: it is noticed by the first question', () => {
  let dead = true;
  const world = new World()
    .server(ONE, closed)
    .server(TWO, message => (dead ? { failed: true } : after(4)(message, false)));
  for (let i = 0; i < 5; i++) assert.is(world.says(fresh()), 'SERVFAIL');
  dead = false;
  assert.is(world.says(fresh()), GOOD);
});

test('where sockets are short, what was lost is sent again all the same', () => {
  let lost = true;
  const behaviour: Behaviour = message => (lost ? undefined : after(1)(message, false));
  const world = new World().server(ONE, behaviour).server(TWO, behaviour).server(THREE, behaviour);
  let good = 0;
  for (let client = 0; client < 4; client++)
    for (let i = 0; i < 128; i++)
      world.resolver.resolve(
        fresh(),
        false,
        response => {
          if (((response as Uint8Array)[3] as number) % 16 === 0) good++;
        },
        client,
      );
  world.pass(400);
  lost = false;
  world.pass(2_000);
  assert.is(good, 512);
});

test('sockets are bounded, whatever is asked', () => {
  const world = new World().server(ONE, silent).server(TWO, silent).server(THREE, silent);
  for (let client = 0; client < 10; client++)
    for (let i = 0; i < 200; i++) world.resolver.resolve(fresh(), false, () => undefined, client);
  world.pass(20_000);
  // a first attempt each, and second ones up to 1,024; an attempt may then ask three servers for one
  assert.ok(world.mostOpen > 512 && world.mostOpen <= 1_024 + 512 + 3, `${world.mostOpen}`);
  assert.equal([world.open, world.timers], [0, 0]);
});

test.run();
