/**
 * Imports point one way: a codec knows no port, a port no gateway, the host's tools nothing of the hot path, and nothing
 * knows what wires it. A folder may import from itself, from those named here, and types from anywhere.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { projectRoot } from '../src/port/native.ts';

const SOURCE = join(projectRoot(), 'src');

/** What the code of a folder may import beside its own. Files at the top of src are named with their suffix. */
const MAY: Readonly<Record<string, readonly string[]>> = {
  wire: [],
  port: ['wire', 'dataplane/batch.ts', 'errors.ts'],
  // The worker builds the gateway, and the handle makes its memory: these two are the data plane's wiring.
  dataplane: ['wire', 'port', 'clock.ts'].concat(
    ...['gateway.ts', 'flowmemory.ts', 'packedflows.ts', 'neighbourmemory.ts', 'callers.ts'].map(
      name => `gateway/${name}`,
    ),
  ),
  gateway: ['wire', 'dataplane/batch.ts'],
  service: ['wire'],
  settings: ['wire'],
  host: ['wire', 'port/native.ts', 'errors.ts'],
  control: ['errors.ts', 'folder.ts', 'version.ts'],
  capture: ['wire', 'errors.ts', 'version.ts', 'sharedpool.ts', 'control/client.ts', 'host/run.ts'].concat(
    'dataplane/capture.ts',
    'dataplane/capturering.ts',
  ),
};
/** Of the data plane only its wiring may see the gateway and the kinds of ports. */
const WIRING = ['dataplane/worker.ts', 'dataplane/plane.ts'];

const files = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? files(path) : path.endsWith('.ts') && !path.endsWith('.d.ts') ? [path] : [];
  });

/** Paths below src that a file's code imports; `import type` is gone when it runs. */
function importsOf(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  return [...text.matchAll(/^(?:import|export)\s+(?!type\b)[^;]*?from '(\.[^']+)'/gm)]
    .map(match => relative(SOURCE, resolve(path, '..', match[1] as string)))
    .filter(target => !target.startsWith('..'));
}

const isWithin = (target: string, allowed: string): boolean =>
  target === allowed || target.startsWith(`${allowed}/`);

for (const [folder, allowed] of Object.entries(MAY)) {
  test(`${folder}/ imports only what it may`, () => {
    const wrong: string[] = [];
    for (const path of files(join(SOURCE, folder))) {
      const from = relative(SOURCE, path);
      for (const target of importsOf(path)) {
        const fine = [folder, ...allowed].some(each => isWithin(target, each));
        const wiring = target.startsWith('gateway/') && folder === 'dataplane' && !WIRING.includes(from);
        if (!fine || wiring) wrong.push(`${from} imports ${target}`);
      }
    }
    assert.equal(wrong, []);
  });
}

test('imports are found at all', () => {
  assert.ok(files(SOURCE).flatMap(importsOf).length > 100);
});

test('nothing imports main.ts or ctl.ts', () => {
  const wrong = files(SOURCE).filter(path =>
    importsOf(path).some(target => target === 'main.ts' || target === 'ctl.ts'),
  );
  assert.equal(wrong, []);
});

test('only host/run.ts and the laboratory start programs', () => {
  const spawners = files(SOURCE).filter(path => readFileSync(path, 'utf8').includes("'node:child_process'"));
  assert.equal(spawners.map(path => relative(SOURCE, path)).sort(), ['host/run.ts', 'lab.ts']);
});

test.run();
