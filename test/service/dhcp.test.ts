/** The DHCP server of requirements.md, row by row, through the service as the data plane uses it: frames in, frames out. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  ANY,
  type Answer,
  clientFrame,
  clientMac,
  EVERYBODY,
  frameOf,
  ip,
  message,
  SERVER,
} from '../../fixtures/dhcp.ts';
import type { GivenOption } from '../../src/service/dhcp/options.ts';
import { MemoryStore } from '../../src/service/dhcp/store.ts';
import { hostResolvers, resolversIn } from '../../src/service/resolvers.ts';
import { formatIp4 } from '../../src/wire/address.ts';
import * as sums from '../../src/wire/checksum.ts';
import { BROADCAST_FLAG, Code, emit, int32, MessageType, uint16, uint32 } from '../../src/wire/dhcp.ts';
import { bench, START_MS } from './dhcp-bench.ts';

const BROADCAST_MAC = { hi: 0xffff, lo: -1 };
const { Discover, Offer, Request, Decline, Ack, Nak, Release, Inform } = MessageType;
const option = (answer: Answer | undefined, code: number): Uint8Array | undefined =>
  answer?.message.options.get(code);
const offered = (answer: Answer | undefined): string => formatIp4(answer?.message.yiaddr ?? 0);
const forAll = (code: number, value: Uint8Array): GivenOption => ({
  scope: { kind: 'all' },
  code,
  value,
  exact: false,
});
const small = { first: ip('192.168.100.10'), last: ip('192.168.100.12') };

test('DISCOVER: the first free address, never network, gateway, NAT address or broadcast', async () => {
  const { take, say, service } = bench();
  const given = new Set<string>();
  for (let client = 1; client <= 252; client++) given.add(await take(client));
  assert.is(given.size, 252);
  for (const last of [0, 1, 254, 255]) assert.not.ok(given.has(`192.168.100.${last}`));
  assert.is(await say(Discover, { client: 999 }), undefined);
  assert.is(service.counters.ignored.PoolExhausted, 1);
});

test('DISCOVER: present address, then the former one, then option 50 if it is free', async () => {
  const { take, say, clock } = bench(small);
  const mine = await take(1);
  assert.is(offered(await say(Discover, { client: 1, requested: ip('192.168.100.12') })), mine);
  clock.nowMs += 7200_000;
  assert.is(offered(await say(Discover, { client: 1 })), mine, 'its former one');
  assert.is(offered(await say(Discover, { client: 2, requested: ip('192.168.100.12') })), '192.168.100.12');
  assert.is(offered(await say(Discover, { client: 3, requested: ip('192.168.100.12') })), '192.168.100.11');
});

test('DISCOVER: an offer is held for its time, then goes to the next; nothing is offered twice', async () => {
  const { say, clock } = bench(small);
  const held = new Set<string>();
  for (const client of [1, 2, 3]) {
    held.add(offered(await say(Discover, { client })));
    clock.nowMs += 1000;
  }
  assert.is(held.size, 3);
  assert.is(await say(Discover, { client: 4 }), undefined);
  clock.nowMs += 57_000;
  assert.is(offered(await say(Discover, { client: 4 })), '192.168.100.10');
  assert.is(await say(Discover, { client: 5 }), undefined);
});

test('DISCOVER: offers are bounded in number, one port’s to half of it', async () => {
  const { say, service, clock, take } = bench({ maxOffers: 4 });
  for (const client of [1, 2]) assert.ok(await say(Discover, { client }));
  assert.is(await say(Discover, { client: 3 }), undefined);
  assert.is(service.counters.ignored.OffersExhausted, 1);
  assert.ok(await say(Discover, { client: 2 }), 'who has one may ask again');
  clock.nowMs += 61_000;
  await take(3);
});

test('reuse: the address whose lease ran out first', async () => {
  const { take, clock } = bench(small);
  for (const client of [1, 2, 3]) {
    await take(client);
    clock.nowMs += 1000;
  }
  await take(1); // renewed: now 2 is the oldest
  clock.nowMs += 3600_000;
  assert.is(await take(4), '192.168.100.11');
});

test('REQUEST, SELECTING: our offer is acknowledged with its options and on disk', async () => {
  const store = new MemoryStore();
  const { say, service, sent } = bench({ store });
  const offer = (await say(Discover, { xid: 0x0badcafe, secs: 9 }, 4))!;
  assert.is(offer.message.type, Offer);
  assert.is(offer.message.xid, 0x0badcafe);
  assert.is(offer.message.secs, 0);
  assert.is(store.commits, 0, 'an offer costs no commit');
  const requested = offer.message.yiaddr;
  const ack = await say(Request, { requested, server: SERVER }, 4);
  assert.is(sent[0]?.egress, 4);
  assert.is(ack?.message.type, Ack);
  assert.is(uint32(option(ack, Code.LeaseTime)!), 3600);
  assert.is(uint32(option(ack, Code.RenewalTime)!), 1800);
  assert.is(uint32(option(ack, Code.RebindingTime)!), 3150);
  assert.is(formatIp4(int32(option(ack, Code.ServerId)!)), '192.168.100.1');
  assert.is(formatIp4(int32(option(ack, Code.Mask)!)), '255.255.255.0');
  assert.is(formatIp4(int32(option(ack, Code.Router)!)), '192.168.100.1');
  assert.is(formatIp4(int32(option(ack, Code.Dns)!)), '9.9.9.9');
  assert.is(formatIp4(int32(option(ack, Code.Broadcast)!)), '192.168.100.255');
  assert.is(uint16(option(ack, Code.Mtu)!), 1500);
  assert.is(Buffer.from(option(ack, Code.DomainName)!).toString(), 'vm.test');
  assert.is(store.records.get(requested)?.expiresS, START_MS / 1000 + 3600);
  assert.equal(service.leases(), [
    {
      address: '192.168.100.2',
      mac: '02:00:00:00:00:01',
      client: 'hw:1:020000000001',
      state: 'bound',
      port: 'tap4',
      expires: START_MS / 1000 + 3600,
    },
  ]);
});

test('REQUEST, SELECTING: another server chosen: silence, and the offer is free again', async () => {
  const { say, service } = bench({ first: small.first, last: small.first });
  const requested = (await say(Discover, { client: 1 }))!.message.yiaddr;
  assert.is(await say(Request, { client: 1, requested, server: ip('192.168.100.77') }), undefined);
  assert.is(service.counters.ignored.OtherServer, 1);
  assert.is(offered(await say(Discover, { client: 2 })), '192.168.100.10');
});

test('REQUEST, SELECTING: after a restart the offer is remembered by the client; taken meanwhile: NAK', async () => {
  const { say, take } = bench(small);
  const requested = ip('192.168.100.11');
  assert.is((await say(Request, { client: 5, requested, server: SERVER }))?.message.type, Ack);
  assert.is((await say(Request, { client: 6, requested, server: SERVER }))?.message.type, Nak);
  assert.is.not(await take(6), '192.168.100.11');
});

test('REQUEST, INIT-REBOOT: right: ACK; wrong address or network: NAK, broadcast; unknown client: silence', async () => {
  const { say, take } = bench(small);
  const mine = ip(await take(1));
  assert.is((await say(Request, { client: 1, requested: mine }))?.message.type, Ack);
  for (const requested of [ip('192.168.100.12'), ip('10.9.9.9')]) {
    const nak = (await say(Request, { client: 1, requested }))!;
    assert.is(nak.message.type, Nak);
    assert.is(nak.destination, EVERYBODY);
    assert.equal(nak.destinationMac, BROADCAST_MAC);
    assert.is(nak.message.yiaddr, ANY);
    assert.is(nak.message.flags, 0);
    for (const code of [Code.LeaseTime, Code.Router, Code.Mask]) assert.is(option(nak, code), undefined);
    assert.ok(option(nak, Code.ServerId));
  }
  assert.is(await say(Request, { client: 2, requested: ip('192.168.100.12') }), undefined);
  assert.is((await say(Request, { client: 2, requested: ip('10.9.9.9') }))?.message.type, Nak);
});

test('REQUEST, RENEWING and REBINDING: ACK to ciaddr, and the lease is extended', async () => {
  const { say, take, clock, service } = bench(small);
  const ciaddr = ip(await take(1));
  for (const flags of [0, BROADCAST_FLAG]) {
    clock.nowMs += 1000_000;
    const ack = (await say(Request, { client: 1, ciaddr, flags }))!;
    assert.is(ack.message.type, Ack);
    assert.is(ack.message.ciaddr, ciaddr);
    assert.is(ack.destination, ciaddr);
    assert.is(ack.destinationPort, 68);
    assert.equal(ack.destinationMac, clientMac(1));
    assert.is(service.leases()[0]?.expires, clock.nowMs / 1000 + 3600);
  }
  const other = await say(Request, { client: 2, ciaddr });
  assert.is(other?.message.type, Nak, 'it is the first one’s');
  assert.is(other?.destination, EVERYBODY);
});

test('REQUEST, RENEWING: a client that we forgot keeps its address if it is free', async () => {
  const { say } = bench(small);
  assert.is((await say(Request, { client: 1, ciaddr: ip('192.168.100.11') }))?.message.type, Ack);
  assert.is((await say(Request, { client: 2, ciaddr: ip('192.168.100.99') }))?.message.type, Nak);
});

test('lease time: the lesser of asked and configured; an ACK never shortens what was promised', async () => {
  const { say, take, service } = bench();
  const ciaddr = ip(await take(1));
  const less = await say(Request, { client: 1, ciaddr, leaseS: 60 });
  assert.is(uint32(option(less, Code.LeaseTime)!), 60);
  assert.is(service.leases()[0]?.expires, START_MS / 1000 + 3600);
  for (const leaseS of [0, 0xffffffff, 3601]) {
    const ack = await say(Request, { client: 1, ciaddr, leaseS });
    assert.is(uint32(option(ack, Code.LeaseTime)!), 3600);
  }
});

test('DECLINE: nobody gets the address for a time; no reply; only the holder may', async () => {
  const { say, take, clock, service } = bench({ first: small.first, last: small.first });
  const requested = ip(await take(1));
  assert.is(await say(Decline, { client: 2, requested, server: SERVER }), undefined);
  assert.is(service.leases()[0]?.state, 'bound');
  assert.is(await say(Decline, { client: 1, requested, server: SERVER }), undefined);
  assert.is(service.leases()[0]?.state, 'declined');
  assert.is(await say(Discover, { client: 1 }), undefined);
  clock.nowMs += 601_000;
  assert.is(await take(1), '192.168.100.10');
});

test('RELEASE: free for others, but the client finds its address again while nobody needs it', async () => {
  const { say, take, service } = bench(small);
  const ciaddr = ip(await take(1));
  assert.is(await say(Release, { client: 1, ciaddr, server: SERVER }), undefined);
  assert.is(service.leases()[0]?.state, 'released');
  await take(2);
  assert.is(offered(await say(Discover, { client: 1 })), formatIp4(ciaddr));
  await say(Release, { client: 2, ciaddr, server: SERVER });
  assert.is(service.counters.ignored.UnknownClient, 1);
});

test('RELEASE, DECLINE, another server chosen: only from the port that has the lease', async () => {
  const { take, say, service } = bench();
  const address = ip(await take(1));
  await say(Release, { client: 1, ciaddr: address, server: SERVER }, 7);
  await say(Decline, { client: 1, requested: address, server: SERVER }, 7);
  assert.is(service.leases()[0]?.state, 'bound');
  assert.is(service.counters.ignored.OtherPort, 2);
  const offer = (await say(Discover, { client: 2 }))!.message.yiaddr;
  await say(Request, { client: 2, requested: offer, server: ip('192.168.100.66') }, 7);
  assert.is(service.leases().find(lease => lease.address === formatIp4(offer))?.state, 'offered');
  await say(Request, { client: 1, ciaddr: address }, 7); // it has moved
  await say(Release, { client: 1, ciaddr: address, server: SERVER }, 7);
  assert.is(service.leases().find(lease => lease.address === formatIp4(address))?.state, 'released');
});

test('INFORM: ACK to ciaddr without address or times, nothing allocated', async () => {
  const { say, service } = bench();
  const ciaddr = ip('192.168.100.200');
  const ack = (await say(Inform, { ciaddr, flags: BROADCAST_FLAG }))!;
  assert.is(ack.message.type, Ack);
  assert.is(ack.message.yiaddr, ANY);
  assert.is(ack.destination, ciaddr);
  assert.equal(ack.destinationMac, clientMac(1));
  for (const code of [Code.LeaseTime, Code.RenewalTime, Code.RebindingTime])
    assert.is(option(ack, code), undefined);
  assert.ok(option(ack, Code.Router));
  assert.equal(service.leases(), []);
  assert.is(await say(Inform, { ciaddr: ip('10.0.0.1') }), undefined);
});

test('addressing: broadcast flag, else yiaddr at chaddr; a relay gets all at port 67', async () => {
  const { say } = bench();
  const plain = (await say(Discover, {}))!;
  assert.is(plain.destination, plain.message.yiaddr);
  assert.equal(plain.destinationMac, clientMac(1));
  const loud = (await say(Discover, { flags: BROADCAST_FLAG }))!;
  assert.is(loud.destination, EVERYBODY);
  assert.equal(loud.destinationMac, BROADCAST_MAC);
  assert.is(loud.message.flags, BROADCAST_FLAG);

  const giaddr = ip('192.168.100.250');
  const relay = Uint8Array.of(1, 4, 0xde, 0xad, 0xbe, 0xef);
  const options = new Map([[Code.RelayAgent as number, relay]]);
  const relayed = (await say(Discover, { client: 7, giaddr, options }))!;
  assert.is(relayed.destination, giaddr);
  assert.is(relayed.destinationPort, 67);
  assert.is(relayed.message.giaddr, giaddr);
  assert.equal(option(relayed, Code.RelayAgent), relay);
  assert.is([...relayed.message.options.keys()].at(-1), Code.RelayAgent, 'it stands last');
  const nak = (await say(Request, { client: 7, giaddr, requested: ip('10.1.1.1'), options }))!;
  assert.is(nak.message.type, Nak);
  assert.is(nak.destination, giaddr);
  assert.is(nak.message.flags, BROADCAST_FLAG);
  assert.equal(option(nak, Code.RelayAgent), relay);
  assert.is(await say(Discover, { giaddr: ip('10.0.0.1') }), undefined);
});

test('client key: option 61 before the hardware address; it is echoed', async () => {
  const { say, take } = bench();
  const id = (n: number) => ({ options: new Map([[Code.ClientId as number, Uint8Array.of(255, n)]]) });
  const a = await take(1, id(1));
  assert.is(await take(9, id(1)), a, 'the same client behind another card');
  assert.is.not(await take(1, id(2)), a);
  assert.is.not(await take(1), a);
  assert.equal(option(await say(Discover, id(1)), Code.ClientId), Uint8Array.of(255, 1));
  assert.is(option(await say(Discover), Code.ClientId), undefined);
});

test('option 55: what is asked for and configured, each once; 50, 55 and 57 never come back', async () => {
  const { say } = bench();
  const ask = [Code.Router, Code.Router, 50, 51, 55, 57, 61, 99, Code.Mask, Code.Mtu, Code.Routes];
  const offer = (await say(Discover, { ask, maxSize: 1500, requested: ip('192.168.100.50') }))!;
  assert.equal([...offer.message.options.keys()], [54, 51, 58, 59, 3, 1, 26]);
});

test('option 57: a reply never exceeds it, nor 576 bytes without it; what counts most stays', async () => {
  const options = Array.from({ length: 8 }, (_, i) => forAll(224 + i, new Uint8Array(120).fill(i)));
  const { say } = bench({ options });
  const ask = [...options.map(({ code }) => code), Code.Mask, Code.Router];
  const plain = (await say(Discover, { ask }))!;
  assert.ok(plain.payload.length <= 576 - 28);
  assert.ok(option(plain, Code.Mask) && option(plain, Code.Router) && option(plain, Code.LeaseTime));
  const tiny = (await say(Discover, { ask, maxSize: 100 }))!;
  assert.is(tiny.payload.length, plain.payload.length, '57 is at least 576');
  const large = (await say(Discover, { ask, maxSize: 1500 }))!;
  for (const code of ask) assert.ok(option(large, code), `option ${code}`);
  assert.ok((await say(Discover))!.payload.length >= 300);
});

test('option 121 carries the default route too, and goes only to those that ask', async () => {
  const { say } = bench({ options: [forAll(Code.Routes, Uint8Array.of(13, 10, 8, 192, 168, 100, 9))] });
  const value = option(await say(Discover, { ask: [Code.Routes] }), Code.Routes)!;
  assert.equal([...value], [13, 10, 8, 192, 168, 100, 9, 0, 192, 168, 100, 1]);
  assert.is(option(await say(Discover), Code.Routes), undefined);
});

test('replies are finished: IPv4 and UDP checksums are right', async () => {
  const { say, sent } = bench();
  for (let client = 1; client < 40; client++) {
    await say(Discover, { client, xid: client * 7919 });
    const frame = sent[0]!.frame;
    const mem = new DataView(frame.buffer);
    const bytes = mem.getUint16(38);
    assert.ok(sums.valid(mem, 14, 20));
    assert.ok(sums.valid(mem, 34, bytes, sums.pseudo(mem.getInt32(26), mem.getInt32(30), 17, bytes)));
    assert.is.not(mem.getUint16(40), 0);
  }
});

test('what is no DHCP request is counted by its reason', async () => {
  const { hand, service } = bench();
  const payload = () => emit(message(Discover), 548);
  const cookie = payload();
  cookie[236] = 0;
  const reply = payload();
  reply[0] = 2;
  const bootp = payload();
  bootp[240] = 0;
  bootp.fill(0, 240, 243);
  for (const bytes of [cookie, reply, bootp, payload().subarray(0, 200)]) {
    assert.is(await hand(frameOf(bytes)), undefined);
  }
  assert.is(await hand(new Uint8Array(60)), undefined);
  const { BadCookie, NotRequest, NoType, Truncated, NotDhcp } = service.counters.ignored;
  assert.equal([BadCookie, NotRequest, NoType, Truncated, NotDhcp], [1, 1, 1, 1, 1]);
  assert.is(await hand(clientFrame(Offer)), undefined);
  assert.is(service.counters.ignored.Inconsistent, 1);
});

test('hostile client ids and host names: bounded records, clean text', async () => {
  const { take, say, service } = bench({ maxRecords: 3 });
  const options = new Map([[Code.HostName as number, Buffer.from('we\u0000b<1>.\x1b[31m')]]);
  await take(1, { options });
  assert.is(service.leases()[0]?.hostname, 'we');
  await take(2);
  await take(3);
  assert.is(await say(Discover, { client: 4 }), undefined);
  assert.is(service.leases().length, 3);
  const long = new Map([[Code.ClientId as number, new Uint8Array(300).fill(7)]]);
  assert.is(await say(Discover, { options: long }), undefined);
  assert.is(service.counters.ignored.ClientIdTooLong, 1);
});

test('a commit that fails: no ACK, memory as before, a sentence; then all is well again', async () => {
  const store = new MemoryStore();
  const { say, take, service, logged } = bench({ store });
  const requested = (await say(Discover))!.message.yiaddr;
  const commit = store.commit.bind(store);
  store.commit = async () => {
    throw new Error('ENOSPC: no space left on device');
  };
  assert.is(await say(Request, { requested, server: SERVER }), undefined);
  assert.is(service.counters.ignored.NotStored, 1);
  assert.match(logged.join(), /ENOSPC/);
  assert.equal(
    service.leases().map(lease => lease.state),
    [],
  );
  store.commit = commit;
  assert.is(await take(1), formatIp4(requested));
});

test('a listener that throws: on disk and acknowledged all the same, told in the log', async () => {
  const { take, service, store, logged } = bench({
    changed: () => {
      throw new Error('no');
    },
  });
  const mine = await take(1);
  assert.equal([store.load().length, service.leases()[0]?.address], [1, mine]);
  assert.is(service.fault, undefined);
  assert.match(logged.join(), /what became of leases could not be told: Error: no/);
  await take(2);
});

test('no usable name server: option 6 is left out with one warning', async () => {
  const { say, logged, clock } = bench({ resolvers: () => [] });
  for (let i = 0; i < 3; i++) {
    assert.is(option(await say(Discover), Code.Dns), undefined);
    clock.nowMs += 6000;
  }
  assert.is(logged.length, 1);
  assert.match(logged[0]!, /--dns/);
});

test('the host’s resolvers: a loopback stub is of no use to guests, what stands behind it is', () => {
  const files: Record<string, string> = {
    '/etc/resolv.conf': '# stub\nnameserver 127.0.0.53\noptions edns0\nnameserver ::1\n',
    '/run/systemd/resolve/resolv.conf': 'nameserver 10.0.0.2\nnameserver 10.0.0.2\nnameserver fe80::1\n',
  };
  assert.equal(
    hostResolvers(path => files[path] ?? ''),
    [ip('10.0.0.2')],
  );
  assert.equal(
    hostResolvers(() => ''),
    [],
  );
  assert.equal(resolversIn('nameserver 1.1.1.1\nsearch x\nnameserver 0.0.0.0'), [ip('1.1.1.1')]);
});

test.run();
