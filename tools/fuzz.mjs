/**
 * `npm run fuzz -- [--minutes N] [--target NAME] [--seed N]`: fuzzes all targets, or one, for so long in all, niced; what is worth
 * keeping is kept in test/fuzz/corpus/, and what fails in test/fuzz/regressions/.
 */
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, setup } from './setup.mjs';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    target: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});
const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
if (!(minutes > 0) || !Number.isInteger(seed)) {
  console.error('fuzz: --minutes takes a number above 0, --seed a whole one');
  process.exit(2);
}
setup(['run', 'test']);
setPriority(19);
const { TARGETS } = await import(join(root, 'dist/test/fuzz/targets.js'));
const { fuzz, keepCorpus, kept } = await import(join(root, 'dist/test/fuzz/engine.js'));
const chosen = TARGETS.filter(({ name }) => values.target === undefined || name === values.target);
if (chosen.length === 0) {
  console.error(
    `fuzz: there is no target ${values.target}; expected one of ${TARGETS.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}
let failed = false;
for (const target of chosen) {
  try {
    const before = kept('corpus', target.name).length;
    const { runs, blocks, corpus } = fuzz(target, (minutes * 60) / chosen.length, seed);
    keepCorpus(target.name, corpus);
    console.log(
      `${target.name}: ${runs} runs, seed ${seed}, ${blocks} blocks, ${corpus.length} inputs kept (${before} before)`,
    );
  } catch (error) {
    failed = true;
    console.log(error.message);
  }
}
process.exitCode = failed ? 1 : 0;
