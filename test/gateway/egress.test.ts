/**
 * The egress policy: the compiled rows against the rules as one would read them, the table of names against a plain map,
 * and the gateway's way with both: what is denied and how the guest is told, what is not asked about, and DNS answers that
 * go by the control plane.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, B, B_MAC, GATEWAY, NAT_ADDRESS as NAT } from '../../fixtures/arp.ts';
import { dnsAnswer, NEAR, policyOf, RESOLVER, rulesOf } from '../../fixtures/egress.ts';
import { arpFrame, ip, mac, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { down, out, tcp, to, udp, up, WORLD } from '../../fixtures/routed.ts';
import { Batch, BY_ADDRESS } from '../../src/dataplane/batch.ts';
import { Egress } from '../../src/gateway/egress.ts';
import { MAX_NAMES, NameTable } from '../../src/gateway/nametable.ts';
import type { EgressPolicy } from '../../src/gateway/policy.ts';
import type { Ip4, Mac } from '../../src/wire/address.ts';
import * as ip4 from '../../src/wire/ipv4.ts';
import { VNET_NEEDS_CSUM } from '../../src/wire/vnet.ts';
import { type Random, random } from '../random.ts';
import { hex, memorySwitch, type Switch } from './harness.ts';

const pick = <T>(from: readonly T[], next: Random): T => from[next(from.length)] as T;

// --- the rows ---

const TAPS = ['tap0', 'tap1', 'tap2'];
const GUESTS = [A, B, ip('192.168.100.77')];
const MACS = [A_MAC, B_MAC, mac('02:4c:40:5b:f7:3c')];
const TARGETS = [
  'any',
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.2.3',
  '203.0.113.0/24',
  'encrypted-dns',
  'a.test',
  '*.b.test',
];
const WHO = ['', 'tap1 ', '192.168.100.10 ', '192.168.100.64/26 ', '02:00:00:00:00:0b ', 'tap0 '];
const SERVICES = ['', 'tcp ', 'udp ', 'icmp ', 'tcp/443 ', 'udp/53 ', 'tcp/100-1000 '];
const REMOTES = ['10.1.2.3', '10.1.9.9', '10.9.9.9', '203.0.113.7', '8.8.8.8', '1.1.1.2', '11.0.0.1'].map(ip);
const OTHERWISE = ['all', 'internet-only', 'none'] as const;
const DOH_SAMPLE = ['8.8.8.8', '1.1.1.2'].map(ip);

interface Packet {
  readonly tap: number;
  readonly mac: Mac;
  readonly guest: Ip4;
  readonly protocol: number;
  readonly remote: Ip4;
  readonly port: number;
}

/** A name learnt: guest, address, what the rule's target says, whether it still counts. */
type Known = readonly [guest: number, address: number, target: string, live: boolean];

const protocolOf = { any: -1, tcp: 6, udp: 17, icmp: 1 };

/** A rule as one reads it, from its text alone. */
function isAbout(text: string, packet: Packet, known: readonly Known[]): boolean {
  const words = text.split(' ');
  const target = words.at(-1) as string;
  const who = /^(allow|deny)$/.test(words[0] as string) ? undefined : words[0];
  const verb = words.findIndex(word => /^(allow|deny)$/.test(word));
  const service = words.length - verb === 3 ? words[verb + 1] : undefined;
  if (who?.startsWith('tap') && TAPS[packet.tap] !== who) return false;
  if (who?.includes(':') && !(packet.mac.hi === B_MAC.hi && packet.mac.lo === B_MAC.lo)) return false;
  if (who === '192.168.100.10' && packet.guest !== A) return false;
  if (who === '192.168.100.64/26' && packet.guest !== ip('192.168.100.77')) return false;
  if (target === 'encrypted-dns')
    return (
      packet.protocol !== ip4.ICMP &&
      (packet.port === 853 || (packet.port === 443 && DOH_SAMPLE.includes(packet.remote)))
    );
  if (service !== undefined) {
    const [, kind, first = '0', last = first === '0' ? '65535' : first] =
      /^(\w+)(?:\/(\d+)(?:-(\d+))?)?$/.exec(service) ?? [];
    if (packet.protocol !== protocolOf[kind as keyof typeof protocolOf]) return false;
    if (packet.port < Number(first) || packet.port > Number(last)) return false;
  }
  if (target === 'any') return true;
  if (target.includes('test'))
    return known.some(
      ([guest, address, name, live]) =>
        guest === packet.guest && address === packet.remote && name === `${words[verb]} ${target}` && live,
    );
  const octets = [24, 16, 8, 0].map(shift => (packet.remote >>> shift) & 255).join('.');
  const [address = '', prefix = '32'] = target.split('/');
  return Number(prefix) === 32
    ? octets === address
    : octets.startsWith(
        `${address
          .split('.')
          .slice(0, Number(prefix) / 8)
          .join('.')}.`,
      );
}

function plainly(
  texts: readonly string[],
  otherwise: string,
  packet: Packet,
  known: readonly Known[],
): boolean {
  for (const text of texts) if (isAbout(text, packet, known)) return text.includes('allow');
  if (otherwise !== 'internet-only') return otherwise === 'all';
  return ![0, 1, 2, 3].includes(REMOTES.indexOf(packet.remote));
}

const FRAME = 70;

/** Lays a packet's frame into row 0; what `admits` is not told it reads from there. */
function lay(batch: Batch, packet: Packet): void {
  batch.reset(10_000, packet.tap);
  const frame = up(
    packet.mac,
    udpPacket({ source: packet.guest, destination: packet.remote }, { from: 1, to: 2 }, ''),
  );
  const row = batch.append(frame.length, packet.tap);
  batch.slab.set(frame, batch.offset[row]);
  batch.l3[row] = (batch.offset[row] as number) + 14;
}

test('rows: as the rules say, for random rules and packets', () => {
  const next = random(20_261_124);
  const batch = new Batch(FRAME * 1024);
  const seen = { allowed: 0, denied: 0, named: 0 };
  for (let round = 0; round < 3_000; round++) {
    const texts = Array.from({ length: next(7) }, () =>
      `${pick(WHO, next)}${pick(['allow ', 'deny '], next)}${pick(SERVICES, next)}${pick(TARGETS, next)}`.replace(
        /(tcp|udp|icmp)\S* encrypted/,
        'encrypted',
      ),
    );
    const otherwise = pick(OTHERWISE, next);
    const policy = policyOf(rulesOf(texts), otherwise);
    const egress = new Egress(policy, round);
    const known: Known[] = [];
    for (const [index, { name, below, allow }] of policy.domains.entries())
      for (let i = next(24); i > 0; i--) {
        const [guest, address, live] = [pick(GUESTS, next), pick(REMOTES, next), next(4) > 0];
        const target = `${allow ? 'allow' : 'deny'} ${below ? '*.' : ''}${name}`;
        if (known.some(([g, a, t]) => g === guest && a === address && t === target)) continue;
        egress.learn(Int32Array.of(guest, address, index, live ? 11 : 10), new Int32Array(0));
        known.push([guest, address, target, live]);
      }
    for (let i = 0; i < 20; i++) {
      const protocol = pick([ip4.ICMP, ip4.TCP, ip4.UDP], next);
      const packet: Packet = {
        tap: next(TAPS.length),
        mac: pick(MACS, next),
        guest: pick(GUESTS, next),
        protocol,
        remote: pick(REMOTES, next),
        port: protocol === ip4.ICMP ? 0 : pick([1, 53, 99, 100, 443, 853, 1000, 1001, 65_535], next),
      };
      lay(batch, packet);
      const expected = plainly(texts, otherwise, packet, known);
      const said = JSON.stringify({ texts, otherwise, packet });
      assert.is(egress.admits(batch, 0, packet.protocol, packet.remote, packet.port), expected, said);
      seen[expected ? 'allowed' : 'denied']++;
      if (texts.some(text => text.includes('test') && isAbout(text, packet, known))) seen.named++;
    }
    const hits = new Float64Array(policy.hits);
    assert.is(
      hits.reduce((sum, value) => sum + value, 0),
      20,
    );
    assert.is(hits.length, texts.length + 2);
  }
  assert.ok(Math.min(...Object.values(seen)) > 1_000, JSON.stringify(seen));
});

test('rows: internet-only denies what is not on the internet, but not the resolvers at their port', () => {
  const batch = new Batch(FRAME * 1024);
  const resolver = ip('192.168.1.1');
  const policy = policyOf([], 'internet-only', [resolver]);
  const egress = new Egress(policy, 1);
  const may = (remote: string, protocol = ip4.UDP, port = 53): boolean => {
    lay(batch, { tap: 0, mac: A_MAC, guest: A, protocol, remote: ip(remote), port });
    return egress.admits(batch, 0, protocol, ip(remote), port);
  };
  for (const denied of [
    '10.0.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.2',
    '100.64.0.1',
    '100.127.255.255',
    '169.254.169.254',
    '192.0.2.1',
    '198.19.0.1',
    '203.0.113.1',
    '240.0.0.1',
    '192.0.0.9',
  ])
    assert.not(may(denied), denied);
  for (const allowed of [
    '9.9.9.9',
    '172.15.0.1',
    '172.32.0.1',
    '100.63.0.1',
    '100.128.0.1',
    '198.17.0.1',
    '192.167.0.1',
    '223.255.255.255',
  ])
    assert.ok(may(allowed), allowed);
  assert.ok(may('192.168.1.1') && may('192.168.1.1', ip4.TCP));
  assert.not(may('192.168.1.1', ip4.TCP, 80));
  const [allowed, denied] = new Float64Array(policy.hits);
  assert.equal([allowed, denied], [10, 13]);
});

test('rows: another policy takes the place of one, and knows names only if it has the same domains', () => {
  const batch = new Batch(FRAME * 1024);
  const named = policyOf(rulesOf(['allow a.test']), 'none');
  const egress = new Egress(named, 1);
  const packet: Packet = { tap: 0, mac: A_MAC, guest: A, protocol: ip4.TCP, remote: WORLD, port: 80 };
  const may = (): boolean => {
    lay(batch, packet);
    return egress.admits(batch, 0, packet.protocol, packet.remote, packet.port);
  };
  egress.learn(Int32Array.of(A, WORLD, 0, 1000), new Int32Array(0));
  assert.ok(may() && egress.watches);
  const narrower = policyOf(rulesOf(['deny udp any', 'allow a.test']), 'none');
  egress.set(narrower, true);
  assert.ok(may());
  assert.equal([...new Float64Array(narrower.hits)], [0, 1, 0, 0], 'counted from 0');
  egress.set(policyOf(rulesOf(['deny tcp/80 any', 'allow a.test']), 'none'), true);
  assert.not(may());
  egress.set(policyOf([], 'all'));
  assert.ok(may() && !egress.watches);
  egress.set(named);
  assert.not(may());
  egress.learn(Int32Array.of(A, WORLD, 0, 1000), new Int32Array(0));
  egress.learn(new Int32Array(0), Int32Array.of(A, WORLD, 0, 0));
  assert.not(may());
});

// --- the table of names ---

test('names: as a plain map has them, full and emptied', () => {
  const next = random(3);
  const table = new NameTable(5);
  const model = new Map<string, number>();
  const words = (): [number, number, number] => [next(40), next(60) - 30, next(3)];
  for (let i = 0; i < 60_000; i++) {
    const [guest, address, domain] = words();
    const key = `${guest} ${address} ${domain}`;
    if (next(3) === 0) {
      table.forget(guest, address, domain);
      model.delete(key);
    } else if (model.size < MAX_NAMES || model.has(key)) {
      const expiresS = next(100);
      table.learn(guest, address, domain, expiresS);
      model.set(key, expiresS);
    }
    const [g, a, d] = words();
    const nowS = next(100);
    assert.is(table.has(g, a, d, nowS), (model.get(`${g} ${a} ${d}`) ?? -1) > nowS);
  }
  table.clear();
  for (let i = 0; i <= MAX_NAMES; i++) table.learn(i, i, 0, 10);
  assert.ok(table.has(MAX_NAMES - 1, MAX_NAMES - 1, 0, 9));
  assert.not(table.has(MAX_NAMES, MAX_NAMES, 0, 9), 'no room');
  table.forget(7, 7, 0);
  table.learn(MAX_NAMES, MAX_NAMES, 0, 10);
  assert.ok(table.has(MAX_NAMES, MAX_NAMES, 0, 9) && !table.has(7, 7, 0, 9));
});

// --- the gateway ---

const box = (
  rules: readonly string[],
  otherwise: (typeof OTHERWISE)[number] = 'all',
  express = true,
): Switch & { policy: EgressPolicy } => {
  const policy = policyOf(rulesOf(rules), otherwise);
  const made = memorySwitch({ egress: policy, express });
  for (const [port, sender, senderIp] of [
    ['p0', A_MAC, A],
    ['p1', B_MAC, B],
  ] as const)
    made.ports[port]?.give(arpFrame({ operation: 1, sender, senderIp, targetIp: GATEWAY }));
  made.plane.step(0);
  for (const port of Object.values(made.ports)) port.sent.length = 0;
  return { ...made, policy };
};

/** Gives a frame and says what came of it: what each port sent, in hexadecimal. */
function pass(
  { ports, plane }: Switch,
  port: string,
  frame: Uint8Array,
  ms = 1_000,
): Record<string, string[]> {
  ports[port]?.give(frame);
  plane.step(ms);
  return Object.fromEntries(
    Object.entries(ports).flatMap(([name, each]) => {
      const sent = each.sent.splice(0).map(hex);
      return sent.length === 0 ? [] : [[name, sent]];
    }),
  );
}

test('gateway: an open flow is not asked about, an answer to one from outside neither', () => {
  for (const express of [true, false]) {
    const one = box(['deny tcp/9 any'], 'all', express);
    one.plane.step(1);
    assert.equal(pass(one, 'p0', up(A_MAC, tcp(A, 4000, WORLD, 53))), {
      uplink: [hex(out(tcp(NAT, 4000, WORLD, 53)))],
    });
    for (let i = 0; i < 3; i++) pass(one, 'p0', up(A_MAC, tcp(A, 4000, WORLD, 53)));
    assert.equal([...new Float64Array(one.policy.hits)], [0, 1, 0], 'asked once');
    // By the usual filter the same address may send from another port: what the guest answers is no new flow. (A stranger's datagram opens none.)
    assert.equal(pass(one, 'uplink', down(tcp(WORLD, 9, NAT, 4000))), {
      p0: [hex(to(A_MAC, tcp(WORLD, 9, A, 4000)))],
    });
    assert.equal(pass(one, 'p0', up(A_MAC, tcp(A, 4000, WORLD, 9))), {
      uplink: [hex(out(tcp(NAT, 4000, WORLD, 9)))],
    });
    pass(one, 'p0', up(A_MAC, tcp(A, 4001, WORLD, 9)));
    assert.equal(one.drops(), { EgressDenied: 1 });
    assert.equal([...new Float64Array(one.policy.hits)], [1, 1, 0]);
  }
});

test('gateway: between guests nothing is denied, nor to the host; not even by way of the NAT address', () => {
  const one = box([], 'none');
  assert.equal(pass(one, 'p0', up(A_MAC, udp(A, 1, GATEWAY, 2))), {
    uplink: [hex(out(udp(A, 1, GATEWAY, 2)))],
  });
  assert.ok('p1' in pass(one, 'p0', up(A_MAC, udp(A, 1, B, 2))), 'routed back');
  pass(one, 'p0', up(A_MAC, udp(A, 5000, NAT, 6000)));
  assert.equal(one.drops(), { NatNoMapping: 1 }, 'translated, and then nobody there');
  pass(one, 'p0', up(A_MAC, udp(A, 5000, WORLD, 6000)));
  assert.equal(one.drops(), { NatNoMapping: 1, EgressDenied: 1 });
});

test('gateway: of many denied packets a hundred a second are answered', () => {
  const one = box([], 'none');
  let told = 0;
  for (let i = 0; i < 300; i++)
    told +=
      pass(one, 'p0', up(A_MAC, tcpPacket({ source: A, destination: WORLD }, { from: 1000 + i, to: 80 }, 2)))
        ?.p0?.length ?? 0;
  assert.is(told, 100);
  assert.equal(one.drops(), { EgressDenied: 300 });
});

test('gateway: a flow outlives the name that allowed it', () => {
  const one = box(['allow a.test'], 'none');
  one.learn(Int32Array.of(A, NEAR, 0, 10), new Int32Array(0));
  const syn = up(A_MAC, tcpPacket({ source: A, destination: NEAR }, { from: 4000, to: 443 }, 0x02));
  const data = up(A_MAC, tcpPacket({ source: A, destination: NEAR }, { from: 4000, to: 443 }, 0x18, 'x'));
  assert.ok('uplink' in pass(one, 'p0', syn, 9_900));
  assert.ok('uplink' in pass(one, 'p0', data, 10_000));
  assert.ok('uplink' in pass(one, 'p0', data, 20_000));
  pass(
    one,
    'p0',
    up(A_MAC, tcpPacket({ source: A, destination: NEAR }, { from: 4001, to: 443 }, 0x02)),
    20_000,
  );
  pass(
    one,
    'p1',
    up(B_MAC, tcpPacket({ source: B, destination: NEAR }, { from: 4001, to: 443 }, 0x02)),
    9_000,
  );
  assert.equal(one.drops(), { EgressDenied: 2 });
});

/** Opens the flow that an answer comes back by. */
const ask = (one: Switch, port = 53): void => void pass(one, 'p0', up(A_MAC, udp(A, 4000, RESOLVER, port)));
const ANSWER = dnsAnswer('a.test', [['a.test', NEAR]]);

for (const express of [true, false])
  test(`gateway: answers go by the control plane where rules have domains, and only those; express ${express}`, () => {
    const watched = box(['deny a.test'], 'all', express);
    ask(watched);
    assert.equal(pass(watched, 'uplink', down(udp(RESOLVER, 53, NAT, 4000, ANSWER))), {});
    assert.equal(
      watched.punted.map(hex),
      [hex(down(udp(RESOLVER, 53, A, 4000, ANSWER)))],
      'as the guest would get it, but for the MACs',
    );
    watched.plane.inject(watched.punted[0] as Uint8Array, BY_ADDRESS, 1_000);
    assert.equal(watched.ports.p0?.sent.splice(0).map(hex), [
      hex(to(A_MAC, udp(RESOLVER, 53, A, 4000, ANSWER))),
    ]);
    assert.equal(watched.drops(), {});
    // from the host itself, without the NAT
    pass(watched, 'uplink', down(udp(GATEWAY, 53, A, 4000, ANSWER)));
    assert.is(watched.punted.length, 2);
    // other ports, other protocols, and what nobody asked for
    ask(watched, 54);
    assert.ok('p0' in pass(watched, 'uplink', down(udp(RESOLVER, 54, NAT, 4000, ANSWER))));
    pass(watched, 'uplink', down(udp(WORLD, 53, NAT, 4000, ANSWER)));
    pass(watched, 'uplink', down(udp(RESOLVER, 53, NAT, 4001, ANSWER)));
    assert.is(watched.punted.length, 2);
    assert.equal(watched.drops(), { NatFiltered: 1, NatNoMapping: 1 });

    const plain = box(['deny 10.0.0.0/8'], 'all', express);
    ask(plain);
    assert.ok('p0' in pass(plain, 'uplink', down(udp(RESOLVER, 53, NAT, 4000, ANSWER))));
    assert.is(plain.punted.length, 0);
  });

test('gateway: an answer for a guest whose MAC is not known waits for it as others do', () => {
  const one = box(['deny a.test']);
  const C = ip('192.168.100.12');
  const C_MAC = mac('02:00:00:00:00:0c');
  const frame = down(udp(RESOLVER, 53, C, 4000, ANSWER));
  one.plane.inject(frame, BY_ADDRESS, 1_000);
  assert.ok((one.ports.p0?.sent.length ?? 0) === 1, 'asked for');
  const reply = arpFrame({ operation: 2, sender: C_MAC, senderIp: C, targetIp: GATEWAY });
  assert.ok(pass(one, 'p1', reply).p1?.includes(hex(to(C_MAC, udp(RESOLVER, 53, C, 4000, ANSWER)))));
});

test('gateway: an unfinished sum is filled in before the control plane gets the answer', () => {
  const one = box(['deny a.test']);
  ask(one);
  const frame = down(udp(RESOLVER, 53, NAT, 4000, ANSWER));
  const receive = one.ports.uplink?.receive.bind(one.ports.uplink);
  if (one.ports.uplink === undefined || receive === undefined) throw new Error('no uplink');
  one.ports.uplink.receive = (batch, ingress) => {
    const got = receive(batch, ingress);
    for (let row = 0; row < got; row++) {
      const at = batch.offset[row] as number;
      batch.mem.setUint16(at + 40, pseudoSum(batch, at));
      batch.mem.setUint8(at - 10, VNET_NEEDS_CSUM);
      batch.mem.setUint16(at - 4, 34, true);
      batch.mem.setUint16(at - 2, 6, true);
    }
    return got;
  };
  pass(one, 'uplink', frame);
  assert.equal(one.punted.map(hex), [hex(down(udp(RESOLVER, 53, A, 4000, ANSWER)))]);
});

/** What a sender that leaves the sum to the device puts into its field. */
function pseudoSum({ mem }: Batch, at: number): number {
  let sum = 17 + mem.getUint16(at + 38);
  for (let field = at + 26; field < at + 34; field += 2) sum += mem.getUint16(field);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

test('gateway: what is too long to be sent again goes on unread; a full ring drops', () => {
  const one = box(['deny a.test']);
  ask(one);
  pass(one, 'uplink', down(udp(RESOLVER, 53, NAT, 4000, new Uint8Array(2_100))));
  assert.is(one.punted.length, 0);
  assert.equal(one.drops(), { EgressMtu: 1 }, 'it came as far as the port');
  one.refusePunts();
  assert.equal(pass(one, 'uplink', down(udp(RESOLVER, 53, NAT, 4000, ANSWER))), {});
  assert.equal(one.drops(), { EgressMtu: 1, PuntFull: 1 });
});

test.run();
