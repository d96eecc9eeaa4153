// timeout: 120 s
/**
 * A million mutated frames through the whole pipeline, gateway and NAT included: no exception, nothing written outside
 * the frames, nothing sent that is longer than what came in or what the switch makes itself.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cases as arpCases } from '../../fixtures/arp.ts';
import { cases as natCases } from '../../fixtures/nat.ts';
import type { Batch } from '../../src/dataplane/batch.ts';
import { memorySwitch } from '../gateway/harness.ts';

const FRAMES = 1_000_000;
const SEED = 20_261_123;

/** A small generator with a seed, so that a failure can be had again. */
function random(seed: number): (below: number) => number {
  let x = seed | 1;
  return below => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}

test('a million mutated frames do no harm', () => {
  const corpus = [...arpCases(), ...natCases()].flatMap(one => one.inputs);
  const next = random(SEED);
  const { plane, ports, punted } = memorySwitch();
  const names = Object.keys(ports);
  const scratch = new Uint8Array(4096);
  const header = new Uint8Array(10);
  for (let i = 0; i < FRAMES; i++) {
    const { frame, port } = corpus[next(corpus.length)] as (typeof corpus)[number];
    scratch.set(frame);
    let length = frame.length;
    for (let changes = next(4); changes > 0; changes--) scratch[next(length)] = next(256);
    if (next(16) === 0) length = next(length + 64);
    header.fill(0);
    if (next(4) === 0) for (let at = 0; at < header.length; at++) header[at] = next(3) === 0 ? next(256) : 0;
    const chosen = next(8) === 0 ? (names[next(names.length)] as string) : port;
    const index = names.indexOf(chosen);
    ports[chosen]?.give(scratch.slice(0, length), header.slice());
    plane.serve(index, i);
    if (next(64) === 0) plane.tick(i);
    if ((i & 1023) === 0) {
      for (const each of Object.values(ports)) {
        for (const sent of each.sent) assert.ok(sent.length <= 4096 + 64);
        each.sent.length = 0;
      }
      punted.length = 0;
    }
  }
  let received = 0;
  for (const index of names.keys()) received += plane.counters.rxFrames[index] as number;
  assert.is(received, FRAMES);
});

test('a stage writes nothing beyond a frame', () => {
  const { plane, ports } = memorySwitch();
  const port = ports.p0;
  if (port === undefined) throw new Error('no port');
  let batch: Batch | undefined;
  const ends: number[] = [];
  const receive = port.receive.bind(port);
  port.receive = (given: Batch, ingress: number) => {
    batch = given;
    ends.length = 0;
    const got = receive(given, ingress);
    for (let row = 0; row < got; row++) {
      const end = (given.offset[row] as number) + (given.length[row] as number);
      given.slab.fill(0xa5, end, end + 32);
      ends.push(end);
    }
    return got;
  };
  let checked = 0;
  for (const one of [...arpCases(), ...natCases()])
    for (const input of one.inputs) if (input.port === 'p0') port.give(input.frame);
  while (plane.serve(0, 0) > 0) {
    for (const end of ends) {
      assert.ok(batch?.slab.subarray(end, end + 32).every(byte => byte === 0xa5));
      checked++;
    }
  }
  assert.ok(checked > 50);
});

test.run();
