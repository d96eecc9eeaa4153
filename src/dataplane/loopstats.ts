/**
 * What the data plane's loop has done, in memory that both threads see: rounds, time, sizes of bursts, and how long frames
 * were in the switch. The worker writes it; all are counts since the start.
 *
 * A round lasts from the end of one wait to the end of the next, or to its beginning where the loop slept in it. No clock is
 * read for that which the loop does not read anyway, but for one before it sleeps.
 *
 *   wait ── frames, commands, timers ── wait(0) ── frames ── wait … sleeping … ──
 *        └──────── round ───────────────────┘└──── round ──┘      └ waiting ┘
 */
import type { HistogramFigures } from '../control/exposition.ts';
import type { LoopFigures } from '../control/figures.ts';

/** Upper bounds of the buckets are powers of two: 1 … 256 frames, and 1 µs … 262 ms; one more for what is above. */
export const BATCH_BUCKETS = 9;
export const LATENCY_BUCKETS = 19;

const ROUNDS = 0;
const BUSY_MS = 1;
const WAIT_MS = 2;
const FRAMES = 3;
const LATENCY_MS = 4; // sum over frames
const STARTED_MS = 5; // the round
const FRAMES_BEFORE = 6;
const SERVING = 7;
const BATCHES = 8;
const LATENCIES = BATCHES + BATCH_BUCKETS + 1;
const WORDS = LATENCIES + LATENCY_BUCKETS + 1;

const MOST_US = 1 << 30;

/** In place of a port's index. */
export const NOBODY = -1;

export const loopMemory = (): SharedArrayBuffer => new SharedArrayBuffer(WORDS * 8);

/** The number of the first power of two that is not less. */
const bucketOf = (count: number): number => (count <= 1 ? 0 : 32 - Math.clz32(count - 1));

export class LoopStats {
  readonly #words: Float64Array;

  constructor(memory: SharedArrayBuffer = loopMemory()) {
    this.#words = new Float64Array(memory);
  }

  /** A burst of frames, at least one, was received from a port. */
  burst(frames: number): void {
    const words = this.#words;
    const at = BATCHES + Math.min(bucketOf(frames), BATCH_BUCKETS);
    words[at] = (words[at] as number) + 1;
    words[FRAMES] = (words[FRAMES] as number) + frames;
  }

  /** Frames of a port are being handled; NOBODY: none are. */
  serving(index: number): void {
    this.#words[SERVING] = index;
  }

  /** The first round begins. `clock`: as `wait` has left it. */
  start(clock: Float64Array): void {
    this.#words[STARTED_MS] = clock[0] as number;
  }

  /** How many frames the present round has brought, so far. */
  get frames(): number {
    return (this.#words[FRAMES] as number) - (this.#words[FRAMES_BEFORE] as number);
  }

  /**
   * A wait has ended, and with it a round. `clock`: when the wait ended and, if it `slept`, when it began, ms. `worked`: was
   * there more in the round than a look at the ports? Such a look in vain is waiting. Frames count as work by themselves.
   */
  round(clock: Float64Array, slept: boolean, worked: boolean): void {
    const words = this.#words;
    const now = clock[0] as number;
    const end = slept ? (clock[1] as number) : now;
    const took = end - (words[STARTED_MS] as number);
    const frames = this.frames;
    words[STARTED_MS] = now;
    words[ROUNDS] = (words[ROUNDS] as number) + 1;
    words[WAIT_MS] = (words[WAIT_MS] as number) + (now - end);
    const kind = worked || frames > 0 ? BUSY_MS : WAIT_MS;
    words[kind] = (words[kind] as number) + took;
    if (frames === 0) return;
    words[FRAMES_BEFORE] = words[FRAMES] as number;
    words[LATENCY_MS] = (words[LATENCY_MS] as number) + took * frames;
    const us = Math.min(Math.ceil(took * 1000), MOST_US) | 0;
    const at = LATENCIES + Math.min(bucketOf(us), LATENCY_BUCKETS);
    words[at] = (words[at] as number) + frames;
  }
}

/** Whose frames the worker was handling last; NOBODY: it was between two ports. */
export const servedIn = (memory: SharedArrayBuffer): number => new Float64Array(memory)[SERVING] as number;

/** The counts as the API shows them. */
export function readLoop(memory: SharedArrayBuffer): LoopFigures {
  const words = new Float64Array(memory);
  const histogram = (from: number, buckets: number, unit: number, sum: number): HistogramFigures => ({
    bounds: Array.from({ length: buckets }, (_, i) => 2 ** i / unit),
    counts: Array.from(words.subarray(from, from + buckets + 1)),
    sum,
  });
  return {
    rounds: words[ROUNDS] as number,
    busyS: (words[BUSY_MS] as number) / 1000,
    waitS: (words[WAIT_MS] as number) / 1000,
    batches: histogram(BATCHES, BATCH_BUCKETS, 1, words[FRAMES] as number),
    latencies: histogram(LATENCIES, LATENCY_BUCKETS, 1e6, (words[LATENCY_MS] as number) / 1000),
  };
}
