/** Time that a simulation makes: timers of the code under test, Node's included, ring in its order and take no time of ours. */

interface Alarm {
  readonly atMs: number;
  readonly act: () => void;
}

export class Clock {
  nowMs = 0;
  #alarms: Alarm[] = [];
  readonly #startUnixMs: number;

  constructor(startUnixMs: number) {
    this.#startUnixMs = startUnixMs;
  }

  get unixMs(): number {
    return this.#startUnixMs + this.nowMs;
  }

  readonly after = (ms: number, act: () => void): void => {
    this.#alarms.push({ atMs: this.nowMs + ms, act });
  };

  /** As when a process is killed. */
  forget(): void {
    this.#alarms = [];
  }

  /** The next thing that is due by then, with the time set to its own; undefined: nothing more, and it is then. */
  next(byMs: number): (() => void) | undefined {
    let first: Alarm | undefined;
    for (const alarm of this.#alarms) if (first === undefined || alarm.atMs < first.atMs) first = alarm;
    if (first === undefined || first.atMs > byMs) {
      this.nowMs = byMs;
      return undefined;
    }
    this.#alarms.splice(this.#alarms.indexOf(first), 1);
    this.nowMs = Math.max(this.nowMs, first.atMs);
    return first.act;
  }

  /** Runs `act` with this clock in place of Node's: `setTimeout` and `performance.now`. */
  async inPlace<T>(act: () => Promise<T>): Promise<T> {
    const [timeout, now] = [globalThis.setTimeout, performance.now];
    const mine = (call: () => void, ms = 0): void => this.after(ms, call);
    globalThis.setTimeout = mine as unknown as typeof setTimeout;
    performance.now = () => this.nowMs;
    try {
      return await act();
    } finally {
      globalThis.setTimeout = timeout;
      performance.now = now;
    }
  }
}

/** Lets everything happen that waits for nothing but its turn. */
export const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
