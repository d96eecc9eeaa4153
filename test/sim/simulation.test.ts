// timeout: 120 s
// coverage: none
/**
 * Days of a switch's life in seconds: guests come, move and go, leases end, ports flap, disks fill up, frames are lost, and
 * the switch is killed now and then. After each step what must hold is checked; at the end everybody is served, and then
 * nothing is left over.
 *
 *   VSWITCHD_SEED=7 VSWITCHD_SIM_STEPS=1000000 node dist/test/sim/simulation.test.js
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { random } from '../random.ts';
import { World } from './world.ts';

const { VSWITCHD_SEED, VSWITCHD_SIM_STEPS } = process.env;
const STEPS = Number(VSWITCHD_SIM_STEPS ?? 1_500);
const SEEDS = VSWITCHD_SEED === undefined ? [1, 3, 5] : [Number(VSWITCHD_SEED)];
const HAPPENS = [
  'discover',
  'reboot',
  'decline',
  'ack',
  'renew',
  'release',
  'outbound',
  'inbound',
  'noise',
  'flap',
  'gone',
  'kill',
];

for (const seed of SEEDS)
  test(`seed ${seed}: whatever happens, in ${STEPS} steps`, async () => {
    const world = new World(random(seed));
    let step = 0;
    try {
      await world.clock.inPlace(async () => {
        for (; step < STEPS; step++) await world.step();
        await world.end();
      });
    } catch (error) {
      throw new Error(`seed ${seed}, step ${step}: ${(error as Error).message}`, { cause: error });
    }
    const days = world.clock.nowMs / 86_400_000;
    console.log(`seed ${seed}: ${days.toFixed(1)} days, ${JSON.stringify(world.done)}`);
    assert.ok(days > STEPS / 500, `${days} days`);
    for (const what of HAPPENS) assert.ok((world.done[what] ?? 0) > 0, what);
  });

test.run();
