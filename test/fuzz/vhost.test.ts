// timeout: 90 s
/**
 * A front end and a guest that write whatever they like: into messages, files and rings. It costs their own port; two other guests
 * go on exchanging frames meanwhile, nothing outside the memory that was told of is written, and no file stays open.
 * VSWITCHD_FUZZ_SECONDS makes it longer, VSWITCHD_FUZZ_SEED repeats a run.
 */
import { closeSync, ftruncateSync, openSync, readdirSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadNative } from '../../src/port/native.ts';
import { VhostPort } from '../../src/port/vhost/port.ts';
import { Feature } from '../../src/port/vhost/protocol.ts';
import { plainPlane } from '../dataplane/plain.ts';
import { hostThat } from '../port/host.ts';
import { USUAL, VhostGuest } from '../port/vhost/guest.ts';
import { type Random, random } from '../random.ts';

const native = loadNative();
const seconds = Number(process.env.VSWITCHD_FUZZ_SECONDS ?? 8);
const seed = Number(process.env.VSWITCHD_FUZZ_SEED ?? Date.now() % 1_000_000);

const HOSTILE = 1;
/** Bytes before and behind what is told of as memory, which nobody may write. */
const GUARD = 64 << 10;
const MEMORY = 8 << 20;

const host = hostThat();

const gone: (string | undefined)[] = [];
const dataplane = plainPlane(4_096, (_, fault) => void gone.push(fault));
const good = [new VhostGuest(), new VhostGuest()] as const;
let nowMs = 1_000;

function serve(index: number, most = 64): void {
  for (let i = 0; i < most && dataplane.serve(index, nowMs++) > 0; i++);
}

good.forEach((guest, i) => {
  dataplane.attach(2 + i, new VhostPort(`good${i}`, guest.theirs, 1500, 1, undefined, host));
  guest.start(() => serve(2 + i));
  guest.fill(128);
});

/** One frame each way between the two that behave. */
function stillWorks(mark: number): void {
  good.forEach((guest, i) => {
    const frame = new Uint8Array(200).fill(mark);
    frame.set([2, 0, 0, 0, 0, 21 - i, 2, 0, 0, 0, 0, 20 + i, 0x88, 0xb5]);
    guest.send(frame);
    serve(2 + i);
    const other = good[1 - i]!;
    const got = other.received();
    const found = got.filter(each => Buffer.compare(each.frame, frame) === 0);
    assert.is(found.length, 1, `seed ${seed}: the others' frame ${mark} came ${found.length} times`);
    other.fill(got.length);
  });
}

const pick = <T>(next: Random, from: readonly T[]): T => from[next(from.length)] as T;

/** Numbers at which things break. */
const number = (next: Random): number =>
  pick(next, [
    0,
    1,
    2,
    3,
    15,
    16,
    255,
    256,
    257,
    0x7fff,
    0x8000,
    0xffff,
    1 << 20,
    MEMORY,
    next(1 << 16),
    next(2 ** 31 - 1),
    -1 >>> 0,
  ]);

function payload(next: Random): Uint8Array {
  const bytes = pick(next, [0, 1, 7, 8, 8, 8, 12, 24, 40, 40, 72, 264, 500, next(520)]);
  const mem = new DataView(new ArrayBuffer(bytes));
  for (let at = 0; at + 4 <= bytes; at += 4) mem.setUint32(at, number(next), true);
  if (bytes >= 8 && next(2) === 0) mem.setUint32(0, next(4), true);
  return new Uint8Array(mem.buffer);
}

function files(next: Random, open: number[]): number[] {
  const make = [
    () => native.createMemory(pick(next, [0, 100, 4096, 1 << 20])),
    () => native.eventCreate(),
    () => openSync('/dev/null', 'r+'),
    () => openSync('/dev/zero', 'r+'),
    () => native.epollCreate(),
  ];
  const made = Array.from({ length: pick(next, [0, 0, 1, 1, 2, 8]) }, () => pick(next, make)());
  open.push(...made);
  return made;
}

function messages(next: Random, guest: VhostGuest): void {
  const open: number[] = [];
  for (let i = next(40); i > 0; i--) {
    guest.say(
      next(next(8) === 0 ? 300 : 45),
      payload(next),
      files(next, open),
      pick(next, [1, 1, 1, 9, 9, 5, 0, next(2 ** 31 - 1)]),
    );
    if (next(3) === 0) serve(HOSTILE);
  }
  if (next(4) === 0)
    native.sendBytes(
      guest.fd,
      Uint8Array.from({ length: 40 }, () => next(256)),
      0,
      1 + next(39),
    );
  serve(HOSTILE);
  for (const fd of open) closeSync(fd);
}

/** Writes into what the device reads and writes, at random, and has it look. */
function rings(next: Random, guest: VhostGuest): void {
  const memory = guest.regions[0]!.memory;
  const words = new DataView(memory, 0, Math.min(memory.byteLength, 0x60000));
  for (let round = 10; round > 0; round--) {
    for (let writes = next(30); writes > 0; writes--) {
      const queue = pick(next, guest.queues);
      const index = next(queue.size);
      switch (next(7)) {
        case 0:
          queue.describe(
            index,
            pick(next, [number(next), MEMORY - next(64), 2 ** 52, 0]),
            number(next),
            next(8),
            number(next) & 0xffff,
          );
          break;
        case 1: // chains of some length, with loops
          queue.describe(index, next(MEMORY), next(3000), 1 | (next(2) << 1), next(queue.size));
          break;
        case 2:
          queue.available[2 + index] = number(next);
          break;
        case 3:
          queue.offer(next(queue.size + 4));
          break;
        case 4:
          Atomics.store(queue.available, 1, number(next) & 0xffff);
          break;
        case 5: // a table of descriptors, maybe within another
          queue.describe(
            index,
            next(MEMORY) & ~3,
            pick(next, [16, 32, 17, 160, 16_384, 1 << 20]),
            4 | next(4),
            next(queue.size),
          );
          queue.offer(index);
          break;
        default:
          words.setUint32(0x10000 + 4 * next(0x10000), number(next), true);
      }
    }
    serve(HOSTILE, 8);
    if (next(3) === 0) flood(next);
  }
}

/** Something for it to receive. */
function flood(next: Random): void {
  const frame = new Uint8Array(pick(next, [60, 300, 1514])).fill(7);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 20, 0x88, 0xb5]);
  good[0].send(frame);
  serve(2);
  const { length } = good[1].received();
  good[1].fill(length);
}

/** Memory of which the guest cuts off the end while it is in use. */
function cutShort(next: Random, guest: VhostGuest, file: number): void {
  guest.fill(4);
  for (let i = 0; i < 3; i++) guest.send(new Uint8Array(1200).fill(i));
  ftruncateSync(file, pick(next, [0, 4096, GUARD, 0x20000]));
  serve(HOSTILE, 8);
  flood(next);
  serve(HOSTILE, 8);
}

const FEATURES = [
  USUAL,
  [...USUAL, Feature.eventIndex, Feature.indirect],
  [Feature.protocol],
  [Feature.version1],
];

test(`whatever a front end says and a guest writes, it is alone in it (seed ${seed})`, () => {
  const next = random(seed);
  const filesBefore = readdirSync('/proc/self/fd').length;
  const end = performance.now() + seconds * 1_000;
  let rounds = 0;
  for (; performance.now() < end; rounds++) {
    const guest = new VhostGuest({ features: pick(next, FEATURES), regions: [[0, MEMORY]] });
    const { fd } = guest.regions[0]!;
    const port = new VhostPort('hostile', guest.theirs, 1500, 1 + next(2), undefined, host);
    dataplane.attach(HOSTILE, port);
    const deed = next(8);
    if (deed < 3) messages(next, guest);
    else {
      // What it tells of lies within its file, between two parts that it does not tell of.
      ftruncateSync(fd, MEMORY + GUARD);
      const guard = new Uint8Array(native.mapMemory(fd, MEMORY, GUARD));
      guard.fill(0x5a);
      guest.start(() => serve(HOSTILE));
      if (deed === 7) cutShort(next, guest, fd);
      else {
        guest.fill(20);
        rings(next, guest);
        if (next(3) === 0) messages(next, guest);
        assert.ok(
          guard.every(byte => byte === 0x5a),
          `seed ${seed}, round ${rounds}: what is beyond its memory was written`,
        );
      }
      native.unmapMemory(guard.buffer as ArrayBuffer);
    }
    stillWorks(rounds & 0xff);
    dataplane.detach(HOSTILE);
    guest.close();
    native.close(guest.theirs);
    assert.is(
      readdirSync('/proc/self/fd').length,
      filesBefore,
      `seed ${seed}, round ${rounds}: files are left open`,
    );
  }
  assert.ok(rounds > 50, `only ${rounds} rounds`);
  assert.ok(gone.length > 10, 'none of it was noticed');
  assert.ok(native.patchedPages() > 0, 'no memory was cut short');
});

test.run();
