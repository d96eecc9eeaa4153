/** The Internet checksum against a slow one written from RFC 1071 alone, and its updates against summing anew. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as sums from '../../src/wire/checksum.ts';

const SEED = 1071;
const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const RUNS = { seed: SEED, numRuns: 2000 };
const word = fc.integer({ min: 0, max: 0xffff });
const int32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });

/** RFC 1071 §1 word by word: after each addition the carry goes round. */
function slow(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    total += ((bytes[i] as number) << 8) | (bytes[i + 1] ?? 0);
    if (total > 0xffff) total -= 0xffff;
  }
  return total;
}

test('checksum: the example of RFC 1071 §3', () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.is(sums.fold(sums.sum(viewOf(bytes), 0, 8)), 0xddf2);
  assert.is(sums.checksum(viewOf(bytes), 0, 8), 0xffff - 0xddf2);
});

test('checksum: any bytes at any offset, odd lengths too, and nothing beyond them', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200, size: 'max' }),
      fc.integer({ min: 0, max: 7 }),
      (bytes, before) => {
        const memory = new Uint8Array(before + bytes.length + 8).fill(0xa5);
        memory.set(bytes, before);
        assert.is(sums.fold(sums.sum(viewOf(memory), before, bytes.length)), slow(bytes));
      },
    ),
    RUNS,
  );
});

test('checksum: the largest packet of ones does not overflow', () => {
  const bytes = new Uint8Array(65_557).fill(0xff);
  assert.is(sums.fold(sums.sum(viewOf(bytes), 0, bytes.length, 4 * 0xffff)), slow(bytes));
});

test('checksum: a range with its checksum in place is valid, and no longer when a bit turns', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 3, maxLength: 100, size: 'max' }),
      fc.nat(),
      fc.integer({ min: 0, max: 7 }),
      (bytes, pick, bit) => {
        const mem = viewOf(bytes);
        mem.setUint16(0, 0);
        mem.setUint16(0, sums.checksum(mem, 0, bytes.length));
        assert.ok(sums.valid(mem, 0, bytes.length));
        bytes[pick % bytes.length]! ^= 1 << bit;
        assert.not(sums.valid(mem, 0, bytes.length));
      },
    ),
    RUNS,
  );
});

test('checksum: the pseudo-header is what its bytes sum to, whatever the sign of an address', () => {
  fc.assert(
    fc.property(int32, int32, fc.integer({ min: 0, max: 255 }), word, (from, to, protocol, bytes) => {
      const header = viewOf(new Uint8Array(12));
      header.setInt32(0, from);
      header.setInt32(4, to);
      header.setUint8(9, protocol);
      header.setUint16(10, bytes);
      assert.is(sums.fold(sums.pseudo(from, to, protocol, bytes)), slow(new Uint8Array(header.buffer)));
    }),
    RUNS,
  );
});

test('checksum: the example of RFC 1624 §4: 0xdd2f, not 0, when 0x5555 becomes 0x3285', () => {
  assert.is(sums.adjusted(0xdd2f, 0x5555, 0x3285), 0x0000);
});

// A one's complement sum has two zeros, 0 and 0xffff: alike to who checks, so alike here.
const alike = (left: number, right: number): void => assert.is(left % 0xffff, right % 0xffff);

test('checksum: an update is worth summing anew, for 16 and 32 bits, finished and not', () => {
  const bytes = fc.uint8Array({ minLength: 12, maxLength: 60, size: 'max' });
  fc.assert(
    fc.property(bytes, int32, (memory, after) => {
      const mem = viewOf(memory);
      const before = mem.getInt32(4);
      const finished = sums.checksum(mem, 0, memory.length);
      const unfinished = sums.fold(sums.sum(mem, 0, memory.length));
      mem.setUint16(4, after & 0xffff);
      const low = after & 0xffff;
      alike(sums.adjusted(finished, before >>> 16, low), sums.checksum(mem, 0, memory.length));
      alike(
        sums.adjustedUnfinished(unfinished, before >>> 16, low),
        sums.fold(sums.sum(mem, 0, memory.length)),
      );
      mem.setInt32(4, after);
      alike(sums.adjusted32(finished, before, after), sums.checksum(mem, 0, memory.length));
      alike(sums.adjustedUnfinished32(unfinished, before, after), sums.fold(sums.sum(mem, 0, memory.length)));
      for (const value of [
        sums.adjusted32(finished, before, after),
        sums.adjustedUnfinished32(unfinished, before, after),
      ])
        assert.ok(value >= 0 && value <= 0xffff);
    }),
    RUNS,
  );
});

test.run();
