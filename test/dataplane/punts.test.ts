/** The worker's end of the punt ring: what bulk may take of it, and when the control thread must be woken. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Batch } from '../../src/dataplane/batch.ts';
import { Punts } from '../../src/dataplane/punts.ts';
import { FrameRing, ringMemory } from '../../src/dataplane/ring.ts';

const SLOTS = 64;
const SHARE = SLOTS / 8;

function bench() {
  const memory = ringMemory(SLOTS);
  const [punts, ring] = [new Punts(new FrameRing(memory)), new FrameRing(memory)];
  const batch = new Batch();
  const punt = (port: number, bulk: boolean): boolean => {
    batch.reset(0);
    return punts.punt(batch, batch.append(60, port), bulk);
  };
  /** How many of as many as there could be are taken. */
  const flood = (port: number): number => Array.from({ length: SLOTS }).filter(() => punt(port, true)).length;
  const drain = (count = SLOTS): number => {
    let taken = 0;
    while (taken < count && ring.pop(() => undefined)) taken++;
    return taken;
  };
  return { punts, ring, punt, flood, drain };
}

test('one port’s bulk has an eighth of the ring a round, all bulk three quarters, the rest is for the rest', () => {
  const { punt, flood, drain } = bench();
  assert.is(flood(1), SHARE);
  assert.is(flood(1), 0);
  assert.equal([2, 3, 4, 5, 6, 7].map(flood), [SHARE, SHARE, SHARE, SHARE, SHARE, 0]);
  assert.ok(punt(1, false), 'what is not bulk has room');
  assert.is(drain(), (3 * SLOTS) / 4 + 1);
  assert.is(flood(1), SHARE, 'a new round');
});

test('of what is not bulk one port has an eighth too, and others find room beside all bulk', () => {
  const { punt, flood } = bench();
  for (const port of [1, 2, 3, 4, 5, 6]) assert.is(flood(port), SHARE);
  const taken = Array.from({ length: SLOTS }).filter(() => punt(7, false)).length;
  assert.is(taken, SHARE);
});

test('a port that floods on has two shares in the ring at the most', () => {
  const { punt, flood, drain } = bench();
  let [put, got, most] = [0, 0, 0];
  for (let turn = 0; turn < 1_000; turn++) {
    put += flood(1);
    most = Math.max(most, put - got);
    assert.ok(punt(2, true), `another port is heard in turn ${turn}`);
    got += drain(1 + (turn % 7));
    if (turn % 50 === 49) {
      got = put;
      drain();
    }
  }
  assert.ok(most <= SLOTS / 4 + 8, `${most}`);
});

test('a port that floods with both leaves room for either of another', () => {
  const { punt, flood, drain } = bench();
  const both = (): void => {
    flood(1);
    while (punt(1, false));
  };
  for (let turn = 0; turn < 200; turn++) {
    both();
    assert.ok(punt(2, true), `a question in turn ${turn}`);
    assert.ok(punt(2, false), `a message in turn ${turn}`);
    drain(4 + (turn % 7));
  }
});

test('the control thread is woken once for each rest, and not while it looks', () => {
  const { punts, ring, punt, drain } = bench();
  let woken = 0;
  /** Was something punted, and how often was the control thread woken for it? */
  const tell = (): [boolean, number] => {
    woken = 0;
    return [punts.tell(() => woken++), woken];
  };
  assert.ok(ring.rest());
  assert.equal(tell(), [false, 0]);
  punt(1, false);
  assert.equal(tell(), [true, 1]);
  punt(1, false);
  assert.equal(tell(), [true, 0], 'it is on its way');
  assert.not(ring.rest(), 'there is something left');
  punt(1, false);
  assert.equal(tell(), [true, 0], 'it is looking');
  drain();
  assert.ok(ring.rest());
  punt(1, false);
  assert.equal(tell(), [true, 1]);
});

test.run();
