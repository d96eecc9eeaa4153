/** The addon's edge: what it refuses, and the calls that need no privilege. */
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HEADROOM, SLOT } from '../../src/dataplane/batch.ts';
import { loadNative } from '../../src/port/native.ts';

const native = loadNative();
const slab = new Uint8Array(4 * SLOT);
const columns = () => [new Int32Array(8), new Int32Array(8)] as const;

/** Calls as JavaScript would, past the types. */
const call = (name: keyof typeof native, ...values: unknown[]): unknown =>
  (native[name] as (...values: unknown[]) => unknown)(...values);

test('every call refuses missing arguments and arguments of other types, and none crashes', () => {
  const free = new Set(['confine', 'epollCreate', 'eventCreate', 'ownFiles', 'patchedPages', 'socketPair']); // these take none
  const odd = [
    undefined,
    null,
    {},
    'x',
    Symbol('s'),
    [],
    new Float32Array(4),
    new DataView(new ArrayBuffer(8)),
    NaN,
  ];
  for (const name of Object.keys(native) as (keyof typeof native)[]) {
    if (free.has(name)) continue;
    assert.throws(
      () => call(name),
      (error: unknown) => error instanceof TypeError,
      name,
    );
    for (const value of odd)
      assert.throws(
        () => call(name, value, value, value, value, value, value, value, value),
        undefined,
        `${name}`,
      );
  }
});

test('numbers must be whole and in range', () => {
  for (const fd of [-1, 1.5, 2 ** 31, Number.POSITIVE_INFINITY])
    assert.throws(
      () => native.close(fd),
      (error: unknown) => error instanceof RangeError,
    );
  assert.throws(() => native.interfaceIndex('0123456789abcdef', -1), /1 to 15 bytes, not 16/);
  assert.throws(() => native.interfaceIndex('', -1), /1 to 15 bytes/);
  assert.throws(() => native.interfaceIndex('a\0b', -1), /NUL/);
  assert.throws(() => native.close(1_000_000), /EBADF/);
});

test('writing: rows outside the columns, frames outside the slab', () => {
  const [offsets, lengths] = columns();
  const refused = new Int32Array(1);
  const write = (row: number, offset: number, length: number, count = 1, shift = 0): number => {
    offsets[0] = offset;
    lengths[0] = length;
    return native.writeFrames(1_000_000, slab, offsets, lengths, Int32Array.of(row), count, shift, refused);
  };
  assert.is(write(0, HEADROOM, 60), -9, 'a good one reaches the kernel: EBADF');
  const outside: [number, number, number, number?, number?][] = [
    [-1, HEADROOM, 60],
    [8, HEADROOM, 60],
    [0, 9, 60],
    [0, -5, 60],
    [0, HEADROOM, -1],
    [0, HEADROOM, 13, 1, 14],
    [0, slab.length - 59, 60],
    [0, 2 ** 31 - 1, 2 ** 31 - 1],
    [0, HEADROOM, 60, 2],
  ];
  for (const values of outside)
    assert.throws(
      () => write(...values),
      (error: unknown) => error instanceof RangeError,
      String(values),
    );
  assert.throws(
    () => native.sendPackets(0, slab, offsets, lengths, Int32Array.of(0), 2, refused),
    (error: unknown) => error instanceof RangeError,
  );
});

test('reading: rows and slots that are not there', () => {
  const [offsets, lengths] = columns();
  const read = (start: number, first: number, max: number): number =>
    native.readFrames(1_000_000, slab, start, offsets, lengths, first, max, 0);
  assert.is(read(0, 0, 4), -9);
  assert.is(read(slab.length - SLOT + 4, 0, 4), 0, 'no slot fits');
  for (const [start, first, max] of [
    [slab.length + 4, 0, 1],
    [2, 0, 1],
    [0, 8, 1],
    [0, 0, 9],
  ] as const)
    assert.throws(
      () => read(start, first, max),
      (error: unknown) => error instanceof RangeError,
    );
});

test('epoll: tags of what is ready, the clock, and nothing after it was cleared or removed', () => {
  const epoll = native.epollCreate();
  const event = native.eventCreate();
  const tags = new Int32Array(4);
  const clock = new Float64Array(2);
  native.epollAdd(epoll, event, -7);
  assert.is(native.wait(epoll, tags, 0, clock), 0);
  native.eventSignal(event);
  native.eventSignal(event);
  assert.is(native.wait(epoll, tags, -1, clock), 1);
  assert.is(tags[0], -7);
  const before = clock[0]!;
  native.eventClear(event);
  assert.is(native.wait(epoll, tags, 20, clock), 0);
  assert.ok(clock[0]! - before >= 19, 'it waited');
  native.eventSignal(event);
  native.epollRemove(epoll, event);
  assert.is(native.wait(epoll, tags, 0, clock), 0);
  assert.throws(() => native.epollRemove(epoll, event), /ENOENT/);
  native.close(event);
  native.close(epoll);
});

test('watch: called while readable, not after close, and the file stays open', async () => {
  const event = native.eventCreate();
  let calls = 0;
  const watched = native.watch(event, () => {
    calls++;
    native.eventClear(event);
  });
  native.eventSignal(event);
  await new Promise(resolve => setTimeout(resolve, 20));
  assert.is(calls, 1);
  watched.close();
  native.eventSignal(event);
  await new Promise(resolve => setTimeout(resolve, 20));
  assert.is(calls, 1);
  native.close(event);
});

test('lockFile: one holder at a time, free again when its file is closed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vswitchd-lock-'));
  const path = join(folder, 'lock');
  const first = openSync(path, 'w');
  const second = openSync(path, 'w');
  assert.is(native.lockFile(first), true);
  assert.is(native.lockFile(second), false);
  closeSync(first);
  assert.is(native.lockFile(second), true);
  closeSync(second);
  rmSync(folder, { recursive: true });
});

test('an errno is an Error with code, syscall and what it was about', () => {
  try {
    native.sendUnixDatagram('@vswitchd-nobody-listens', 'READY=1');
    assert.unreachable();
  } catch (error) {
    const { code, syscall, device } = error as { code: string; syscall: string; device: string };
    assert.equal([code, syscall, device], ['ECONNREFUSED', 'sendto', '@vswitchd-nobody-listens']);
  }
});

test.run();
