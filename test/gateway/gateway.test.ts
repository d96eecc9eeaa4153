/** What the golden cases cannot say as captures: unfinished checksums, collisions, full tables, limits, hostile bytes. */
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, B, B_MAC, GATEWAY, GATEWAY_MAC, NAT_ADDRESS as NAT } from '../../fixtures/arp.ts';
import { cases } from '../../fixtures/nat.ts';
import { ALL, type ArpSaid, arpFrame, ip, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { down, out, to, up, WORLD } from '../../fixtures/routed.ts';
import { listFlows } from '../../src/gateway/flowmemory.ts';
import { REPLY, REQUEST } from '../../src/wire/arp.ts';
import { fold, pseudo } from '../../src/wire/checksum.ts';
import { SYN } from '../../src/wire/tcp.ts';
import { hex, memorySwitch, type Switch } from './harness.ts';

const L4 = 34; // offset of the transport's header in a frame without IP options
const UDP_CHECKSUM = 6;
const TCP_CHECKSUM = 16;

/** A virtio-net header that leaves the checksum to the next one, little-endian. */
const unfinished = (start: number, offset: number, gso = 0, size = 0): Uint8Array =>
  Uint8Array.of(1, gso, gso === 0 ? 0 : 54, 0, size & 255, size >> 8, start, 0, offset, 0);

/** The same frame as a driver gives it whose device sums: the field holds the pseudo-header's sum. */
function unsummed(frame: Uint8Array, checksumAt: number): Uint8Array {
  const copy = frame.slice();
  const mem = new DataView(copy.buffer);
  const sum = pseudo(mem.getInt32(26), mem.getInt32(30), mem.getUint8(23), copy.length - L4);
  mem.setUint16(L4 + checksumAt, fold(sum));
  return copy;
}

/** Gives one frame to a port and turns the switch once. */
function give(box: Switch, port: string, frame: Uint8Array, header?: Uint8Array, nowMs = 0): void {
  box.ports[port]?.give(frame, header);
  box.plane.step(nowMs);
}

const sent = (box: Switch, port: string): string[] => (box.ports[port]?.sent ?? []).map(hex);

const udpUp = (source = A, port = 4000): Uint8Array =>
  up(
    source === A ? A_MAC : B_MAC,
    udpPacket({ source, destination: WORLD }, { from: port, to: 53 }, 'hello'),
  );

test('gateway: an unfinished checksum takes the address alone', () => {
  for (const [packet, field] of [
    [udpPacket, UDP_CHECKSUM],
    [
      (h: Parameters<typeof udpPacket>[0], p: Parameters<typeof udpPacket>[1], t: string) =>
        tcpPacket(h, p, SYN, t),
      TCP_CHECKSUM,
    ],
  ] as const) {
    const box = memorySwitch();
    const inside = up(A_MAC, packet({ source: A, destination: WORLD }, { from: 4000, to: 53 }, 'hello'));
    const outside = out(packet({ source: NAT, destination: WORLD }, { from: 4000, to: 53 }, 'hello'));
    give(box, 'p0', unsummed(inside, field), unfinished(L4, field));
    assert.equal(sent(box, 'uplink'), [hex(unsummed(outside, field))]);
  }
});

test('gateway: an unfinished reply is finished for a port without offloads', () => {
  const box = memorySwitch();
  give(box, 'p0', arpFrame({ operation: 2, sender: A_MAC, senderIp: A, targetIp: GATEWAY }, GATEWAY_MAC));
  give(box, 'p0', udpUp());
  const reply = (destination: typeof A): Uint8Array =>
    udpPacket({ source: WORLD, destination }, { from: 53, to: 4000 }, 'hi!');
  give(box, 'uplink', unsummed(down(reply(NAT)), UDP_CHECKSUM), unfinished(L4, UDP_CHECKSUM));
  assert.equal(sent(box, 'p0'), [hex(to(A_MAC, reply(A)))]);
});

test('gateway: a frame to be segmented passes whole', () => {
  const box = memorySwitch();
  const text = 'x'.repeat(20_000);
  const segment = (source: typeof A): Uint8Array =>
    tcpPacket({ source, destination: WORLD }, { from: 4000, to: 80 }, 0x10, text);
  give(box, 'p0', unsummed(up(A_MAC, segment(A)), TCP_CHECKSUM), unfinished(L4, TCP_CHECKSUM, 1, 1448));
  assert.equal(sent(box, 'uplink'), [hex(unsummed(out(segment(NAT)), TCP_CHECKSUM))]);
});

test('gateway: a checksum may not be asked for where the addresses stand', () => {
  const frame = unsummed(udpUp(), UDP_CHECKSUM);
  for (const header of [
    unfinished(14, 12),
    unfinished(14, 26),
    unfinished(L4, 2),
    unfinished(L4, TCP_CHECKSUM - 6),
  ]) {
    const box = memorySwitch();
    give(box, 'p0', frame, header);
    assert.equal(box.drops(), { BadOffloadHeader: 1 });
    assert.equal(sent(box, 'uplink'), []);
  }
});

test('gateway: two guests with one port get two outside, and each its own replies', () => {
  const box = memorySwitch();
  for (const [port, sender, senderIp] of [
    ['p0', A_MAC, A],
    ['p1', B_MAC, B],
  ] as const)
    give(box, port, arpFrame({ operation: 2, sender, senderIp, targetIp: GATEWAY }, GATEWAY_MAC));
  give(box, 'p0', udpUp(A));
  give(box, 'p1', udpUp(B));
  const [first, second] = (box.ports.uplink?.sent ?? []).map(
    frame => (frame[L4] as number) * 256 + (frame[L4 + 1] as number),
  );
  assert.is(first, 4000);
  assert.ok(second !== undefined && second !== 4000 && second >= 1024);
  const reply = udpPacket({ source: WORLD, destination: NAT }, { from: 53, to: second ?? 0 }, 'b');
  give(box, 'uplink', down(reply));
  assert.equal(sent(box, 'p0'), []);
  const reverted = udpPacket({ source: WORLD, destination: B }, { from: 53, to: 4000 }, 'b');
  assert.equal(sent(box, 'p1'), [hex(to(B_MAC, reverted))]);
});

test('gateway: a full table drops new flows, says so to the guest, and keeps the old', () => {
  const box = memorySwitch({ maxFlows: 2 });
  for (const port of [4000, 4001, 4002, 4000]) give(box, 'p0', udpUp(A, port));
  assert.is(listFlows(box.flows, 0).length, 2);
  assert.equal(box.drops(), { NatTableFull: 1 });
  assert.is(sent(box, 'uplink').length, 3);
  const [error] = box.ports.p0?.sent ?? [];
  assert.equal([error?.[L4], error?.[L4 + 1]], [3, 13], 'ICMP: administratively prohibited');
});

test('gateway: strangers’ datagrams take no room in the table, and their answers do', () => {
  const box = memorySwitch({ maxFlows: 3, natFiltering: 'endpoint' });
  give(box, 'p0', arpFrame({ operation: 2, sender: A_MAC, senderIp: A, targetIp: GATEWAY }, GATEWAY_MAC));
  give(box, 'p0', udpUp());
  const stranger = ip('198.51.100.9');
  for (let from = 1; from <= 10; from++)
    give(box, 'uplink', down(udpPacket({ source: stranger, destination: NAT }, { from, to: 4000 }, 'x')));
  assert.is(sent(box, 'p0').length, 10);
  assert.is(listFlows(box.flows, 0).length, 1);
  give(box, 'p0', up(A_MAC, udpPacket({ source: A, destination: stranger }, { from: 4000, to: 1 }, 'y')));
  assert.is(listFlows(box.flows, 0).length, 2);
  assert.equal(box.drops(), {});
});

test('gateway: errors are limited to a hundred a second', () => {
  const box = memorySwitch();
  const dying = up(A_MAC, udpPacket({ source: A, destination: B, ttl: 1 }, { from: 1, to: 2 }, ''));
  for (let i = 0; i < 500; i++) give(box, 'p0', dying, undefined, 5_000);
  assert.is(sent(box, 'p0').length, 100);
  for (let i = 0; i < 500; i++) give(box, 'p0', dying, undefined, 5_500);
  assert.is(sent(box, 'p0').length, 150);
});

test('gateway: an isolated network says that there is no way out', () => {
  const box = memorySwitch({ uplink: -1 });
  give(box, 'p0', udpUp());
  assert.equal(box.drops(), { Ip4NoRoute: 1 });
  const [error] = box.ports.p0?.sent ?? [];
  assert.equal([error?.[L4], error?.[L4 + 1]], [3, 0]);
});

test('gateway: DHCP goes to the control plane and nowhere else', () => {
  const box = memorySwitch();
  const ask = udpPacket(
    { source: ip('0.0.0.0'), destination: ip('255.255.255.255') },
    { from: 68, to: 67 },
    'd',
  );
  const frame = up(A_MAC, ask);
  frame.fill(255, 0, 6);
  give(box, 'p0', frame);
  assert.equal(box.punted.map(hex), [hex(frame)]);
  assert.equal([...sent(box, 'p1'), ...sent(box, 'uplink')], []);
});

test('gateway: an answer to a probe of ours goes to the control plane, no other ARP does', () => {
  const reply = (more: Partial<ArpSaid>, to = GATEWAY_MAC): Uint8Array =>
    arpFrame(
      { operation: REPLY, sender: B_MAC, senderIp: B, target: to, targetIp: ip('0.0.0.0'), ...more },
      to,
    );
  const box = memorySwitch();
  const frame = reply({});
  for (const other of [
    reply({ targetIp: GATEWAY }),
    reply({ operation: REQUEST }),
    reply({}, A_MAC),
    reply({}, ALL).fill(0, 21, 22), // no operation at all
  ])
    give(box, 'p1', other);
  give(box, 'uplink', frame);
  assert.equal(box.punted, []);
  give(box, 'p1', frame);
  assert.equal(box.punted.map(hex), [hex(frame)]);
  assert.equal(sent(box, 'p0').includes(hex(frame)), false);
  const off = memorySwitch({ dhcp: false });
  give(off, 'p1', frame);
  assert.equal(off.punted, []);
  const behind = memorySwitch();
  behind.refusePunts();
  give(behind, 'p1', frame);
  assert.equal(behind.drops(), { PuntFull: 1 });
});

test('gateway: held packets are few; those beyond are dropped', () => {
  const box = memorySwitch();
  const packet = down(udpPacket({ source: GATEWAY, destination: B }, { from: 1, to: 2 }, 'x'));
  for (let i = 0; i < 40; i++) give(box, 'uplink', packet);
  assert.equal(box.drops(), { NeighbourUnresolved: 8 });
});

test('gateway: any bytes in, no exception out, and each frame is sent, kept or counted', () => {
  const frames = cases().flatMap(one => one.inputs);
  const mutation = fc.record({
    which: fc.nat(frames.length - 1),
    at: fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 4, size: 'max' }),
    cut: fc.option(fc.nat(120)),
    header: fc.option(fc.uint8Array({ minLength: 10, maxLength: 10, size: 'max' })),
  });
  const box = memorySwitch({ maxFlows: 16 });
  let nowMs = 0;
  const run = (mutations: readonly (typeof mutation extends fc.Arbitrary<infer M> ? M : never)[]): void => {
    for (const { which, at, cut, header } of mutations) {
      const input = frames[which];
      if (input === undefined) continue;
      const frame = input.frame.slice(0, cut ?? input.frame.length);
      for (const [offset, value] of at) if (offset < frame.length) frame[offset] = value;
      nowMs += 50;
      give(box, input.port, frame, header ?? undefined, nowMs);
      box.plane.tick(nowMs);
    }
    for (const port of Object.values(box.ports)) port.sent.length = 0;
    assert.ok(listFlows(box.flows, 0).length <= 16);
  };
  fc.assert(fc.property(fc.array(mutation, { minLength: 50, maxLength: 100, size: 'max' }), run), {
    seed: 7,
    numRuns: 300,
  });
});

test.run();
