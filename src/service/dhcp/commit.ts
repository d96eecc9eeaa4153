/**
 * Group commit: what many clients are to be told waits for one fsync.
 *
 *   add ─ stage ─┬─ the last commit is long ago: commit at the end of the turn ─┬─ stored: tell the waiting
 *                └─ else: together with what else comes till then              └─ not: take back, tell them that
 *
 * A single client is served at once; of a thousand, those of two milliseconds share a commit, which costs half of one. So the
 * disk has its share of the time and no more, and nobody waits longer than that for it.
 */
import type { Change } from './leases.ts';
import type { LeaseStore } from './store.ts';

/** From the end of a commit to the next at the earliest; or as long as that one took, so that a slow disk has half the time at most. */
const PAUSE_MS = 2;

export interface GroupCommitOptions {
  readonly store: LeaseStore;
  /** These are on disk, in this order. Must not throw: that would be no fault of the disk's. */
  stored(changes: readonly Change[]): void;
  /** These are not, and won't be. */
  failed(changes: readonly Change[], cause: unknown): void;
}

export class GroupCommit {
  readonly #options: GroupCommitOptions;
  #changes: Change[] = [];
  #waiting: ((stored: boolean) => void)[] = [];
  #running: Promise<void> | undefined;
  #endedMs = Number.NEGATIVE_INFINITY;
  #tookMs = 0;

  constructor(options: GroupCommitOptions) {
    this.#options = options;
  }

  /** Is there something that is not on disk yet? */
  get pending(): boolean {
    return this.#running !== undefined;
  }

  /** Has changes written; `done` hears whether they are on disk. Without changes: whether all before are. */
  add(changes: readonly Change[], done: (stored: boolean) => void): void {
    for (const change of changes) this.#options.store.stage(change.ip, change.after);
    this.#changes.push(...changes);
    this.#waiting.push(done);
    this.#running ??= this.#run();
  }

  /** Resolves when all is on disk, or has failed to get there. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const restMs = this.#endedMs + Math.max(PAUSE_MS, this.#tookMs) - performance.now();
      if (restMs > 0) await new Promise(resolve => setTimeout(resolve, restMs));
      else await Promise.resolve(); // what else arrived in this turn
      await this.#commit();
    }
    this.#running = undefined;
  }

  async #commit(): Promise<void> {
    const [changes, waiting] = [this.#changes, this.#waiting];
    this.#changes = [];
    this.#waiting = [];
    let stored = true;
    const beganMs = performance.now();
    try {
      await this.#options.store.commit();
    } catch (error) {
      stored = false;
      // What came meanwhile was worked out from what is taken back now.
      changes.push(...this.#changes.splice(0));
      waiting.push(...this.#waiting.splice(0));
      this.#options.failed(changes, error);
    }
    this.#endedMs = performance.now();
    this.#tookMs = this.#endedMs - beganMs;
    if (stored) this.#options.stored(changes);
    for (const done of waiting) done(stored);
  }
}
