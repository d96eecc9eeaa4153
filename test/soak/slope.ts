/** Does memory grow? What a run's samples say, whether it was an hour or half a minute. */

export interface Sample {
  readonly atS: number;
  readonly bytes: number;
}

export interface Slope {
  /** MB an hour. */
  readonly slope: number;
  /** What the samples' scatter alone could make of it; small where the run was long. */
  readonly noise: number;
}

const WINDOWS = 24;
const HOUR_S = 3_600;
const MB = 1e6;

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1]!, sorted[sorted.length >> 1]!];
  return (low + high) / 2;
};

/**
 * The median of the slopes between any two windows (Theil and Sen), each with the least that was in use in it: what garbage
 * there is between two collections is no growth.
 */
export function slopeOf(samples: readonly Sample[]): Slope {
  const [first, last] = [samples[0]!.atS, samples.at(-1)!.atS];
  const widthS = (last - first) / WINDOWS;
  const least: Sample[] = [];
  for (let i = 0; i < WINDOWS; i++) {
    const from = first + i * widthS;
    const inside = samples.filter(({ atS }) => atS >= from && atS < from + widthS);
    if (inside.length > 0) least.push(inside.reduce((a, b) => (b.bytes < a.bytes ? b : a)));
  }
  const slopes = least.flatMap((a, i) => least.slice(i + 1).map(b => (b.bytes - a.bytes) / (b.atS - a.atS)));
  const bytesAS = median(slopes);
  const middle = median(least.map(({ atS, bytes }) => bytes - bytesAS * atS));
  const scatter = median(least.map(({ atS, bytes }) => Math.abs(bytes - bytesAS * atS - middle)));
  const perHour = HOUR_S / MB;
  return { slope: bytesAS * perHour, noise: ((4 * scatter) / (last - first)) * perHour };
}
