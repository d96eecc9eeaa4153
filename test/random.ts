/** A small generator with a seed, so that a failure can be had again. */
export type Random = (below: number) => number;

/** Whole numbers of 0 … below - 1, by xorshift, of which nothing but zeros comes from zero. */
export function random(seed: number): Random {
  let x = seed | 0 || 1;
  return below => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}
