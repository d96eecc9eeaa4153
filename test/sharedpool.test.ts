/** Shared memory that is used again. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SharedPool } from '../src/sharedpool.ts';

test('what was given back comes again, its header as new; no more is kept than may be', () => {
  let made = 0;
  const pool = new SharedPool(
    () => {
      made++;
      return new SharedArrayBuffer(64);
    },
    16,
    1,
  );
  const [one, other] = [pool.take(), pool.take()];
  assert.is(made, 2);
  new Uint8Array(one).fill(7);
  pool.give(one);
  pool.give(other);
  const again = pool.take();
  assert.is(again, one);
  assert.equal([...new Uint8Array(again, 0, 18)], [...new Array(16).fill(0), 7, 7]);
  assert.is.not(pool.take(), other);
  assert.is(made, 3);
});

test.run();
