/**
 * `--release-on-detach`: when a port stays down for a while its guest has been destroyed, not rebooted, and the addresses
 * that were last seen there are freed. Ports that were never up say nothing.
 */

/** Longer than a tap is away while it is moved to another namespace, or a guest's program is started again. */
const PATIENCE_MS = 3_000;

export class DetachWatch {
  readonly #release: (port: string) => void;
  readonly #patienceMs: number;
  #stopped = false;
  readonly #down = new Map<string, NodeJS.Timeout>();

  constructor(release: (port: string) => void, patienceMs = PATIENCE_MS) {
    this.#release = release;
    this.#patienceMs = patienceMs;
  }

  /** A port went up or down. */
  port(name: string, up: boolean): void {
    clearTimeout(this.#down.get(name));
    this.#down.delete(name);
    if (up || this.#stopped) return;
    const timer = setTimeout(() => {
      this.#down.delete(name);
      this.#release(name);
    }, this.#patienceMs);
    this.#down.set(name, timer.unref());
  }

  /** The switch stops: that is no guest's end. */
  stop(): void {
    this.#stopped = true;
    for (const timer of this.#down.values()) clearTimeout(timer);
    this.#down.clear();
  }
}
