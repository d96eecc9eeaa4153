/** Frames as datagrams: whose they are, peers that go and return, what is too large or finds no room, and nothing allocated. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MAX_FRAME } from '../../src/dataplane/batch.ts';
import type { Dataplane } from '../../src/dataplane/dataplane.ts';
import { DgramPort } from '../../src/port/dgram.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { loadNative } from '../../src/port/native.ts';
import { plainPlane } from '../dataplane/plain.ts';
import { slopeOf } from '../slope.ts';
import { DgramGuest } from './dgram-guest.ts';
import { hostThat } from './host.ts';

const native = loadNative();

interface Bench {
  readonly plane: Dataplane;
  readonly memory: MemoryPort;
  readonly carriers: boolean[];
  /** A guest at a path of this name. */
  guest(name: string): DgramGuest;
  /** Another port goes on with the socket. */
  goOn(): void;
}

/** A port of datagrams, to the guest of this name or to whoever sends, and one in memory. */
function withPort(peer: string | undefined, act: (bench: Bench) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'dgram-'));
  const own = join(folder, 'own.sock');
  const fd = native.bindDatagrams(own);
  const guests: DgramGuest[] = [];
  const carriers: boolean[] = [];
  try {
    const plane = plainPlane(16, () => assert.unreachable('datagrams have no end'));
    const host = hostThat({ carrier: up => void carriers.push(up) });
    const path = peer === undefined ? undefined : join(folder, peer);
    plane.attach(0, new DgramPort('d', fd, 1500, path, host));
    const goOn = (): void => {
      const rest = plane.port(0)?.rest?.();
      plane.detach(0);
      plane.attach(0, new DgramPort('d', fd, 1500, path, host, rest));
    };
    const memory = new MemoryPort('m');
    plane.attach(1, memory);
    const guest = (name: string): DgramGuest => {
      const made = new DgramGuest(join(folder, name), own);
      guests.push(made);
      return made;
    };
    act({ plane, memory, carriers, guest, goOn });
  } finally {
    for (const guest of guests) guest.close();
    native.close(fd);
    rmSync(folder, { recursive: true });
  }
}

function frameOf(from: number, to: number, bytes: number, mark = 0): Uint8Array {
  const frame = new Uint8Array(bytes).fill(mark);
  frame.set([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5]);
  return frame;
}

test('a peer that is named gets frames before it has sent any, and others hear nothing', () =>
  withPort('named', ({ plane, memory, guest }) => {
    const [named, other] = [guest('named'), guest('other')];
    other.send(frameOf(3, 9, 60));
    plane.serve(0, 1);
    assert.is(memory.sent.length, 1);
    memory.give(frameOf(9, 1, 60, 7));
    plane.serve(1, 2);
    assert.equal([named.received().length, other.received().length], [1, 0]);
  }));

for (const peer of ['first', undefined])
  test(`another port goes on with the socket, and with its peer, ${peer ?? 'one that was learnt'}`, () =>
    withPort(peer, ({ plane, memory, carriers, guest, goOn }) => {
      const first = guest('first');
      goOn();
      assert.equal(carriers, [], 'nobody was there');
      first.send(frameOf(1, 9, 60));
      plane.serve(0, 1);
      goOn();
      assert.equal(carriers, [true, true]);
      memory.give(frameOf(9, 1, 60, 7));
      plane.serve(1, 2);
      assert.is(first.received().length, 1);
    }));

test('a peer that is learnt: nobody first, then whoever sent the last burst', () =>
  withPort(undefined, ({ plane, memory, guest }) => {
    const [first, second] = [guest('first'), guest('second')];
    const told = (): number[] => {
      memory.give(frameOf(9, 1, 60));
      plane.serve(1, 1);
      return [first.received().length, second.received().length];
    };
    assert.equal(told(), [0, 0]);
    assert.equal(plane.counters.dropsOf(0), { TxRefused: 1 });
    for (const [guest, expected] of [
      [first, [1, 0]],
      [second, [0, 1]],
    ] as const) {
      guest.send(frameOf(1, 9, 60));
      plane.serve(0, 1);
      assert.equal(told(), expected);
    }
  }));

test('a peer that is away costs its frames, counted, and is back with its next', () =>
  withPort('named', ({ plane, memory, carriers, guest }) => {
    const one = guest('named');
    one.send(frameOf(1, 9, 60));
    plane.serve(0, 1);
    one.close();
    for (let i = 0; i < 3; i++) memory.give(frameOf(9, 1, 60));
    plane.serve(1, 2);
    assert.equal(plane.counters.dropsOf(0), { TxRefused: 3 });
    assert.equal(carriers, [true, false]);
    const again = guest('named');
    again.send(frameOf(1, 9, 60));
    plane.serve(0, 3);
    memory.give(frameOf(9, 1, 60, 5));
    plane.serve(1, 4);
    assert.equal(again.received(), [frameOf(9, 1, 60, 5)]);
    assert.equal(carriers, [true, false, true]);
    assert.equal([plane.counters.txFrames[0], plane.counters.dropsOf(0)], [1, { TxRefused: 3 }]);
  }));

test('what is longer than any frame is skipped, and what follows it is served', () =>
  withPort('named', ({ plane, memory, guest }) => {
    const one = guest('named');
    one.send(frameOf(1, 9, 60, 1));
    one.send(frameOf(1, 9, MAX_FRAME + 1, 2));
    one.send(frameOf(1, 9, 60, 3));
    for (let round = 0; round < 3; round++) plane.serve(0, round);
    assert.equal(memory.sent, [frameOf(1, 9, 60, 1), frameOf(1, 9, 60, 3)]);
  }));

test('what is longer than the MTU of the port does not leave it, and is counted', () =>
  withPort('named', ({ plane, memory, guest }) => {
    const one = guest('named');
    memory.give(frameOf(9, 1, 1515));
    memory.give(frameOf(9, 1, 1514));
    plane.serve(1, 1);
    assert.equal(
      one.received().map(frame => frame.length),
      [1514],
    );
    assert.equal(plane.counters.dropsOf(0), { EgressMtu: 1 });
  }));

test('a peer that does not read: what its socket has no room for is counted, and the rest is in order', () =>
  withPort('named', ({ plane, memory, guest }) => {
    const one = guest('named');
    const frames = 2_000;
    for (let i = 0; i < frames; i++) memory.give(frameOf(9, 1, 1_000, i));
    for (let round = 0; plane.serve(1, round) > 0; round++);
    const got = one.received().length;
    const { TxFull = 0, ...others } = plane.counters.dropsOf(0);
    assert.equal(others, {});
    assert.ok(got > 0 && TxFull > 0, `${got} ${TxFull}`);
    assert.equal([got + TxFull, plane.counters.txFrames[0]], [frames, got]);
  }));

test('allocates nothing per frame, received or sent', () =>
  withPort('named', ({ plane, memory, guest }) => {
    const one = guest('named');
    memory.loop([frameOf(9, 1, 64), frameOf(9, 1, 900)]);
    const frame = frameOf(1, 9, 100);
    let nowMs = 0;
    const slope = slopeOf({ rounds: 50, warmUp: 3_000, framesARound: 72 }, () => {
      nowMs++;
      for (let i = 0; i < 8; i++) one.send(frame);
      plane.serve(0, nowMs);
      plane.serve(1, nowMs);
      while (one.take() > 0);
    });
    assert.ok(slope < 1, `${slope.toFixed(2)} bytes a frame`);
    const { rxFrames, txFrames } = plane.counters;
    assert.ok((rxFrames[0] as number) > 20_000 && (txFrames[0] as number) > 20_000);
  }));

test.run();
