/**
 * Leases in an SQLite file that one process owns. WAL with synchronous=FULL: a commit returns after its fsync, and what it
 * wrote survives SIGKILL and power loss. A burst is one transaction, so one fsync.
 *
 * A file that SQLite cannot read is set aside under a new name, never emptied: somebody may want to look into it.
 */
import { existsSync, renameSync } from 'node:fs';
import Database from 'better-sqlite3';
import { formatIp4, type Ip4, parseIp4 } from '../../wire/address.ts';
import { type LeaseRecord, LeaseState } from './leases.ts';
import type { LeaseStore } from './store.ts';

/** PRAGMA user_version: what the tables look like. 0 is an empty file. */
const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE lease (
    ip       TEXT    PRIMARY KEY,  -- dotted quad
    state    TEXT    NOT NULL,     -- Bound, Released, Declined
    client   TEXT    NOT NULL,     -- id:<hex of option 61>, hw:<type>:<hex of chaddr> or port:<name>; empty when declined
    mac      TEXT    NOT NULL,
    hostname TEXT    NOT NULL,
    port     TEXT    NOT NULL,
    expires  INTEGER NOT NULL      -- Unix time, seconds
  ) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

interface Row {
  ip: string;
  state: string;
  client: string;
  mac: string;
  hostname: string;
  port: string;
  expires: number;
}

const UNREADABLE = new Set(['SQLITE_CORRUPT', 'SQLITE_NOTADB']);

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';

/** Opens and checks; throws what SQLite says. */
function open(path: string): Database.Database {
  const db = new Database(path, { timeout: 0 });
  try {
    db.pragma('locking_mode = EXCLUSIVE');
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    const check = db.pragma('quick_check(1)', { simple: true });
    if (check !== 'ok') throw Object.assign(new Error(String(check)), { code: 'SQLITE_CORRUPT' });
    const version = Number(db.pragma('user_version', { simple: true }));
    if (version > SCHEMA_VERSION)
      throw new Error(
        `${path} was written by a newer version (schema ${version}, this one knows ${SCHEMA_VERSION})`,
      );
    if (version === 0) db.transaction(() => db.exec(SCHEMA)).immediate();
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Opens the file, or sets an unreadable one aside and begins a new one. */
function openOrSetAside(path: string, warn: (sentence: string) => void, nowMs: number): Database.Database {
  try {
    return open(path);
  } catch (error) {
    if (codeOf(error) === 'SQLITE_BUSY')
      throw new Error(`${path} is in use by another process`, { cause: error });
    if (!UNREADABLE.has(codeOf(error))) throw error;
    const aside = `${path}.corrupt-${new Date(nowMs).toISOString().replace(/:/g, '-')}`;
    for (const suffix of ['', '-wal'])
      if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
    const why = error instanceof Error ? error.message : String(error);
    warn(
      `the leases in ${path} cannot be read (${why}); the file is kept as ${aside}, and a new one is begun`,
    );
    return open(path);
  }
}

export class SqliteStore implements LeaseStore {
  /** Transactions so far: each is one fsync. */
  commits = 0;
  readonly #db: Database.Database;
  readonly #staged = new Map<Ip4, LeaseRecord | undefined>();
  readonly #write: (staged: Iterable<[Ip4, LeaseRecord | undefined]>) => void;

  /** `warn` is told when a file had to be set aside; `nowMs` (Unix time) names it. */
  constructor(path: string, warn: (sentence: string) => void, nowMs: number) {
    this.#db = openOrSetAside(path, warn, nowMs);
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
