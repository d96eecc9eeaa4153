/**
 * What waits to be answered. It is bounded, and one port has no more than a share of it: a guest that asks faster than it
 * can be answered loses its own questions, not those of others. Where all ports together are too many, each still has a few
 * places for itself, so the bound is soft by that many a port.
 */

/** Frames that may wait; a frame has at most 2 KiB. */
const MOST = 4_096;
/** Of them one port's. */
const MOST_OF_PORT = 1_024;
/** One port's in any case. */
const FEW = 16;

export class FairQueue<T> {
  #items: T[] = [];
  /** How many wait, by port. */
  readonly #waiting = new Map<number, number>();

  /** False: there is no place for it. */
  push(item: T, port: number): boolean {
    const waiting = this.#waiting.get(port) ?? 0;
    if (waiting >= (this.#items.length < MOST ? MOST_OF_PORT : FEW)) return false;
    this.#waiting.set(port, waiting + 1);
    this.#items.push(item);
    return true;
  }

  /** What is of our own making has its place in any case. */
  add(item: T): void {
    this.#items.push(item);
  }

  /** Takes everything out, in the order in which it came. */
  take(): T[] {
    const items = this.#items;
    this.#items = [];
    this.#waiting.clear();
    return items;
  }
}
