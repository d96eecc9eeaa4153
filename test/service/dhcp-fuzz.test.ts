// timeout: 240 s
/**
 * 200,000 damaged frames through the whole service, with reservations, pools, tags and boot files: no exception, every frame
 * accounted for, every reply sound, and no reserved address for anybody but its owner.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  answerOf,
  chaddrOf,
  clientFrame,
  clientMac,
  frameOf,
  ip,
  message,
  SERVER,
} from '../../fixtures/dhcp.ts';
import type { HostReservation } from '../../src/config.ts';
import { DhcpService } from '../../src/service/dhcp/service.ts';
import { MemoryStore } from '../../src/service/dhcp/store.ts';
import { emit } from '../../src/wire/dhcp.ts';
import { NETWORK } from './dhcp-bench.ts';

const FRAMES = 200_000;
const BURST = 500;

/** xorshift32: the same damage each time. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return below => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

test('mutated messages', async () => {
  const any = random(0x2131);
  const address = () => ip(`192.168.100.${any(256)}`);
  let [sent, pooled, kept] = [0, 0, 0];
  const host = (last: number, identity: HostReservation['identity']): HostReservation => ({
    name: `vm${last}`,
    identity,
    address: ip(`192.168.100.${last}`),
    tags: last === 7 ? ['v'] : [],
  });
  const store = new MemoryStore();
  const service = new DhcpService({
    ...NETWORK,
    first: ip('192.168.100.0'),
    last: ip('192.168.100.255'),
    leaseTimeS: 600,
    dns: [SERVER],
    domain: 'test',
    hosts: [
      host(7, { kind: 'mac', mac: clientMac(7) }),
      host(9, { kind: 'client', id: 'ff09' }),
      host(11, { kind: 'port', port: '11' }),
    ],
    pools: [
      {
        network: ip('10.5.0.0'),
        mask: ip('255.255.255.0'),
        broadcast: ip('10.5.0.255'),
        router: ip('10.5.0.1'),
        first: ip('10.5.0.2'),
        last: ip('10.5.0.99'),
      },
    ],
    tags: [
      { tag: 'v', match: { kind: 'vendor', pattern: '*a*' } },
      { tag: 'u', match: { kind: 'user-class', pattern: '*a*' } },
      { tag: 'r', match: { kind: 'arch', types: [0, 7, 0x6161] } },
    ],
    options: ['v', 'u', 'r'].map((tag, i) => ({
      scope: { kind: 'tag', tag },
      code: 121 + i,
      value: new Uint8Array(100 * (i + 1)),
      exact: false,
    })),
    boots: [{ scope: { kind: 'tag', tag: 'v' }, file: 'http://a/b', server: 'pxe.test' }],
    store,
    send: (frame, egress) => {
      sent++;
      const { message: reply, payload } = answerOf(frame);
      if (reply.yiaddr >>> 24 === 10) pooled++;
      if (reply.yiaddr === ip('192.168.100.7'))
        assert.is(Buffer.compare(reply.chaddr, chaddrOf(clientMac(7))), 0, 'reserved by MAC');
      if (reply.yiaddr === ip('192.168.100.9'))
        assert.is(Buffer.from(reply.options.get(61)!).toString('hex'), 'ff09', 'reserved by client id');
      if (reply.yiaddr === ip('192.168.100.11')) assert.is(egress, 11, 'reserved by port');
      if ([7, 9, 11].some(each => reply.yiaddr === ip(`192.168.100.${each}`))) kept++;
      assert.is(reply.op, 2);
      assert.ok(payload.length >= 300 && frame.length <= 1514);
      const last = reply.yiaddr & 255;
      assert.ok(reply.yiaddr === 0 || (last > 1 && last < 254), 'never an address of ours');
    },
    resolvers: () => [],
    portName: String,
    log: () => {},
    now: () => 0,
  });
  const optional = <T>(make: () => T): T | undefined => (any(2) === 0 ? make() : undefined);
  const CODES = [12, 60, 61, 77, 81, 82, 93, 97];
  const some = (): [number, Uint8Array] => {
    if (any(6) === 0) return [61, Uint8Array.of(255, any(20))];
    if (any(6) === 0) return [82, Uint8Array.of(5, 4, 10, 5, 0, any(3), 11, 4, 10, 5, 0, any(3))];
    const code = any(2) === 0 ? CODES[any(CODES.length)]! : any(254) + 1;
    return [code, new Uint8Array(any(any(2) === 0 ? 300 : 30)).fill(any(2) === 0 ? 97 : any(256))];
  };
  const sane = (): Uint8Array => {
    const said: Record<string, unknown> = { client: any(400), xid: any(1 << 30), flags: any(2) << 15 };
    const fields = {
      requested: optional(address),
      server: optional(() => (any(4) === 0 ? address() : SERVER)),
      ciaddr: optional(address),
      giaddr: any(8) === 0 ? (any(2) === 0 ? address() : ip('10.5.0.1')) : undefined,
      leaseS: optional(() => any(1000)),
      ask: optional(() => Array.from({ length: any(20) }, () => any(256))),
      maxSize: optional(() => any(2000)),
      options: optional(() => new Map([some(), some()])),
    };
    for (const [name, value] of Object.entries(fields)) if (value !== undefined) said[name] = value;
    return any(8) === 0 ? frameOf(emit(message(any(8) + 1, said), 1472)) : clientFrame(any(8) + 1, said);
  };
  let handed = 0;
  for (let nowMs = 1_800_000_000_000; handed < FRAMES; nowMs += any(20_000)) {
    for (let i = 0; i < BURST; i++, handed++) {
      let frame = sane();
      // The IPv4 header stays sound (the gateway vouches for it); the message behind it suffers.
      for (let hits = any(3) === 0 ? 0 : any(6); hits > 0; hits--)
        frame[42 + any(frame.length - 42)] = any(256);
      if (any(30) === 0) frame = frame.slice(0, any(frame.length));
      if (any(50) === 0 && frame.length > 0) frame[any(frame.length)] = any(256);
      service.handle(frame, any(40), nowMs);
    }
    await service.settled();
    const views = service.leases();
    assert.is(new Set(views.map(view => view.address)).size, views.length);
    for (const net of ['192.', '10.']) {
      const there = views.filter(view => view.client !== '' && view.address.startsWith(net));
      assert.is(new Set(there.map(view => view.client)).size, there.length, 'one address a client and pool');
    }
    for (const { hostname = 'a' } of views) assert.match(hostname, /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
  }
  const total = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
  const { received, ignored } = service.counters;
  const faults = ['Truncated', 'NotRequest', 'BadCookie', 'BadHardware', 'OptionTruncated', 'OptionLength'];
  const unread = [...faults, 'BadOverload', 'NoType', 'NotDhcp', 'QueueFull'].map(name => ignored[name]!);
  assert.is(total(received) + unread.reduce((a, b) => a + b, 0), FRAMES);
  assert.ok(sent > FRAMES / 20, `${sent} replies`);
  assert.ok(pooled > 1_000 && kept > 500, `${pooled} in the pool, ${kept} reserved`);
  for (const name of [
    'NotDhcp',
    'OptionTruncated',
    'BadHardware',
    'OtherServer',
    'UnknownClient',
    'UnknownRelay',
    'PoolExhausted',
  ])
    assert.ok(ignored[name]! > 0, name);
});

test.run();
