// timeout: 120 s
/** A guest's connection and rings that another port goes on with, as another process does at a restart: at any moment, with nothing lost or doubled. */
import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadNative } from '../../../src/port/native.ts';
import { VhostPort } from '../../../src/port/vhost/port.ts';
import { Feature, MAX_SLOTS, NEED_REPLY, Request } from '../../../src/port/vhost/protocol.ts';
import { hostThat } from '../host.ts';
import { frameOf, hex, meet, withGuests } from './bench.ts';
import { inflightPayload, type Layout, messageOf, state, USUAL, u64, type VhostGuest } from './guest.ts';

const native = loadNative();
const files = (): number => readdirSync('/proc/self/fd').length;

test('frames before, between and after: each arrives once and in order, by whatever features and queues', () => {
  const step = fc.record({
    sent: fc.array(fc.tuple(fc.integer({ min: 14, max: 1514 }), fc.constantFrom('single', 'scattered')), {
      maxLength: 20,
    }),
    turns: fc.boolean(),
    handedOver: fc.constantFrom(undefined, 0 as const, 1 as const),
  });
  const extra = fc.subarray([Feature.eventIndex, Feature.indirect]);
  fc.assert(
    fc.property(fc.array(step, { minLength: 2, maxLength: 8 }), extra, (steps, more) => {
      const features = [...USUAL, ...more];
      withGuests({ features }, { features }, bench => {
        meet(bench);
        const { a, b, turn, handOver } = bench;
        const [sent, got]: [string[], string[]] = [[], []];
        const take = (): void => {
          got.push(...b.received().map(({ frame }) => hex(frame)));
          b.fill(Math.min(160, b.queues[0]!.free.length));
        };
        b.fill(160);
        for (const { sent: frames, turns, handedOver } of steps) {
          for (const [bytes, layout] of frames) {
            const frame = frameOf(1, 2, bytes, sent.length);
            a.send(frame, { layout: layout as Layout });
            sent.push(hex(frame));
          }
          if (turns) turn();
          if (handedOver !== undefined) handOver(handedOver);
          turn();
          take();
        }
        assert.equal(got, sent);
        assert.equal(bench.gone, []);
      });
    }),
    { numRuns: 30 },
  );
});

test('the front end notices nothing: its guest is there at once, its rings are at work, its questions are answered', () => {
  withGuests({}, {}, bench => {
    meet(bench);
    const { a, carriers, ports, handOver, turn } = bench;
    a.answer(); // of the memory
    handOver(0);
    assert.equal(carriers[0], [true]);
    assert.ok(ports[0]!.wake());
    assert.ok(ports[0]!.polls, 'what it offered meanwhile is looked at without a kick');
    a.say(Request.GetFeatures);
    turn();
    assert.ok((a.answer().payload.getBigUint64(0, true) & a.features) === a.features);
    a.say(Request.GetVringBase, state(1, 0));
    turn();
    assert.is(a.answer().payload.getUint32(4, true), 1, 'the one frame that it has sent');
  });
});

test('at every byte of a message with a file, and of all that the front end says at its start', () => {
  withGuests({}, {}, bench => {
    meet(bench);
    const { a, b, handOver, turn, gone } = bench;
    const bytes = messageOf(Request.SetVringCall, u64(0n));
    for (let cut = 1; cut < bytes.length; cut++) {
      native.sendMessage(a.fd, bytes.subarray(0, cut), cut, Int32Array.of(a.queues[0]!.call));
      turn();
      handOver(0);
      native.sendMessage(a.fd, bytes.subarray(cut), bytes.length - cut, new Int32Array(0));
      turn();
      assert.equal(gone, []);
      a.send(frameOf(1, 2, 100, cut));
      turn();
      assert.is(b.received().length, 1, `${cut}`);
      b.fill(1);
    }
    for (const request of [Request.GetVringBase, Request.ResetOwner])
      for (const index of [0, 1])
        a.say(request, request === Request.ResetOwner ? new Uint8Array(0) : state(index, 0));
    turn();
    a.start(() => {
      turn();
      handOver(0);
    });
    turn();
    a.send(frameOf(1, 2, 100, 99));
    turn();
    assert.is(b.received().length, 1);
    assert.equal(gone, []);
  });
});

test('several queues, as many regions as may be, and the in-flight area go along', () => {
  const features = [...USUAL, Feature.multiqueue];
  const regions = Array.from({ length: 8 }, (_, i) => [i << 26, i === 7 ? 64 << 20 : 1 << 20] as const);
  withGuests({ pairs: 2, features, regions }, { pairs: 2, features }, bench => {
    const { a, b, handOver, turn } = bench;
    a.answer();
    const area = native.createMemory(1 << 20);
    const inflight = native.mapMemory(area, 0, 1 << 20);
    a.say(Request.SetInflightFd, inflightPayload(1 << 20, 4, 256), [area], 1 | NEED_REPLY);
    turn();
    assert.is(a.answer().payload.getBigUint64(0, true), 0n);
    for (let i = 8; i < MAX_SLOTS; i++) addRegion(a, i, turn);
    handOver(0);
    b.fill(10, 0);
    b.fill(10, 1);
    for (const pair of [0, 1]) a.send(frameOf(1, 2, 100, pair), { pair });
    turn();
    assert.is(b.received(0).length + b.received(1).length, 2);
    const used = new Uint16Array(inflight);
    const step = (16 + 16 * 256 + 63) & ~63;
    assert.equal([used[(step + 14) / 2], used[(3 * step + 14) / 2]], [1, 1]);
    native.unmapMemory(inflight);
    native.close(area);
  });
});

function addRegion(guest: VhostGuest, number: number, turn: () => void): void {
  const fd = native.createMemory(4096);
  const payload = new DataView(new ArrayBuffer(40));
  const at = BigInt(number) << 26n;
  payload.setBigUint64(8, at, true);
  payload.setBigUint64(16, 4096n, true);
  payload.setBigUint64(24, 0x6f00_0000_0000n + at, true);
  guest.say(Request.AddMemReg, new Uint8Array(payload.buffer), [fd], 1 | NEED_REPLY);
  turn();
  assert.is(guest.answer().payload.getBigUint64(0, true), 0n, `region ${number}`);
  native.close(fd);
}

test('a transcript that has no end, or says what is not so, costs the guest its connection and no more', () => {
  withGuests({}, {}, bench => {
    meet(bench);
    const { a } = bench;
    const reason = (write: (socket: number) => void, ends = true): string | undefined => {
      const [ours, theirs] = native.socketPair();
      write(ours);
      if (ends) native.close(ours);
      const port = new VhostPort('g', a.theirs, 1500, 1, undefined, hostThat(), theirs);
      native.close(theirs);
      if (!ends) native.close(ours);
      const goesOn = port.wake();
      port.close();
      return goesOn ? undefined : port.fault;
    };
    const say =
      (request: Request, bytes: number) =>
      (socket: number): void => {
        const message = messageOf(request, new Uint8Array(bytes));
        native.sendMessage(socket, message, message.length, new Int32Array(0));
      };
    assert.is(
      reason(() => undefined, false),
      'what a process before this one has left of it has no end',
    );
    assert.is(reason(say(Request.AddMemReg, 40)), "its AddMemReg can't be had again in this process");
    assert.is(reason(say(Request.SetVringKick, 8)), "its SetVringKick can't be had again in this process");
    assert.is(reason(say(Request.SetFeatures, 7)), 'its SetFeatures has 7 bytes; it must have 8');
    assert.is(
      reason(() => undefined),
      undefined,
    );
  });
});

test('hundreds of times leave no file behind', () => {
  const before = files();
  withGuests({}, {}, bench => {
    meet(bench);
    for (let i = 0; i < 200; i++) bench.handOver((i & 1) as 0 | 1);
  });
  assert.is(files(), before);
});

test.run();
