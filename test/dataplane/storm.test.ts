/** What a guest's port may flood in a second: each kind for itself, each port for itself, and what is for one guest untouched. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ALL, ethernetFrame, mac } from '../../fixtures/packets.ts';
import { Allowances } from '../../src/dataplane/storm.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import type { StormLimit } from '../../src/settings/stormlimit.ts';
import type { Mac } from '../../src/wire/address.ts';
import { plainPlane } from './plain.ts';

const A = mac('02:00:00:00:00:0a');
const B = mac('02:00:00:00:00:0b');
const GROUP = mac('01:00:5e:00:00:fb');
const NOBODY_KNOWN = mac('02:00:00:00:00:77');
const TYPE = 0x88b5;

/** Ports 0 (the uplink's place), 1 and 2, of which 2 has been heard. */
function bridge(stormLimit: StormLimit) {
  const plane = plainPlane(256, undefined, stormLimit);
  const ports = [0, 1, 2].map(index => new MemoryPort(`p${index}`));
  for (const [index, port] of ports.entries()) plane.attach(index, port);
  const send = (index: number, nowMs: number, ...frames: [from: Mac, to: Mac][]): number[] => {
    for (const port of ports) port.sent.length = 0;
    for (const [from, to] of frames) ports[index]!.give(ethernetFrame(from, to, TYPE, new Uint8Array(46)));
    plane.serve(index, nowMs);
    return ports.map(port => port.sent.length);
  };
  send(2, 1, [B, B]);
  return { plane, send };
}

const times = <T>(count: number, one: T): T[] => new Array<T>(count).fill(one);

test('each kind has its own limit; what is for a known address has none', () => {
  const { plane, send } = bridge({ broadcast: 5, multicast: 3, unknown: 2 });
  send(1, 1_000, [A, A]);
  assert.equal(send(1, 1_000, ...times(20, [A, ALL] as [Mac, Mac])), [5, 0, 5]);
  assert.equal(send(1, 1_000, ...times(20, [A, GROUP] as [Mac, Mac])), [3, 0, 3]);
  assert.equal(send(1, 1_000, ...times(20, [A, NOBODY_KNOWN] as [Mac, Mac])), [2, 0, 2]);
  assert.equal(send(1, 1_000, ...times(20, [A, B] as [Mac, Mac])), [0, 0, 20]);
  assert.equal(plane.counters.dropsOf(1), {
    SameSegment: 1,
    BroadcastLimit: 15,
    MulticastLimit: 17,
    UnknownLimit: 18,
  });
  assert.equal(send(1, 1_600, ...times(20, [A, ALL] as [Mac, Mac])), [3, 0, 3], 'what 600 ms give');
  assert.equal(
    send(1, 9_000, ...times(20, [A, ALL] as [Mac, Mac])),
    [5, 0, 5],
    'no more than a second’s worth',
  );
});

test('another port is not held up, nor is the uplink, whatever one guest floods', () => {
  const { send } = bridge({ broadcast: 5, unknown: 5 });
  send(1, 1_000, ...times(100, [A, ALL] as [Mac, Mac]));
  assert.equal(send(2, 1_000, [B, ALL], [B, NOBODY_KNOWN]), [2, 2, 0]);
  assert.equal(send(0, 1_000, ...times(50, [NOBODY_KNOWN, ALL] as [Mac, Mac])), [0, 50, 50]);
});

test('addresses beyond the rate are neither learnt nor heard, and known ones are', () => {
  const { plane, send } = bridge({ macs: 4 });
  const made = (count: number): [Mac, Mac][] =>
    Array.from({ length: count }, (_, i) => [{ hi: 0x0200, lo: 0x1000 + i }, B]);
  assert.equal(send(1, 1_000, ...made(50)), [0, 0, 4]);
  assert.is(plane.fdb.size, 5);
  assert.equal(plane.counters.dropsOf(1), { LearnLimit: 46 });
  assert.equal(send(1, 1_001, ...made(4)), [0, 0, 4], 'known ones');
  assert.equal(send(1, 2_100, ...made(50)), [0, 0, 8], 'four more');
});

test('over any times it lets through no more than a second’s worth and the rate', () => {
  const steps = fc.array(fc.record({ ms: fc.integer({ min: 0, max: 3_000 }), frames: fc.nat(40) }), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), steps, (perS, all) => {
      const allowances = new Allowances({ broadcast: perS });
      let [nowMs, passed] = [5_000, 0];
      for (const { ms, frames } of all) {
        nowMs += ms;
        allowances.fill(1, nowMs);
        for (let i = 0; i < frames; i++) if (allowances.take(1, 0)) passed++;
        assert.ok(allowances.take(1, 2), 'of what has no limit there is always one more');
      }
      const most = perS + ((nowMs - 5_000) * perS) / 1_000;
      assert.ok(passed <= most + 1e-6, `${passed} of ${most}`);
    }),
  );
});

test.run();
