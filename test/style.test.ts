/** What a reader would stumble over: files with more than one subject, paths of somebody's machine, addresses of registries. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { projectRoot } from '../src/port/native.ts';

const MAX_LINES = 470;
const root = projectRoot();
const tracked = execFileSync('git', ['-c', 'safe.directory=*', '-C', root, 'ls-files'], { encoding: 'utf8' })
  .split('\n')
  .filter(Boolean);
const text = (path: string): string => readFileSync(join(root, path), 'utf8');
const sources = tracked.filter(path => /\.(ts|mjs|c|h)$/.test(path));

test('files are short enough to have one subject', () => {
  // a list of golden cases is one subject, however many there are
  const code = sources.filter(path => !path.startsWith('fixtures/'));
  const long = code.filter(path => text(path).split('\n').length > MAX_LINES);
  assert.equal(long, []);
});

test('no path of a machine stands in the project', () => {
  const paths = /\/home\/\w|\/root\/|\/work\/|\/Users\//;
  const wrong = tracked.filter(
    path => !/\.(pcap|svg)$|package-lock/.test(path) && path !== 'test/style.test.ts',
  );
  assert.equal(
    wrong.filter(path => paths.test(text(path))),
    [],
  );
});

test('the lock file records no registry', () => {
  assert.not.match(text('package-lock.json'), /"resolved"|https?:\/\/registry/);
});

test('every source file opens with what it is for', () => {
  const silent = sources.filter(
    path =>
      /^(src|test|bench|fixtures)\//.test(path) &&
      !/^(\/\/ timeout: \d+ s\n)?(\/\/ coverage: none\n)?\/\*\*/.test(text(path)),
  );
  assert.equal(silent, []);
});

test.run();
