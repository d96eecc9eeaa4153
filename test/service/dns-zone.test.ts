/**
 * Names that are answered by the switch itself: whose name it is, against a naive model; and what is said of every kind of
 * name, read by dns-packet.
 */
import dnsPacket, { type Answer, type RecordType } from 'dns-packet';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip } from '../../fixtures/packets.ts';
import { LeaseState } from '../../src/service/dhcp/leases.ts';
import { GuestNames, labelOf } from '../../src/service/dns/guests.ts';
import type { DnsRecord } from '../../src/service/dns/records.ts';
import { readReply } from '../../src/service/dns/reply.ts';
import { Zone } from '../../src/service/dns/zone.ts';
import type { Ip4 } from '../../src/wire/address.ts';
import { readQuestion } from '../../src/wire/dns.ts';
import { reverseName6, reverseZones } from '../../src/wire/reverse.ts';

const DOMAIN = 'vsw.internal';
const latin1 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));
const TYPES: Readonly<Record<string, number>> = {
  ...{
    A: 1,
    NS: 2,
    CNAME: 5,
    SOA: 6,
    PTR: 12,
    MX: 15,
    TXT: 16,
    AAAA: 28,
    SRV: 33,
    DS: 43,
    AXFR: 252,
    ANY: 255,
  },
};

const RECORDS: readonly DnsRecord[] = [
  { name: 'nas.vsw.internal', type: 'A', data: '192.168.100.9' },
  { name: 'nas.vsw.internal', type: 'AAAA', data: 'fd00::9' },
  { name: 'www.vsw.internal', type: 'CNAME', data: 'nas.vsw.internal' },
  { name: 'web.vsw.internal', type: 'CNAME', data: 'vm1.vsw.internal' },
  { name: 'lost.vsw.internal', type: 'CNAME', data: 'nobody.vsw.internal' },
  { name: 'round.vsw.internal', type: 'CNAME', data: 'round.vsw.internal' },
  { name: 'vm1.vsw.internal', type: 'TXT', data: ['the first'] },
  { name: 'vsw.internal', type: 'MX', data: { preference: 10, exchange: 'nas.vsw.internal' } },
  {
    name: '_http._tcp.vsw.internal',
    type: 'SRV',
    data: { priority: 0, weight: 5, port: 80, target: 'nas.vsw.internal' },
  },
  { name: 'api.example.com', type: 'A', data: '192.168.100.9' },
];

function bench(records = RECORDS) {
  const clock = { nowS: 1_000 };
  const logged: string[] = [];
  const zone = new Zone({
    domain: DOMAIN,
    gateway: ip('192.168.100.1'),
    network: ip('192.168.100.0'),
    mask: ip('255.255.255.0'),
    hosts: [{ name: 'db', address: ip('192.168.100.50') }],
    records,
    log: (_level, sentence) => logged.push(sentence),
    nowS: () => clock.nowS,
  });
  /** `NOERROR 192.168.100.9`, `NXDOMAIN`; undefined: it goes upstream. */
  const ask = (name: string, type = 'A', klass = 1): string | undefined => {
    const query = dnsPacket.encode({
      id: 7,
      flags: dnsPacket.RECURSION_DESIRED,
      questions: [{ name, type: type as RecordType }],
    });
    const asked = { name: name.toLowerCase(), type: TYPES[type] ?? 0, class: klass, end: query.length };
    const response = zone.answer(query, asked);
    if (response === undefined) return undefined;
    const read = dnsPacket.decode(Buffer.from(response));
    assert.equal([read.id, read.flag_aa, read.flag_ra, read.flag_rd], [7, true, true, true]);
    assert.is(read.questions?.[0]?.name, name, 'in the letters of who asks');
    const { rcode } = read as unknown as { rcode: string };
    return [rcode, ...(read.answers ?? []).map(dataOf), ...(read.authorities ?? []).map(soaOf)].join(' ');
  };
  return { zone, ask, clock, logged };
}

const soaOf = (answer: Answer): string => {
  assert.ok(answer.type === 'SOA');
  return `(${answer.name} ${answer.ttl})`;
};

function dataOf(answer: Answer): string {
  if (answer.type === 'TXT') return String(answer.data);
  if (answer.type === 'MX') return answer.data.exchange;
  if (answer.type === 'SRV') return `${answer.data.target}:${answer.data.port}`;
  return answer.type === 'A' || answer.type === 'AAAA' || answer.type === 'CNAME' || answer.type === 'PTR'
    ? answer.data
    : answer.type;
}

const lease = (address: string, hostname: string, expiresS = 2_000, state = LeaseState.Bound) => {
  const record = { ip: ip(address), state, key: address, mac: '', hostname, port: '', expiresS };
  return { ip: ip(address), before: undefined, after: record };
};

test('every kind of name has its answer, or goes upstream', () => {
  const { zone, ask } = bench();
  zone.changed([lease('192.168.100.10', 'vm1'), lease('192.168.100.11', 'VM2.other.example')]);
  const none = `(${DOMAIN} 1)`;
  const rows: [string, string, string | undefined][] = [
    ['vm1.vsw.internal', 'A', 'NOERROR 192.168.100.10'],
    ['Vm1.VSW.internal', 'A', 'NOERROR 192.168.100.10'],
    ['vm1', 'A', 'NOERROR 192.168.100.10'],
    ['vm2', 'A', 'NOERROR 192.168.100.11'],
    ['vm1', 'TXT', 'NOERROR the first'],
    ['vm1.vsw.internal', 'AAAA', `NOERROR ${none}`],
    ['vm1.vsw.internal', 'ANY', 'NOERROR the first 192.168.100.10'],
    ['x.vm1.vsw.internal', 'A', `NXDOMAIN ${none}`],
    ['vm3.vsw.internal', 'A', `NXDOMAIN ${none}`],
    ['vm3', 'A', 'NXDOMAIN'],
    ['vm3', 'AAAA', 'NXDOMAIN'],
    ['db', 'A', 'NOERROR 192.168.100.50'],
    ['gateway', 'A', 'NOERROR 192.168.100.1'],
    ['gateway.vsw.internal', 'AAAA', `NOERROR ${none}`],
    ['nas', 'AAAA', 'NOERROR fd00::9'],
    ['www', 'A', 'NOERROR nas.vsw.internal 192.168.100.9'],
    ['web.vsw.internal', 'A', 'NOERROR vm1.vsw.internal 192.168.100.10'],
    ['web.vsw.internal', 'AAAA', `NOERROR vm1.vsw.internal ${none}`],
    ['web.vsw.internal', 'CNAME', 'NOERROR vm1.vsw.internal'],
    ['lost.vsw.internal', 'A', `NXDOMAIN nobody.vsw.internal ${none}`],
    ['vsw.internal', 'MX', 'NOERROR nas.vsw.internal'],
    ['vsw.internal', 'SOA', 'NOERROR SOA'],
    ['vsw.internal', 'NS', 'NOERROR NS'],
    ['vsw.internal', 'A', `NOERROR ${none}`],
    ['_http._tcp.vsw.internal', 'SRV', 'NOERROR nas.vsw.internal:80'],
    ['_tcp.vsw.internal', 'SRV', `NOERROR ${none}`],
    ['vsw.internal', 'AXFR', 'REFUSED'],
    ['10.100.168.192.in-addr.arpa', 'PTR', 'NOERROR vm1.vsw.internal'],
    ['1.100.168.192.in-addr.arpa', 'PTR', 'NOERROR gateway.vsw.internal'],
    ['50.100.168.192.in-addr.arpa', 'PTR', 'NOERROR db.vsw.internal'],
    ['9.100.168.192.in-addr.arpa', 'PTR', 'NOERROR nas.vsw.internal'],
    ['9.100.168.192.in-addr.arpa', 'A', 'NOERROR (168.192.in-addr.arpa 1)'],
    ['100.168.192.in-addr.arpa', 'PTR', 'NOERROR (168.192.in-addr.arpa 1)'],
    ['77.100.168.192.in-addr.arpa', 'PTR', 'NXDOMAIN (168.192.in-addr.arpa 1)'],
    ['x.77.100.168.192.in-addr.arpa', 'PTR', 'NXDOMAIN (168.192.in-addr.arpa 1)'],
    ['1.2.3.10.in-addr.arpa', 'PTR', 'NXDOMAIN (3.10.in-addr.arpa 1)'],
    ['1.1.16.172.in-addr.arpa', 'PTR', 'NXDOMAIN (16.172.in-addr.arpa 1)'],
    ['1.1.100.100.in-addr.arpa', 'PTR', 'NXDOMAIN (100.100.in-addr.arpa 1)'],
    ['1.0.0.127.in-addr.arpa', 'PTR', 'NOERROR localhost'],
    ['1.1.32.172.in-addr.arpa', 'PTR', undefined],
    ['172.in-addr.arpa', 'SOA', undefined],
    ['1.1.1.1.in-addr.arpa', 'PTR', undefined],
    ['in-addr.arpa', 'SOA', undefined],
    [reverseName6('fd00::9'), 'PTR', 'NOERROR nas.vsw.internal'],
    [reverseName6('fe80::1'), 'PTR', 'NXDOMAIN (e.f.ip6.arpa 10800)'],
    [reverseName6('2a00::1'), 'PTR', undefined],
    ['localhost', 'A', 'NOERROR 127.0.0.1'],
    ['a.localhost', 'AAAA', 'NOERROR ::1'],
    ['localhost', 'TXT', 'NOERROR (localhost 10800)'],
    ['x.onion', 'A', 'NXDOMAIN (onion 10800)'],
    ['printer.local', 'A', 'NXDOMAIN (local 10800)'],
    ['a.home.arpa', 'A', 'NXDOMAIN (home.arpa 10800)'],
    ['other.internal', 'A', 'NXDOMAIN (internal 10800)'],
    ['a.invalid', 'A', 'NXDOMAIN (invalid 10800)'],
    ['a.test', 'A', 'NXDOMAIN (test 10800)'],
    ['_dns.resolver.arpa', 'A', 'NXDOMAIN (resolver.arpa 10800)'],
    ['api.example.com', 'A', 'NOERROR 192.168.100.9'],
    ['api.example.com', 'AAAA', 'NOERROR (api.example.com 10800)'],
    ['x.api.example.com', 'A', undefined],
    ['example.com', 'A', undefined],
    ['notvsw.internal.example', 'A', undefined],
    ['com', 'DS', undefined],
    ['net', 'A', 'NXDOMAIN'],
    ['vm1', 'DS', 'NOERROR'],
    ['.', 'NS', undefined],
  ];
  for (const [name, type, wanted] of rows)
    assert.is(
      name === '.' ? zone.find({ name: '', type: 2, class: 1 }) : ask(name, type),
      wanted,
      `${name} ${type}`,
    );
  assert.is(ask('vm1.vsw.internal', 'A', 3), 'REFUSED');
  assert.is(ask('example.com', 'A', 3), undefined);
  assert.is(ask('round.vsw.internal')?.startsWith('NOERROR round'), true);
});

test('a name is its first one’s while his lease runs; nobody gets one that is not for guests', () => {
  const { zone, ask, clock, logged } = bench();
  zone.changed([lease('192.168.100.10', 'vm1'), lease('192.168.100.11', 'vm1')]);
  assert.is(ask('vm1'), 'NOERROR 192.168.100.10');
  assert.is(ask('11.100.168.192.in-addr.arpa', 'PTR'), 'NXDOMAIN (168.192.in-addr.arpa 1)');
  assert.equal([zone.refused, logged.length], [1, 1]);
  assert.match(logged[0] ?? '', /192\.168\.100\.11 calls itself vm1, which is another's name/);
  zone.changed([lease('192.168.100.10', 'vm1', 3_000)]); // renewed
  zone.changed([lease('192.168.100.11', 'vm1', 9_000)]);
  clock.nowS = 3_000;
  assert.is(ask('vm1'), 'NOERROR 192.168.100.11', 'the lease of the first has run out');
  zone.changed([lease('192.168.100.10', 'vm1', 9_000)]);
  assert.is(ask('vm1'), 'NOERROR 192.168.100.11', 'and it does not get the name back');
  zone.changed([lease('192.168.100.11', 'vm1', 9_000, LeaseState.Released)]);
  assert.is(ask('vm1'), 'NOERROR 192.168.100.10');
  for (const name of ['db', 'gateway', 'localhost', 'nas', 'www', 'wpad', 'isatap', 'a b', '-a', '']) {
    zone.changed([lease('192.168.100.12', name, 9_000)]);
    assert.ok(!ask(name === '' ? 'x' : name)?.includes('100.12'), name);
    assert.is(ask('12.100.168.192.in-addr.arpa', 'PTR'), 'NXDOMAIN (168.192.in-addr.arpa 1)', name);
  }
  zone.changed([lease('192.168.100.50', 'other', 9_000)]);
  assert.is(ask('50.100.168.192.in-addr.arpa', 'PTR'), 'NOERROR db.vsw.internal');
  assert.is(ask('other'), 'NXDOMAIN');
  assert.equal(
    zone.list().map(({ name, address, origin }) => `${name} ${address} ${origin}`),
    [
      'gateway.vsw.internal 192.168.100.1 gateway',
      'nas.vsw.internal 192.168.100.9 record',
      'nas.vsw.internal fd00::9 record',
      'api.example.com 192.168.100.9 record',
      'db.vsw.internal 192.168.100.50 reservation',
      'vm1.vsw.internal 192.168.100.10 lease',
    ],
  );
  assert.ok(logged.length < 5, 'bounded');
});

/** The same by going through everybody: who has claimed the name for longest without a break. */
class Model {
  readonly #leases = new Map<Ip4, { label: string; expiresS: number; since: number }>();
  #turn = 0;

  set(address: Ip4, hostname: string, expiresS: number, nowS: number): void {
    const before = this.#leases.get(address);
    const goes = before !== undefined && before.expiresS > nowS && before.label === labelOf(hostname);
    const since = goes ? before.since : ++this.#turn;
    const label = labelOf(hostname);
    if (label === undefined || expiresS <= nowS) this.#leases.delete(address);
    else this.#leases.set(address, { label, expiresS, since });
  }

  addressOf(label: string, nowS: number): Ip4 | undefined {
    const running = [...this.#leases].filter(([, own]) => own.label === label && own.expiresS > nowS);
    return running.sort(([, a], [, b]) => a.since - b.since)[0]?.[0];
  }
}

test('labels of any bytes, in any place: what is said of them is whole', () => {
  const { zone } = bench();
  zone.changed([lease('192.168.100.10', 'vm1')]);
  const odd = fc.uint8Array({ minLength: 1, maxLength: 63 });
  const plain = fc.constantFrom('fd', 'f', 'd', '0'.repeat(32), 'vm1', 'gateway', '1', '168', '192');
  const label = fc.oneof(odd, fc.uint8Array({ minLength: 60, maxLength: 63, min: 128 }), plain.map(latin1));
  const zones = ['localhost', 'vsw.internal', 'ip6.arpa', 'in-addr.arpa', 'test', 'api.example.com', ''];
  const longest = Uint8Array.from({ length: 63 }, () => 255);
  fc.assert(
    fc.property(
      fc.array(label, { maxLength: 3 }),
      fc.constantFrom(...zones),
      fc.constantFrom(1, 6, 12, 28, 255),
      (labels, end, type) => {
        const all = [...labels, ...(end === '' ? [] : end.split('.').map(latin1))];
        const bytes = all.flatMap(each => [each.length, ...each]);
        fc.pre(bytes.length < 255);
        const query = Uint8Array.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...bytes, 0, 0, type, 0, 1]);
        const question = readQuestion(query);
        assert.ok(question);
        const response = zone.answer(query, question);
        if (response !== undefined) assert.ok(readReply(response, question, true), question.name);
      },
    ),
    {
      seed: 1035,
      numRuns: 3_000,
      examples: [
        [[longest], 'localhost', 1],
        [[longest, latin1('fd')], 'ip6.arpa', 12],
      ],
    },
  );
});

test('property: names are whose the model says, whatever happens', () => {
  const step = fc.record({
    at: fc.integer({ min: 0, max: 5 }),
    hostname: fc.constantFrom('a', 'b', 'A.x', ''),
    lasts: fc.integer({ min: 0, max: 12 }),
    later: fc.integer({ min: 0, max: 4 }),
    asks: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), steps => {
      const [names, model] = [new GuestNames([], [], () => undefined), new Model()];
      let nowS = 1;
      for (const { at, hostname, lasts, later, asks } of steps) {
        names.set(at as Ip4, hostname, lasts === 0 ? 0 : nowS + lasts, nowS);
        model.set(at as Ip4, hostname, lasts === 0 ? 0 : nowS + lasts, nowS);
        nowS += later;
        if (!asks) continue;
        for (const label of ['a', 'b']) {
          const owner = model.addressOf(label, nowS);
          assert.is(names.addressOf(label, nowS), owner);
          if (owner !== undefined) assert.is(names.nameOf(owner, nowS), label);
        }
        const owners = ['a', 'b'].flatMap(label => model.addressOf(label, nowS) ?? []);
        assert.equal(
          names
            .list(nowS)
            .map(({ ip: each }) => each)
            .sort(),
          owners.sort(),
        );
      }
    }),
    { numRuns: 300 },
  );
});

test('fifty thousand leases of one name: changes and questions cost the same as ever', () => {
  const names = new GuestNames([], [], () => undefined);
  const begun = performance.now();
  for (let i = 0; i < 50_000; i++) names.set(i as Ip4, 'clone', 100 + (i % 7), 1);
  for (let i = 0; i < 50_000; i++) names.set(i as Ip4, `own-${i}`, 200, 2);
  for (let i = 0; i < 50_000; i++) assert.is(names.addressOf(`own-${i}`, 3), i);
  assert.is(names.addressOf('clone', 3), undefined);
  assert.ok(performance.now() - begun < 2_000);
});

test('reverse zones of a network end at whole octets', () => {
  assert.equal(reverseZones(ip('192.168.100.0'), 24), ['100.168.192.in-addr.arpa']);
  assert.equal(reverseZones(ip('10.0.0.0'), 8), ['10.in-addr.arpa']);
  assert.equal(reverseZones(ip('172.16.0.0'), 15), ['16.172.in-addr.arpa', '17.172.in-addr.arpa']);
  assert.equal(reverseZones(ip('10.1.2.4'), 30).length, 4);
  assert.is(reverseZones(ip('10.1.2.128'), 25).at(-1), '255.2.1.10.in-addr.arpa');
  assert.is(reverseName6('::ffff:1.2.3.4').slice(0, 32), '4.0.3.0.2.0.1.0.f.f.f.f.0.0.0.0.');
});

test.run();
