/** The FDB against a Map: IEEE 802.1D §7.9, with the bound and the ageing that are ours. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { countEntries, Fdb, fdbMemory, listEntries } from '../../src/dataplane/fdb.ts';

const AGEING_S = 300;
const key = (vlan: number, hi: number): number => (vlan << 16) | hi;

function table(maxEntries: number, seed = 7): { fdb: Fdb; memory: SharedArrayBuffer } {
  const memory = fdbMemory(maxEntries);
  return { fdb: new Fdb(memory, maxEntries, AGEING_S, seed), memory };
}

/** Turns the sweep until it has gone round once. */
function sweepAll(fdb: Fdb, slots: number, nowS: number): void {
  for (let done = 0; done <= slots; done += 1) fdb.sweep(nowS);
}

test('learns, finds, moves', () => {
  const { fdb } = table(16);
  assert.is(fdb.lookup(key(0, 0x0200), 1), -1);
  assert.ok(fdb.learn(key(0, 0x0200), 1, 3, 0));
  assert.is(fdb.lookup(key(0, 0x0200), 1), 3);
  assert.ok(fdb.learn(key(0, 0x0200), 1, 4, 1));
  assert.is(fdb.lookup(key(0, 0x0200), 1), 4);
  assert.is(fdb.size, 1);
});

test('the same MAC in two VLANs is two stations', () => {
  const { fdb } = table(16);
  fdb.learn(key(1, 0x0200), 1, 3, 0);
  fdb.learn(key(2, 0x0200), 1, 5, 0);
  assert.is(fdb.lookup(key(1, 0x0200), 1), 3);
  assert.is(fdb.lookup(key(2, 0x0200), 1), 5);
});

test('full: nothing new is learnt, the old is found and may still move', () => {
  const { fdb } = table(8);
  for (let lo = 0; lo < 8; lo++) assert.ok(fdb.learn(key(0, 1), lo, 1, 0));
  assert.not(fdb.learn(key(0, 1), 100, 1, 0));
  assert.is(fdb.lookup(key(0, 1), 100), -1);
  assert.ok(fdb.learn(key(0, 1), 3, 2, 0));
  assert.is(fdb.lookup(key(0, 1), 3), 2);
});

test('full: each frame whose source is not learnt is counted', () => {
  const { fdb, memory } = table(8);
  for (let lo = 0; lo < 8; lo++) fdb.learn(key(0, 1), lo, 1, 0);
  assert.equal(countEntries(memory), { size: 8, unlearnt: 0 });
  for (let lo = 100; lo < 103; lo++) fdb.learn(key(0, 1), lo, 1, 0);
  fdb.learn(key(0, 1), 3, 1, 1);
  assert.equal(countEntries(memory), { size: 8, unlearnt: 3 });
});

test('holds exactly as many as it says, at any size', () => {
  for (const size of [1, 5, 64, 1000, 65_536]) {
    const { fdb } = table(size);
    for (let lo = 0; lo < size; lo++) assert.ok(fdb.learn(key(0, lo & 0xff), lo * 2_654_435, 1, 0));
    assert.not(fdb.learn(key(0, 0x300), 1, 1, 0));
    assert.is(fdb.size, size);
  }
});

test('ageing: gone after the time, kept when seen meanwhile', () => {
  const { fdb } = table(64);
  fdb.learn(key(0, 1), 1, 1, 0);
  fdb.learn(key(0, 1), 2, 1, 0);
  fdb.learn(key(0, 1), 2, 1, 200);
  sweepAll(fdb, 1, AGEING_S - 1);
  assert.is(fdb.size, 2);
  sweepAll(fdb, 1, AGEING_S);
  assert.is(fdb.lookup(key(0, 1), 1), -1);
  assert.is(fdb.lookup(key(0, 1), 2), 1);
});

test('ageing: any table is gone over within 13 s of ticks', () => {
  const TICKS = 130;
  for (const maxEntries of [16, 65_536, 1_048_576]) {
    const { fdb } = table(maxEntries);
    for (let lo = 0; lo < Math.min(maxEntries, 1000); lo++) fdb.learn(key(0, 1), lo, 1, 0);
    for (let tick = 0; tick < TICKS; tick++) fdb.sweep(AGEING_S);
    assert.is(fdb.size, 0, `${maxEntries}`);
  }
});

test('a port has as many addresses as it may, till one of them has gone', () => {
  const { fdb } = table(64);
  fdb.portLimits[1] = 2;
  assert.ok(fdb.learn(key(0, 1), 1, 1, 0));
  assert.ok(fdb.learn(key(0, 1), 2, 1, 0));
  assert.not(fdb.learn(key(0, 1), 3, 1, 0));
  assert.ok(fdb.isFull(1));
  assert.ok(fdb.learn(key(0, 1), 2, 1, 5), 'those that it has are refreshed');
  assert.ok(fdb.learn(key(0, 1), 3, 2, 0), 'another port has no limit');
  assert.not(fdb.learn(key(0, 1), 3, 1, 0), 'nor may it take the other one’s');
  assert.is(fdb.lookup(key(0, 1), 3), 2);
  assert.ok(fdb.learn(key(0, 1), 1, 2, 0), 'one moves away');
  assert.ok(fdb.learn(key(0, 1), 4, 1, 0));
  fdb.flush(1);
  assert.equal([...fdb.portSizes.subarray(0, 3)], [0, 0, 2]);
  sweepAll(fdb, 1, AGEING_S);
  assert.equal([...fdb.portSizes.subarray(0, 3)], [0, 0, 0]);
});

test('the list shows what was learnt', () => {
  const { fdb, memory } = table(16);
  fdb.learn(key(42, 0xabcd), -2, 9, 77);
  assert.equal(listEntries(memory), [{ vlan: 42, hi: 0xabcd, lo: -2, port: 9, seenS: 77 }]);
});

const MACS = 40;
const mac = fc.integer({ min: 0, max: MACS - 1 });
const port = fc.integer({ min: 0, max: 3 });
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('learn' as const), mac, port }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('flush' as const), mac, port }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), mac, port }) },
);

test('does what a Map would, for any order of learning, flushing and ageing', () => {
  const bound = 24;
  fc.assert(
    fc.property(fc.array(step, { size: 'max', maxLength: 300 }), fc.integer(), (steps, seed) => {
      const { fdb, memory } = table(bound, seed);
      const model = new Map<number, { port: number; seenS: number }>();
      let nowS = 0;
      for (const one of steps) {
        if (one.do === 'learn') {
          if (model.has(one.mac) || model.size < bound) model.set(one.mac, { port: one.port, seenS: nowS });
          fdb.learn(key(0, 2), one.mac, one.port, nowS);
        } else if (one.do === 'flush') {
          for (const [lo, entry] of model) if (entry.port === one.port) model.delete(lo);
          fdb.flush(one.port);
        } else {
          nowS += 100;
          for (const [lo, entry] of model) if (entry.seenS <= nowS - AGEING_S) model.delete(lo);
          sweepAll(fdb, 1, nowS);
        }
        for (let lo = 0; lo < MACS; lo++) assert.is(fdb.lookup(key(0, 2), lo), model.get(lo)?.port ?? -1);
      }
      assert.is(fdb.size, model.size);
      for (let port = 0; port < 4; port++)
        assert.is(fdb.portSizes[port], [...model.values()].filter(entry => entry.port === port).length);
      assert.is(listEntries(memory).length, model.size);
    }),
    { seed: 20_261_123, numRuns: 300 },
  );
});

test.run();
