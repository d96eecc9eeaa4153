/** Reading captures from files: the package pcap-parser against our own codec, and sentences that name the file. */
import { closeSync, mkdtempSync, openSync, readdirSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OperatorError } from '../../src/errors.ts';
import { readCapture, readCaptureSync } from '../../src/port/pcap-file.ts';
import { type Captured, emit } from '../../src/wire/pcap.ts';
import { CaptureReader } from '../../src/wire/pcapngread.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-pcap-'));
test.after(() => rmSync(folder, { recursive: true }));

/** Frames for comparison: one reader hands out Buffers, the other Uint8Arrays. */
const plain = (frames: readonly Captured[]) => frames.map(frame => ({ ...frame, data: [...frame.data] }));

/** As a replay reads it, a piece at a time. */
function streamed(path: string): Captured[] {
  const fd = openSync(path, 'r');
  try {
    const reader = new CaptureReader((window, at) =>
      readSync(fd, window, at, Math.min(window.length - at, 5_000), null),
    );
    const frames: Captured[] = [];
    for (let frame = reader.next(); frame !== undefined; frame = reader.next())
      frames.push({ ...frame, data: Uint8Array.from(frame.data) });
    return frames;
  } finally {
    closeSync(fd);
  }
}

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** A microsecond file in either byte order, which the codec itself does not write. */
function micro(little: boolean, frames: number): Uint8Array {
  const sizes = Array.from({ length: frames }, (_, i) => 14 + ((i * 97) % 1500));
  const bytes = new Uint8Array(24 + sizes.reduce((sum, size) => sum + 16 + size, 0));
  const mem = new DataView(bytes.buffer);
  mem.setUint32(0, 0xa1b2c3d4, little);
  mem.setUint16(4, 2, little);
  mem.setUint16(6, 4, little);
  mem.setUint32(16, 65_535, little);
  mem.setUint32(20, 1, little);
  let at = 24;
  for (const [i, size] of sizes.entries()) {
    mem.setUint32(at, 1_700_000_000 + i, little);
    mem.setUint32(at + 4, (i * 7919) % 1_000_000, little);
    mem.setUint32(at + 8, size, little);
    mem.setUint32(at + 12, size + (i % 3), little);
    bytes.fill(i, at + 16, at + 16 + size);
    at += 16 + size;
  }
  return bytes;
}

for (const little of [true, false]) {
  test(`pcap-file: pcap-parser and the codec agree, ${little ? 'little' : 'big'}-endian`, async () => {
    const path = file('micro.pcap', micro(little, 300));
    const byPackage = await readCapture(path);
    assert.is(byPackage.length, 300);
    assert.equal(plain(byPackage), plain(readCaptureSync(path)));
    assert.equal(plain(byPackage), plain(streamed(path)));
  });
}

test('pcap-file: a file without a frame is a capture of none, in each form', async () => {
  assert.equal(await readCapture(file('micro.pcap', micro(true, 0))), []);
  assert.equal(await readCapture(file('nano.pcap', emit([]))), []);
});

test('pcap-file: nanoseconds, which the package does not know', async () => {
  const frames = [{ seconds: 5, nanoseconds: 999_999_999, data: Uint8Array.of(1, 2, 3) }];
  const path = file('nano.pcap', emit(frames));
  assert.equal(plain(await readCapture(path)), plain([{ ...frames[0]!, originalLength: 3 }]));
});

test('pcap-file: faults name the file, the place and what was expected', async () => {
  const fault = async (path: string): Promise<string> => {
    try {
      await readCapture(path);
    } catch (error) {
      assert.instance(error, OperatorError);
      return (error as Error).message;
    }
    throw new Error(`${path} was read`);
  };
  const whole = micro(true, 2);
  const cut = file('cut.pcap', whole.subarray(0, whole.length - 1));
  assert.is(await fault(cut), `${cut}: at byte 54: expected a record that fits, not one of 111 bytes`);
  const empty = file('empty.pcap', new Uint8Array());
  assert.match(await fault(empty), `${empty}: at byte 0: expected the magic number`);
  const missing = join(folder, 'missing.pcap');
  assert.match(await fault(missing), `${missing} can't be read`);
});

const captures = process.env.VSWITCHD_CAPTURES;
if (captures === undefined) console.log('VSWITCHD_CAPTURES names no folder: real captures are skipped');
(captures === undefined ? test.skip : test)('pcap-file: both readers agree on real captures', async () => {
  let compared = 0;
  for (const name of readdirSync(captures as string).filter(each => each.endsWith('.pcap'))) {
    const path = join(captures as string, name);
    const own = readCaptureSync(path);
    if (own.length > 20_000) continue; // too slow by the package
    const byPackage = await readCapture(path);
    assert.is(byPackage.length, own.length, name);
    assert.equal(
      streamed(path),
      own.map(frame => ({ ...frame, data: Uint8Array.from(frame.data) })),
      name,
    );
    for (const [i, frame] of own.entries()) {
      const other = byPackage[i]!;
      assert.ok(Buffer.compare(frame.data, other.data) === 0, `${name}, frame ${i}`);
      assert.is(other.nanoseconds, frame.nanoseconds);
    }
    compared++;
  }
  assert.ok(compared > 0, `${captures} has no .pcap of at most 20,000 frames`);
});

test.run();
