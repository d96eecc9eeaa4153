/** Fragments through the NAT: every golden case of fixtures/fragments.ts, and what must hold for any order of them. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, B, B_MAC, NAT_ADDRESS as NAT } from '../../fixtures/arp.ts';
import { cases, fragmentsOf } from '../../fixtures/fragments.ts';
import { udpPacket } from '../../fixtures/packets.ts';
import { out, up, WORLD } from '../../fixtures/routed.ts';
import { expected, hex, memorySwitch, play } from './harness.ts';

for (const one of cases()) test(`fragments: ${one.name}`, () => assert.equal(play(one), expected(one)));

const TEXT = 'fragment'.repeat(300);
const datagram = (source: typeof A, id: number): Uint8Array[] =>
  fragmentsOf(udpPacket({ source, destination: WORLD }, { from: 4000, to: 53 }, TEXT), 480, id);
const PIECES = datagram(A, 1).length;

test('fragments: in any order, among others, all arrive with one address, the first before the rest', () => {
  const several = fc.shuffledSubarray(
    Array.from({ length: 2 * PIECES }, (_, i) => i),
    { minLength: 2 * PIECES },
  );
  fc.assert(
    fc.property(several, order => {
      const box = memorySwitch();
      const pieces = [1, 2].flatMap(id => datagram(A, id));
      for (const [ms, i] of order.entries()) {
        box.ports.p0?.give(up(A_MAC, pieces[i] as Uint8Array));
        box.plane.step(ms);
      }
      const sent = (box.ports.uplink?.sent ?? []).map(hex);
      const wanted = [1, 2].flatMap(id => datagram(NAT, id)).map(bytes => hex(out(bytes)));
      assert.equal([...sent].sort(), [...wanted].sort());
      for (const id of [0, 1]) {
        const its = sent.map(frame => wanted.indexOf(frame)).filter(i => Math.floor(i / PIECES) === id);
        assert.is(its[0], id * PIECES);
      }
      assert.equal(box.drops(), {});
    }),
    { seed: 3, numRuns: 200 },
  );
});

test('fragments: a guest that floods them takes its own share, and another keeps its own', () => {
  const box = memorySwitch({ maxFlows: 64 });
  for (let id = 0; id < 5_000; id++) {
    box.ports.p0?.give(up(A_MAC, datagram(A, id)[1] as Uint8Array));
    box.plane.step(1);
  }
  const mine = datagram(B, 7);
  for (const bytes of [...mine].reverse()) {
    box.ports.p1?.give(up(B_MAC, bytes));
    box.plane.step(2);
  }
  assert.is(box.ports.uplink?.sent.length, mine.length);
  const dropped = box.drops().Ip4Fragment ?? 0;
  assert.ok(dropped > 4_900 && dropped < 5_000, `${dropped}`);
  for (let ms = 0; ms <= 30_000; ms += 100) box.plane.tick(ms);
  assert.equal(box.drops(), { Ip4Fragment: 5_000 }, 'those that waited are counted in the end');
});

test.run();
