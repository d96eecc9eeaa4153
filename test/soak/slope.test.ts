/** A leak is seen, garbage is not, and a longer run sees a smaller one. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { random } from '../random.ts';
import { type Sample, slopeOf } from './slope.ts';

/** A process that leaks so much, with garbage that is collected now and then. */
function samples(seconds: number, mbAnHour: number, garbage: number): Sample[] {
  const next = random(5);
  let heap = 0;
  return Array.from({ length: seconds }, (_, atS) => {
    heap = next(7) === 0 ? 0 : heap + next(garbage);
    return { atS, bytes: 100e6 + (mbAnHour * 1e6 * atS) / 3_600 + heap };
  });
}

test('an hour tells 2 MB from none', () => {
  const none = slopeOf(samples(3_600, 0, 1e6));
  assert.ok(Math.abs(none.slope) < 0.5 && none.noise < 0.5, JSON.stringify(none));
  const some = slopeOf(samples(3_600, 2, 1e6));
  assert.ok(Math.abs(some.slope - 2) < 0.5, JSON.stringify(some));
});

test('half a minute tells 1 MB a second from none', () => {
  const none = slopeOf(samples(30, 0, 1e6));
  assert.ok(none.slope - none.noise <= 1, JSON.stringify(none));
  const some = slopeOf(samples(30, 3_600, 1e6));
  assert.ok(some.slope - some.noise > 1, JSON.stringify(some));
});

test.run();
