/**
 * Where leases are kept. Changes are staged and then committed together, so that a burst of a hundred clients costs one
 * fsync; an ACK may leave only after `commit` has resolved.
 */
import type { Ip4 } from '../../wire/address.ts';
import type { LeaseRecord } from './leases.ts';

export interface LeaseStore {
  /** Everything stored. */
  load(): LeaseRecord[];
  /** Remembers what to write about an address; undefined removes its record. The last word on an address counts. */
  stage(ip: Ip4, record: LeaseRecord | undefined): void;
  /** Writes what was staged, durably and all or nothing. When it rejects, nothing was written and nothing is staged. */
  commit(): Promise<void>;
  close(): void;
}

/** For replays and tests: keeps records as long as the object lives. */
export class MemoryStore implements LeaseStore {
  readonly records = new Map<Ip4, LeaseRecord>();
  /** Transactions so far. */
  commits = 0;
  readonly #staged = new Map<Ip4, LeaseRecord | undefined>();

  load(): LeaseRecord[] {
    return [...this.records.values()];
  }

  stage(ip: Ip4, record: LeaseRecord | undefined): void {
    this.#staged.set(ip, record);
  }

  async commit(): Promise<void> {
    if (this.#staged.size === 0) return;
    this.commits++;
    for (const [ip, record] of this.#staged) {
      if (record === undefined) this.records.delete(ip);
      else this.records.set(ip, record);
    }
    this.#staged.clear();
  }

  close(): void {}
}
