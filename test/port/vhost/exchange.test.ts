// timeout: 120 s
/** Guests over vhost-user: frames between two of them and to other ports, however they are laid out and whatever they can finish. */
import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadNative } from '../../../src/port/native.ts';
import { Finisher } from '../../../src/port/offload.ts';
import { VhostPort } from '../../../src/port/vhost/port.ts';
import { Feature, Request } from '../../../src/port/vhost/protocol.ts';
import { VNET_SIZE } from '../../../src/wire/vnet.ts';
import { slopeOf } from '../../slope.ts';
import { unfinished } from '../gso.ts';
import { hostThat } from '../host.ts';
import { frameOf, meet, withGuests } from './bench.ts';
import { inflightPayload, type Layout, state, USUAL } from './guest.ts';

const native = loadNative();

test('frames of all lengths and layouts arrive in order, whole and once', () => {
  const layouts: readonly Layout[] = ['single', 'split', 'scattered', 'indirect'];
  for (const features of [
    USUAL,
    [...USUAL, Feature.eventIndex, Feature.indirect],
    [Feature.protocol],
    [Feature.version1],
  ])
    withGuests({ features }, { features, bufferBytes: 2048 }, bench => {
      meet(bench);
      const { a, b, turn } = bench;
      let mark = 1;
      for (const bytes of [14, 60, 64, 255, 256, 257, 300, 1000, 1513, 1514]) {
        const sent = layouts.map(layout => {
          const frame = frameOf(1, 2, bytes, mark++);
          a.send(frame, { layout });
          return frame;
        });
        turn();
        const got = b.received().map(({ frame }) => frame);
        assert.equal(
          got.map(frame => frame.length),
          sent.map(frame => frame.length),
          `${features} ${bytes}`,
        );
        got.forEach(
          (frame, i) =>
            void assert.ok(Buffer.compare(frame, sent[i]!) === 0, `${features} ${bytes} ${layouts[i]}`),
        );
        b.fill(got.length);
      }
    });
});

test('any mix of lengths and layouts, sent in any bursts', () => {
  const one = fc.record({
    bytes: fc.integer({ min: 14, max: 1514 }),
    layout: fc.constantFrom<Layout>('single', 'split', 'scattered', 'indirect'),
    turns: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(one, { minLength: 1, maxLength: 40 }), all => {
      withGuests({ features: [...USUAL, Feature.indirect] }, { bufferBytes: 600 }, bench => {
        meet(bench);
        const { a, b, turn } = bench;
        const sent: Uint8Array[] = [];
        const got: Uint8Array[] = [];
        all.forEach(({ bytes, layout, turns }, i) => {
          const frame = frameOf(1, 2, bytes, i);
          sent.push(frame);
          a.send(frame, { layout });
          if (!turns) return;
          turn();
          got.push(...b.received().map(({ frame }) => frame));
        });
        b.fill(Math.min(160, b.queues[0]!.free.length));
        turn();
        got.push(...b.received().map(({ frame }) => frame));
        assert.is(got.length, sent.length);
        got.forEach((frame, i) => void assert.is(Buffer.compare(frame, sent[i]!), 0, `frame ${i}`));
      });
    }),
    { numRuns: 60 },
  );
});

test('a segment of 64 KiB passes whole to a guest that cuts it itself, in as many buffers as it takes', () => {
  withGuests({}, { bufferBytes: 1536 }, bench => {
    meet(bench);
    const { a, b, turn } = bench;
    b.fill(100);
    const { bytes } = unfinished({ version: 4, protocol: 'tcp', payload: 64_000, size: 1448 });
    const frame = addressed(bytes.subarray(VNET_SIZE));
    for (const layout of ['single', 'scattered'] as const) {
      a.send(frame, { header: bytes.subarray(0, VNET_SIZE), layout });
      turn();
      const [got] = b.received();
      assert.is(Buffer.compare(got!.frame, frame), 0);
      assert.equal([...got!.header], [...bytes.subarray(0, VNET_SIZE)]);
      b.fill(43);
    }
  });
});

test('a guest that can not cut or sum gets finished frames', () => {
  withGuests({}, { features: [Feature.version1, Feature.mergeable, Feature.protocol] }, bench => {
    meet(bench);
    const { a, b, turn } = bench;
    const { bytes } = unfinished({ version: 4, protocol: 'tcp', payload: 10_000, size: 1448 });
    const frame = addressed(bytes.subarray(VNET_SIZE));
    a.send(frame, { header: bytes.subarray(0, VNET_SIZE) });
    turn();
    const finisher = new Finisher();
    const whole = new Uint8Array(VNET_SIZE + frame.length);
    whole.set(bytes.subarray(0, VNET_SIZE));
    whole.set(frame, VNET_SIZE);
    finisher.finish(whole, new DataView(whole.buffer), VNET_SIZE, frame.length);
    const got = b.received();
    assert.is(got.length, finisher.count);
    got.forEach((piece, i) => {
      const at = finisher.offset[i]!;
      assert.is(
        Buffer.compare(piece.frame, finisher.slab.subarray(at, at + finisher.length[i]!)),
        0,
        `segment ${i}`,
      );
      assert.equal([...piece.header], new Array(10).fill(0));
    });
  });
});

test('to a port that is none, and to all: what stayed in guest memory is brought along', () => {
  withGuests({}, {}, bench => {
    meet(bench);
    const { a, b, memory, turn } = bench;
    memory.sent.length = 0;
    const unknown = frameOf(1, 9, 1400, 5);
    a.send(unknown);
    const all = frameOf(1, 2, 1400, 6);
    all.fill(0xff, 0, 6);
    a.send(all, { layout: 'scattered' });
    turn();
    assert.equal(
      memory.sent.map(frame => Buffer.compare(frame, unknown) === 0 || Buffer.compare(frame, all) === 0),
      [true, true],
    );
    assert.equal(
      b
        .received()
        .map(({ frame }) => [Buffer.compare(frame, unknown), Buffer.compare(frame, all)].includes(0)),
      [true, true],
    );
  });
});

test('what finds no buffer is counted, and the rest goes on', () => {
  withGuests({}, {}, bench => {
    meet(bench);
    const { a, b, dataplane, turn } = bench;
    b.received();
    const room = b.queues[0]!.chains.size;
    for (let i = 0; i < room + 10; i++) a.send(frameOf(1, 2, 100, i));
    turn();
    turn();
    assert.is(b.received().length, room);
    assert.equal(dataplane.counters.dropsOf(2), { TxFull: 10 });
    b.fill(1);
    a.send(frameOf(1, 2, 100, 77));
    turn();
    assert.is(b.received().length, 1);
  });
});

test('several queues: a flow stays on one, and all arrive', () => {
  withGuests(
    { pairs: 2, features: [...USUAL, Feature.multiqueue] },
    { pairs: 2, features: [...USUAL, Feature.multiqueue] },
    ({ a, b, turn }) => {
      for (const guest of [a, b]) for (const pair of [0, 1]) guest.fill(100, pair);
      b.send(frameOf(2, 1, 60, 0));
      turn();
      const frames = Array.from({ length: 60 }, (_, i) => {
        const frame = frameOf(1, 2, 200, i);
        frame.set([0x08, 0x00, 0x45], 12);
        frame.set([10, 0, 0, 1, 10, 0, 0, 2, 4, i % 6, 0, 80], 26);
        a.send(frame, { pair: i & 1 });
        return frame;
      });
      for (let i = 0; i < 4; i++) turn();
      const got = [b.received(0), b.received(1)];
      assert.is(got[0]!.length + got[1]!.length, frames.length);
      assert.ok(got[0]!.length > 0 && got[1]!.length > 0, 'both are used');
      const flows = got.map(list => new Set(list.map(({ frame }) => frame[35])));
      for (const flow of flows[0]!) assert.not.ok(flows[1]!.has(flow), `flow ${flow} is on both`);
    },
  );
});

test('a guest with more than 4 GiB, whose buffers are beyond', () => {
  const regions = [
    [0, 3 * 2 ** 30],
    [2 ** 32, 2 ** 31 + 2 ** 29],
  ] as const;
  withGuests(
    {
      regions: [
        [0, 1 << 20],
        [5 * 2 ** 30, 64 << 20],
      ],
    },
    { regions },
    bench => {
      meet(bench);
      const { a, b, turn } = bench;
      const frame = frameOf(1, 2, 1200, 3);
      a.send(frame);
      turn();
      assert.is(Buffer.compare(b.received()[0]!.frame, frame), 0);
    },
  );
});

test('rings stop when their base is asked for, and go on from there', () => {
  withGuests({}, {}, bench => {
    meet(bench);
    const { a, b, carriers, turn } = bench;
    assert.equal(carriers, [[true], [true]]);
    a.answer(); // of the memory
    for (const index of [0, 1]) {
      a.say(Request.GetVringBase, state(index, 0));
      turn();
      assert.is(a.answer().payload.getUint32(4, true), index === 0 ? 1 : 1);
    }
    assert.equal(carriers[0], [true, false]);
    a.send(frameOf(1, 2, 100, 1));
    turn();
    assert.is(b.received().length, 0, 'a ring that is stopped is left alone');
    for (const index of [0, 1]) {
      a.say(Request.SetVringBase, state(index, 1));
      a.say(Request.SetVringKick, state(index, 0), [a.queues[index]!.kick]);
    }
    turn();
    turn();
    assert.is(b.received().length, 1);
    assert.equal(carriers[0], [true, false, true]);
  });
});

test('a connection that breaks costs no frame and doubles none, where the area outlives it', () => {
  withGuests({}, {}, bench => {
    meet(bench);
    const { a, b, dataplane, turn, gone } = bench;
    a.answer();
    a.say(Request.GetInflightFd, inflightPayload(0, 2, 256));
    turn();
    const { payload, files } = a.answer();
    const area = { fd: files[0]!, bytes: Number(payload.getBigUint64(0, true)) };
    a.say(Request.SetInflightFd, inflightPayload(area.bytes, 2, 256), [area.fd]);
    turn();
    a.send(frameOf(1, 2, 100, 1));
    turn();
    a.send(frameOf(1, 2, 100, 2)); // offered, and not taken when the connection breaks
    dataplane.detach(1);
    const [fd, theirs] = native.socketPair();
    const again = new VhostPort('g0', theirs, 1500, 1, undefined, hostThat());
    dataplane.attach(1, again);
    native.close(a.fd);
    (a as { fd: number }).fd = fd;
    a.start(turn, area); // its base is said to be 0, as by a front end that knows no better
    turn();
    assert.equal(
      b.received().map(({ frame }) => frame[20]),
      [frameOf(1, 2, 100, 1)[20], frameOf(1, 2, 100, 2)[20]],
    );
    assert.equal(gone, []);
    dataplane.detach(1);
    native.close(theirs);
    native.close(area.fd);
  });
});

const files = (): number => readdirSync('/proc/self/fd').length;

test('hundreds of connections leave no file and no memory behind', () => {
  const before = files();
  for (let i = 0; i < 100; i++) withGuests({}, {}, meet);
  for (let i = 0; i < 200; i++) withGuests({}, {}, () => undefined);
  assert.is(files(), before);
});

test('files that come byte by byte end the connection before they are many', () => {
  withGuests({}, {}, ({ a, gone, turn }) => {
    const before = files();
    const message = new Uint8Array(1);
    const eight = new Int32Array(8).fill(native.eventCreate());
    for (let i = 0; i < 10; i++) native.sendMessage(a.fd, message, 1, eight);
    turn();
    native.close(eight[0] as number);
    assert.equal(gone, ['its message came with more than 8 files']);
    assert.ok(files() <= before);
  });
});

for (const pairs of [1, 2])
  test(`an exchange allocates nothing for a frame, where the receiver has ${pairs} queues`, () => {
    const features = pairs > 1 ? [...USUAL, Feature.multiqueue] : USUAL;
    withGuests({}, { pairs, features }, bench => {
      meet(bench);
      const { a, b, dataplane } = bench;
      const tx = a.queues[1]!;
      const sinks = Array.from({ length: pairs }, (_, pair) => b.queues[2 * pair]!);
      sinks.forEach((queue, pair) => void b.fill(queue.free.length, pair));
      for (let i = 0; i < 128; i++) a.send(frameOf(1, 2, i % 2 === 0 ? 100 : 1200, i));
      let nowMs = 5_000;
      // What was used is offered again as it stands, so that the guests' side allocates nothing either.
      const round = (): void => {
        dataplane.serve(1, nowMs++);
        tx.offered = (tx.offered + 64) & 0xffff;
        Atomics.store(tx.available, 1, tx.offered);
        for (let i = 0; i < sinks.length; i++) {
          const queue = sinks[i]!;
          queue.offered = (queue.usedIndex + queue.size) & 0xffff;
          Atomics.store(queue.available, 1, queue.offered);
        }
      };
      for (let i = 0; i < 256; i++) tx.available[2 + i] = tx.available[2 + (i % 128)]!;
      const slope = slopeOf({ rounds: 200, warmUp: 3_000, framesARound: 64 }, round);
      assert.ok(dataplane.counters.txFrames[2]! > 100_000, 'frames were passed');
      assert.ok(slope < 0.5, `${slope} bytes a frame`);
    });
  });

/** A TCP packet with the MACs of guest 1 to guest 2. */
function addressed(frame: Uint8Array): Uint8Array {
  const copy = frame.slice();
  copy.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
  return copy;
}

test.run();
