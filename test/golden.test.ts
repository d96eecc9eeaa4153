/** Every golden case of every area, through the replay. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { projectRoot } from '../src/port/native.ts';
import { casesOf, checkCase, difference } from './golden.ts';

const areas = readdirSync(join(projectRoot(), 'fixtures'), { withFileTypes: true })
  .filter(entry => entry.isDirectory())
  .map(entry => entry.name);

for (const area of areas)
  for (const name of casesOf(area))
    test(`${area}: ${name.replaceAll('-', ' ')}`, () => checkCase(area, name));

test('there are cases', () => {
  assert.ok(areas.length >= 2);
});

test('a difference names the first frame that is not as wanted', () => {
  const frame = (last: number): Uint8Array => new Uint8Array(60).fill(last, 59);
  assert.is(difference([frame(1), frame(2)], [frame(1), frame(2)]), undefined);
  assert.match(difference([frame(1), frame(3)], [frame(1), frame(2)]) ?? '', /frame 2 .*\n.*byte 59\n/);
  assert.match(difference([frame(1)], [frame(1), frame(2)]) ?? '', /sent 1 frames, wanted 2; .*\nsent: none/);
  assert.match(difference([frame(1), frame(2)], [frame(1)]) ?? '', /frame 2 .*\n(.*\n)*wanted: none/);
  assert.match(difference([frame(1).subarray(0, 50)], [frame(1)]) ?? '', /from byte 50/);
});

test.run();
