/** The memory port's loop: what benchmarks stand on. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Batch, BURST } from '../../src/dataplane/batch.ts';
import { MemoryPort } from '../../src/port/memory.ts';

const ROUNDS = 5_000; // enough for the copying loop to be compiled

/** Eight bytes each that are no number as doubles, of the kind that hardware likes to quieten, and some that are. */
const WORDS = [
  0x7ff0_0000_0000_0001n,
  0xfff4_dead_0000_beefn,
  0x7ff7_ffff_ffff_ffffn,
  0n,
  0x0123_4567_89ab_cdefn,
];

test('frames that are copied keep every bit, whatever they are as numbers', () => {
  const frame = new Uint8Array(new BigUint64Array(WORDS).buffer);
  // every place in a word, so that each pattern is a word of its own in one of them
  const frames = Array.from({ length: 8 }, (_, shift) =>
    Uint8Array.from({ length: 8 + frame.length }, (_, i) => frame[i - shift] ?? 0x5a),
  );
  const batch = new Batch();
  const port = new MemoryPort('p');
  port.loop(frames, true);
  for (let round = 0; round < ROUNDS; round++) {
    batch.reset(0);
    assert.is(port.receive(batch, 0), BURST);
    if (round > 2 && round < ROUNDS - 2) continue;
    for (let row = 0; row < BURST; row++) {
      const at = batch.offset[row] as number;
      const length = batch.length[row] as number;
      assert.equal(batch.slab.slice(at, at + length), frames[row % frames.length]);
    }
    batch.slab.fill(0xa5, batch.arena, batch.arena + 4_096); // a stage that changes them
  }
});

test.run();
