/**
 * What the data plane counts, over shared memory: the worker writes, the control thread reads at any time. Float64 holds
 * whole numbers to 2^53, so no counter wraps: 100 Gbit/s would take 22 years.
 */
import { DROP_COUNT, Drop } from '../wire/drop.ts';
import { MAX_PORTS } from './batch.ts';

const PORTS = MAX_PORTS + 1; // GATEWAY_PORT included: frames that the switch makes itself

/** Memory for the counters of all ports. */
export const counterMemory = (): SharedArrayBuffer => new SharedArrayBuffer(PORTS * (4 + DROP_COUNT) * 8);

/** Columns by port index; drops by port and reason. */
export class Counters {
  readonly rxFrames: Float64Array;
  readonly rxBytes: Float64Array;
  readonly txFrames: Float64Array;
  readonly txBytes: Float64Array;
  readonly drops: Float64Array;

  constructor(memory: SharedArrayBuffer) {
    const column = (at: number): Float64Array => new Float64Array(memory, at * PORTS * 8, PORTS);
    this.rxFrames = column(0);
    this.rxBytes = column(1);
    this.txFrames = column(2);
    this.txBytes = column(3);
    this.drops = new Float64Array(memory, 4 * PORTS * 8, PORTS * DROP_COUNT);
  }

  /** Counts `frames` frames that were not delivered: against the port of reception, or the one that did not take them. */
  drop(port: number, reason: Drop, frames: number): void {
    const at = port * DROP_COUNT + reason;
    this.drops[at] = (this.drops[at] as number) + frames;
  }

  /** The reasons that have occurred at a port, by name. */
  dropsOf(port: number): Record<string, number> {
    const found: Record<string, number> = {};
    for (let reason = 1; reason < DROP_COUNT; reason++) {
      const count = this.drops[port * DROP_COUNT + reason] as number;
      if (count > 0) found[Drop[reason] as string] = count;
    }
    return found;
  }

  /** A port's index is used again by another port: its counts begin at nought. */
  clear(port: number): void {
    this.rxFrames[port] = 0;
    this.rxBytes[port] = 0;
    this.txFrames[port] = 0;
    this.txBytes[port] = 0;
    this.drops.fill(0, port * DROP_COUNT, (port + 1) * DROP_COUNT);
  }
}
