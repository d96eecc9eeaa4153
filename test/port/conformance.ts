/**
 * What every kind of port owes a switch, said once: frames whole, in order and once; offloads finished for a peer that has none;
 * what finds no room counted; a peer that dies and returns. `conforms` holds a kind to it.
 *
 * A new kind is one more entry of the tables in conformance.test.ts and conformance.netns.test.ts: how its port is opened, and what its
 * guest's end does.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Dataplane } from '../../src/dataplane/dataplane.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import type { Port } from '../../src/port/port.ts';
import { VNET_SIZE } from '../../src/wire/vnet.ts';
import { plainPlane } from '../dataplane/plain.ts';
import { unfinished } from './gso.ts';

/** So that the largest frames pass unsegmented. */
const MTU = 65_500;
/** Frames that any kind has room for: a kernel may hold ten datagrams (unix(7), max_dgram_qlen). */
const SAFE_BURST = 8;
const [PORT, SOURCE, OTHER] = [0, 1, 2];
const [GUEST_MAC, SOURCE_MAC, OTHER_MAC] = [1, 2, 3];

/** The guest's end of a port. */
export interface Peer {
  /** Is the switch's end there? Client kinds have waited for it. */
  arrive(turn: () => void): boolean;
  send(frame: Uint8Array): void;
  /** All that has come, whole frames. */
  received(): Uint8Array[];
  /** Everything of it is closed, as when the guest's process is killed. */
  kill(): void;
}

/** Where the switch's end is put in and taken out. */
export interface Socket {
  attach(port: Port): void;
  detach(): void;
}

/** The switch's end, whoever keeps it open. */
export interface Opened {
  /** The port has said that it is gone. */
  gone(fault: string | undefined): void;
  /** It is removed, and what it held with it. */
  close(): void;
}

export interface Kind {
  readonly name: string;
  /** Where frames go: `out` to the guest alone, as to a recording, which hears what is not for it, too; `in` from the guest alone. */
  readonly ways: 'both' | 'out' | 'in';
  /** Is a guest that does not read seen by the port? Behind a kernel's interface the kernel loses frames, and counts them there. */
  readonly counts: boolean;
  /** Does the guest take unfinished frames as they are? */
  readonly offloads: boolean;
  /** Bytes of the largest frame that passes. */
  readonly largest: number;
  open(folder: string, socket: Socket): Opened;
  /** The guest's process starts. */
  peer(folder: string): Peer;
}

const files = (): number => readdirSync('/proc/self/fd').length;

function frameOf(from: number, to: number, bytes: number, mark: number): Uint8Array {
  const frame = Buffer.alloc(bytes);
  for (let i = 18; i < bytes; i++) frame[i] = mark * 31 + i * 7;
  frame.set([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5]);
  frame.writeUInt32BE(mark, 14);
  return frame;
}

const markOf = (frame: Uint8Array): number => Buffer.from(frame).readUInt32BE(14);

/** Every length of usual frames in a mix, and now and then a large one. */
function bytesOf(mark: number, largest: number): number {
  if (mark % 100 === 99) return largest;
  if (mark % 100 === 49) return 9_000;
  return 60 + ((mark * 577) % 1455);
}

/** A switch with the kind's port, a port that frames come from, and one that is not concerned. */
class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'conform-'));
  readonly source = new MemoryPort('source', { offloads: true, mtu: MTU });
  readonly other = new MemoryPort('other', { mtu: MTU });
  readonly plane: Dataplane;
  readonly port: Opened;
  readonly #kind: Kind;
  #attached = false;
  #nowMs = 1_000;
  #peer: Peer;

  constructor(kind: Kind) {
    this.#kind = kind;
    this.plane = plainPlane(64, (_, fault) => queueMicrotask(() => this.port.gone(fault)));
    this.plane.attach(SOURCE, this.source);
    this.plane.attach(OTHER, this.other);
    this.#peer = kind.peer(this.folder); // first, as a client that finds nobody waits for a second
    this.port = kind.open(this.folder, {
      attach: port => {
        this.plane.attach(PORT, port);
        this.#attached = true;
      },
      detach: () => {
        this.plane.detach(PORT);
        this.#attached = false;
      },
    });
  }

  get peer(): Peer {
    return this.#peer;
  }

  readonly turn = (): void => {
    this.#nowMs++;
    for (const index of [PORT, SOURCE, OTHER]) while (this.plane.serve(index, this.#nowMs) > 0);
  };

  /** Till the guest's end is served, and all stations are known. */
  async meet(): Promise<void> {
    const until = Date.now() + 5_000;
    while (!(this.#peer.arrive(this.turn) && this.#attached)) {
      assert.ok(Date.now() < until, 'the peer is not served');
      await sleep(2);
      this.turn();
    }
    this.other.give(frameOf(OTHER_MAC, SOURCE_MAC, 60, 0));
    this.source.give(frameOf(SOURCE_MAC, OTHER_MAC, 60, 0));
    if (this.#kind.ways !== 'out') this.#peer.send(frameOf(GUEST_MAC, SOURCE_MAC, 60, 0));
    this.turn();
    this.#peer.received();
    this.source.sent.length = this.other.sent.length = 0;
  }

  toGuest(bytes: number, mark: number): Uint8Array {
    const frame = frameOf(SOURCE_MAC, GUEST_MAC, bytes, mark);
    this.source.give(frame);
    return frame;
  }

  toOther(mark: number): void {
    this.source.give(frameOf(SOURCE_MAC, OTHER_MAC, 100, mark));
  }

  /** What `other` was sent for itself. */
  get otherMarks(): number[] {
    return this.other.sent.filter(frame => frame[5] === OTHER_MAC).map(markOf);
  }

  /** All for the guest that is still on its way to it. */
  drain(): Uint8Array[] {
    return this.drainAll().filter(frame => frame[5] === GUEST_MAC || frame[5] === 0xff);
  }

  drainAll(): Uint8Array[] {
    const all: Uint8Array[] = [];
    for (let idle = 0; idle < 3; idle++) {
      const got = this.#peer.received();
      if (got.length > 0) idle = 0;
      all.push(...got);
      this.turn();
    }
    return all;
  }

  /** The guest's process is killed, the switch notices, another one starts. */
  async again(): Promise<void> {
    this.#peer.kill();
    this.turn();
    await sleep(1);
    this.#peer = this.#kind.peer(this.folder);
    await this.meet();
  }

  close(): void {
    this.port.close();
    this.#peer.kill();
    rmSync(this.folder, { recursive: true });
  }
}

async function withBench(kind: Kind, act: (bench: Bench) => Promise<void>): Promise<void> {
  const bench = new Bench(kind);
  try {
    await bench.meet();
    await act(bench);
  } finally {
    bench.close();
  }
}

function same(got: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  assert.is(got.length, expected.length);
  got.forEach((frame, i) => void assert.is(Buffer.compare(frame, expected[i]!), 0, `frame ${i}`));
}

export function conforms(kind: Kind): void {
  const [takes, gives] = [kind.ways !== 'in', kind.ways !== 'out'];

  test(`${kind.name}: thousands of frames of mixed lengths: whole, in order, once`, () =>
    withBench(kind, async bench => {
      for (let mark = 1; mark < 3_000; ) {
        const sent: Uint8Array[] = [];
        const back: Uint8Array[] = [];
        for (let i = 0; i < SAFE_BURST; i++, mark++) {
          const bytes = bytesOf(mark, kind.largest);
          if (takes) sent.push(bench.toGuest(bytes, mark));
          if (!gives) continue;
          back.push(frameOf(GUEST_MAC, SOURCE_MAC, bytes, mark));
          bench.peer.send(back.at(-1)!);
        }
        bench.turn();
        same(bench.drain(), sent);
        same(bench.source.sent.splice(0), back);
      }
      assert.equal(bench.plane.counters.dropsOf(PORT), {});
    }));

  if (takes) {
    test(`${kind.name}: segments and sums are ${kind.offloads ? 'passed as they are' : 'finished'}`, () =>
      finishes(kind));
    test(`${kind.name}: a guest that does not read costs the others nothing, and itself ${kind.counts ? 'counted frames' : 'frames'}`, () =>
      holdsBack(kind));
  }
  if (takes && gives)
    test(`${kind.name}: a guest killed in a burst returns, gets what is sent from then on, and no file stays`, () =>
      returns(kind));

  test(`${kind.name}: removed under traffic, it takes nothing of the others with it and leaves no file`, async () => {
    const before = files();
    await withBench(kind, async bench => {
      for (let mark = 1; mark <= 640; mark++) {
        bench.toGuest(500, mark);
        bench.toOther(mark);
        if (mark % 32 === 0) bench.turn();
        if (mark === 333) bench.port.close();
      }
      bench.turn();
      assert.equal(
        bench.otherMarks,
        Array.from({ length: 640 }, (_, i) => i + 1),
      );
    });
    await sleep(5); // a watch's handle is closed by the event loop
    assert.is(files(), before);
  });
}

const finishes = (kind: Kind): Promise<void> =>
  withBench(kind, async bench => {
    const finishing = new MemoryPort('finishing', { mtu: MTU, offloads: kind.offloads });
    bench.plane.attach(3, finishing);
    for (const large of [
      { version: 4, protocol: 'tcp', payload: 10_000, size: 1_448 },
      { version: 4, protocol: 'udp', payload: 900, size: 0 },
      { version: 6, protocol: 'tcp', payload: 100, size: 0 },
    ] as const) {
      const { bytes } = unfinished(large);
      bytes.fill(0xff, VNET_SIZE, VNET_SIZE + 6); // to all, so that one that is known to finish gets it too
      bytes.set([2, 0, 0, 0, 0, SOURCE_MAC], VNET_SIZE + 6);
      bench.source.give(bytes.subarray(VNET_SIZE), bytes.subarray(0, VNET_SIZE));
      bench.turn();
      assert.is(finishing.sent.length, !kind.offloads && large.size > 0 ? 7 : 1);
      same(bench.drain(), finishing.sent.splice(0));
    }
    bench.plane.detach(3);
  });

const holdsBack = (kind: Kind): Promise<void> =>
  withBench(kind, async bench => {
    const frames = 3_200; // more bytes than any socket holds
    for (let mark = 1; mark <= frames; mark++) {
      bench.toGuest(9_000, mark);
      bench.toOther(mark);
      if (mark % 32 === 0) bench.turn();
    }
    assert.equal(
      bench.otherMarks,
      Array.from({ length: frames }, (_, i) => i + 1),
    );
    const all = bench.drainAll();
    const marks = all.filter(frame => frame[5] === GUEST_MAC).map(markOf);
    const { TxFull = 0, ...others } = bench.plane.counters.dropsOf(PORT);
    assert.equal(others, {});
    assert.ok(marks.length > 0 && marks.length < frames, `${marks.length} arrived`);
    if (kind.counts) assert.is(all.length + TxFull, kind.ways === 'out' ? 2 * frames : frames);
    assert.ok(
      marks.every((mark, i) => i === 0 || mark > marks[i - 1]!),
      'in order, once',
    );
    const last = bench.toGuest(9_000, frames + 1);
    bench.turn();
    same(bench.drain(), [last]);
  });

const returns = (kind: Kind): Promise<void> =>
  withBench(kind, async bench => {
    let mark = 1;
    const round = async (): Promise<void> => {
      for (let i = 0; i < 50; i++) bench.toGuest(700, mark++);
      bench.turn();
      for (let i = 0; i < 10; i++) bench.peer.send(frameOf(GUEST_MAC, SOURCE_MAC, 300, i));
      await bench.again();
      for (let burst = 0; burst < 6; burst++) {
        const sent = Array.from({ length: SAFE_BURST }, () => bench.toGuest(700, mark++));
        bench.turn();
        same(bench.drain(), sent);
      }
    };
    await round();
    const before = files();
    for (let i = 0; i < 2; i++) await round();
    assert.is(files(), before);
  });
