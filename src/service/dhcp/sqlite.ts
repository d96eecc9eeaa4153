/**
 * Leases in an SQLite file that one process owns. WAL with synchronous=FULL: a commit returns after its fsync, and what it
 * wrote survives SIGKILL and power loss. A burst is one transaction, so one fsync.
 */
import type Database from 'better-sqlite3';
import { formatIp4, type Ip4, parseIp4 } from '../../wire/address.ts';
import { openLeaseFile } from './leasefile.ts';
import { type LeaseRecord, LeaseState } from './leases.ts';
import type { LeaseStore } from './store.ts';

interface Row {
  ip: string;
  state: string;
  client: string;
  mac: string;
  hostname: string;
  port: string;
  expires: number;
}

export class SqliteStore implements LeaseStore {
  /** Transactions so far: each is one fsync. */
  commits = 0;
  readonly #db: Database.Database;
  readonly #staged = new Map<Ip4, LeaseRecord | undefined>();
  readonly #write: (staged: Iterable<[Ip4, LeaseRecord | undefined]>) => void;

  /** `warn` is told when a file had to be set aside; `nowMs` (Unix time) names it. */
  constructor(path: string, warn: (sentence: string) => void, nowMs: number) {
    this.#db = openLeaseFile(path, warn, nowMs);
    const replace = this.#db.prepare(
      'INSERT OR REPLACE INTO lease (ip, state, client, mac, hostname, port, expires) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    const remove = this.#db.prepare('DELETE FROM lease WHERE ip = ?');
    this.#write = this.#db.transaction((staged: Iterable<[Ip4, LeaseRecord | undefined]>) => {
      for (const [ip, r] of staged) {
        if (r === undefined) remove.run(formatIp4(ip));
        else replace.run(formatIp4(ip), LeaseState[r.state], r.key, r.mac, r.hostname, r.port, r.expiresS);
      }
    });
  }

  load(): LeaseRecord[] {
    const records: LeaseRecord[] = [];
    for (const row of this.#db.prepare<[], Row>('SELECT * FROM lease').iterate()) {
      const ip = parseIp4(row.ip);
      const state = LeaseState[row.state as keyof typeof LeaseState];
      if (ip === undefined || state === undefined) continue; // somebody edited it: not a lease that we gave
      const { client: key, mac, hostname, port, expires: expiresS } = row;
      records.push({ ip, state, key, mac, hostname, port, expiresS });
    }
    return records;
  }

  stage(ip: Ip4, record: LeaseRecord | undefined): void {
    this.#staged.set(ip, record);
  }

  async commit(): Promise<void> {
    if (this.#staged.size === 0) return;
    try {
      this.#write(this.#staged);
      this.commits++;
    } finally {
      this.#staged.clear();
    }
  }

  close(): void {
    this.#db.close();
  }
}
