/** Folders are made with those above them, and where that can't be the system's error comes at once. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makeFolder } from '../src/folder.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-folder-'));
test.after(() => rmSync(folder, { recursive: true }));

test('those above it are made, and one that is there is left', () => {
  const path = join(folder, 'a/b/c');
  makeFolder(path, 0o700);
  makeFolder(path, 0o755);
  assert.is(statSync(path).mode & 0o777, 0o700);
});

for (const path of ['/proc/none', '/proc/none/below'])
  test(`${path}: the error comes, where mkdir's own recursion tries for ever`, () => {
    assert.throws(
      () => makeFolder(path, 0o700),
      (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
    );
  });

test.run();
