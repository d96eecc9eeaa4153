/** The bare switch allocates nothing per frame, forwarded, flooded or dropped: ten times the frames cost no more bytes. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MemoryPort } from '../../src/port/memory.ts';
import * as ethernet from '../../src/wire/ethernet.ts';
import { slopeOf } from '../slope.ts';
import { plainPlane } from './plain.ts';

/** Bursts from each of two ports; few enough that no collection hides what was allocated. */
const ROUNDS = 20;
const WARM_UP = 8_000;
const FRAMES_A_ROUND = 128;
/** A boxed number would be 16 bytes, a subarray 96. */
const BYTES_A_FRAME = 1;
const MAX_MACS = 16;

const LEFT = 0x0a;
const RIGHT = 0x0b;
const TYPE = 0x88b5;

interface Wanted {
  readonly toHi?: number;
  readonly toLo: number;
  readonly fromHi?: number;
  readonly fromLo: number;
  readonly type?: number;
  readonly bytes?: number;
}

function frame({
  toHi = 0x0200,
  toLo,
  fromHi = 0x0200,
  fromLo,
  type = TYPE,
  bytes = 64,
}: Wanted): Uint8Array {
  const data = new Uint8Array(Math.max(bytes, ethernet.ETHERNET_SIZE));
  ethernet.setHeader(new DataView(data.buffer), 0, toHi, toLo, fromHi, fromLo, type);
  return data.subarray(0, bytes);
}

/** Every way that a frame may take: to one port, to all, to none; learnt, not learnt since the table is full. */
const ways = (from: number, to: number): Uint8Array[] => [
  frame({ fromLo: from, toLo: to }),
  frame({ fromLo: from, toLo: to, type: ethernet.ETHERTYPE_TAG }), // learnt and flooded in its VLAN
  frame({ fromLo: from, toLo: 0x77 }), // unknown: flooded
  frame({ fromLo: from, toHi: 0xffff, toLo: -1 }),
  frame({ fromLo: from, toLo: from }), // SameSegment
  frame({ fromLo: from, toLo: to, bytes: 1600 }), // EgressMtu
  frame({ fromLo: from, toLo: to, bytes: 10 }), // FrameTooShort
  frame({ fromLo: from, fromHi: 0x0300, toLo: to }), // SourceIsGroup
  frame({ fromLo: from, toHi: 0x0180, toLo: 0xc200_000e | 0 }), // ReservedAddress
  ...Array.from({ length: 2 * MAX_MACS }, (_, i) => frame({ fromLo: 0x1000 + from * 64 + i, toLo: to })),
];

for (const stormLimit of [undefined, { broadcast: 1, multicast: 1, unknown: 1, macs: 1 }])
  test(`dataplane: allocates nothing per frame${stormLimit === undefined ? '' : ', with storm limits'}`, () => {
    const plane = plainPlane(MAX_MACS, undefined, stormLimit);
    const ports = ['left', 'right', 'idle'].map(name => new MemoryPort(name));
    for (const [index, port] of ports.entries()) plane.attach(index + 1, port);
    const [left, right, idle] = ports as [MemoryPort, MemoryPort, MemoryPort];
    left.loop(ways(LEFT, RIGHT));
    right.loop(ways(RIGHT, LEFT));
    idle.loop([]); // it counts what is flooded to it, and is never served
    let nowMs = 0;
    const slope = slopeOf({ rounds: ROUNDS, warmUp: WARM_UP, framesARound: FRAMES_A_ROUND }, () => {
      nowMs += 1;
      plane.serve(1, nowMs);
      plane.serve(2, nowMs);
      if (nowMs % 100 === 0) plane.tick(nowMs);
    });
    assert.ok(slope < BYTES_A_FRAME, `${slope.toFixed(2)} bytes a frame`);
    assert.ok(right.sentFrames > ROUNDS && idle.sentFrames > ROUNDS);
    assert.is(plane.fdb.size, MAX_MACS);
    const reasons = Object.keys(plane.counters.dropsOf(1)).concat(Object.keys(plane.counters.dropsOf(2)));
    for (const reason of [
      'FrameTooShort',
      'SourceIsGroup',
      'ReservedAddress',
      'SameSegment',
      'EgressMtu',
      ...(stormLimit === undefined ? [] : ['BroadcastLimit', 'UnknownLimit', 'LearnLimit']),
    ])
      assert.ok(reasons.includes(reason), reason);
  });

test.run();
