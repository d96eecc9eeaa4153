/** The router: every golden case of fixtures/router.ts, played through the whole pipeline. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cases } from '../../fixtures/router.ts';
import { expected, play } from './harness.ts';

for (const one of cases()) test(`router: ${one.name}`, () => assert.equal(play(one), expected(one)));

test.run();
