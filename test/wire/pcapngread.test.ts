/**
 * Captures read frame by frame: the same frames as those who read a file whole find, whatever pieces it comes in; where it breaks off;
 * and bytes that mean nothing, which end in a sentence and never in a loop.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Captured, emit, parse } from '../../src/wire/pcap.ts';
import { putInterface, putPacket, putSection, targetOf } from '../../src/wire/pcapng.ts';
import { CaptureReader, type Source } from '../../src/wire/pcapngread.ts';
import { type Random, random } from '../random.ts';

/** A file that gives up to `most()` bytes at a time. */
function sourceOf(bytes: Uint8Array, most = (): number => 65_536): Source {
  let at = 0;
  return (window, place) => {
    const piece = bytes.subarray(at, at + Math.min(most(), window.length - place));
    window.set(piece, place);
    at += piece.length;
    return piece.length;
  };
}

const copyOf = (frame: Captured): Captured => ({ ...frame, data: Uint8Array.from(frame.data) });

function framesOf(reader: CaptureReader): Captured[] {
  const frames: Captured[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) frames.push(copyOf(frame));
  return frames;
}

const read = (bytes: Uint8Array, most?: () => number): Captured[] =>
  framesOf(new CaptureReader(sourceOf(bytes, most)));

const whole = (bytes: Uint8Array): Captured[] => parse(bytes).map(copyOf);

function randomFrames(below: Random, count: number): Captured[] {
  return Array.from({ length: count }, (_, second) => {
    const data = Uint8Array.from({ length: below(10) === 0 ? below(60_000) : below(200) }, () => below(256));
    return { seconds: 1e9 + second, nanoseconds: below(1e9), data, originalLength: data.length };
  });
}

/** A block of pcapng in either byte order. */
function block(
  little: boolean,
  type: number,
  body: readonly number[],
  bytes = new Uint8Array(0),
): Uint8Array {
  const size = 12 + 4 * body.length + ((bytes.length + 3) & ~3);
  const mem = new DataView(new ArrayBuffer(size));
  for (const [index, word] of [type, size, ...body].entries()) mem.setUint32(4 * index, word >>> 0, little);
  new Uint8Array(mem.buffer).set(bytes, 8 + 4 * body.length);
  mem.setUint32(size - 4, size, little);
  return new Uint8Array(mem.buffer);
}

const version = (little: boolean): number => (little ? 1 : 65_536);
const section = (little: boolean): Uint8Array =>
  block(little, 0x0a0d0d0a, [0x1a2b3c4d, version(little), -1, -1]);
/** An interface of a link type, whose ticks are 10^-power seconds, or 2^-n with bit 7 set. */
function described(little: boolean, link: number, power: number): Uint8Array {
  const option = Uint8Array.from(little ? [9, 0, 1, 0, power, 0, 0, 0] : [0, 9, 0, 1, power, 0, 0, 0]);
  return block(little, 1, [little ? link : link * 65_536, 0], option);
}
const FRAME = Uint8Array.from({ length: 61 }, (_, index) => index);
const packet = (little: boolean, which: number, ticks: number): Uint8Array =>
  block(little, 6, [which, Math.floor(ticks / 2 ** 32), ticks % 2 ** 32, FRAME.length, FRAME.length], FRAME);
const join = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));

/** A classic file in one of its four forms. */
function classic(frames: readonly Captured[], little: boolean, nano: boolean): Uint8Array {
  const records = frames.map(({ seconds, nanoseconds, data, originalLength }) => {
    const head = new DataView(new ArrayBuffer(16));
    const words = [seconds, Math.floor(nanoseconds / (nano ? 1 : 1000)), data.length, originalLength];
    for (const [index, word] of words.entries()) head.setUint32(4 * index, word, little);
    return join(new Uint8Array(head.buffer), data);
  });
  const head = new DataView(new ArrayBuffer(24));
  head.setUint32(0, nano ? 0xa1b23c4d : 0xa1b2c3d4, little);
  head.setUint32(20, 1, little);
  return join(new Uint8Array(head.buffer), ...records);
}

test('classic pcap in all four forms, whatever pieces it is read in', () => {
  const below = random(7);
  for (const little of [true, false])
    for (const nano of [true, false]) {
      const frames = randomFrames(below, 120);
      const bytes = classic(frames, little, nano);
      const wanted = frames.map(frame => ({
        ...frame,
        nanoseconds: nano ? frame.nanoseconds : Math.floor(frame.nanoseconds / 1000) * 1000,
      }));
      assert.equal(
        read(bytes, () => 1 + below(9_000)),
        wanted,
      );
      assert.equal(whole(bytes), wanted);
    }
});

test('a file that is longer than the window is read as a whole one is', () => {
  const below = random(11);
  const frames = randomFrames(below, 400);
  const bytes = emit(frames);
  assert.ok(bytes.length > 1_100_000);
  assert.equal(read(bytes), whole(bytes));
});

test('what the writer of pcapng puts is read back', () => {
  const below = random(5);
  const target = targetOf(new Uint8Array(4_000_000));
  let at = putInterface(target, putSection(target, 0, 'a test'), 'all', 0);
  const frames = randomFrames(below, 200);
  for (const { data, ...times } of frames) {
    const fixed = { interfaceId: 0, start: 0, way: 0, lost: 0, comment: Buffer.from('said of it') };
    at = putPacket(target, at, { ...times, ...fixed, from: data, kept: data.length });
  }
  assert.equal(
    read(target.bytes.subarray(0, at), () => 1 + below(70_000)),
    frames,
  );
});

test('pcapng: both byte orders, several sections and interfaces, each with its ticks', () => {
  for (const little of [true, false]) {
    const bytes = join(
      ...[section(little), described(little, 1, 6), described(little, 1, 9), described(little, 1, 0x80 | 20)],
      ...[packet(little, 0, 5_000_001), packet(little, 1, 5_000_000_002), packet(little, 2, 6 * 2 ** 20)],
      ...[section(!little), described(!little, 1, 3), packet(!little, 0, 7_004)],
    );
    const times = read(bytes).map(({ seconds, nanoseconds }) => [seconds, nanoseconds]);
    assert.equal(times, [
      [5, 1_000],
      [5, 2],
      [6, 0],
      [7, 4_000_000],
    ]);
    assert.equal(read(bytes), whole(bytes));
  }
});

test('pcapng: simple and obsolete packets, other blocks passed over, other links left out and counted', () => {
  const simple = block(true, 3, [FRAME.length], FRAME);
  const obsolete = block(true, 2, [0, 0, 9_000_000, FRAME.length, FRAME.length], FRAME);
  const strange = block(true, 0x0bad, [], new Uint8Array(3_000_000)); // longer than the window
  const bytes = join(
    ...[section(true), described(true, 1, 6), described(true, 113, 6), packet(true, 0, 8_000_000)],
    ...[strange, simple, obsolete, packet(true, 1, 9_500_000), simple],
  );
  const reader = new CaptureReader(sourceOf(bytes));
  const frames = framesOf(reader);
  assert.equal(
    frames.map(frame => frame.seconds),
    [8, 8, 9, 9],
    'a simple one has the time of the one before',
  );
  assert.ok(frames.every(frame => Buffer.from(frame.data).equals(FRAME)));
  assert.is(reader.foreign, 1);
  assert.is(reader.truncatedAt, undefined);
});

test('a file that breaks off anywhere gives the frames before, and says where the last thing begins', () => {
  const head = join(section(true), described(true, 1, 6));
  const one = packet(true, 0, 1);
  const strange = block(true, 0x0bad, [], new Uint8Array(30));
  const ng = {
    bytes: join(head, one, one, strange),
    starts: [head.length, one.length, one.length, strange.length],
  };
  const frame = { seconds: 1, nanoseconds: 2, data: FRAME, originalLength: FRAME.length };
  const old = { bytes: classic([frame, frame], true, true), starts: [24, 77, 77] };
  for (const { bytes, starts } of [ng, old]) {
    const ends = starts.map((_, index) => starts.slice(0, index + 1).reduce((a, b) => a + b));
    for (let cut = ends[0] as number; cut < bytes.length; cut++) {
      const reader = new CaptureReader(sourceOf(bytes.subarray(0, cut)));
      const passed = ends.filter(end => end <= cut);
      assert.is(framesOf(reader).length, Math.min(passed.length - 1, 2));
      assert.is(reader.truncatedAt, passed.includes(cut) ? undefined : passed.at(-1));
    }
  }
});

const REFUSED: readonly (readonly [Uint8Array, string])[] = [
  [new Uint8Array(0), 'at byte 0: expected the magic number of a pcap or pcapng file'],
  [
    Buffer.from('not a capture at all, but a text'),
    'at byte 0: expected the magic number of a pcap or pcapng file',
  ],
  [classic([], true, true).subarray(0, 20), 'at byte 20: expected a file header of 24 bytes'],
  [
    join(classic([], true, false), new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0])),
    'at byte 24: expected a record that fits, not one of 4294967295 bytes',
  ],
  [join(section(true), packet(true, 0, 1)), 'at byte 28: expected interface 0 to have been described before'],
  [block(true, 0x0a0d0d0a, [7, 1, -1, -1]), 'at byte 8: expected the byte-order magic of a section'],
  [
    join(section(true), new Uint8Array([6, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0])),
    'at byte 28: expected a block of at most 1048576 bytes, not one of 2097152',
  ],
  [
    join(section(true), new Uint8Array([99, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0])),
    'at byte 28: expected a block of whole words, at least three, not one of 10 bytes',
  ],
  [
    join(section(true), new Uint8Array([99, 0, 0, 0, 12, 0, 0, 0, 16, 0, 0, 0])),
    "at byte 36: expected the block's length 12 once more",
  ],
];

for (const [bytes, sentence] of REFUSED)
  test(`refused: ${sentence}`, () =>
    assert.throws(
      () => read(bytes),
      (error: Error) => error.message === sentence,
    ));

test('bytes that were changed anywhere end in frames, or in a sentence that says where', () => {
  const below = random(3);
  const frames = randomFrames(below, 6).map(frame => ({ ...frame, data: frame.data.subarray(0, 99) }));
  const ng = join(
    section(true),
    described(true, 1, 6),
    packet(true, 0, 1),
    block(true, 3, [61], FRAME),
    packet(true, 0, 2),
  );
  let refused = 0;
  for (let round = 0; round < 4_000; round++) {
    const bytes = Buffer.from(round % 2 === 0 ? ng : classic(frames, round % 4 === 1, true));
    for (let change = below(4); change >= 0; change--) bytes[below(bytes.length)] = below(256);
    try {
      const found = read(bytes.subarray(0, 1 + below(bytes.length)));
      assert.ok(found.length <= bytes.length / 12);
    } catch (error) {
      refused++;
      assert.match((error as Error).message, /^at byte \d+: expected /);
    }
  }
  assert.ok(refused > 400 && refused < 3_900, String(refused));
});

test.run();
