/** What is kept of the loop's rounds: busy and waiting, sizes of bursts, and frames' time, without an allocation. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { LoopStats, loopMemory, readLoop } from '../../src/dataplane/loopstats.ts';
import { slopeOf } from '../slope.ts';

/** Rounds by hand: [frames of each burst, ms the round took, ms it slept behind; undefined: it did not]. */
type Round = readonly [bursts: readonly number[], tookMs: number, sleptMs?: number];

function after(rounds: readonly Round[], worked = false): ReturnType<typeof readLoop> {
  const memory = loopMemory();
  const stats = new LoopStats(memory);
  const clock = Float64Array.of(1000, 0);
  stats.start(clock);
  for (const [bursts, tookMs, sleptMs] of rounds) {
    for (const frames of bursts) stats.burst(frames);
    clock[1] = (clock[0] as number) + tookMs;
    clock[0] = clock[1] + (sleptMs ?? 0);
    if (sleptMs === undefined) clock[1] = 0;
    stats.round(clock, sleptMs !== undefined, worked);
  }
  return readLoop(memory);
}

test('rounds with frames are work, rounds without are waiting, and so is sleep', () => {
  const { rounds, busyS, waitS } = after([
    [[1], 2],
    [[], 8],
    [[5, 5], 4, 100],
  ]);
  assert.equal([rounds, busyS.toFixed(6), waitS.toFixed(6)], [3, '0.006000', '0.108000']);
  assert.is(after([[[], 8]], true).busyS.toFixed(6), '0.008000');
});

test('bursts are counted by size, up to their bounds', () => {
  const { batches } = after([[[1, 2, 3, 4, 256, 257, 5000], 1]]);
  assert.equal(batches.bounds, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
  assert.equal(batches.counts, [1, 1, 2, 0, 0, 0, 0, 0, 1, 2]);
  assert.is(batches.sum, 5523);
});

test('each frame counts with how long its round took', () => {
  const { latencies } = after([
    [[10, 20], 0.0015],
    [[], 50],
    [[7], 3, 60],
    [[2], 1e6],
  ]);
  assert.is(latencies.counts[1], 30); // 1.5 µs: up to 2 µs
  assert.is(latencies.counts[12], 7); // 3 ms: up to 4.096 ms
  assert.is(latencies.counts[19], 2);
  assert.is(
    latencies.counts.reduce((sum, count) => sum + count),
    39,
  );
  assert.is(latencies.sum.toFixed(6), (2000.021 + 0.000045).toFixed(6));
  assert.equal([latencies.bounds[0], latencies.bounds[18]], [0.000001, 0.262144]);
});

test('a round and its bursts allocate nothing', () => {
  const stats = new LoopStats();
  const clock = Float64Array.of(1.25, 1.5);
  stats.start(clock);
  let turn = 0;
  const slope = slopeOf({ rounds: 2_000, warmUp: 100_000, framesARound: 1 }, () => {
    turn = (turn + 1) & 1023;
    stats.burst(turn);
    clock[1] = (clock[0] as number) + 0.37;
    clock[0] = clock[1] + 0.011;
    stats.round(clock, (turn & 1) === 0, true);
  });
  assert.ok(slope < 1, `${slope.toFixed(2)} bytes a round`);
});

test.run();
