/** Whose code runs beside ours: under which licences, and which packages run a script when they are installed. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { projectRoot } from '../src/port/native.ts';

interface Locked {
  readonly version?: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly hasInstallScript?: boolean;
  readonly optional?: boolean;
}

const read = (path: string): string => readFileSync(join(projectRoot(), path), 'utf8');
const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> };
const packages = Object.entries(lock.packages).filter(([path]) => path !== '');

/** One of these must be among what a licence leaves to choose. All let a program be used and passed on with their notice. */
const ALLOWED = ['MIT', 'ISC', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'BlueOak-1.0.0'];

test('every package has a licence that may stand beside ours', () => {
  const wrong = packages.filter(([path, { license }]) => {
    const said =
      license ?? (JSON.parse(read(join(path, 'package.json'))) as { license?: string }).license ?? '';
    return !said
      .replaceAll(/[()]/g, '')
      .split(' OR ')
      .some(one => ALLOWED.includes(one));
  });
  assert.equal(wrong, []);
});

test('every package is pinned to its content, and names no address', () => {
  for (const [path, { version, integrity, resolved }] of packages) {
    assert.match(integrity ?? '', /^sha512-/, path);
    assert.match(version ?? '', /^\d/, path);
    assert.is(resolved, undefined, path);
  }
  const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<
    string,
    Record<string, string>
  >;
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies }))
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
});

test('install scripts are those that SECURITY.md has reviewed', () => {
  const scripts = packages.flatMap(([path, { hasInstallScript, version }]) =>
    hasInstallScript === true ? [`${path.replace(/^.*node_modules\//, '')} ${version}`] : [],
  );
  const reviewed = [...read('SECURITY.md').matchAll(/^\| `(\S+)` (\d\S*) \|/gm)].map(
    ([, name, version]) => `${name} ${version}`,
  );
  assert.equal(scripts.sort(), reviewed.sort());
});

test.run();
