/**
 * Address caching capacity and address learning rate (RFC 2889 §5.7, §5.8) of the data plane in memory: frames with new source
 * addresses come in on one port; then a test port sends to each of them, and what a third port sees was flooded, so not learnt.
 */

import { counterMemory } from '../src/dataplane/counters.ts';
import { Dataplane } from '../src/dataplane/dataplane.ts';
import { fdbMemory } from '../src/dataplane/fdb.ts';
import { MemoryPort } from '../src/port/memory.ts';
import * as ethernet from '../src/wire/ethernet.ts';
import type { Figure } from './history.ts';
import { arenaFor, scatter } from './memory.ts';
import { middle } from './stage.ts';

const MAX_MACS = [16_384, 65_536];
const ROUNDS = 5;
const BYTES = 60;
const [LEARNING, TESTING, MONITORING] = [0, 1, 2] as const;
const OWN = 0x0a_00_00_01;

interface Trial {
  readonly learnt: number;
  readonly framesPerS: number;
}

export function rfc2889Bench(): Figure[] {
  return MAX_MACS.flatMap(max => {
    const trials = Array.from({ length: ROUNDS }, () => trial(max, max + max / 4));
    return [
      {
        what: `address caching capacity, --max-macs ${max}`,
        unit: 'addresses',
        value: trials[0]?.learnt ?? 0,
      },
      {
        what: `address learning rate, --max-macs ${max}`,
        unit: 'M addresses/s',
        value: middle(Array.from({ length: ROUNDS }, () => trial(max, max - 1).framesPerS)) / 1e6,
      },
    ];
  });
}

/** Offers `offered` addresses to an empty table; says how many are known afterwards, by what is flooded. */
function trial(maxMacs: number, offered: number): Trial {
  const towards = (to: number, from: number): Uint8Array => {
    const frame = new Uint8Array(BYTES);
    ethernet.setHeader(new DataView(frame.buffer), 0, 0x0200, to, 0x0200, from, 0x88b5);
    return frame;
  };
  const stations = Array.from({ length: offered }, (_, i) => scatter(i));
  const news = stations.map(station => towards(OWN, station));
  const tests = stations.map(station => towards(station, OWN));
  const dataplane = new Dataplane({
    fdbMemory: fdbMemory(maxMacs),
    counterMemory: counterMemory(),
    maxMacs,
    ageingS: 300,
    seed: 1,
    uplink: -1,
    arenaBytes: arenaFor([news, tests]),
    onGone: () => undefined,
  });
  const ports = [LEARNING, TESTING, MONITORING].map(index => new MemoryPort(`p${index}`));
  ports[LEARNING]?.loop(news);
  ports[TESTING]?.loop(tests);
  ports[MONITORING]?.loop([]);
  for (const [index, port] of ports.entries()) dataplane.attach(index, port);
  dataplane.serve(TESTING, 0); // the test port's own address is known first
  const pass = (index: number): void => {
    for (let frames = 0; frames < offered; ) frames += dataplane.serve(index, 0);
  };
  pass(LEARNING); // the first pass lays the frames out and warms the code up
  dataplane.fdb.flush(LEARNING);
  const start = performance.now();
  pass(LEARNING);
  const seconds = (performance.now() - start) / 1_000;
  const monitor = ports[MONITORING] as MemoryPort;
  const before = monitor.sentFrames;
  pass(TESTING);
  // the test port's own address stands in the table as well
  return { learnt: 1 + offered - (monitor.sentFrames - before), framesPerS: offered / seconds };
}
