/** Writing pcapng: what our own reader and tshark make of it, at every length, and that a packet costs no memory. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from '../../src/wire/pcap.ts';
import * as pcapng from '../../src/wire/pcapng.ts';
import { slopeOf } from '../slope.ts';

/** What was in the memory before must not shine through. */
const stale = (size: number): Uint8Array => new Uint8Array(size).fill(0xa5);
const NOTHING = new Uint8Array(0);
const FRAME = Uint8Array.from({ length: 61 }, (_, i) => i);

const packet: pcapng.Packet = {
  interfaceId: 0,
  seconds: 1_700_000_000,
  nanoseconds: 123_456_789,
  from: FRAME,
  start: 0,
  kept: 61,
  originalLength: 1514,
  way: pcapng.INBOUND,
  lost: 0,
  comment: NOTHING,
};

/** A file of these packets, of one interface. */
function fileOf(packets: readonly pcapng.Packet[], filter = ''): Uint8Array {
  const bytes = packets.reduce((sum, { kept, comment }) => sum + pcapng.packetSize(kept, comment.length), 0);
  const to = pcapng.targetOf(stale(2 * pcapng.blockSize(200) + bytes));
  let at = pcapng.putSection(to, 0, 'vswitchd test');
  at = pcapng.putInterface(to, at, 'tap0', 0, filter);
  for (const each of packets) at = pcapng.putPacket(to, at, each);
  return to.bytes.subarray(0, at);
}

test('pcapng: our reader gets back what was written, whatever its lengths and times', () => {
  const packets = fc.array(
    fc.record({
      seconds: fc.integer({ min: 0, max: 0xffff_ffff }),
      nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
      frame: fc.uint8Array({ maxLength: 70 }),
      cut: fc.nat(4),
      comment: fc.string({ maxLength: 20, unit: 'grapheme' }),
      lost: fc.nat(3),
    }),
    { maxLength: 5 },
  );
  fc.assert(
    fc.property(packets, list => {
      const written = list.map(each => ({
        ...packet,
        seconds: each.seconds,
        nanoseconds: each.nanoseconds,
        from: each.frame,
        start: Math.min(each.cut, each.frame.length),
        kept: Math.max(0, each.frame.length - each.cut),
        originalLength: each.frame.length,
        lost: each.lost,
        comment: new Uint8Array(Buffer.from(each.comment)),
      }));
      const read = parse(fileOf(written));
      assert.equal(
        read.map(({ data, ...rest }) => ({ ...rest, data: [...data] })),
        list.map(({ seconds, nanoseconds, frame, cut }) => ({
          seconds,
          nanoseconds,
          originalLength: frame.length,
          data: [...frame.subarray(cut)],
        })),
      );
    }),
  );
});

test('pcapng: a packet takes what packetSize says at the most, and ends on a word', () => {
  for (let kept = 0; kept < 9; kept++)
    for (let size = 0; size < 9; size++)
      for (const lost of [0, 5_000_000_000]) {
        const room = pcapng.packetSize(kept, size);
        const to = pcapng.targetOf(stale(room));
        const end = pcapng.putPacket(to, 0, { ...packet, kept, lost, comment: stale(size) });
        assert.is(end, lost > 0 ? room : room - 12);
        assert.is(end % 4, 0);
      }
});

test('pcapng: other blocks fit what blockSize says', () => {
  for (let size = 0; size < 9; size++) {
    const text = 'ä'.repeat(size);
    const to = pcapng.targetOf(stale(1_000));
    assert.ok(pcapng.putSection(to, 0, text) <= pcapng.blockSize(2 * size));
    assert.ok(pcapng.putInterface(to, 0, text, 96, text) <= pcapng.blockSize(4 * size));
    const counts = { interfaceId: 0, seconds: 1, nanoseconds: 2, received: 3, dropped: 4 };
    assert.ok(pcapng.putStatistics(to, 0, counts) <= pcapng.blockSize(0));
  }
});

const dissect = (file: string, ...words: string[]): string[] => {
  const { stdout, stderr, status } = spawnSync('tshark', ['-r', file, ...words], { encoding: 'utf8' });
  assert.is(status, 0, stderr);
  return stdout.trimEnd().split('\n');
};

const withFile = (bytes: Uint8Array, look: (path: string) => void): void => {
  const folder = mkdtempSync(join(tmpdir(), 'pcapng-'));
  try {
    writeFileSync(join(folder, 'a.pcapng'), bytes);
    look(join(folder, 'a.pcapng'));
  } finally {
    rmSync(folder, { recursive: true });
  }
};

const hasTshark = spawnSync('tshark', ['--version']).status === 0;
if (!hasTshark) console.log('tshark is not installed: what it would be compared with is skipped');

(hasTshark ? test : test.skip)('pcapng: tshark reads times, ways, comments, losses and interfaces', () => {
  const comment = new Uint8Array(Buffer.from('in tap0: forwarded to tap1 – größer'));
  const bytes = fileOf(
    [
      { ...packet, comment },
      { ...packet, way: pcapng.OUTBOUND, lost: 7, nanoseconds: 1 },
    ],
    'udp',
  );
  withFile(bytes, path => {
    const fields = ['frame.time_epoch', 'frame.interface_name', 'frame.packet_flags_direction'].concat([
      'frame.drop_count',
      'frame.comment',
      'frame.len',
      'frame.cap_len',
    ]);
    const lines = dissect(path, '-T', 'fields', '-E', 'separator=|', ...fields.flatMap(name => ['-e', name]));
    const plain = lines.map(line => line.replaceAll('0x0000000', ''));
    assert.equal(plain, [
      '1700000000.123456789|tap0|1||in tap0: forwarded to tap1 – größer|1514|61',
      '1700000000.000000001|tap0|2|7||1514|61',
    ]);
  });
});

test('pcapng: statistics are a block that readers pass over', () => {
  const to = pcapng.targetOf(stale(2_000));
  const counts = { ...packet, received: 5_000_000_000, dropped: 3 };
  let at = pcapng.putSection(to, 0, 'x');
  at = pcapng.putInterface(to, at, 'tap0', 0);
  at = pcapng.putStatistics(to, at, counts);
  const { mem } = to;
  const [first, second] = [at - 8 - 24, at - 8 - 12];
  assert.is(mem.getUint16(first, true), 4);
  assert.is(mem.getBigUint64(first + 4, true), 5_000_000_000n);
  assert.is(mem.getUint16(second, true), 5);
  assert.is(mem.getBigUint64(second + 4, true), 3n);
  at = pcapng.putPacket(to, at, { ...packet, way: pcapng.UNKNOWN_WAY });
  assert.is(parse(to.bytes.subarray(0, at)).length, 1);
});

test('pcapng: a packet costs no memory', () => {
  const to = pcapng.targetOf(stale(1_000));
  const kept = { ...packet, comment: FRAME };
  const turned = { rounds: 1_000, warmUp: 20_000, framesARound: 1 };
  const slope = slopeOf(turned, () => {
    pcapng.putPacket(to, 0, kept);
  });
  assert.ok(slope < 1, `${slope.toFixed(2)} bytes a packet`);
});

test.run();
