/** What `vswitchctl top` makes of two looks at the counters. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { rates, ratesText, short } from '../../src/control/top.ts';
import type { PortView } from '../../src/control/views.ts';

const port = (name: string, rxFrames: number, txFrames: number, drops = {}): PortView => ({
  ...{ name, kind: 'packet', up: true, rxFrames, rxBytes: 100 * rxFrames, txFrames, txBytes: 60 * txFrames },
  drops,
});

test('rates are differences by the second, the busiest first', () => {
  const before = [port('a', 100, 0, { TxFull: 2 }), port('b', 0, 0)];
  const after = [port('a', 110, 4, { TxFull: 2, PortDown: 6 }), port('b', 1_000, 0)];
  assert.equal(rates(before, after, 2), [
    { port: 'b', up: true, rxFrames: 500, rxBits: 400_000, txFrames: 0, txBits: 0, drops: 0 },
    { port: 'a', up: true, rxFrames: 5, rxBits: 4_000, txFrames: 2, txBits: 960, drops: 3 },
  ]);
});

test('a port that is new, or another of the same name, has done what it counts', () => {
  const [renewed, added] = rates([port('a', 1_000, 10)], [port('a', 8, 3), port('b', 4, 0)], 1);
  assert.equal([renewed?.port, renewed?.rxFrames, renewed?.txFrames], ['a', 8, 3]);
  assert.equal([added?.port, added?.rxFrames], ['b', 4]);
});

for (const [value, text] of [
  [0, '0'],
  [7, '7'],
  [0.5, '0.50'],
  [12.34, '12.3'],
  [999, '999'],
  [999.6, '1.00 k'],
  [1_234, '1.23 k'],
  [99_960, '100 k'],
  [12_345_678, '12.3 M'],
  [1e15, '1000 T'],
] as const)
  test(`${value} is ${text}`, () => assert.is(short(value), text));

test('the table aligns', () => {
  const lines = ratesText(rates([], [port('a', 5, 5), port('long-name', 1, 0)], 1)).split('\n');
  assert.is(lines.length, 3);
  assert.match(lines[1] as string, /a +up +5 +4\.00 k +5 +2\.40 k +0$/);
});

test.run();
