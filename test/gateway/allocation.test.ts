/** The gateway allocates nothing per frame: what ten times the frames cost more is no bytes a frame. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, B, GATEWAY, GATEWAY_MAC, NAT_ADDRESS as NAT } from '../../fixtures/arp.ts';
import { policyOf, rulesOf } from '../../fixtures/egress.ts';
import { fragmentsOf } from '../../fixtures/fragments.ts';
import { arpFrame, echoPacket, ip, mac, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { down, up, WORLD } from '../../fixtures/routed.ts';
import { BURST } from '../../src/dataplane/batch.ts';
import type { Ip4 } from '../../src/wire/address.ts';
import { slopeOf } from '../slope.ts';
import { memorySwitch } from './harness.ts';

const C = ip('192.168.100.12');
/** Bursts from each of two guests and the uplink; few enough that no collection hides what was allocated. */
const ROUNDS = 20;
const WARM_UP = 8_000;
const FRAMES_A_ROUND = 192;
/** A boxed number would be 16 bytes, a subarray 96. */
const BYTES_A_FRAME = 1;

/** A whole burst of the frames, each a frame of its own: the NAT changes them where they stand. */
const burst = (frames: readonly Uint8Array[]): Uint8Array[] =>
  Array.from({ length: BURST }, (_, i) => (frames[i % frames.length] as Uint8Array).slice());

test('gateway: allocates nothing per frame', () => {
  const box = memorySwitch();
  const ports = { from: 4000, to: 53 };
  const back = { from: 53, to: 4000 };
  box.ports.p0?.loop(
    burst([
      up(A_MAC, udpPacket({ source: A, destination: WORLD }, ports, 'hello')),
      up(A_MAC, tcpPacket({ source: A, destination: WORLD }, ports, 0x10, 'hello')),
      up(A_MAC, echoPacket({ source: A, destination: WORLD }, 8, 9, 1)),
      up(A_MAC, echoPacket({ source: A, destination: GATEWAY }, 8, 9, 1)),
      up(A_MAC, udpPacket({ source: A, destination: B, ttl: 1 }, ports, 'dies')),
      arpFrame({ operation: 1, sender: A_MAC, senderIp: A, targetIp: GATEWAY }),
      arpFrame({ operation: 1, sender: A_MAC, senderIp: A, targetIp: GATEWAY }, GATEWAY_MAC),
    ]),
    true,
  );
  // A looped port counts what it is sent instead of keeping it.
  box.ports.p1?.loop(
    burst([arpFrame({ operation: 1, sender: mac('02:00:00:00:00:0c'), senderIp: C, targetIp: C })]),
    true,
  );
  box.ports.uplink?.loop(
    burst([
      down(udpPacket({ source: WORLD, destination: NAT }, back, 'hello')),
      down(tcpPacket({ source: WORLD, destination: NAT }, back, 0x10, 'hello')),
      down(udpPacket({ source: WORLD, destination: NAT }, { from: 53, to: 9 }, 'unmapped')),
      down(udpPacket({ source: GATEWAY, destination: B }, back, 'is held, and asked for')),
      down(udpPacket({ source: GATEWAY, destination: A }, back, 'hello')),
    ]),
    true,
  );
  let nowMs = 0;
  const slope = slopeOf({ rounds: ROUNDS, warmUp: WARM_UP, framesARound: FRAMES_A_ROUND }, () => {
    nowMs += 1;
    box.plane.step(nowMs);
    if (nowMs % 100 === 0) box.plane.tick(nowMs);
  });
  assert.ok(slope < BYTES_A_FRAME, `${slope.toFixed(2)} bytes a frame`);
  assert.ok((box.ports.uplink?.sentFrames ?? 0) > ROUNDS && (box.ports.p0?.sentFrames ?? 0) > ROUNDS);
});

test('gateway: nor for fragments, in and out of order, refused, waiting in vain, or made here', () => {
  const box = memorySwitch();
  const text = 'x'.repeat(1_000);
  const pieces = (source: Ip4, destination: Ip4, id: number): Uint8Array[] =>
    fragmentsOf(udpPacket({ source, destination }, { from: 4000, to: 4000 }, text), 400, id);
  const mixed = ([first, second, third]: Uint8Array[]): Uint8Array[] =>
    [third, first, second].map(bytes => bytes as Uint8Array);
  const large = udpPacket({ source: A, destination: WORLD }, { from: 4000, to: 53 }, 'x'.repeat(2_000));
  box.ports.p0?.loop(
    burst(
      [
        ...pieces(A, WORLD, 1),
        ...mixed(pieces(A, WORLD, 2)),
        pieces(A, WORLD, 3)[1] as Uint8Array,
        large,
      ].map(bytes => up(A_MAC, bytes)),
    ),
    true,
  );
  box.ports.p1?.loop(
    burst([arpFrame({ operation: 1, sender: A_MAC, senderIp: A, targetIp: GATEWAY })]),
    true,
  );
  box.ports.uplink?.loop(
    burst([...mixed(pieces(WORLD, NAT, 4)), ...mixed(pieces(C, NAT, 5))].map(bytes => down(bytes))),
    true,
  );
  let nowMs = 0;
  const slope = slopeOf({ rounds: ROUNDS, warmUp: WARM_UP, framesARound: FRAMES_A_ROUND }, () => {
    nowMs += 1;
    box.plane.step(nowMs);
    if (nowMs % 100 === 0) box.plane.tick(nowMs);
  });
  assert.ok(slope < BYTES_A_FRAME, `${slope.toFixed(2)} bytes a frame`);
  assert.ok((box.ports.uplink?.sentFrames ?? 0) > 100_000 && (box.ports.p0?.sentFrames ?? 0) > 100_000);
});

test('gateway: the egress policy allocates nothing per frame, asked or watching', () => {
  const rules = [
    'deny encrypted-dns',
    'tap1 deny any',
    'allow *.far.test',
    'deny tcp any',
    'allow udp/53 any',
  ];
  const box = memorySwitch({ egress: policyOf(rulesOf(rules), 'internet-only') });
  box.refusePunts(); // what the harness keeps of a frame would be counted
  box.learn(Int32Array.of(B, WORLD, 0, 1 << 30), new Int32Array(0));
  const ports = { from: 4000, to: 53 };
  box.ports.p0?.loop(
    burst([
      up(A_MAC, udpPacket({ source: A, destination: WORLD }, ports, 'may')),
      up(A_MAC, tcpPacket({ source: A, destination: WORLD }, ports, 2)),
      up(A_MAC, udpPacket({ source: A, destination: ip('8.8.8.8') }, { from: 4000, to: 443 }, 'may not')),
      up(A_MAC, echoPacket({ source: A, destination: ip('10.0.0.1') }, 8, 9, 1)),
    ]),
    true,
  );
  box.ports.uplink?.loop(
    burst([
      down(udpPacket({ source: WORLD, destination: NAT }, { from: 53, to: 4000 }, 'an answer')),
      down(udpPacket({ source: GATEWAY, destination: A }, { from: 53, to: 4000 }, 'an answer')),
      down(udpPacket({ source: WORLD, destination: NAT }, { from: 54, to: 4000 }, 'no answer')),
    ]),
    true,
  );
  let nowMs = 0;
  const slope = slopeOf({ rounds: ROUNDS, warmUp: WARM_UP, framesARound: 2 * BURST }, () => {
    nowMs += 1;
    box.plane.step(nowMs);
    if (nowMs % 100 === 0) box.plane.tick(nowMs);
  });
  assert.ok(slope < BYTES_A_FRAME, `${slope.toFixed(2)} bytes a frame`);
  const { EgressDenied = 0, PuntFull = 0 } = box.drops();
  assert.ok(EgressDenied > 100_000 && PuntFull > 100_000, JSON.stringify(box.drops()));
});

test.run();
