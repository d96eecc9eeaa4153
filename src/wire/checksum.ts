/**
 * The Internet checksum, RFC 1071, and its incremental update, RFC 1624. Sums are plain integers that `fold` brings to 16
 * bits; nothing allocates. A *finished* field holds the complement of the whole sum; an *unfinished* one (virtio-net
 * NEEDS_CSUM) holds the folded pseudo-header sum, not complemented, for whoever sends the frame to complete.
 */

/** Brings a sum of 16-bit words, itself below 2^32, below 2^16. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** Adds the 16-bit words of `bytes` bytes at `at`; an odd last byte counts as if a zero followed. */
export function sum(mem: DataView, at: number, bytes: number, start = 0): number {
  let total = start;
  const end = at + (bytes & ~1);
  for (; at + 4 <= end; at += 4) {
    const word = mem.getInt32(at);
    total += (word >>> 16) + (word & 0xffff);
  }
  if (at < end) total += mem.getUint16(at);
  return (bytes & 1) !== 0 ? total + (mem.getUint8(end) << 8) : total;
}

/** The checksum of a range: what its field must hold when the field was zero meanwhile. */
export const checksum = (mem: DataView, at: number, bytes: number, start = 0): number =>
  ~fold(sum(mem, at, bytes, start)) & 0xffff;

/** Is the range's sum, field included, all ones? */
export const valid = (mem: DataView, at: number, bytes: number, start = 0): boolean =>
  fold(sum(mem, at, bytes, start)) === 0xffff;

/** The pseudo-header's sum of RFC 9293 §3.1 and RFC 768, unfolded. */
export const pseudo = (source: number, destination: number, protocol: number, bytes: number): number =>
  ((source >> 16) & 0xffff) +
  (source & 0xffff) +
  ((destination >> 16) & 0xffff) +
  (destination & 0xffff) +
  protocol +
  bytes;

/** What a sum changes by, unfolded, when a word that it covers goes from `before` to `after`. Such differences may be added. */
export const delta16 = (before: number, after: number): number => (~before & 0xffff) + (after & 0xffff);
export const delta32 = (before: number, after: number): number =>
  (~before >>> 16) + (~before & 0xffff) + (after >>> 16) + (after & 0xffff);

/** A finished field after what it covers has changed by `delta`: RFC 1624 eqn. 3. */
export const moved = (field: number, delta: number): number => ~fold((~field & 0xffff) + delta) & 0xffff;

/** A finished field after a 16-bit word that it covers went from `before` to `after`. */
export const adjusted = (field: number, before: number, after: number): number =>
  moved(field, delta16(before, after));

/** The same for an unfinished field: the sum itself takes the difference. */
export const adjustedUnfinished = (field: number, before: number, after: number): number =>
  fold(field + (~before & 0xffff) + (after & 0xffff));

/** A finished field after a 32-bit word changed. */
export const adjusted32 = (field: number, before: number, after: number): number =>
  moved(field, delta32(before, after));

export const adjustedUnfinished32 = (field: number, before: number, after: number): number =>
  adjustedUnfinished(
    adjustedUnfinished(field, (before >> 16) & 0xffff, (after >> 16) & 0xffff),
    before & 0xffff,
    after & 0xffff,
  );
