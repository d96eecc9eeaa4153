/**
 * Segmentation and checksums as properties: what the pieces must be, from the packet that they were. What the kernel
 * makes of the same packets is in offload.netns.test.ts.
 */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Finisher } from '../../src/port/offload.ts';
import * as sums from '../../src/wire/checksum.ts';
import { Drop } from '../../src/wire/drop.ts';
import * as ip4 from '../../src/wire/ipv4.ts';
import * as tcp from '../../src/wire/tcp.ts';
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, VNET_SIZE } from '../../src/wire/vnet.ts';
import { type Large, type Unfinished, unfinished } from './gso.ts';

const finisher = new Finisher();
const finish = (bytes: Uint8Array): Drop =>
  finisher.finish(bytes, new DataView(bytes.buffer), VNET_SIZE, bytes.length - VNET_SIZE);

/** The transport's checksum over a finished piece, pseudo-header included. */
function sumIsRight(mem: DataView, at: number, bytes: number, large: Large, { l3, l4 }: Unfinished): boolean {
  const addresses = large.version === 4 ? sums.sum(mem, at + l3 + 12, 8) : sums.sum(mem, at + l3 + 8, 32);
  const protocol = large.protocol === 'tcp' ? 6 : 17;
  return sums.valid(mem, at + l4, bytes - l4, addresses + protocol + bytes - l4);
}

function checkPieces(large: Large): void {
  const whole = unfinished(large);
  const { bytes, l3, l4, headers } = whole;
  const before = bytes.slice();
  assert.is(Drop[finish(bytes)], 'None');
  assert.equal(bytes, before, 'the frame itself must stay as it is');
  const { mem, slab } = finisher;
  const size = large.size || large.payload;
  assert.is(finisher.count, Math.ceil(large.payload / size));
  for (let i = 0; i < finisher.count; i++) {
    const at = finisher.offset[i]!;
    const length = finisher.length[i]!;
    const last = i === finisher.count - 1;
    assert.is(length, headers + (last ? large.payload - i * size : size));
    const from = VNET_SIZE + headers + i * size;
    const payload = bytes.subarray(from, from + length - headers);
    assert.is(Buffer.compare(slab.subarray(at + headers, at + length), payload), 0, 'payload');
    assert.ok(sumIsRight(mem, at, length, large, whole), `checksum of piece ${i}`);
    if (large.version === 4) {
      assert.is(ip4.check(mem, at + l3, length - l3), Drop.None);
      assert.is(ip4.totalLength(mem, at + l3), length - l3);
      assert.is(ip4.id(mem, at + l3), ((large.id ?? 0x1000) + i) & 0xffff);
    } else assert.is(mem.getUint16(at + l3 + 4), length - l4);
    if (large.protocol === 'udp') assert.is(mem.getUint16(at + l4 + 4), length - l4);
    else {
      assert.is(tcp.sequence(mem, at + l4), ((large.sequence ?? 0x0102_0304) + i * size) | 0);
      let flags = large.flags ?? tcp.ACK;
      if (!last) flags &= ~(tcp.FIN | tcp.PSH);
      if (i > 0) flags &= ~tcp.CWR;
      assert.is(tcp.flags(mem, at + l4), flags);
    }
  }
}

const four = (max: number) => fc.integer({ min: 0, max: max / 4 }).map(words => words * 4);
const anyLarge: fc.Arbitrary<Large> = fc
  .record({
    version: fc.constantFrom(4, 6),
    protocol: fc.constantFrom('tcp', 'udp'),
    payload: fc.integer({ min: 1, max: 12_000 }),
    size: fc.integer({ min: 0, max: 3000 }),
    flags: fc.integer({ min: 0, max: 255 }),
    sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
    id: fc.integer({ min: 0, max: 0xffff }),
    ipOptions: four(40),
    tcpOptions: four(40),
    tags: fc.array(fc.constantFrom(0x8100, 0x88a8), { maxLength: 2 }),
    seed: fc.nat(),
  })
  // within the finisher's limit of 256 segments
  .map(large => ({ ...large, size: large.size === 0 ? 0 : Math.max(large.size, 48) }) as Large);

test('offload: the pieces of any large packet are what it was', () => {
  fc.assert(fc.property(anyLarge, checkPieces), { seed: 4821, numRuns: 500 });
});

test('offload: the largest packets', () => {
  for (const version of [4, 6] as const) {
    checkPieces({ version, protocol: 'tcp', payload: 65_000, size: 1448, tcpOptions: 12, flags: 0x99 });
    checkPieces({ version, protocol: 'udp', payload: 65_000, size: 1472 });
    checkPieces({ version, protocol: 'tcp', payload: 65_000, size: 0 });
  }
});

test('offload: a sum of zero is sent as ones, which UDP takes for a sum', () => {
  for (const protocol of ['udp', 'tcp'] as const) {
    const { bytes, l4, headers } = unfinished({ version: 4, protocol, payload: 2, size: 0 });
    const mem = new DataView(bytes.buffer, VNET_SIZE);
    mem.setUint16(headers, 0);
    mem.setUint16(headers, sums.checksum(mem, l4, headers + 2 - l4));
    assert.is(finish(bytes), Drop.None);
    assert.is(
      finisher.mem.getUint16((finisher.offset[0] as number) + l4 + (protocol === 'udp' ? 6 : 16)),
      0xffff,
    );
  }
});

test('offload: a finished frame passes as it is', () => {
  const { bytes } = unfinished({ version: 4, protocol: 'udp', payload: 100, size: 0 });
  bytes.fill(0, 0, VNET_SIZE);
  assert.is(finish(bytes), Drop.None);
  assert.is(finisher.count, 1);
  const [at, length] = [finisher.offset[0] as number, finisher.length[0] as number];
  assert.equal(finisher.slab.slice(at, at + length), bytes.slice(VNET_SIZE));
});

test('offload: headers that lie are dropped, each kind of lie', () => {
  const TCP4: Large = { version: 4, protocol: 'tcp', payload: 3000, size: 1000 };
  const TCP6: Large = { ...TCP4, version: 6 };
  const UDP4: Large = { ...TCP4, protocol: 'udp' };
  type Lie = (header: DataView, frame: DataView, made: Unfinished) => void;
  const lies: readonly [string, Large, Lie][] = [
    ['segments of nothing', TCP4, header => header.setUint16(4, 0, true)],
    ['more segments than anyone sends', TCP4, header => header.setUint16(4, 1, true)],
    ['an unknown kind', TCP4, header => header.setUint8(1, 2)],
    ['IP fragments, which no port of ours offers', UDP4, header => header.setUint8(1, GSO_UDP)],
    ['IP fragments of a TCP packet', TCP4, header => header.setUint8(1, GSO_UDP)],
    ['IPv6 said, IPv4 sent', TCP4, header => header.setUint8(1, GSO_TCPV6)],
    ['IPv4 said, IPv6 sent', TCP6, header => header.setUint8(1, GSO_TCPV4)],
    ['TCP said, UDP sent', UDP4, header => header.setUint8(1, GSO_TCPV4)],
    ['UDP said, TCP sent', TCP4, header => header.setUint8(1, GSO_UDP_L4)],
    ['an extension header', TCP6, (_, frame, { l3 }) => frame.setUint8(l3 + 6, 0)],
    ['a fragment', TCP4, (_, frame, { l3 }) => frame.setUint16(l3 + 6, 0x2000)],
    ['an IP header of 16 bytes', TCP4, (_, frame, { l3 }) => frame.setUint8(l3, 0x44)],
    ['a TCP header of 16 bytes', TCP4, (_, frame, { l4 }) => frame.setUint8(l4 + 12, 0x40)],
    ['IP version 5', TCP4, (_, frame, { l3 }) => frame.setUint8(l3, 0x55)],
    ['no IP behind the addresses', TCP4, (_, frame, { l3 }) => frame.setUint16(l3 - 2, 0x0806)],
    ['a sum beyond the frame', { ...TCP4, size: 0 }, header => header.setUint16(6, 3054, true)],
    ['a field beyond the frame', { ...TCP4, size: 0 }, header => header.setUint16(8, 0xffff, true)],
  ];
  for (const [name, large, lie] of lies) {
    const made = unfinished(large);
    lie(new DataView(made.bytes.buffer), new DataView(made.bytes.buffer, VNET_SIZE), made);
    assert.is(Drop[finish(made.bytes)], 'BadOffloadHeader', name);
    assert.is(finisher.count, 0, `${name}: nothing may be sent`);
  }
});

test('offload: the length of headers is a hint that nothing relies on', () => {
  for (const hint of [0, 1, 0xffff]) {
    const { bytes } = unfinished({ version: 4, protocol: 'tcp', payload: 3000, size: 1000 });
    new DataView(bytes.buffer).setUint16(2, hint, true);
    assert.is(finish(bytes), Drop.None);
    assert.is(finisher.count, 3);
  }
});

// The frame ends where its memory ends: a read past it throws.
test('offload: nothing hostile reads or writes out of bounds', () => {
  const reasons = new Set<string>();
  fc.assert(
    fc.property(
      anyLarge,
      fc.array(fc.tuple(fc.integer({ min: 0, max: 90 }), fc.integer({ min: 0, max: 255 })), { maxLength: 5 }),
      fc.option(fc.integer({ min: 0, max: 120 })),
      (large, changes, cut) => {
        const { bytes } = unfinished(large);
        const hostile = bytes.slice(0, cut === null ? bytes.length : VNET_SIZE + cut);
        for (const [at, value] of changes) if (at < hostile.length) hostile[at] = value;
        reasons.add(Drop[finish(hostile)]!);
        for (let i = 0; i < finisher.count; i++) {
          const at = finisher.offset[i]!;
          assert.ok(at >= 0 && at + finisher.length[i]! <= finisher.slab.length);
          if (i > 0) assert.is(at, finisher.offset[i - 1]! + finisher.length[i - 1]!);
        }
      },
    ),
    { seed: 4822, numRuns: 3000 },
  );
  assert.equal([...reasons].sort(), ['BadOffloadHeader', 'None']);
});

test.run();
