/** Whatever stands where the leases should: set aside with a sentence, or refused with one, and never emptied. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip } from '../../fixtures/dhcp.ts';
import { OperatorError } from '../../src/errors.ts';
import { openLeases } from '../../src/leasestore.ts';
import { LeaseState } from '../../src/service/dhcp/leases.ts';
import { SqliteStore } from '../../src/service/dhcp/sqlite.ts';
import type { Ip4 } from '../../src/wire/address.ts';

const LEASES = 300;
const NOBODY = 65_534;
const NAME = 'vsw0.leases.db';

/** The child that has no rights: opens, and tells what it is told. */
function openAsNobody(dir: string): void {
  if (process.geteuid?.() === 0) {
    process.setgid?.(NOBODY);
    process.setuid?.(NOBODY);
  }
  try {
    openLeases({ name: 'vsw0', stateDir: dir }, console.log).close();
    console.log('opened');
  } catch (error) {
    console.log(error instanceof OperatorError ? `${error.exitCode} ${error.message}` : error);
  }
}

if (process.argv[2] === 'nobody') {
  openAsNobody(process.argv[3] as string);
  process.exit();
}

const withDir = (body: (dir: string, path: string) => void) => () => {
  const dir = mkdtempSync(join(tmpdir(), 'vswitchd-leases-'));
  try {
    body(dir, join(dir, NAME));
  } finally {
    chmodSync(dir, 0o700);
    rmSync(dir, { recursive: true });
  }
};

function fill(path: string): void {
  const store = new SqliteStore(path, assert.unreachable, 0);
  for (let n = 0; n < LEASES; n++) {
    const record = { key: `id:${n}`, mac: '02:00:00:00:00:01', hostname: 'web', port: 'tap0', expiresS: 9 };
    const address = (ip('10.1.0.0') + n) as Ip4;
    store.stage(address, { ip: address, state: LeaseState.Bound, ...record });
  }
  void store.commit();
  store.close();
}

const sql = (path: string, text: string): void => {
  const db = new Database(path);
  db.exec(text);
  db.close();
};

const V1 = 'PRAGMA user_version = 1;';

/** What is done to a whole file, and what of the reason must be in the sentence. */
const DAMAGE: readonly [string, (path: string) => void, RegExp][] = [
  ['cut within a page', path => truncateSync(path, 5000), /malformed/],
  ['cut behind a page', path => truncateSync(path, 4096), /malformed/],
  ['cut within the header', path => truncateSync(path, 50), /malformed|not a database/],
  ['cut to nothing', path => truncateSync(path, 0), /it is empty/],
  ['a short text', path => writeFileSync(path, 'leases'), /not a database/],
  ['a long text', path => writeFileSync(path, 'leases '.repeat(9_000)), /not a database/],
  ['another program’s', path => remake(path, 'CREATE TABLE other (a)'), /it holds other tables: other/],
  ['without its table', path => remake(path, V1), /its table is another/],
  ['with another table', path => remake(path, `CREATE TABLE lease (ip); ${V1}`), /its table is another/],
  ['of no version', path => remake(path, 'CREATE TABLE lease (ip)'), /it holds other tables: lease/],
];

function remake(path: string, text: string): void {
  rmSync(path);
  sql(path, text);
}

for (const [what, harm, why] of DAMAGE)
  test(
    `${what}: set aside with a sentence, as it was`,
    withDir((dir, path) => {
      fill(path);
      harm(path);
      const before = readFileSync(path);
      const warnings: string[] = [];
      const store = openLeases({ name: 'vsw0', stateDir: dir }, text => warnings.push(text));
      assert.equal(store.load(), []);
      store.close();
      const aside = readdirSync(dir).filter(name => name.includes('corrupt'));
      assert.is(aside.length, 1);
      assert.is(warnings.length, 1);
      assert.match(warnings[0] as string, why);
      assert.ok(warnings[0]?.includes(`${join(dir, aside[0] as string)}, and a new one is begun`));
      const kept = readFileSync(join(dir, aside[0] as string));
      // SQLite notes in the header of a database that it has had a journal of the newer kind.
      if (before.length > 100) assert.ok(kept.subarray(100).equals(before.subarray(100)));
      else assert.ok(kept.equals(before));
    }),
  );

test(
  'cut to nothing beside a journal: the journal is kept too, and no name is taken twice',
  withDir((dir, path) => {
    const db = new Database(path);
    db.pragma('journal_mode = WAL');
    db.exec('CREATE TABLE x (a)');
    copyFileSync(`${path}-wal`, join(dir, 'copy'));
    db.close();
    for (let round = 0; round < 2; round++) {
      writeFileSync(path, '');
      copyFileSync(join(dir, 'copy'), `${path}-wal`);
      new SqliteStore(path, () => undefined, 0).close();
    }
    const kept = readdirSync(dir).filter(name => /corrupt.*-wal$/.test(name));
    assert.is(kept.length, 2);
    for (const name of kept) assert.equal(readFileSync(join(dir, name)), readFileSync(join(dir, 'copy')));
  }),
);

/** Exit code and sentence of a refusal. */
function refusal(dir: string): string {
  try {
    openLeases({ name: 'vsw0', stateDir: dir }, assert.unreachable).close();
  } catch (error) {
    assert.instance(error, OperatorError);
    return `${(error as OperatorError).exitCode} ${(error as OperatorError).message}`;
  }
  return 'opened';
}

test(
  'a folder, a newer version, a file in use: refused and left alone',
  withDir((dir, path) => {
    mkdirSync(path);
    assert.is(refusal(dir), `1 ${path} is a folder; expected the file of leases, or none`);
    rmSync(path, { recursive: true });
    fill(path);
    const open = new SqliteStore(path, assert.unreachable, 0);
    assert.is(refusal(dir), `3 ${path} is in use by another process`);
    open.close();
    sql(path, 'PRAGMA user_version = 99');
    assert.match(refusal(dir), /^1 .* was written by a newer version \(schema 99, this one knows \d+\)$/);
    assert.equal(readdirSync(dir), [NAME]);
  }),
);

/** What is there, with which rights of the file and of the folder. */
const RIGHTS: readonly [string, string | undefined, number, number][] = [
  ['a file that may not be read', '', 0o600, 0o755],
  ['a file in a folder that may not be written', '', 0o666, 0o555],
  ['no file in a folder that may not be written', undefined, 0, 0o555],
  ['a damaged file in a folder that may not be written', 'x'.repeat(9000), 0o666, 0o555],
];

for (const [what, content, fileMode, folderMode] of RIGHTS)
  test(
    `${what}: refused with a sentence, and left alone`,
    withDir((dir, path) => {
      if (content === '') fill(path);
      else if (content !== undefined) writeFileSync(path, content);
      if (content !== undefined) chmodSync(path, fileMode);
      const before = content === undefined ? undefined : readFileSync(path);
      chmodSync(dir, folderMode);
      const words = [fileURLToPath(import.meta.url), 'nobody', dir];
      const { stdout } = spawnSync(process.execPath, words, { encoding: 'utf8', timeout: 20_000 });
      assert.match(stdout, /^1 the leases in .* can't be opened \([^)]+\); expected a file that [^\n]+\n$/);
      if (before === undefined) assert.not.ok(existsSync(path));
      else assert.ok(readFileSync(path).equals(before));
      assert.not.ok(readdirSync(dir).some(name => name.includes('corrupt')));
    }),
  );

test.run();
