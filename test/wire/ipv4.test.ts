/** IPv4 headers: taken apart, put together, changed in place, and each way to be wrong. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Ip4 } from '../../src/wire/address.ts';
import * as sums from '../../src/wire/checksum.ts';
import { Drop } from '../../src/wire/drop.ts';
import * as ip4 from '../../src/wire/ipv4.ts';

const AT = 6;
const TOTAL = 0x73;
const HEADER = [
  ...[0x45, 0x00, 0x00, TOTAL, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0xa6, 0x2d],
  ...[192, 168, 0, 1, 192, 168, 0, 199],
];

function memory(bytes: readonly number[] = HEADER): { bytes: Uint8Array; mem: DataView } {
  const all = new Uint8Array(AT + TOTAL + 4).fill(0xa5);
  all.set(bytes, AT);
  return { bytes: all, mem: new DataView(all.buffer) };
}
const int32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
const word = fc.integer({ min: 0, max: 0xffff });

test('ipv4: taken apart', () => {
  const { mem } = memory();
  assert.is(ip4.check(mem, AT, TOTAL), Drop.None);
  assert.is(ip4.version(mem, AT), 4);
  assert.is(ip4.headerLength(mem, AT), 20);
  assert.is(ip4.totalLength(mem, AT), TOTAL);
  assert.is(ip4.id(mem, AT), 0x1234);
  assert.ok(ip4.dontFragment(mem, AT));
  assert.not(ip4.isFragment(mem, AT));
  assert.is(ip4.fragmentOffset(mem, AT), 0);
  assert.is(ip4.ttl(mem, AT), 64);
  assert.is(ip4.protocol(mem, AT), ip4.UDP);
  assert.is(ip4.headerChecksum(mem, AT), 0xa62d);
  assert.is(ip4.source(mem, AT), 0xc0a80001 | 0);
  assert.is(ip4.destination(mem, AT), 0xc0a800c7 | 0);
});

test('ipv4: put together, and nothing around it is touched', () => {
  const { bytes, mem } = memory([]);
  ip4.emit(mem, AT, TOTAL, 0x1234, 64, ip4.UDP, (0xc0a80001 | 0) as Ip4, (0xc0a800c7 | 0) as Ip4);
  const expected = [...HEADER];
  expected[6] = 0; // the switch's own packets may be fragmented
  expected[10] = 0xe6;
  assert.equal(bytes, memory(expected).bytes);
});

test('ipv4: fragments', () => {
  const { mem } = memory();
  for (const [flags, fragment, offset] of [
    [0x0000, false, 0],
    [0x2000, true, 0],
    [0x2001, true, 8],
    [0x1fff, true, 65_528],
    [0xc000, false, 0],
  ] as const) {
    mem.setUint16(AT + 6, flags);
    assert.is(ip4.isFragment(mem, AT), fragment, `flags ${flags}`);
    assert.is(ip4.fragmentOffset(mem, AT), offset, `flags ${flags}`);
  }
});

test('ipv4: what is emitted is what is read, and stays right when it is changed in place', () => {
  fc.assert(
    fc.property(
      word,
      int32,
      int32,
      int32,
      int32,
      fc.integer({ min: 1, max: 255 }),
      (id, a, b, c, d, hops) => {
        const { mem } = memory([]);
        ip4.emit(mem, AT, TOTAL, id, hops, ip4.TCP, a as Ip4, b as Ip4);
        assert.is(ip4.check(mem, AT, TOTAL), Drop.None);
        assert.equal([ip4.id(mem, AT), ip4.ttl(mem, AT), ip4.protocol(mem, AT)], [id, hops, ip4.TCP]);
        assert.equal([ip4.source(mem, AT), ip4.destination(mem, AT)], [a, b]);
        ip4.setSource(mem, AT, c as Ip4);
        ip4.setDestination(mem, AT, d as Ip4);
        ip4.decrementTtl(mem, AT);
        assert.equal([ip4.source(mem, AT), ip4.destination(mem, AT)], [c, d]);
        assert.equal([ip4.ttl(mem, AT), ip4.protocol(mem, AT)], [hops - 1, ip4.TCP]);
        assert.ok(sums.valid(mem, AT, 20));
      },
    ),
    { seed: 791, numRuns: 2000 },
  );
});

test('ipv4: options count in the header and in its sum', () => {
  const { bytes, mem } = memory();
  bytes[AT] = 0x46;
  assert.is(ip4.check(mem, AT, TOTAL), Drop.Ip4BadChecksum);
  ip4.setChecksum(mem, AT);
  assert.is(ip4.check(mem, AT, TOTAL), Drop.None);
  assert.is(ip4.headerLength(mem, AT), 24);
});

test('ipv4: each way to be wrong has its reason', () => {
  const cases: readonly [string, Drop, number, (bytes: Uint8Array) => void][] = [
    ['19 bytes', Drop.Ip4Truncated, 19, () => {}],
    ['version 6', Drop.Ip4BadVersion, TOTAL, bytes => (bytes[AT] = 0x65)],
    ['a header of 16 bytes', Drop.Ip4BadLength, TOTAL, bytes => (bytes[AT] = 0x44)],
    ['a header longer than the packet', Drop.Ip4BadLength, TOTAL, bytes => (bytes[AT + 3] = 19)],
    ['a packet longer than the frame', Drop.Ip4BadLength, TOTAL - 1, () => {}],
    ['a bit turned', Drop.Ip4BadChecksum, TOTAL, bytes => (bytes[AT + 8] = 65)],
  ];
  for (const [name, reason, size, spoil] of cases) {
    const { bytes, mem } = memory();
    spoil(bytes);
    assert.is(Drop[ip4.check(mem, AT, size)], Drop[reason], name);
  }
});

test.run();
