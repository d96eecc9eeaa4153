/** ARP at the gateway: every golden case of fixtures/arp.ts, played through the whole pipeline. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cases } from '../../fixtures/arp.ts';
import { expected, play } from './harness.ts';

for (const one of cases()) test(`arp: ${one.name}`, () => assert.equal(play(one), expected(one)));

test.run();
