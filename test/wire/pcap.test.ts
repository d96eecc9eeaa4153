/** Capture files: each form that is read, what is written, and each way for a file to be broken. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Captured, emit, formOf, parse } from '../../src/wire/pcap.ts';

const FRAME = Uint8Array.from({ length: 61 }, (_, i) => i);
const SECONDS = 1_700_000_000;
const NANOSECONDS = 123_456_789;

/** Numbers of 32 bits, or of 16 in brackets, or bytes as they are. */
type Part = number | readonly [number] | Uint8Array;

function build(little: boolean, ...parts: Part[]): Uint8Array {
  const bytes: number[] = [];
  const number = (value: number, size: number): void => {
    const shifts = Array.from({ length: size }, (_, i) => i * 8);
    for (const shift of little ? shifts : shifts.reverse()) bytes.push((value >>> shift) & 255);
  };
  for (const part of parts) {
    if (typeof part === 'number') number(part, 4);
    else if (part instanceof Uint8Array) bytes.push(...part);
    else number((part as readonly [number])[0], 2);
  }
  return Uint8Array.from(bytes);
}

const classic = (little: boolean, magic: number, fraction: number, kept = FRAME.length): Uint8Array =>
  build(little, magic, [2], [4], 0, 0, 65_535, 1, SECONDS, fraction, kept, 1514, FRAME);

function block(little: boolean, type: number, ...parts: Part[]): Uint8Array {
  const body = build(little, ...parts);
  const padding = new Uint8Array(-body.length & 3);
  const size = 12 + body.length + padding.length;
  return build(little, type, size, body, padding, size);
}
const concat = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));
const section = (little: boolean): Uint8Array => block(little, 0x0a0d0d0a, 0x1a2b3c4d, [1], [0], -1, -1);
/** An interface; `resolution` as if_tsresol has it. */
const captor = (little: boolean, resolution?: number, link = 1, snapLength = 0): Uint8Array =>
  resolution === undefined
    ? block(little, 1, [link], [0], snapLength)
    : block(little, 1, [link], [0], snapLength, [9], [1], Uint8Array.of(resolution, 0, 0, 0), 0);
function enhanced(little: boolean, ticks: bigint, which = 0, kept = FRAME.length): Uint8Array {
  const [high, low] = [Number(ticks >> 32n), Number(ticks & 0xffffffffn)];
  return block(little, 6, which, high, low, kept, 1514, FRAME);
}

const expected = (nanoseconds: number, seconds = SECONDS): Captured => ({
  seconds,
  nanoseconds,
  data: FRAME,
  originalLength: 1514,
});
const fails = (bytes: Uint8Array, pattern: RegExp): void => assert.throws(() => parse(bytes), pattern);

for (const little of [true, false]) {
  const order = little ? 'little' : 'big';

  test(`pcap: micro- and nanoseconds, ${order}-endian`, () => {
    const micro = classic(little, 0xa1b2c3d4, 123_456);
    assert.equal(formOf(micro), { form: 'micro', little });
    assert.equal(parse(micro), [expected(123_456_000)]);
    const nano = classic(little, 0xa1b23c4d, NANOSECONDS);
    assert.equal(formOf(nano), { form: 'nano', little });
    assert.equal(parse(nano), [expected(NANOSECONDS)]);
  });

  test(`pcapng: enhanced, simple and old packets, unknown blocks passed over, ${order}-endian`, () => {
    const micros = BigInt(SECONDS) * 1_000_000n + 123_456n;
    const [high, low] = [Number(micros >> 32n), Number(micros & 0xffffffffn)];
    const file = concat(
      section(little),
      captor(little),
      block(little, 0x0bad, FRAME),
      enhanced(little, micros),
      block(little, 2, [0], [0], high, low, FRAME.length, 1514, FRAME),
      block(little, 3, FRAME.length, FRAME),
    );
    assert.equal(parse(file), [
      expected(123_456_000),
      expected(123_456_000),
      { seconds: 0, nanoseconds: 0, data: FRAME, originalLength: FRAME.length },
    ]);
  });

  test(`pcapng: every nanosecond is told from the next, ${order}-endian`, () => {
    const nanos = BigInt(SECONDS) * 1_000_000_000n + BigInt(NANOSECONDS);
    const frames = [nanos, nanos + 1n, nanos + 2n].map(ticks => enhanced(little, ticks));
    assert.equal(
      parse(concat(section(little), captor(little, 9), ...frames)),
      [0, 1, 2].map(more => expected(NANOSECONDS + more)),
    );
  });
}

test('pcapng: a resolution in powers of two, and one per interface', () => {
  const binary = (BigInt(SECONDS) << 20n) + (1n << 19n);
  const file = concat(
    section(true),
    captor(true, 0x80 + 20),
    captor(true, 3),
    enhanced(true, binary, 0),
    enhanced(true, BigInt(SECONDS) * 1000n + 250n, 1),
  );
  assert.equal(parse(file), [expected(500_000_000), expected(250_000_000)]);
});

test('pcapng: a section in the other byte order may follow, and forgets the interfaces', () => {
  const micros = BigInt(SECONDS) * 1_000_000n;
  const second = concat(section(false), captor(false), enhanced(false, micros));
  assert.equal(parse(concat(section(true), captor(true), enhanced(true, micros), second)), [
    expected(0),
    expected(0),
  ]);
  fails(concat(section(true), captor(true), section(false), enhanced(false, micros)), /interface 0/);
});

test('pcapng: a simple packet ends at the snap length, without its padding', () => {
  const kept = FRAME.subarray(0, 57);
  const [frame] = parse(concat(section(true), captor(true, 6, 1, 57), block(true, 3, 1514, kept)));
  assert.equal(frame, { seconds: 0, nanoseconds: 0, data: kept, originalLength: 1514 });
});

test('pcapng: frames of other links are left out', () => {
  const file = concat(
    section(true),
    captor(true, 6, 113),
    captor(true),
    enhanced(true, 0n, 0),
    enhanced(true, 0n, 1),
  );
  assert.equal(parse(file), [expected(0, 0)]);
});

test('pcap: what is broken is said, with its place', () => {
  const whole = classic(true, 0xa1b2c3d4, 0);
  fails(new Uint8Array(0), /at byte 0: expected the magic number/);
  fails(FRAME, /at byte 0: expected the magic number/);
  fails(whole.subarray(0, 23), /at byte 23: expected a file header of 24 bytes/);
  fails(whole.subarray(0, 30), /at byte 24: expected a record header of 16 bytes/);
  fails(whole.subarray(0, whole.length - 1), /at byte 24: expected a record that fits, not one of 61 bytes/);
  fails(classic(true, 0xa1b2c3d4, 0, 0xffff_ffff), /at byte 24: expected a record that fits/);
  const cooked = whole.slice();
  cooked[20] = 113;
  fails(cooked, /at byte 20: expected Ethernet frames \(link type 1\), not type 113/);
});

test('pcapng: what is broken is said, with its place', () => {
  const [head, link] = [section(true), captor(true)];
  const file = concat(head, link, enhanced(true, 0n));
  const at = head.length + link.length;
  fails(file.subarray(0, at + 8), new RegExp(`at byte ${at}: expected a block of at least 12 bytes`));
  fails(file.subarray(0, file.length - 4), new RegExp(`at byte ${at}: expected a block that fits`));
  fails(concat(head, enhanced(true, 0n)), /interface 0 to have been described/);
  fails(concat(head, link, enhanced(true, 0n, 0, 65)), /a frame that fits its block, not 65 bytes/);
  fails(concat(head, link, block(true, 6, 0, 0)), /a packet block with its header/);
  fails(concat(head, block(true, 1)), /an interface block with its header/);
  const spoilt = file.slice();
  spoilt[spoilt.length - 1] = 1;
  fails(spoilt, /the block's length 96 once more/);
  const disordered = file.slice();
  disordered[8] = 0;
  fails(disordered, /at byte 8: expected the byte-order magic/);
});

test('pcap: broken files of any kind end in a sentence, never in anything else', () => {
  const micros = BigInt(SECONDS) * 1_000_000n;
  const files = [
    classic(true, 0xa1b2c3d4, 1),
    classic(false, 0xa1b23c4d, 1),
    concat(section(true), captor(true, 9), enhanced(true, micros), block(true, 3, 61, FRAME)),
  ];
  const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
  let refused = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...files),
      fc.array(change, { minLength: 1, maxLength: 6 }),
      fc.nat(),
      (file, changes, cut) => {
        const bytes = file.slice(0, file.length - (cut % 4 === 0 ? cut % file.length : 0));
        for (const [where, value] of changes) if (bytes.length > 0) bytes[where % bytes.length] = value;
        try {
          for (const { data } of parse(bytes)) assert.ok(data.length <= bytes.length);
        } catch (error) {
          assert.match((error as Error).message, /^at byte \d+: expected /);
          refused++;
        }
      },
    ),
    { seed: 7, numRuns: 5000 },
  );
  assert.ok(refused > 1000);
});

const anyFrame = fc.record({
  seconds: fc.integer({ min: 0, max: 0xffff_ffff }),
  nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
  data: fc.uint8Array({ minLength: 14, maxLength: 100, size: 'max' }),
});

test('pcap: what is written is what is read', () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 20 }), frames => {
      const read = parse(emit(frames));
      assert.equal(
        read,
        frames.map(frame => ({ ...frame, originalLength: frame.data.length })),
      );
    }),
    { seed: 8 },
  );
});

const FRAMES = fc.sample(anyFrame, { seed: 9, numRuns: 50 }).map(frame => ({
  ...frame,
  seconds: frame.seconds & 0x3fff_ffff,
}));
const folder = mkdtempSync(join(tmpdir(), 'vswitchd-pcap-'));
test.after(() => rmSync(folder, { recursive: true }));
function written(): string {
  const path = join(folder, 'written.pcap');
  writeFileSync(path, emit(FRAMES));
  return path;
}
const installed = (tool: string): boolean => spawnSync(tool, ['--version']).error === undefined;

(installed('tshark') ? test : skipped('tshark'))('pcap: tshark reads what is written', () => {
  const fields = ['-e', 'frame.time_epoch', '-e', 'frame.len'];
  const { stdout, stderr } = spawnSync('tshark', ['-r', written(), '-n', '-T', 'fields', ...fields], {
    encoding: 'utf8',
  });
  const read = stdout
    .trim()
    .split('\n')
    .map(line => line.split('\t'));
  // older versions print seconds with nine decimals, newer ones a date
  const texts = read.map(([time = '', size]) => `${time.replace(/^.*\.(\d{9})\d*.*$/, '$1')} ${size}`);
  assert.equal(
    texts,
    FRAMES.map(frame => `${String(frame.nanoseconds).padStart(9, '0')} ${frame.data.length}`),
    stderr,
  );
});

(installed('editcap') ? test : skipped('editcap'))('pcapng: what editcap makes of it reads the same', () => {
  const { stdout, stderr } = spawnSync('editcap', ['-F', 'pcapng', written(), '-']);
  assert.is(formOf(stdout)?.form, 'pcapng', String(stderr));
  const plain = ({ seconds, nanoseconds, data }: Omit<Captured, 'originalLength'>) => ({
    seconds,
    nanoseconds,
    data: [...data],
  });
  assert.equal(parse(stdout).map(plain), FRAMES.map(plain));
});

function skipped(tool: string): typeof test.skip {
  console.log(`${tool} is not installed: what it would be compared with is skipped`);
  return test.skip;
}

test.run();
