/** The NAT: every golden case of fixtures/nat.ts, played through the whole pipeline. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cases } from '../../fixtures/nat.ts';
import { expected, play } from './harness.ts';

for (const one of cases()) test(`nat: ${one.name}`, () => assert.equal(play(one), expected(one)));

test.run();
