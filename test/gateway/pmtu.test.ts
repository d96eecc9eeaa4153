/** Guests whose packets are larger than the network takes: RFC 1812 §5.3.4, RFC 1191 §4. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, B, B_MAC, GATEWAY, GATEWAY_MAC, NAT_ADDRESS as NAT } from '../../fixtures/arp.ts';
import { fragmentsOf } from '../../fixtures/fragments.ts';
import { arpFrame, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { out, up, WORLD } from '../../fixtures/routed.ts';
import type { Ip4 } from '../../src/wire/address.ts';
import { fold, pseudo } from '../../src/wire/checksum.ts';
import { ACK } from '../../src/wire/tcp.ts';
import { hex, memorySwitch, type Switch } from './harness.ts';

const DONT_FRAGMENT = 0x4000;
const L4 = 34;
const MTU = 1_500;
const CUT = MTU - 20; // a multiple of eight
const large = 'x'.repeat(4_000);

const udp = (source: Ip4, fragment: number, text = large): Uint8Array =>
  udpPacket({ source, destination: WORLD, fragment }, { from: 4000, to: 53 }, text);

function give({ ports, plane }: Switch, frame: Uint8Array, header?: Uint8Array): void {
  ports.p0?.give(frame, header);
  plane.step(1);
}

/** Type, code and MTU of the ICMP errors that a guest got. */
const errors = ({ ports }: Switch): number[][] =>
  (ports.p0?.sent ?? []).map(frame => [
    frame[L4] as number,
    frame[L4 + 1] as number,
    ((frame[L4 + 6] as number) << 8) | (frame[L4 + 7] as number),
  ]);

test('pmtu: what must not be fragmented comes back with the MTU, by the general way and by the express', () => {
  const box = memorySwitch();
  give(box, up(A_MAC, udp(A, DONT_FRAGMENT)));
  give(box, up(A_MAC, udp(A, DONT_FRAGMENT, 'opens the flow')));
  give(box, up(A_MAC, udp(A, DONT_FRAGMENT)));
  assert.equal(errors(box), [
    [3, 4, MTU],
    [3, 4, MTU],
  ]);
  assert.is(box.ports.uplink?.sent.length, 1);
  assert.equal(box.drops(), { EgressMtu: 2 });
});

test('pmtu: what may be is, before the NAT, and as a router would', () => {
  const box = memorySwitch();
  give(box, up(A_MAC, udp(A, 0)));
  const wanted = fragmentsOf(udp(NAT, 0), CUT).map(bytes => hex(out(bytes)));
  assert.equal((box.ports.uplink?.sent ?? []).map(hex), wanted);
  assert.equal(box.drops(), {});
});

test('pmtu: a sum that was left to us is about the whole', () => {
  const box = memorySwitch();
  const frame = up(A_MAC, udp(A, 0));
  const mem = new DataView(frame.buffer);
  mem.setUint16(L4 + 6, fold(pseudo(mem.getInt32(26), mem.getInt32(30), 17, frame.length - L4)));
  give(box, frame, Uint8Array.of(1, 0, 0, 0, 0, 0, L4, 0, 6, 0));
  const wanted = fragmentsOf(udp(NAT, 0), CUT).map(bytes => hex(out(bytes)));
  assert.equal((box.ports.uplink?.sent ?? []).map(hex), wanted);
});

test('pmtu: segments of the right size pass whole, larger ones come back', () => {
  const segments = (bytes: number): [Uint8Array, Uint8Array] => [
    up(
      A_MAC,
      tcpPacket(
        { source: A, destination: WORLD, fragment: DONT_FRAGMENT },
        { from: 4000, to: 80 },
        ACK,
        large,
      ),
    ),
    Uint8Array.of(1, 1, 54, 0, bytes & 255, bytes >> 8, L4, 0, 16, 0),
  ];
  const box = memorySwitch();
  give(box, ...segments(1_460));
  assert.is(box.ports.uplink?.sent.length, 1);
  give(box, ...segments(1_461));
  assert.is(box.ports.uplink?.sent.length, 1);
  assert.equal(errors(box), [[3, 4, MTU]]);
});

test('pmtu: to a neighbour by the gateway, too', () => {
  const box = memorySwitch();
  box.ports.p1?.give(
    arpFrame(
      { operation: 2, sender: B_MAC, senderIp: B, target: GATEWAY_MAC, targetIp: GATEWAY },
      GATEWAY_MAC,
    ),
  );
  box.plane.step(0);
  const said = (ttl: number): Uint8Array =>
    udpPacket({ source: A, destination: B, ttl }, { from: 1, to: 2 }, large);
  give(box, up(A_MAC, said(64)));
  assert.is(box.ports.p1?.sent.length, fragmentsOf(said(63), CUT).length);
  assert.equal(
    box.ports.p1?.sent.map(frame => hex(frame.subarray(14))),
    fragmentsOf(said(63), CUT).map(hex),
  );
});

test.run();
