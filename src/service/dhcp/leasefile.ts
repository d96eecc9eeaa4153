/**
 * Opens the file of leases, and says in one sentence what is wrong with it. What is no file of leases, or a damaged one,
 * is set aside under a new name with a warning, never emptied: somebody may want to look into it. What can't be read or
 * written for want of rights, or belongs to a newer version or another process, is left as it is, and refused.
 */
import { existsSync, lstatSync, renameSync } from 'node:fs';
import Database from 'better-sqlite3';

/**
 * After so many pages of 4 KiB the log is copied into the file, which takes some milliseconds of those who wait: at 2,000 leases a
 * second every three seconds, where SQLite's usual 1,000 would do so more than once in one.
 */
const CHECKPOINT_PAGES = 4_000;

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

const COLUMNS = 'ip state client mac hostname port expires';

/** What SQLite says of a file that is damaged, or none of its own. */
const UNREADABLE = new Set(['SQLITE_CORRUPT', 'SQLITE_NOTADB']);

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A fault of the file's content. */
const unreadable = (why: string): Error => Object.assign(new Error(why), { code: 'SQLITE_CORRUPT' });

/** Opens the file, or sets an unreadable one aside and begins a new one. `nowMs` (Unix time) names what is set aside. */
export function openLeaseFile(
  path: string,
  warn: (sentence: string) => void,
  nowMs: number,
): Database.Database {
  try {
    checkKind(path);
    return open(path);
  } catch (error) {
    if (!UNREADABLE.has(codeOf(error))) throw refusal(path, error);
    try {
      const aside = setAside(path, nowMs);
      const why = messageOf(error);
      warn(
        `the leases in ${path} cannot be read (${why}); the file is kept as ${aside}, and a new one is begun`,
      );
      return open(path);
    } catch (cause) {
      throw refusal(path, cause);
    }
  }
}

function refusal(path: string, cause: unknown): Error {
  const code = codeOf(cause);
  if (code === '') return cause as Error; // a sentence of ours
  const why =
    code === 'SQLITE_BUSY'
      ? `${path} is in use by another process`
      : `the leases in ${path} can't be opened (${messageOf(cause)}); expected a file that may be read and written, or none, in a folder where one may be made`;
  return Object.assign(new Error(why, { cause }), { code });
}

/** What SQLite would not mind, or not put into words. */
function checkKind(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) throw new Error(`${path} is a folder; expected the file of leases, or none`);
  // A file of ours has a page from the first: SQLite would take this one for new, and throw its journal away.
  if (found?.isFile() && found.size === 0) throw unreadable('it is empty');
}

/** Opens and checks; throws what SQLite says. */
function open(path: string): Database.Database {
  const db = new Database(path, { timeout: 0 });
  try {
    db.pragma('locking_mode = EXCLUSIVE');
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    const check = db.pragma('quick_check(1)', { simple: true });
    if (check !== 'ok') throw unreadable(String(check));
    const version = Number(db.pragma('user_version', { simple: true }));
    if (version > SCHEMA_VERSION)
      throw new Error(
        `${path} was written by a newer version (schema ${version}, this one knows ${SCHEMA_VERSION})`,
      );
    const tables = db.pragma('table_list') as { name: string }[];
    const others = tables.filter(({ name }) => !name.startsWith('sqlite_'));
    if (version === 0 && others.length > 0) throw unreadable(`it holds other tables: ${others[0]!.name}`);
    if (version === 0) db.transaction(() => db.exec(SCHEMA)).immediate();
    const columns = db.pragma('table_info(lease)') as { name: string }[];
    if (columns.map(({ name }) => name).join(' ') !== COLUMNS) throw unreadable('its table is another');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Renames the file, with its journal, and returns where it is now. */
function setAside(path: string, nowMs: number): string {
  const base = `${path}.corrupt-${new Date(nowMs).toISOString().replace(/:/g, '-')}`;
  let aside = base;
  for (let n = 2; existsSync(aside); n++) aside = `${base}-${n}`;
  for (const suffix of ['', '-wal']) if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  return aside;
}
