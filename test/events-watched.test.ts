/** Events of the data plane: bursts of drops, flow limits, and the ring of addresses that were learnt or moved. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Counters, counterMemory } from '../src/dataplane/counters.ts';
import { Fdb, fdbMemory, newsOf } from '../src/dataplane/fdb.ts';
import { MAC_NEWS, NOWHERE } from '../src/dataplane/macnews.ts';
import { EventBus, type Happening, type SwitchEvent } from '../src/events/bus.ts';
import { BURST_FRAMES, DropWatch } from '../src/events/drops.ts';
import { onlyGuest } from '../src/events/leases.ts';
import { MACS_PER_S, MacWatch } from '../src/events/macs.ts';
import { WatchedPlane } from '../src/events/watched.ts';
import { projectRoot } from '../src/port/native.ts';
import { Drop } from '../src/wire/drop.ts';

const KEY = 0x0200;
const portName = (index: number): string => `tap${index}`;

function dropStage() {
  const counters = new Counters(counterMemory());
  const heard: Happening[] = [];
  const names = { portName, guestOn: () => '10.0.0.10' };
  const watch = new DropWatch(counters.drops, names, event => heard.push(event));
  watch.start();
  return { counters, watch, heard };
}

const burst = (port: string, count: number) => ({ event: 'drop-burst', port, reason: 'TxFull', count });

test('a burst is told of at once, the next after 10 s with what was held back; fewer drops are none', () => {
  const { counters, watch, heard } = dropStage();
  counters.drop(1, Drop.TxFull, BURST_FRAMES - 1);
  watch.look(0);
  assert.equal(heard.splice(0), []);
  counters.drop(1, Drop.TxFull, BURST_FRAMES);
  counters.drop(2, Drop.TxFull, 200);
  watch.look(1_000);
  assert.equal(heard.splice(0), [burst('tap1', BURST_FRAMES), burst('tap2', 200)]);
  for (let second = 2; second <= 10; second++) {
    counters.drop(1, Drop.TxFull, 300);
    counters.drop(2, Drop.TxFull, 5);
    watch.look(second * 1_000);
  }
  assert.equal(heard.splice(0), []);
  watch.look(11_000);
  assert.equal(heard.splice(0), [burst('tap1', 2_700)]);
  watch.look(30_000);
  assert.equal(heard, []);
});

test('drops from before the watch, or of a port that had the index before, are no burst', () => {
  const { counters, watch, heard } = dropStage();
  counters.drop(3, Drop.TxFull, 5_000);
  watch.start();
  watch.look(0);
  counters.clear(3);
  counters.drop(3, Drop.TxFull, 7);
  watch.look(1_000);
  assert.equal(heard, []);
  counters.clear(3);
  counters.drop(3, Drop.TxFull, 150);
  watch.look(2_000);
  assert.equal(heard, [burst('tap3', 143)]);
});

test('one refused session is a flow limit; the guest is named where the limit is its own', () => {
  const { counters, watch, heard } = dropStage();
  counters.drop(1, Drop.NatGuestFull, 1);
  counters.drop(1, Drop.NatTableFull, 2);
  watch.look(0);
  counters.drop(1, Drop.NatGuestFull, 4);
  watch.look(1_000);
  const limit = { event: 'flow-limit', port: 'tap1' };
  assert.equal(heard.splice(0), [
    { ...limit, reason: 'table-full', address: '', count: 2 },
    { ...limit, reason: 'guest-full', address: '10.0.0.10', count: 1 },
  ]);
  watch.look(10_000);
  assert.equal(heard, [{ ...limit, reason: 'guest-full', address: '10.0.0.10', count: 4 }]);
});

test('a port’s guest is known when it is the only one with a lease there', () => {
  const lease = { address: '10.0.0.10', state: 'bound', port: 'tap0' };
  assert.is(
    onlyGuest([lease, { ...lease, port: 'tap1' }, { ...lease, state: 'expired' }], 'tap0'),
    '10.0.0.10',
  );
  assert.is(onlyGuest([lease, { ...lease, address: '10.0.0.11' }], 'tap0'), '');
  assert.is(onlyGuest([], 'tap0'), '');
});

function macStage(maxEntries = 4_096) {
  const memory = fdbMemory(maxEntries);
  const fdb = new Fdb(memory, maxEntries, 300, 7);
  const news = newsOf(memory);
  const drained = (): { all: number[][]; lost: number } => {
    const all: number[][] = [];
    const lost = news.drain((...one) => void all.push(one));
    return { all, lost };
  };
  return { memory, fdb, news, drained };
}

test('learning and moving are news, seeing again is none; an address that was aged out is learnt anew', () => {
  const { fdb, news, drained } = macStage();
  fdb.learn(KEY, 1, 3, 0);
  news.open();
  fdb.learn(KEY, 1, 3, 1);
  fdb.learn(KEY, 2, 3, 1);
  fdb.learn(KEY, 1, 4, 2);
  fdb.learn(KEY, 1, 4, 2);
  assert.equal(drained(), {
    all: [
      [KEY, 2, 3, NOWHERE],
      [KEY, 1, 4, 3],
    ],
    lost: 0,
  });
  for (let tick = 0; tick < 20; tick++) fdb.sweep(1_000);
  fdb.learn(KEY, 1, 3, 1_000);
  fdb.flush(3);
  fdb.learn(KEY, 1, 4, 1_000);
  assert.equal(drained().all, [
    [KEY, 1, 3, NOWHERE],
    [KEY, 1, 4, NOWHERE],
  ]);
  news.close();
  fdb.learn(KEY, 9, 1, 1_000);
  news.open();
  assert.equal(drained(), { all: [], lost: 0 });
});

test('what does not fit is lost and counted; new addresses leave room for moves', () => {
  const { fdb, news, drained } = macStage();
  news.open();
  for (let lo = 0; lo < 1_000; lo++) fdb.learn(KEY, lo, 1, 0);
  for (let lo = 0; lo < 200; lo++) fdb.learn(KEY, lo, 2, 0);
  const { all, lost } = drained();
  assert.is(all.filter(([, , , from]) => from === NOWHERE).length, MAC_NEWS / 2);
  assert.is(all.filter(([, , , from]) => from === 1).length, MAC_NEWS / 2);
  assert.is(lost, 1_200 - MAC_NEWS);
  fdb.learn(KEY, 5_000, 1, 0);
  assert.equal(drained(), { all: [[KEY, 5_000, 1, NOWHERE]], lost: 0 });
});

test('in any order of news and looks: what comes out is what went in, in order, but for what is counted as lost', () => {
  const step = fc.oneof(
    {
      weight: 9,
      arbitrary: fc.record({ learn: fc.nat(60), port: fc.nat(3), times: fc.integer({ min: 1, max: 90 }) }),
    },
    { weight: 1, arbitrary: fc.constant('look' as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { size: 'max', maxLength: 120 }), steps => {
      const { fdb, news, drained } = macStage();
      const known = new Map<number, number>();
      news.open();
      let [said, room] = [[] as number[][], { used: 0, lost: 0 }];
      const look = (): void => {
        assert.equal(drained(), { all: said, lost: room.lost });
        [said, room] = [[], { used: 0, lost: 0 }];
      };
      for (const one of steps) {
        if (one === 'look') look();
        else
          for (let i = 0; i < one.times; i++) {
            const lo = one.learn + i;
            const from = known.get(lo) ?? NOWHERE;
            fdb.learn(KEY, lo, one.port, 0);
            known.set(lo, one.port);
            if (from === one.port) continue;
            if (room.used >= (from === NOWHERE ? MAC_NEWS / 2 : MAC_NEWS)) room.lost++;
            else {
              room.used++;
              said.push([KEY, lo, one.port, from]);
            }
          }
      }
      look();
    }),
    { seed: 20_261_127, numRuns: 200 },
  );
});

test('a flood has 50 events a second, and the number of the rest; a move among it is told of', () => {
  const { fdb, news } = macStage(65_536);
  const heard: Happening[] = [];
  const watch = new MacWatch(news, portName, event => heard.push(event));
  fdb.learn((42 << 16) | KEY, 0x0a_0b_0c_0d, 1, 0);
  watch.start();
  let next = 0;
  for (let ms = 0; ms < 3_000; ms += 200) {
    for (let i = 0; i < 1_000; i++) fdb.learn(KEY, next++, 2, 0);
    if (ms === 1_600) fdb.learn((42 << 16) | KEY, 0x0a_0b_0c_0d, 2, 0);
    watch.look(ms);
  }
  watch.look(3_000);
  assert.is(heard.filter(({ event }) => event === 'mac-learnt').length, 3 * MACS_PER_S);
  const held = heard.flatMap(one => (one.event === 'macs-held-back' ? [one.count] : []));
  assert.equal(held, [5_000 - MACS_PER_S, 5_000 - MACS_PER_S, 5_000 - MACS_PER_S]);
  assert.equal(
    heard.filter(({ event }) => event === 'mac-moved'),
    [{ event: 'mac-moved', mac: '02:00:0a:0b:0c:0d', vlan: 42, port: 'tap2', from: 'tap1' }],
  );
});

test('the data plane is watched while somebody reads, and not else', async () => {
  const { memory, fdb } = macStage();
  const bus = new EventBus();
  const watched = new WatchedPlane(
    bus,
    { fdb: memory, counters: counterMemory() },
    { portName, guestOn: () => '' },
  );
  fdb.learn(KEY, 1, 1, 0);
  const [one, two]: SwitchEvent[][] = [[], []];
  const offOne = watched.on(event => one?.push(event));
  const offTwo = watched.on(event => two?.push(event));
  fdb.learn(KEY, 2, 1, 0);
  offTwo();
  await new Promise(resolve => setTimeout(resolve, 500));
  assert.equal(
    one?.map(({ time: _, ...rest }) => rest),
    [{ event: 'mac-learnt', mac: '02:00:00:00:00:02', vlan: 0, port: 'tap1' }],
  );
  assert.equal(two, []);
  offOne();
  fdb.learn(KEY, 3, 1, 0);
  const again: SwitchEvent[] = [];
  const off = watched.on(event => again.push(event));
  await new Promise(resolve => setTimeout(resolve, 300));
  off();
  assert.equal(again, []);
});

test('the table of events in docs/operation.md and the code name the same events', () => {
  const read = (...path: string[]): string => readFileSync(join(projectRoot(), ...path), 'utf8');
  const section = read('docs', 'operation.md').split('## Events and hooks')[1]?.split('\n#')[0] ?? '';
  const documented = [...section.matchAll(/^\| ((?:`[a-z-]+`(?:, )?)+) \|/gm)]
    .flatMap(row => [...(row[1] as string).matchAll(/`([a-z-]+)`/g)].map(([, name]) => name))
    .filter(name => name !== 'event' && name !== 'lost'); // the stream's own
  const declared = read('src', 'events', 'bus.ts').matchAll(/readonly event:([^;}]+)/g);
  const inCode = [...declared].flatMap(([, names = '']) =>
    [...names.matchAll(/'([a-z-]+)'/g)].map(([, name]) => name),
  );
  assert.ok(inCode.length >= 15);
  assert.equal([...documented].sort(), [...new Set(inCode)].sort());
});

test.run();
