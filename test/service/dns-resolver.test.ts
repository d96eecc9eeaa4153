/**
 * The forwarder's promises to its clients: each gets its own id and case, what is kept counts down and ends, what is not
 * there is kept as long as its zone says, nobody gets more than fits or more than a fair share.
 */
import dnsPacket from 'dns-packet';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  a,
  answer,
  cname,
  decode,
  encode,
  extendedError,
  FORMERR,
  line,
  NXDOMAIN,
  opt,
  query,
  RD,
  SERVFAIL,
  soa,
  World,
} from './dns-world.ts';

const CD = dnsPacket.CHECKING_DISABLED;
const AD = dnsPacket.AUTHENTIC_DATA;
const DO = dnsPacket.DNSSEC_OK;

/** A server that knows everything. */
const good = (): World =>
  new World().server('192.0.2.53', message => ({ message: answer(message, [a('x.test')]) }));

test('a question is asked once, and then answered from memory, in its own case, with its own id', () => {
  const world = good();
  world.server('192.0.2.53', message => ({
    message: answer(message, [a(decode(message).questions?.[0]?.name ?? '')]),
  }));
  const first = world.ask(query('Www.Example.TEST', 'A', { id: 1 })).response as Uint8Array;
  const second = world.ask(query('wWW.example.test', 'A', { id: 2 })).response as Uint8Array;
  assert.is(decode(first).id, 1);
  assert.is(decode(second).id, 2);
  assert.is(decode(first).questions?.[0]?.name, 'Www.Example.TEST');
  assert.is(decode(second).questions?.[0]?.name, 'wWW.example.test');
  assert.is(line(first), 'NOERROR www.example.test A 300 192.0.2.1');
  assert.is(world.sent.length, 1);
  const { queries, forwarded, cached } = world.resolver.counters;
  assert.equal({ queries, forwarded, cached }, { queries: 2, forwarded: 1, cached: 1 });
});

test('times to live count down, and then the server is asked again', () => {
  const world = good();
  assert.is(world.says(query('x.test')), 'NOERROR x.test A 300 192.0.2.1');
  world.pass(1_500);
  assert.is(world.says(query('x.test')), 'NOERROR x.test A 299 192.0.2.1');
  world.pass(298_000);
  assert.is(world.says(query('x.test')), 'NOERROR x.test A 1 192.0.2.1');
  assert.is(world.sent.length, 1);
  world.pass(500);
  assert.is(world.says(query('x.test')), 'NOERROR x.test A 300 192.0.2.1');
  assert.is(world.sent.length, 2);
});

test('a reply lives as long as its shortest-lived record, no more than a day, and none of its life is zero', () => {
  const world = new World().server('192.0.2.53', message => {
    const name = decode(message).questions?.[0]?.name.toLowerCase();
    if (name === 'zero.test') return { message: answer(message, [a('zero.test', '192.0.2.1', 0)]) };
    if (name === 'long.test') return { message: answer(message, [a('long.test', '192.0.2.1', 1e6)]) };
    return { message: answer(message, [cname('c.test', 'd.test', 5), a('d.test', '192.0.2.2', 900)]) };
  });
  assert.is(world.says(query('c.test')), 'NOERROR c.test CNAME 5 d.test d.test A 900 192.0.2.2');
  world.pass(4_000);
  assert.is(world.says(query('c.test')), 'NOERROR c.test CNAME 1 d.test d.test A 896 192.0.2.2');
  world.pass(1_000);
  world.says(query('c.test'));
  assert.is(world.sent.length, 2);
  assert.is(world.says(query('long.test')), 'NOERROR long.test A 86400 192.0.2.1');
  world.says(query('zero.test'));
  world.says(query('zero.test'));
  assert.is(world.sent.length, 5);
});

test('what is not there is kept as long as the SOA record says, and that is in the answer (RFC 2308)', () => {
  const world = new World();
  const replies: Record<string, (message: Uint8Array) => Uint8Array> = {
    'none.test': message => answer(message, [], { rcode: NXDOMAIN, authorities: [soa('test', 900, 60)] }),
    'empty.test': message => answer(message, [], { authorities: [soa('test', 30, 60)] }),
    'long.test': message => answer(message, [], { rcode: NXDOMAIN, authorities: [soa('test', 1e6, 1e6)] }),
    'unsaid.test': message => answer(message, [], { rcode: NXDOMAIN }),
    'alias.test': message =>
      answer(message, [cname('alias.test', 'none.test', 20)], { authorities: [soa('test', 900, 60)] }),
  };
  world.server('192.0.2.53', message => {
    const name = decode(message).questions?.[0]?.name.toLowerCase() ?? '';
    return { message: (replies[name] as (typeof replies)[string])(message) };
  });
  // the first few are asked again in lower case, as nobody knows yet whether the server minds
  for (let i = 0; i < 6; i++) world.says(query('unsaid.test'));
  const asked = (name: string, passMs: number): string => {
    const before = world.sent.length;
    world.pass(passMs);
    const said = world.says(query(name));
    return `${said} (${world.sent.length - before})`;
  };
  assert.is(asked('unsaid.test', 0), 'NXDOMAIN (1)');
  assert.is(asked('none.test', 0), 'NXDOMAIN | test SOA 60 (1)');
  assert.is(asked('none.test', 59_000), 'NXDOMAIN | test SOA 1 (0)');
  assert.is(asked('none.test', 1_000), 'NXDOMAIN | test SOA 60 (1)');
  assert.is(asked('empty.test', 0), 'NOERROR | test SOA 30 (1)');
  assert.is(asked('empty.test', 29_000), 'NOERROR | test SOA 1 (0)');
  assert.is(asked('empty.test', 1_000), 'NOERROR | test SOA 30 (1)');
  assert.is(asked('long.test', 0), 'NXDOMAIN | test SOA 3600 (1)');
  assert.is(asked('alias.test', 0), 'NOERROR alias.test CNAME 20 none.test | test SOA 60 (1)');
  assert.is(asked('alias.test', 19_500), 'NOERROR alias.test CNAME 1 none.test | test SOA 41 (0)');
  assert.is(asked('alias.test', 500), 'NOERROR alias.test CNAME 20 none.test | test SOA 60 (1)');
});

test('equal questions under way are asked once; each client gets its own answer', () => {
  const world = new World().server('192.0.2.53', message => ({
    message: answer(message, [a('x.test')]),
    afterMs: 10,
  }));
  const got: string[] = [];
  for (let id = 1; id <= 50; id++)
    world.resolver.resolve(query(id % 2 ? 'x.test' : 'X.TEST', 'A', { id }), false, response =>
      got.push(`${decode(response as Uint8Array).id} ${decode(response as Uint8Array).questions?.[0]?.name}`),
    );
  world.pass(20);
  assert.is(world.sent.length, 1);
  assert.is(world.resolver.counters.joined, 49);
  assert.equal(got.slice(0, 2), ['1 x.test', '2 X.TEST']);
  assert.is(got.length, 50);
  assert.is(world.open, 0);
});

test('DO, CD and the type make another question; AD is for those who know it', () => {
  const world = good();
  world.server('192.0.2.53', message => ({ message: answer(message, [a('x.test')], { flags: AD }) }));
  const secure = { additionals: [opt({ flags: DO })] };
  assert.is(world.says(query('x.test')), 'NOERROR x.test A 300 192.0.2.1');
  assert.is(world.says(query('x.test', 'A', { flags: RD | AD })), 'NOERROR AD x.test A 300 192.0.2.1');
  assert.is(world.sent.length, 1);
  assert.is(world.says(query('x.test', 'A', secure)), 'NOERROR AD x.test A 300 192.0.2.1');
  world.says(query('x.test', 'A', { flags: RD | CD }));
  world.says(query('x.test', 'AAAA'));
  assert.is(world.sent.length, 4);
  const bits = world.sent.map(({ message }) => {
    const read = decode(message);
    const edns = read.additionals?.[0] as { flag_do?: boolean; flags: number };
    return [read.flag_cd, (edns.flags & DO) !== 0].map(Number).join('');
  });
  assert.equal(bits, ['00', '01', '10', '00']);
  for (const each of [query('x.test', 'A', secure), query('x.test', 'A', { flags: RD | CD })])
    world.says(each);
  assert.is(world.sent.length, 4);
});

test('EDNS is ours: options of clients go nowhere, who speaks it is answered so, who does not is not', () => {
  const world = good();
  const cookie = { code: 10, data: Buffer.alloc(8, 1) } as never;
  const subnet = { code: 8, family: 1, sourcePrefixLength: 24, ip: '192.168.7.0' } as never;
  const asked = query('x.test', 'A', {
    additionals: [opt({ udpPayloadSize: 4096, options: [cookie, subnet] })],
  });
  const response = decode(world.ask(asked).response as Uint8Array);
  assert.equal(
    response.additionals?.map(each => [each.type, (each as { options: unknown[] }).options.length]),
    [['OPT', 0]],
  );
  const up = decode(world.sent[0]?.message as Uint8Array).additionals?.[0] as {
    options: unknown[];
    udpPayloadSize: number;
  };
  assert.equal([up.options.length, up.udpPayloadSize], [0, 1232]);
  assert.equal(decode(world.ask(query('x.test')).response as Uint8Array).additionals, []);
});

test('a server on the host itself may answer in longer datagrams', () => {
  for (const [address, bytes] of [
    ['127.0.0.53', 4096],
    ['::1', 4096],
    ['192.0.2.1', 1232],
  ] as const) {
    const world = new World().server(address, message => ({ message: answer(message, [a('x.test')]) }));
    world.says(query('x.test'));
    const [edns] = decode(world.sent[0]?.message as Uint8Array).additionals ?? [];
    assert.is((edns as { udpPayloadSize: number }).udpPayloadSize, bytes);
  }
});

test('what is no good query: dropped, or answered by an error', () => {
  const world = good();
  const of = (change: (message: Uint8Array) => void, from = query('x.test')): Uint8Array => {
    change(from);
    return from;
  };
  const rcode = (message: Uint8Array): number | undefined => {
    const { response } = world.ask(message);
    if (response === undefined) return undefined;
    assert.is(response[0], message[0]);
    return (response[3] as number) & 15;
  };
  assert.is(rcode(of(m => (m[2] = 0x81))), undefined, 'a response');
  assert.is(rcode(query('x.test').slice(0, 11)), undefined, 'no header');
  assert.is(rcode(of(m => (m[2] = 0x28))), 4, 'an update');
  assert.is(rcode(of(m => (m[5] = 2))), FORMERR, 'two questions');
  assert.is(rcode(of(m => (m[5] = 0))), FORMERR, 'none');
  assert.is(rcode(of(m => (m[7] = 1))), FORMERR, 'answers');
  assert.is(rcode(of(m => (m[11] = 1))), FORMERR, 'a record that is not there');
  assert.is(rcode(of(m => (m[12] = 0xc0))), FORMERR, 'a name that points');
  assert.is(rcode(Uint8Array.from([...query('x.test'), 0])), FORMERR, 'bytes behind the end');
  const two = query('x.test', 'A', { additionals: [opt(), opt()] });
  assert.is(rcode(two), FORMERR, 'two OPT records');
  assert.is(rcode(query('x.test', 'AXFR')), 5);
  assert.is(rcode(query('x.test', 'IXFR', { authorities: [soa('x.test')] })), 5);
  assert.is(rcode(of(m => (m[m.length - 1] = 3))), 5, 'class CH');
  assert.is(world.sent.length, 0);
  const { counters } = world.resolver;
  const { dropped, notimp, formerr, refused, queries } = counters;
  assert.equal({ dropped, notimp, formerr, refused }, { dropped: 2, notimp: 1, formerr: 7, refused: 3 });
  assert.is(queries, 13);
});

test('another version of EDNS: BADVERS, with ours (RFC 6891 §6.1.3)', () => {
  const world = good();
  const response = world.ask(
    query('x.test', 'A', { additionals: [opt({ ednsVersion: 1 } as never)] }),
  ).response;
  const edns = decode(response as Uint8Array).additionals?.[0] as {
    extendedRcode: number;
    ednsVersion: number;
  };
  assert.equal([edns.extendedRcode, edns.ednsVersion], [1, 0]);
  assert.is((response as Uint8Array)[3]! & 15, 0);
});

test('ANY is answered by one record that says nothing (RFC 8482)', () => {
  const world = good();
  const { answers, questions } = decode(world.ask(query('Any.test', 'ANY')).response as Uint8Array);
  assert.equal(
    questions?.map(({ name }) => name),
    ['Any.test'],
  );
  assert.equal(
    answers?.map(each => [each.type, each.name, (each as { data: unknown }).data]),
    [['HINFO', 'Any.test', { cpu: 'RFC8482', os: '' }]],
  );
  assert.is(world.sent.length, 0);
});

test('names that are ours are asked of nobody, and come with the EDNS and the size that the client wants', () => {
  const local = {
    answer: (message: Uint8Array, question: { name: string }) =>
      question.name.endsWith('vsw.internal')
        ? answer(
            message,
            Array.from({ length: question.name.startsWith('many') ? 60 : 1 }, (_, i) =>
              a(question.name, `192.168.100.${i + 10}`, 30),
            ),
            { flags: dnsPacket.AUTHORITATIVE_ANSWER, additionals: [opt()] },
          )
        : undefined,
  };
  const world = new World({ local }).server('192.0.2.53', () => undefined);
  const plain = world.ask(query('VM1.vsw.internal')).response as Uint8Array;
  assert.is(line(plain), 'NOERROR AA vm1.vsw.internal A 30 192.168.100.10');
  assert.equal(decode(plain).additionals, []);
  const edns = world.ask(query('vm1.vsw.internal', 'A', { additionals: [opt()] })).response as Uint8Array;
  assert.is(decode(edns).additionals?.length, 1);
  const many = world.ask(query('many.vsw.internal')).response as Uint8Array;
  assert.ok(many.length <= 512 && many.length > 480, `${many.length}`);
  assert.ok(decode(many).flag_tc);
  assert.is(
    decode(world.ask(query('many.vsw.internal'), { tcp: true }).response as Uint8Array).answers?.length,
    60,
  );
  assert.is(world.resolver.counters.local, 4);
  assert.is(world.sent.length, 0);
});

test('no answer is longer than the client takes; what is left out is told where it is missed', () => {
  const world = new World().server('192.0.2.53', (message, tcp) => {
    const name = decode(message).questions?.[0]?.name ?? '';
    const many = Array.from({ length: 200 }, (_, i) => a(name, `10.0.0.${i}`));
    if (name.toLowerCase() === 'extra.test')
      return { message: answer(message, many.slice(0, 15), { additionals: many.slice(15, 70) }) };
    return {
      message: tcp ? answer(message, many) : answer(message, [], { flags: dnsPacket.TRUNCATED_RESPONSE }),
    };
  });
  const sizes = [undefined, 100, 512, 700, 1232, 4096, 65535].map(udpPayloadSize => {
    const asked = query(
      'big.test',
      'A',
      udpPayloadSize === undefined ? {} : { additionals: [opt({ udpPayloadSize })] },
    );
    const response = world.ask(asked).response as Uint8Array;
    const read = decode(response);
    assert.ok(read.flag_tc);
    return [response.length, read.answers?.length];
  });
  assert.equal(sizes, [
    [506, 20],
    [493, 19],
    [493, 19],
    [685, 27],
    [1213, 49],
    [1213, 49],
    [1213, 49],
  ]);
  assert.equal(
    world.sent.map(({ tcp }) => tcp),
    [false, true],
  );
  assert.is(decode(world.ask(query('big.test'), { tcp: true }).response as Uint8Array).answers?.length, 200);
  const extra = decode(world.ask(query('extra.test')).response as Uint8Array);
  assert.equal([extra.flag_tc, extra.answers?.length, extra.additionals?.length], [false, 15, 0]);
});

test('who asks by TCP is asked for by TCP, and by UDP where TCP is closed', () => {
  const world = good();
  assert.is(world.says(query('x.test'), { tcp: true }), 'NOERROR x.test A 300 192.0.2.1');
  world.server('192.0.2.53', (message, tcp) =>
    tcp ? { failed: true } : { message: answer(message, [a('y.test')]) },
  );
  assert.is(world.says(query('y.test'), { tcp: true }), 'NOERROR y.test A 300 192.0.2.1');
  assert.equal(
    world.sent.map(({ tcp }) => tcp),
    [true, true, false],
  );
});

test('no server at all: SERVFAIL at once, and why', () => {
  const world = new World();
  const { response, tookMs } = world.ask(query('x.test', 'A', { additionals: [opt()] }));
  assert.is(tookMs, 0);
  assert.is(line(response as Uint8Array), 'SERVFAIL');
  assert.is(extendedError(response as Uint8Array), '22 the host has no DNS server');
  world.server('192.0.2.53', message => ({ message: answer(message, [a('x.test')]) }));
  assert.is(world.says(query('x.test')), 'NOERROR x.test A 300 192.0.2.1');
});

test('a guest that asks too much is told so, and others are served', () => {
  const world = new World().server('192.0.2.53', () => undefined);
  let busy = 0;
  for (let i = 0; i < 1_000; i++)
    world.resolver.resolve(
      query(`n${i}.test`, 'A', { additionals: [opt()] }),
      false,
      response => {
        if (extendedError(response as Uint8Array) === '14 too many questions at once') busy++;
      },
      1,
    );
  assert.is(busy, 1_000 - 128);
  for (let i = 0; i < 2_000; i++) world.resolver.resolve(query('n0.test'), false, () => undefined, 1);
  assert.is(world.resolver.view().waiting, 1_024);
  world.server('192.0.2.53', message => ({ message: answer(message, [a('x.test')]) }));
  assert.is(world.says(query('x.test'), { client: 2 }), 'NOERROR x.test A 300 192.0.2.1');
  world.pass(20_000);
  assert.equal([world.resolver.view().waiting, world.open, world.timers], [0, 0, 0]);
  assert.is(world.says(query('y.test'), { client: 1 }), 'NOERROR x.test A 300 192.0.2.1');
});

test('failures are remembered for seconds, and other servers forget nothing', () => {
  const world = new World().server('192.0.2.53', message => ({
    message: answer(message, [], { rcode: SERVFAIL }),
  }));
  assert.is(world.says(query('x.test')), 'SERVFAIL');
  const asked = world.sent.length;
  assert.is(world.says(query('x.test')), 'SERVFAIL');
  assert.is(world.sent.length, asked);
  world.pass(5_000);
  world.says(query('x.test'));
  assert.ok(world.sent.length > asked);
});

test('when the host has other servers, what the old ones said is forgotten', () => {
  const world = good();
  world.says(query('x.test'));
  world.servers = [...world.servers];
  world.says(query('x.test'));
  assert.is(world.sent.length, 1, 'another array, the same servers');
  world.servers = [];
  assert.is(world.says(query('x.test')), 'SERVFAIL');
});

test('closing: nobody waits any more, nothing is left open', () => {
  const world = new World().server('192.0.2.53', () => undefined);
  let ended = 0;
  for (let i = 0; i < 3; i++)
    world.resolver.resolve(query(`n${i}.test`), false, response => {
      if (response === undefined) ended++;
    });
  world.pass(700);
  world.resolver.close();
  assert.equal([ended, world.open, world.timers], [3, 0, 0]);
  world.resolver.resolve(query('late.test'), false, response => {
    if (response === undefined) ended++;
  });
  assert.equal([ended, world.open], [4, 0]);
});

test("the query's bytes may be overwritten while it waits", () => {
  const world = good();
  const asked = query('x.test', 'A', { id: 9 });
  let got: Uint8Array | undefined;
  world.resolver.resolve(asked, false, response => (got = response));
  asked.fill(0xa5);
  world.pass(10);
  assert.is(decode(got as Uint8Array).id, 9);
  assert.is(line(got as Uint8Array), 'NOERROR x.test A 300 192.0.2.1');
});

test('an owner written out in full does not carry our mix of cases to the client', () => {
  const world = new World().server('192.0.2.53', message => {
    // dns-packet writes owners out, in the case that it is told
    return { message: answer(message, [a(decode(message).questions?.[0]?.name ?? '')]) };
  });
  const response = world.ask(query('abcdefgh.ijklmnop.test')).response as Uint8Array;
  assert.is(line(response), 'NOERROR abcdefgh.ijklmnop.test A 300 192.0.2.1');
  assert.is.not(decode(world.sent[0]?.message as Uint8Array).questions?.[0]?.name, 'abcdefgh.ijklmnop.test');
});

test("encode and decode are each other's, so that the above means something", () => {
  assert.is(line(encode({ type: 'response', id: 1, flags: 3, questions: [], answers: [] })), 'NXDOMAIN');
});

test.run();
