/** The frame ring between the threads: order, refusal, and both sides at once. */
import { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FrameRing, RING_FRAME, ringMemory } from '../../src/dataplane/ring.ts';

const frame = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes);

test('first in, first out, with the port', () => {
  const ring = new FrameRing(ringMemory(4));
  assert.ok(ring.push(frame(9, 1, 2, 9), 1, 2, 7));
  assert.ok(ring.push(frame(3), 0, 1, -1));
  const got: [number[], number][] = [];
  while (ring.pop((data, port) => got.push([[...data], port])));
  assert.equal(got, [
    [[1, 2], 7],
    [[3], -1],
  ]);
});

test('full or too long: refused, and what is in it stays', () => {
  const ring = new FrameRing(ringMemory(2));
  assert.not(ring.push(new Uint8Array(RING_FRAME + 1), 0, RING_FRAME + 1, 0));
  assert.ok(ring.push(new Uint8Array(RING_FRAME), 0, RING_FRAME, 0));
  assert.ok(ring.push(frame(1), 0, 1, 0));
  assert.not(ring.push(frame(2), 0, 1, 0));
  assert.ok(ring.pop(data => assert.is(data.length, RING_FRAME)));
  assert.ok(ring.push(frame(2), 0, 1, 0));
});

test('a ring has a power of two of slots', () => {
  assert.throws(() => new FrameRing(ringMemory(3)), /power of two/);
});

const PRODUCER = `
const { workerData } = require('node:worker_threads');
import(workerData.module).then(({ FrameRing }) => {
  const ring = new FrameRing(workerData.memory);
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < workerData.count; ) {
    view.setUint32(0, i);
    if (ring.push(bytes, 0, 4, i & 0xff)) i++;
  }
});`;

test('two threads: nothing lost, doubled or torn', async () => {
  const count = 100_000;
  const memory = ringMemory(64);
  const module = new URL('../../src/dataplane/ring.js', import.meta.url).href;
  const worker = new Worker(PRODUCER, { eval: true, workerData: { memory, module, count } });
  const ring = new FrameRing(memory);
  let next = 0;
  const deadline = Date.now() + 30_000;
  while (next < count && Date.now() < deadline) {
    const got = ring.pop((data, port) => {
      assert.is(new DataView(data.buffer, data.byteOffset).getUint32(0), next);
      assert.is(port, next & 0xff);
      next++;
    });
    if (!got) await new Promise(resolve => setImmediate(resolve));
  }
  await worker.terminate();
  assert.is(next, count);
});

test.run();
