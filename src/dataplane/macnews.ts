/**
 * What the forwarding database has learnt and who has moved, for those who listen: a ring in shared memory, from the worker
 * to the control thread. It is lossy: what does not fit is counted and no more, so that a guest that makes up addresses
 * pays for them by itself. A new address has half of the ring at most; the other half is kept for moves, which a flood of
 * new ones must not hide. Nothing is written while nobody listens.
 *
 *   ring  │ listening, head, lost │ tail, in a cache line of its own │ news: key, last four octets, port, port before or -1 │
 */

const LISTENING = 0;
const HEAD = 1;
const LOST = 2;
const TAIL = 16;
const HEADER_WORDS = 32;
const WORDS = 4;

/** News that fit; of new addresses, half as many. */
export const MAC_NEWS = 256;

export const MAC_NEWS_WORDS = HEADER_WORDS + MAC_NEWS * WORDS;

/** Nobody had the address before. */
export const NOWHERE = -1;

/** The worker's side. `from`: the port that had the address before, or NOWHERE. */
export function tellMac(ring: Int32Array, key: number, lo: number, port: number, from: number): void {
  if (ring[LISTENING] === 0) return;
  const head = ring[HEAD] as number;
  const waiting = (head - Atomics.load(ring, TAIL)) | 0;
  if (waiting >= (from === NOWHERE ? MAC_NEWS / 2 : MAC_NEWS)) {
    ring[LOST] = ((ring[LOST] as number) + 1) | 0;
    return;
  }
  const at = HEADER_WORDS + (head & (MAC_NEWS - 1)) * WORDS;
  ring[at] = key;
  ring[at + 1] = lo;
  ring[at + 2] = port;
  ring[at + 3] = from;
  Atomics.store(ring, HEAD, (head + 1) | 0); // after what it counts
}

/** The control thread's side; one at a time. */
export class MacNews {
  readonly #ring: Int32Array;
  #lost = 0;

  constructor(ring: Int32Array) {
    this.#ring = ring;
  }

  /** From now on there is news. */
  open(): void {
    Atomics.store(this.#ring, TAIL, Atomics.load(this.#ring, HEAD));
    this.#lost = Atomics.load(this.#ring, LOST);
    Atomics.store(this.#ring, LISTENING, 1);
  }

  close(): void {
    Atomics.store(this.#ring, LISTENING, 0);
  }

  /** Calls back with each piece of news, oldest first; returns how many were lost since the last time. */
  drain(each: (key: number, lo: number, port: number, from: number) => void): number {
    const ring = this.#ring;
    const head = Atomics.load(ring, HEAD);
    let tail = ring[TAIL] as number;
    for (; tail !== head; tail = (tail + 1) | 0) {
      const at = HEADER_WORDS + (tail & (MAC_NEWS - 1)) * WORDS;
      each(ring[at] as number, ring[at + 1] as number, ring[at + 2] as number, ring[at + 3] as number);
    }
    Atomics.store(ring, TAIL, tail);
    const lost = Atomics.load(ring, LOST);
    const count = (lost - this.#lost) >>> 0;
    this.#lost = lost;
    return count;
  }
}
