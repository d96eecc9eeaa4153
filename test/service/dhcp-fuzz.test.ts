/** 200,000 damaged frames through the whole service: no exception, every frame accounted for, every reply sound. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { answerOf, clientFrame, frameOf, GATEWAY_MAC, ip, message, SERVER } from '../../fixtures/dhcp.ts';
import { DhcpService } from '../../src/service/dhcp/service.ts';
import { MemoryStore } from '../../src/service/dhcp/store.ts';
import { emit } from '../../src/wire/dhcp.ts';

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
  let sent = 0;
  const store = new MemoryStore();
  const service = new DhcpService({
    network: ip('192.168.100.0'),
    mask: ip('255.255.255.0'),
    broadcast: ip('192.168.100.255'),
    gateway: SERVER,
    gatewayMac: GATEWAY_MAC,
    natAddress: ip('192.168.100.254'),
    mtu: 1500,
    first: ip('192.168.100.0'),
    last: ip('192.168.100.255'),
    leaseTimeS: 600,
    dns: [SERVER],
    domain: 'test',
    store,
    send: frame => {
      sent++;
      const { message: reply, payload } = answerOf(frame);
      assert.is(reply.op, 2);
      assert.ok(payload.length >= 300 && frame.length <= 1514);
      const host = reply.yiaddr & 255;
      assert.ok(reply.yiaddr === 0 || (host > 1 && host < 254), 'never a reserved address');
    },
    resolvers: () => [],
    portName: String,
    log: () => {},
    now: () => 0,
  });
  const optional = <T>(make: () => T): T | undefined => (any(2) === 0 ? make() : undefined);
  const sane = (): Uint8Array => {
    const said: Record<string, unknown> = { client: any(400), xid: any(1 << 30), flags: any(2) << 15 };
    const fields = {
      requested: optional(address),
      server: optional(() => (any(4) === 0 ? address() : SERVER)),
      ciaddr: optional(address),
      giaddr: any(8) === 0 ? address() : undefined,
      leaseS: optional(() => any(1000)),
      ask: optional(() => Array.from({ length: any(20) }, () => any(256))),
      maxSize: optional(() => any(2000)),
      options: optional(() => new Map([[any(254) + 1, new Uint8Array(any(300)).fill(any(256))]])),
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
      service.handle(frame, any(255), nowMs);
    }
    await service.settled();
    const views = service.leases();
    assert.is(new Set(views.map(view => view.address)).size, views.length);
    const bound = views.filter(view => view.client !== '').map(view => view.client);
    assert.is(new Set(bound).size, bound.length, 'one address a client');
  }
  const total = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
  const { received, ignored } = service.counters;
  const faults = ['Truncated', 'NotRequest', 'BadCookie', 'BadHardware', 'OptionTruncated', 'OptionLength'];
  const unread = [...faults, 'BadOverload', 'NoType', 'NotDhcp', 'QueueFull'].map(name => ignored[name]!);
  assert.is(total(received) + unread.reduce((a, b) => a + b, 0), FRAMES);
  assert.ok(sent > FRAMES / 20, `${sent} replies`);
  for (const name of [
    'NotDhcp',
    'OptionTruncated',
    'BadHardware',
    'OtherServer',
    'UnknownClient',
    'PoolExhausted',
  ])
    assert.ok(ignored[name]! > 0, name);
});

test.run();
