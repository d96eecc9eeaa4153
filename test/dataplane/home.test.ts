/** What the stages ask of a station's home slot alone must agree with the whole look-up, whatever the table went through. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Fdb, fdbMemory } from '../../src/dataplane/fdb.ts';

const MAX_MACS = 16; // 32 slots: stations collide, chains wrap around, the table fills
const STATIONS = 24;
const AGEING_S = 10;

type Act =
  | { readonly act: 'learn'; readonly station: number; readonly port: number }
  | { readonly act: 'flush'; readonly port: number }
  | { readonly act: 'wait'; readonly seconds: number };

const port = fc.integer({ min: 0, max: 3 });
const acts: fc.Arbitrary<Act[]> = fc.array(
  fc.oneof(
    {
      weight: 20,
      arbitrary: fc.record({ act: fc.constant('learn' as const), station: fc.nat(STATIONS - 1), port }),
    },
    { weight: 1, arbitrary: fc.record({ act: fc.constant('flush' as const), port }) },
    {
      weight: 2,
      arbitrary: fc.record({ act: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 6 }) }),
    },
  ),
  { size: 'max', maxLength: 200 },
);

// Each MAC is in three VLANs: the same last octets, another key.
const keyOf = (station: number): number => ((station % 3) << 16) | 0x0200;
const loOf = (station: number): number => Math.floor(station / 3);
let home = 0;
let away = 0;

/** Every station, after every act: known at home and known by a look-up are the same, but for those that were displaced. */
function agree(fdb: Fdb, nowS: number): void {
  for (let station = 0; station < STATIONS; station++) {
    const key = keyOf(station);
    const known = fdb.lookup(key, loOf(station));
    const slot = fdb.home(key, loOf(station));
    const atHome = fdb.lookupHome(slot, key, loOf(station));
    if (atHome >= 0) assert.is(atHome, known);
    if (known >= 0) atHome >= 0 ? home++ : away++;
    for (let port = 0; port <= 3; port++)
      if (fdb.isFresh(slot, key, loOf(station), port, nowS)) {
        assert.is(known, port);
        assert.not(fdb.isFresh(slot, key, loOf(station), port, nowS + 1));
      }
  }
}

test('home slots agree with the look-up', () => {
  fc.assert(
    fc.property(acts, fc.integer(), (list, seed) => {
      const fdb = new Fdb(fdbMemory(MAX_MACS), MAX_MACS, AGEING_S, seed);
      let nowS = 0;
      for (const step of list) {
        if (step.act === 'flush') fdb.flush(step.port);
        else if (step.act === 'wait') {
          nowS += step.seconds;
          fdb.sweep(nowS);
        } else if (fdb.learn(keyOf(step.station), loOf(step.station), step.port, nowS)) {
          const [key, lo] = [keyOf(step.station), loOf(step.station)];
          const slot = fdb.home(key, lo);
          if (fdb.lookupHome(slot, key, lo) >= 0)
            assert.ok(fdb.isFresh(slot, key, lo, step.port, nowS), 'just learnt');
        }
        agree(fdb, nowS);
      }
    }),
    { seed: 7, numRuns: 200 },
  );
  // both kinds occurred: else nothing was compared
  assert.ok(home > 1000 && away > 100, `${home} at home, ${away} displaced`);
});

test.run();
