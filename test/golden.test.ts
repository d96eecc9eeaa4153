/** Every golden case of every area, through the replay. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { projectRoot } from '../src/port/native.ts';
import { casesOf, checkCase } from './golden.ts';

const areas = readdirSync(join(projectRoot(), 'fixtures'), { withFileTypes: true })
  .filter(entry => entry.isDirectory())
  .map(entry => entry.name);

for (const area of areas)
  for (const name of casesOf(area))
    test(`${area}: ${name.replaceAll('-', ' ')}`, () => checkCase(area, name));

test('there are cases', () => {
  assert.ok(areas.length >= 2);
});

test.run();
