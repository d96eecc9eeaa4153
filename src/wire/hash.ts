/**
 * Hashes of what guests choose: addresses and ports. Each word is multiplied by a secret odd number first (Dietzfelbinger et
 * al., "A reliable randomized algorithm for the closest-pair problem", §2), so that no guest can aim at one chain; the
 * products are joined by exclusive or and spread.
 */

/** An odd number that spreads the bits of what it multiplies. */
const SPREAD = 0x7feb352d;

/** An odd number that nobody outside can guess: the `index`-th of a seed. */
export function multiplier(seed: number, index: number): number {
  let mixed = (seed + Math.imul(index + 1, 0x9e3779b9)) | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), SPREAD);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846ca68b);
  return (mixed ^ (mixed >>> 16)) | 1;
}

/** The upper 32 - `shift` bits of the spread sum, which depend on all of its bits. */
export const spread = (joined: number, shift: number): number =>
  Math.imul(joined ^ (joined >>> 16), SPREAD) >>> shift;

/** The `shift` for a table of `size` places, a power of two from 2 on. */
export const shiftFor = (size: number): number => Math.clz32(size - 1);
