/** Who is behind which address: what a gateway goes on with that takes over from another. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip } from '../../fixtures/packets.ts';
import { neighbourMemory, packNeighbours, STALE_S } from '../../src/gateway/neighbourmemory.ts';
import { Neighbours } from '../../src/gateway/neighbours.ts';
import type { Ip4 } from '../../src/wire/address.ts';

const MASK = ip('255.255.255.0');
const NOW_S = 10_000;

test('a table that takes over knows what the other knew, as long as that would have', () => {
  const one = fc.record({
    octet: fc.integer({ min: 0, max: 255 }),
    hi: fc.integer({ min: 0, max: 0xffff }),
    lo: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    heardS: fc.integer({ min: NOW_S - 2 * STALE_S, max: NOW_S }),
  });
  fc.assert(
    fc.property(fc.array(one), learnt => {
      const memory = neighbourMemory(MASK);
      const [before, after] = [new Neighbours(memory), new Neighbours(neighbourMemory(MASK))];
      const address = (octet: number): Ip4 => (ip('192.168.100.0') + octet) as Ip4;
      for (const { octet, hi, lo, heardS } of learnt) before.learn(address(octet), hi, lo, heardS);
      after.restore(packNeighbours(memory, NOW_S));
      for (let octet = 0; octet < 256; octet++)
        for (const atS of [NOW_S, NOW_S + STALE_S / 2]) {
          const [a, b] = [before.find(address(octet), atS), after.find(address(octet), atS)];
          assert.is(b, a);
          if (a >= 0) assert.equal([after.hi(b), after.lo(b)], [before.hi(a), before.lo(a)]);
        }
    }),
  );
});

test('an address that was asked for and has not answered is nobody’s', () => {
  const memory = neighbourMemory(MASK);
  new Neighbours(memory).mayAsk(ip('192.168.100.7'), NOW_S);
  assert.is(packNeighbours(memory, NOW_S).length, 0);
});

test.run();
