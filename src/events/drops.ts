/**
 * Bursts of dropped frames and flow limits, from what the data plane counts anyway: looked at once a second, so that the
 * frame path does not know of it. A port and reason have an event at once and then one in 10 s at the most; what was held
 * back meanwhile is in the next one's count.
 */
import { DROP_COUNT, Drop } from '../wire/drop.ts';
import type { DropBurstEvent, FlowLimitEvent } from './bus.ts';

/** Frames dropped in a second that are a burst: well above what ARP, IPv6 and stray multicast of a quiet guest come to. */
export const BURST_FRAMES = 100;
/** Between two events of a port and reason. */
const APART_MS = 10_000;

const FLOW_LIMITS: Readonly<Partial<Record<Drop, FlowLimitEvent['reason']>>> = {
  [Drop.NatTableFull]: 'table-full',
  [Drop.NatGuestFull]: 'guest-full',
};

export interface DropNames {
  portName(index: number): string;
  /** The address of the only guest on a port; empty: there are several, or it is not known. */
  guestOn(port: string): string;
}

export class DropWatch {
  readonly #drops: Float64Array;
  readonly #names: DropNames;
  readonly #told: (event: DropBurstEvent | FlowLimitEvent) => void;
  readonly #before: Float64Array;
  /** Not told of yet, and from when on it may be, ms. */
  readonly #held: Float64Array;
  readonly #notBefore: Float64Array;

  /** `drops`: counts by port and reason, as in Counters. */
  constructor(drops: Float64Array, names: DropNames, told: (event: DropBurstEvent | FlowLimitEvent) => void) {
    this.#drops = drops;
    this.#names = names;
    this.#told = told;
    this.#before = new Float64Array(drops.length);
    this.#held = new Float64Array(drops.length);
    this.#notBefore = new Float64Array(drops.length).fill(Number.NEGATIVE_INFINITY);
  }

  /** What was counted till now is no news. */
  start(): void {
    this.#before.set(this.#drops);
    this.#held.fill(0);
  }

  /** To be called each second; `nowMs` never goes back. */
  look(nowMs: number): void {
    for (let at = 0; at < this.#drops.length; at++) {
      const now = this.#drops[at] as number;
      const before = this.#before[at] as number;
      const held = this.#held[at] as number;
      if (now === before && held === 0) continue;
      this.#before[at] = now;
      const count = now < before ? now : now - before; // less: the index is another port's now
      const limit = FLOW_LIMITS[(at % DROP_COUNT) as Drop];
      const all = held + (count >= (limit === undefined ? BURST_FRAMES : 1) ? count : 0);
      const due = all > 0 && nowMs >= (this.#notBefore[at] as number);
      this.#held[at] = due ? 0 : all;
      if (!due) continue;
      this.#notBefore[at] = nowMs + APART_MS;
      this.#tell(at, limit, all);
    }
  }

  #tell(at: number, limit: FlowLimitEvent['reason'] | undefined, count: number): void {
    const port = this.#names.portName(Math.floor(at / DROP_COUNT));
    if (limit === undefined)
      this.#told({ event: 'drop-burst', port, reason: Drop[at % DROP_COUNT] as string, count });
    else {
      const address = limit === 'guest-full' ? this.#names.guestOn(port) : '';
      this.#told({ event: 'flow-limit', reason: limit, port, address, count });
    }
  }
}
