/**
 * How many flows each port's guests have opened, and how many they may: three quarters of the table, lest one port that speaks for
 * addresses of its own making take all. Whose flow it is stands in the flow; of one that was restored, or that somebody outside
 * has opened, it is nobody's.
 */
import { GATEWAY_PORT, MAX_PORTS } from '../dataplane/batch.ts';

/** In place of a port: nobody's. */
export const NO_PORT = GATEWAY_PORT;

export class PortShares {
  readonly #counts = new Int32Array(MAX_PORTS + 1);
  readonly #most: number;

  /** `maxGuestFlows`: no port has less than one guest may have. */
  constructor(maxFlows: number, maxGuestFlows: number) {
    this.#most = Math.max(maxGuestFlows, Math.ceil((maxFlows * 3) / 4));
  }

  isFull(port: number): boolean {
    return port !== NO_PORT && (this.#counts[port] as number) >= this.#most;
  }

  count(port: number, by: number): void {
    this.#counts[port] = (this.#counts[port] as number) + by;
  }
}
