/** Frames on a byte stream: the same however it is cut, back-pressure that loses no place, peers that die or lie. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Batch, MAX_FRAME } from '../../src/dataplane/batch.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { loadNative } from '../../src/port/native.ts';
import { GONE } from '../../src/port/port.ts';
import { StreamPort } from '../../src/port/stream.ts';
import * as ethernet from '../../src/wire/ethernet.ts';
import { VNET_SIZE } from '../../src/wire/vnet.ts';
import { plainPlane } from '../dataplane/plain.ts';
import { slopeOf } from '../slope.ts';
import { unfinished } from './gso.ts';
import { hostThat } from './host.ts';

const native = loadNative();

/** A port, and its peer's end of the socket; both are closed afterwards. */
function withPort<T>(act: (port: StreamPort, peer: number, writing: boolean[]) => T): T {
  const [own, peer] = native.socketPair();
  const writing: boolean[] = [];
  try {
    return act(
      new StreamPort('s0', own, 1500, hostThat({ writing: (_fd, on) => void writing.push(on) })),
      peer,
      writing,
    );
  } finally {
    native.close(own);
    close(peer);
  }
}

function close(fd: number): void {
  try {
    native.close(fd);
  } catch {
    // a test has closed it before
  }
}

const [LEFT, RIGHT] = [0x0a, 0x0b];

/** A frame of these bytes, from one station to another, filled with its number. */
function frame(bytes: number, number = 0, fromLo = LEFT, toLo = RIGHT): Uint8Array {
  const data = new Uint8Array(Math.max(bytes, ethernet.ETHERNET_SIZE)).fill(number);
  ethernet.setHeader(new DataView(data.buffer), 0, 0x0200, toLo, 0x0200, fromLo, 0x88b5);
  return data.subarray(0, bytes);
}

/** Frames as they stand on the stream. */
function streamOf(frames: readonly Uint8Array[]): Uint8Array {
  const parts = frames.map(one => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(one.length);
    return Buffer.concat([length, one]);
  });
  return new Uint8Array(Buffer.concat(parts));
}

/** Takes a stream apart; throws when it does not end with a frame's end. */
function framesOf(stream: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < stream.length; ) {
    const bytes = stream.readUInt32BE(at);
    assert.ok(at + 4 + bytes <= stream.length, 'a frame without its end');
    found.push(stream.toString('hex', at + 4, at + 4 + bytes));
    at += 4 + bytes;
  }
  return found;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** All bytes that wait at the peer's end. */
function drain(peer: number): Buffer {
  const parts: Buffer[] = [];
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const got = native.receiveBytes(peer, buffer, 0, buffer.length);
    if (got <= 0) return Buffer.concat(parts);
    parts.push(Buffer.from(buffer.slice(0, got)));
  }
}

/** What `receive` gives till nothing more is at hand, with its virtio-net headers; GONE ends it too. */
function takeAll(port: StreamPort, batch: Batch): string[] {
  const taken: string[] = [];
  let got: number;
  do {
    batch.reset(0);
    got = port.receive(batch, 3);
    for (let row = 0; row < got; row++) {
      const at = batch.offset[row] as number;
      assert.is(at % 4, 2);
      assert.is(batch.ingress[row], 3);
      assert.is(hex(batch.slab.subarray(at - 10, at)), '00'.repeat(10));
      taken.push(hex(batch.slab.subarray(at, at + (batch.length[row] as number))));
    }
    if (got === GONE) break;
  } while (got > 0 || port.holds); // the socket may hold what the port had no room for
  return taken;
}

/** Gives a batch these frames to send. */
function rowsOf(batch: Batch, frames: readonly Uint8Array[]): Int32Array {
  const source = new MemoryPort('source');
  for (const one of frames) source.give(one);
  batch.reset(0);
  source.receive(batch, 0);
  return Int32Array.from(frames, (_, row) => row);
}

const lengths = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0, max: 1_600 }) },
  { weight: 1, arbitrary: fc.integer({ min: MAX_FRAME - 3, max: MAX_FRAME }) },
);

test('the same frames, however the stream is cut', () => {
  const batch = new Batch();
  const sizes = fc.array(lengths, { minLength: 1, maxLength: 90 });
  const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 70_000 })), {
    minLength: 1,
  });
  fc.assert(
    fc.property(sizes, cuts, (bytes, pieces) =>
      withPort((port, peer) => {
        const frames = bytes.map((size, number) => frame(size, number));
        const stream = streamOf(frames);
        const taken: string[] = [];
        for (let at = 0, cut = 0; at < stream.length; cut++) {
          const piece = pieces[cut % pieces.length] as number;
          // Of very small pieces a few do: a whole stream of them would take seconds.
          const end = Math.min(stream.length, at + (cut < 200 ? piece : 50_000));
          assert.is(native.sendBytes(peer, stream, at, end), end - at);
          taken.push(...takeAll(port, batch));
          at = end;
        }
        assert.equal(taken, frames.map(hex));
      }),
    ),
    {
      numRuns: 150,
      examples: [
        [
          [65_554, 65_554, 0],
          [62_430, 68_690],
        ],
      ],
    },
  );
});

test('what is sent comes out whole, many frames a write', () => {
  const batch = new Batch();
  fc.assert(
    fc.property(fc.array(lengths, { minLength: 1, maxLength: 40 }), sizes =>
      withPort((port, peer) => {
        const frames = sizes.map((size, number) => frame(size, number));
        assert.is(port.transmit(batch, rowsOf(batch, frames), frames.length), frames.length);
        assert.is(port.refused, 0);
        assert.ok(port.flush());
        assert.equal(framesOf(drain(peer)), frames.map(hex));
      }),
    ),
    { numRuns: 100 },
  );
});

test('a full socket: what was taken arrives whole, in order, and no more is taken till then', () =>
  withPort((port, peer, writing) => {
    const batch = new Batch();
    const accepted: string[] = [];
    let refusedAt = -1;
    for (let round = 0; round < 4_000 && refusedAt < 0; round++) {
      const frames = Array.from({ length: 64 }, (_, i) => frame(1_514, round * 64 + i));
      const taken = port.transmit(batch, rowsOf(batch, frames), 64);
      accepted.push(...frames.slice(0, taken).map(hex));
      if (taken < 64) refusedAt = round;
    }
    assert.ok(refusedAt > 0, 'never full');
    assert.equal(writing, [true]);
    assert.is(port.transmit(batch, rowsOf(batch, [frame(60)]), 1), 0);
    // The peer reads a little, the port is asked to go on, and so on.
    const parts: Buffer[] = [];
    const buffer = new Uint8Array(100_001);
    for (let got = 1; got > 0; ) {
      got = native.receiveBytes(peer, buffer, 0, buffer.length);
      parts.push(Buffer.from(buffer.slice(0, Math.max(0, got))));
      batch.reset(0);
      assert.is(port.receive(batch, 0), 0);
    }
    assert.equal(writing, [true, false]);
    assert.equal(framesOf(Buffer.concat(parts)), accepted);
    assert.is(port.transmit(batch, rowsOf(batch, [frame(60)]), 1), 1);
    assert.ok(port.flush());
    assert.equal(framesOf(drain(peer)), [hex(frame(60))]);
  }));

test('small bursts are kept till they are flushed, or till there is enough for a write', () =>
  withPort((port, peer) => {
    const batch = new Batch();
    const burst = Array.from({ length: 64 }, (_, number) => frame(64, number));
    const send = (): number => port.transmit(batch, rowsOf(batch, burst), 64);
    assert.equal([send(), send()], [64, 64]);
    assert.is(drain(peer).length, 0);
    assert.ok(port.flush());
    assert.equal(framesOf(drain(peer)), [...burst, ...burst].map(hex));
    let kept = 0;
    let came = 0;
    for (; came === 0 && kept < 32; kept++) {
      send();
      came = drain(peer).length;
    }
    assert.is(came, kept * 64 * 68);
    assert.ok(came >= 65_536);
    native.close(peer);
    assert.is(send(), 64);
    assert.is(port.flush(), false);
    assert.is(port.refused, 64);
    assert.match(port.fault ?? '', /peer has closed/);
  }));

/** Two ports of a switch: a stream's, whose peer's end is given, and one in memory. */
function switchWith(port: StreamPort) {
  const faults: (string | undefined)[] = [];
  const plane = plainPlane(16, (_index, fault) => void faults.push(fault));
  const other = new MemoryPort('other');
  plane.attach(0, port);
  plane.attach(1, other);
  return { plane, other, faults };
}

test('in a switch: all that one read brought is served at once, runts are dropped, back-pressure is counted', () =>
  withPort((port, peer) => {
    const { plane, other } = switchWith(port);
    const small = Array.from({ length: 500 }, (_, i) => frame(60, i));
    const stream = streamOf([...small, frame(13), frame(0)]);
    assert.is(native.sendBytes(peer, stream, 0, stream.length), stream.length);
    assert.is(plane.serve(0, 0), 502);
    assert.equal(other.sent.map(hex), small.map(hex));
    assert.equal(plane.counters.dropsOf(0), { FrameTooShort: 2 });
    other.loop([frame(1_514, 0, RIGHT, LEFT)]);
    for (let round = 0; round < 400; round++) plane.serve(1, round);
    const { TxFull = 0 } = plane.counters.dropsOf(0);
    const sent = plane.counters.txFrames[0] as number;
    assert.ok(TxFull > 0 && sent > 0);
    assert.is(sent + TxFull, 400 * 64);
  }));

test('a length that no frame has closes the port, behind the frames before it', () => {
  for (const [head, told] of [
    ['ffffffff', '4294967295'],
    ['80000000', '2147483648'],
    ['00010016', '65558'],
  ] as const)
    withPort((port, peer) => {
      const { plane, other, faults } = switchWith(port);
      const stream = new Uint8Array(
        Buffer.concat([streamOf([frame(60), frame(61)]), Buffer.from(head, 'hex')]),
      );
      native.sendBytes(peer, stream, 0, stream.length);
      plane.serve(0, 0);
      assert.equal(other.sent.map(hex), [hex(frame(60)), hex(frame(61))]);
      assert.equal(faults, [`it sent a frame of ${told} bytes; 65557 are the most`]);
      assert.is(plane.serve(0, 1), 0);
    });
});

test('a peer that dies: what it sent is served, then the port is gone, and says why', () => {
  withPort((port, peer) => {
    const { plane, other, faults } = switchWith(port);
    const stream = streamOf([frame(60), frame(61)]).subarray(0, 100); // the second is cut short
    native.sendBytes(peer, stream, 0, stream.length);
    native.close(peer);
    for (let round = 0; round < 3; round++) plane.serve(0, round);
    assert.equal(other.sent.map(hex), [hex(frame(60))]);
    assert.equal(faults, ['its peer has closed the connection']);
  });
  withPort((port, peer) => {
    const { plane, other, faults } = switchWith(port);
    native.close(peer);
    other.give(frame(60, 0, RIGHT, LEFT));
    plane.serve(1, 0);
    assert.equal(faults, ['its peer has closed the connection']);
    assert.equal(plane.counters.dropsOf(0), { PortDown: 1 });
    assert.is(plane.counters.txFrames[0], 0);
  });
});

/** Frames as guests with offloads send them, and one whose header lies. */
function unfinishedRows(batch: Batch, to: MemoryPort): number {
  const kinds = [
    { version: 4, protocol: 'tcp', payload: 60_000, size: 1_448 },
    { version: 4, protocol: 'tcp', payload: 100, size: 0 },
    { version: 6, protocol: 'tcp', payload: 9_000, size: 1_428 },
    { version: 4, protocol: 'udp', payload: 5_000, size: 1_200 },
  ] as const;
  const rounds = 8; // more than the port's buffer holds
  for (let i = 0; i < rounds; i++) {
    to.give(frame(200, i));
    for (const kind of kinds) {
      const { bytes } = unfinished(kind);
      to.give(bytes.subarray(VNET_SIZE), bytes.subarray(0, VNET_SIZE));
    }
  }
  const lying = new Uint8Array(VNET_SIZE);
  lying[1] = 1; // a TCP segmentation, of what is none
  to.give(frame(100), lying);
  batch.reset(0);
  return to.receive(batch, 0);
}

test('segments and sums are finished before they are sent', () =>
  withPort((port, peer) => {
    const batch = new Batch();
    const count = unfinishedRows(batch, new MemoryPort('source'));
    const rows = Int32Array.from({ length: count }, (_, row) => row);
    const other = new MemoryPort('finishes too');
    other.transmit(batch, rows, count);
    assert.is(port.transmit(batch, rows, count), count);
    assert.ok(port.flush());
    assert.equal([port.refused, other.refused], [1, 1]);
    assert.ok(other.sent.length > 400);
    assert.equal(framesOf(drain(peer)), other.sent.map(hex));
  }));

test('allocates nothing per frame, received, sent or finished', () =>
  withPort((port, peer) => {
    const { plane, other } = switchWith(port);
    const stream = streamOf(Array.from({ length: 100 }, (_, i) => frame(64 + i, i)));
    const sink = new Uint8Array(1 << 20);
    other.loop([frame(64, 0, RIGHT, LEFT), frame(900, 1, RIGHT, LEFT)]);
    const batch = new Batch();
    const count = unfinishedRows(batch, new MemoryPort('source'));
    const rows = Int32Array.from({ length: count }, (_, row) => row);
    let nowMs = 0;
    const slope = slopeOf({ rounds: 20, warmUp: 1_200, framesARound: 164 + count }, () => {
      nowMs++;
      native.sendBytes(peer, stream, 0, stream.length);
      plane.serve(0, nowMs);
      plane.serve(1, nowMs);
      port.transmit(batch, rows, count);
      port.flush();
      while (native.receiveBytes(peer, sink, 0, sink.length) > 0);
    });
    assert.ok(slope < 1, `${slope.toFixed(2)} bytes a frame`);
    const { rxFrames, txFrames } = plane.counters;
    assert.ok((rxFrames[0] as number) > 100_000 && (txFrames[0] as number) > 50_000);
  }));

test('a port that follows another on a connection goes on in the middle of a frame, both ways', () => {
  withPort((port, peer) => {
    const frames = [frame(60, 1), frame(900, 2), frame(1514, 3)];
    const bytes = streamOf(frames);
    const cut = 4 + 60 + 4 + 500;
    native.sendBytes(peer, bytes, 0, cut);
    const batch = new Batch();
    assert.equal(takeAll(port, batch), frames.slice(0, 1).map(hex));
    // What the peer does not take fills the socket, and stays with the port.
    const large = new MemoryPort('m', { mtu: 65_500 });
    large.give(frame(60_000, 9));
    batch.reset(0);
    large.receive(batch, 1);
    const rows = new Int32Array(1);
    let taken = 0;
    while (port.transmit(batch, rows, 1) === 1) taken++;
    const writing: boolean[] = [];
    const host = hostThat({ writing: (_fd, on) => void writing.push(on) });
    const next = new StreamPort('s0', port.fd, 1500, host, port.rest());
    native.sendBytes(peer, bytes, cut, bytes.length);
    assert.equal(takeAll(next, batch), frames.slice(1).map(hex));
    assert.equal(writing, [true], 'it waits for room, as the one before did');
    const parts: Buffer[] = [];
    for (let got = drain(peer); got.length > 0; got = drain(peer)) {
      parts.push(got);
      assert.is(takeAll(next, batch).length, 0);
    }
    assert.is(framesOf(Buffer.concat(parts)).length, taken);
    assert.equal(writing, [true, false]);
  });
});

test.run();
