/**
 * When flows end: a timing wheel with a slot a second, whose flows are chained through the flow's own words. A packet that
 * lengthens a flow's life writes its new end and no more; when the wheel comes to the flow it finds that, and looks again
 * then. So a packet costs nothing here, and a second costs what ends or is looked at in it, however many flows there are.
 */
import { F_DUE, F_EXPIRES, F_WHEEL_BEFORE, F_WHEEL_NEXT, FLOW_WORDS, NONE } from './flowmemory.ts';

/** More than the longest life, 2 h 4 min, so that a slot holds the flows of one second only. A power of two. */
const SLOTS = 8_192;
/** Flows looked at in one call at the least, lest thousands that end in the same second hold up a round. */
const MIN_LOOKS = 1_024;

export class ExpiryWheel {
  readonly #flows: Int32Array;
  readonly #heads = new Int32Array(SLOTS).fill(NONE);
  readonly #looks: number;
  /** The second up to which all slots have been emptied. */
  #reachedS = NONE;

  constructor(flows: Int32Array, maxFlows: number) {
    this.#flows = flows;
    this.#looks = Math.max(MIN_LOOKS, maxFlows >> 4);
  }

  /** The flow's end has been set, or brought forward: looks at it then. */
  schedule(flow: number): void {
    const at = flow * FLOW_WORDS;
    const due = this.#flows[at + F_DUE] as number;
    const expires = this.#flows[at + F_EXPIRES] as number;
    if (due !== 0 && due <= expires) return;
    this.remove(flow);
    this.#link(flow, Math.max(expires, this.#reachedS + 1, 1)); // what has ended already is next
  }

  /** Never looks at it again. */
  remove(flow: number): void {
    const flows = this.#flows;
    const at = flow * FLOW_WORDS;
    const due = flows[at + F_DUE] as number;
    if (due === 0) return;
    const next = flows[at + F_WHEEL_NEXT] as number;
    const before = flows[at + F_WHEEL_BEFORE] as number;
    if (next !== NONE) flows[next * FLOW_WORDS + F_WHEEL_BEFORE] = before;
    if (before !== NONE) flows[before * FLOW_WORDS + F_WHEEL_NEXT] = next;
    else this.#heads[due & (SLOTS - 1)] = next;
    flows[at + F_DUE] = 0;
  }

  /** Turns to `nowS` and hands flows that have run out to `end`, which removes them. What it does not get to waits for the next call. */
  turn(nowS: number, end: (flow: number) => void): void {
    const flows = this.#flows;
    if (this.#reachedS === NONE || nowS - this.#reachedS > SLOTS) this.#reachedS = nowS - SLOTS;
    for (let looks = this.#looks; this.#reachedS < nowS; this.#reachedS++) {
      const second = this.#reachedS + 1;
      for (;;) {
        const flow = this.#heads[second & (SLOTS - 1)] as number;
        if (flow === NONE) break;
        if (looks-- === 0) return;
        const expires = flows[flow * FLOW_WORDS + F_EXPIRES] as number;
        if (expires <= nowS) end(flow);
        else {
          this.remove(flow);
          // When the wheel is far behind, a whole turn from here could be this very slot.
          this.#link(flow, Math.min(expires, second + SLOTS - 1));
        }
      }
    }
  }

  #link(flow: number, due: number): void {
    const flows = this.#flows;
    const at = flow * FLOW_WORDS;
    const slot = due & (SLOTS - 1);
    const next = this.#heads[slot] as number;
    flows[at + F_DUE] = due;
    flows[at + F_WHEEL_NEXT] = next;
    flows[at + F_WHEEL_BEFORE] = NONE;
    if (next !== NONE) flows[next * FLOW_WORDS + F_WHEEL_BEFORE] = flow;
    this.#heads[slot] = flow;
  }
}
