// timeout: 120 s
/** Each target for a moment, from its corpus on, and what has failed once. `npm run fuzz` goes on for longer. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fuzz, kept, tried } from './engine.ts';
import { TARGETS } from './targets.ts';

const seconds = Number(process.env.VSWITCHD_FUZZ_SECONDS ?? 0.5);
const seed = Number(process.env.VSWITCHD_SEED ?? Date.now() % 1_000_000);

for (const target of TARGETS) {
  test(`${target.name}: what has failed once`, () => {
    for (const input of kept('regressions', target.name)) tried(target, input, 0);
  });

  test(`${target.name}: ${seconds} s, seed ${seed}`, () => {
    const { runs, blocks } = fuzz(target, seconds, seed);
    assert.ok(runs > 30 && blocks > 20, `${runs} runs, ${blocks} blocks`);
  });
}

test('a fault is found that stands behind three conditions', () => {
  const planted = {
    ...{ name: 'planted', code: /fuzz\/guided/, seeds: () => [Uint8Array.of(1, 2, 3, 4)] },
    run(input: Uint8Array): void {
      for (let at = 0; at < input.length; at++)
        if (input[at] === 0x61) {
          if (input[at + 1] === 0x62) {
            if (input[at + 2] === 0x63) throw new Error('planted');
          }
        }
    },
  };
  assert.throws(() => fuzz(planted, 20, 3, false), /planted, seed 3: planted\n {2}input [0-9a-f]*616263/);
});

test.run();
