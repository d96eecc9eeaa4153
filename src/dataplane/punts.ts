/**
 * The worker's end of the punt ring. A flood of questions from one guest must take neither the others' turn nor DHCP's, so
 * what is bulk leaves a quarter of the ring alone, and one port has at most a share of it; so has what is not bulk, by itself:
 * both together have half of the ring, in two rounds.
 *
 * Shares are counted in rounds: one ends when something is taken out that came in it, so all of the last one is out too. A
 * port has two shares in the ring at the most, its last round's and this one's, and nothing is kept for each frame.
 */
import type { Batch } from './batch.ts';
import type { Punt } from './punt.ts';
import type { FrameRing } from './ring.ts';

/** Of the slots: what is kept from bulk, and what one port may take in a round, of bulk and of the rest. */
const [KEPT, SHARE] = [1 / 4, 1 / 8];
const PORTS = 256;

export class Punts implements Punt {
  readonly #ring: FrameRing;
  /** By port, and then by port what is bulk. */
  readonly #counts = new Int32Array(2 * PORTS);
  readonly #most: number;
  readonly #share: number;
  /** Was something punted that the control thread may not know of? */
  #fresh = false;
  /** Where the ring's end was when the round began. */
  #mark: number;

  constructor(ring: FrameRing) {
    this.#ring = ring;
    this.#most = ring.slots * (1 - KEPT);
    this.#share = ring.slots * SHARE;
    this.#mark = ring.put;
  }

  punt(batch: Batch, row: number, bulk = false): boolean {
    const ingress = batch.ingress[row] as number;
    const counter = bulk ? PORTS + ingress : ingress;
    if (!this.#hasRoom(counter, bulk)) return false;
    const taken = this.#ring.push(
      batch.slab,
      batch.offset[row] as number,
      batch.length[row] as number,
      ingress,
    );
    if (!taken) return false;
    this.#fresh = true;
    this.#counts[counter] = (this.#counts[counter] as number) + 1;
    return true;
  }

  /** Wakes the control thread for what was punted since the last call, if it is not looking already; was there anything? */
  tell(wake: () => void): boolean {
    if (!this.#fresh) return false;
    this.#fresh = false;
    if (this.#ring.waits) wake();
    return true;
  }

  #hasRoom(counter: number, bulk: boolean): boolean {
    const { put, taken } = this.#ring;
    if (((taken - this.#mark) | 0) > 0) {
      this.#counts.fill(0);
      this.#mark = put;
    }
    if (bulk && ((put - taken) | 0) >= this.#most) return false;
    return (this.#counts[counter] as number) < this.#share;
  }
}
