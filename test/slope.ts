/** How many bytes of heap a frame costs: ten times the frames are held against once, as a constant residue is the compiler's. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const ATTEMPTS = 5;
/** Bytes a frame that no test takes for an allocation: the smallest would be 16. */
const ENOUGH = 0.25;

export interface Turned {
  /** Few enough that no collection hides what was allocated. */
  readonly rounds: number;
  readonly warmUp: number;
  readonly framesARound: number;
}

/** Bytes a frame of `round`, the least of five attempts: the compiler allocates too, what the frames cost shows in all. */
export function slopeOf({ rounds, warmUp, framesARound }: Turned, round: () => void): number {
  const allocated = (count: number): number => {
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < count; i++) round();
    return process.memoryUsage().heapUsed - before;
  };
  allocated(warmUp);
  let slope = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const few = allocated(rounds);
    const many = allocated(10 * rounds);
    slope = Math.min(slope, (many - few) / (9 * rounds * framesARound));
    if (slope < ENOUGH) break;
  }
  return slope;
}

/** Bytes in use after a collection, those of buffers too. */
export function collectedHeap(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
