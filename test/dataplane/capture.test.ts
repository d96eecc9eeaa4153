/** Captures of a switch without a gateway: what is copied, what is said of frames that fail at a port, what a full ring loses. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Batch, GATEWAY_PORT, HEADROOM, LOOK_UP, type Origin } from '../../src/dataplane/batch.ts';
import { CaptureRing, captureMemory } from '../../src/dataplane/capturering.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { parseProgram } from '../../src/wire/bpf.ts';
import * as ethernet from '../../src/wire/ethernet.ts';
import { watch } from './captured.ts';
import { plainPlane } from './plain.ts';

const [A, B, ALL] = [0x0a, 0x0b, -1];
const nameOf = (index: number): string => (index === GATEWAY_PORT ? 'gateway' : `p${index}`);

function frame(from: number, to: number, bytes = 64, filling = 7): Uint8Array {
  const data = new Uint8Array(bytes).fill(filling);
  const hi = to === ALL ? 0xffff : 0x0200;
  ethernet.setHeader(new DataView(data.buffer), 0, hi, to, 0x0200, from, 0x88b5);
  return data;
}

function bridge(ports: readonly MemoryPort[]) {
  const plane = plainPlane(16);
  for (const [index, port] of ports.entries()) plane.attach(index, port);
  return plane;
}

const three = (): [MemoryPort, MemoryPort, MemoryPort] => [
  new MemoryPort('p0'),
  new MemoryPort('p1', { mtu: 500 }),
  new MemoryPort('p2'),
];

test('capture: a flood, an answer, and what fails at a port', () => {
  const [p0, p1, p2] = three();
  const plane = bridge([p0, p1, p2]);
  const { read } = watch(plane, nameOf);
  const comments = (): string[] => read().map(({ comment }) => comment);
  p0.give(frame(A, ALL));
  p1.give(frame(B, A));
  plane.step(5);
  const flood = ['in p0: flooded to 2 ports', 'out p1: from p0', 'out p2: from p0'];
  assert.equal(comments(), [...flood, 'in p1: forwarded to p0', 'out p0: from p1']);

  p0.give(frame(A, B, 600));
  p0.give(frame(A, ALL, 600));
  plane.step(6);
  assert.equal(comments(), [
    'in p0: forwarded to p1, not sent: EgressMtu',
    'in p0: flooded to 2 ports, not sent to 1 of them: EgressMtu',
    'out p1: from p0, not sent: EgressMtu',
    'out p1: from p0, not sent: EgressMtu',
    'out p2: from p0',
  ]);

  p1.full = true;
  p0.give(frame(A, B));
  plane.step(7);
  const full = ['in p0: forwarded to p1, not sent: TxFull', 'out p1: from p0, not sent: TxFull'];
  assert.equal(comments(), full);
  p1.gone = true;
  p0.give(frame(A, B));
  plane.serve(0, 8);
  const down = ['in p0: forwarded to p1, not sent: PortDown', 'out p1: from p0, not sent: PortDown'];
  assert.equal(comments(), down);
  assert.equal(plane.counters.dropsOf(1), { EgressMtu: 2, TxFull: 1, PortDown: 1 });
});

test('capture: frames that a device refuses: all of a burst, or some that it does not tell', () => {
  const [p0, p1, p2] = three();
  const plane = bridge([p0, p1, p2]);
  p1.give(frame(B, ALL));
  plane.step(0);
  const { read } = watch(plane, nameOf, { port: 1 });
  // Its header asks for segments of what is no TCP: it can't be finished.
  const header = Uint8Array.of(1, 1, 0, 0, 100, 0, 20, 0, 2, 0);
  p0.give(frame(A, B), header);
  plane.step(1);
  const cut = ' (to be cut into segments of 100 bytes, checksum unfinished)';
  assert.equal(
    read().map(({ comment }) => comment),
    [`out p1: from p0, not sent: TxRefused${cut}`],
  );
  p0.give(frame(A, B), header);
  p0.give(frame(A, B));
  plane.step(2);
  const doubt = ', of a burst of which the device refused some frames';
  assert.equal(
    read().map(({ comment }) => comment),
    [`out p1: from p0${doubt}${cut}`, `out p1: from p0${doubt}`],
  );
});

test('capture: drops of the bridge, and frames of the control plane', () => {
  const [p0, p1, p2] = three();
  const plane = bridge([p0, p1, p2]);
  const { read } = watch(plane, nameOf);
  p0.give(frame(A, ALL));
  p0.give(frame(B, A));
  p0.give(frame(A, ALL).subarray(0, 10));
  plane.step(0);
  plane.inject(frame(0x77, ALL), LOOK_UP, 1);
  assert.equal(
    read()
      .map(({ comment }) => comment)
      .filter(comment => !/flooded|from p0/.test(comment)),
    [
      'in p0: dropped: SameSegment',
      'in p0: dropped: FrameTooShort',
      "out p0: from the switch's services",
      "out p1: from the switch's services",
      "out p2: from the switch's services",
    ],
  );
  plane.detach(1);
  plane.detach(2);
  p0.give(frame(A, ALL));
  plane.step(2);
  assert.equal(
    read().map(({ comment }) => comment),
    ['in p0: dropped: NoEgressPort'],
  );
});

test('capture: one port, both its ways, only so much of a frame, at its time', () => {
  const [p0, p1, p2] = three();
  const plane = bridge([p0, p1, p2]);
  const { read } = watch(plane, nameOf, { port: 1, snapLength: 20 });
  p0.give(frame(A, ALL, 64, 9));
  p1.give(frame(B, A, 18));
  p2.give(frame(0x0c, A));
  plane.step(1_234.5);
  const seen = read().map(({ port, length, data, timeMs }) => [port, length, data.length, timeMs]);
  assert.equal(seen, [
    [1, 64, 20, 1_234.5],
    [1, 18, 18, 1_234.5],
  ]);
});

test('capture: a filter sees frames as they come and as they go', () => {
  const [p0, p1, p2] = three();
  const plane = bridge([p0, p1, p2]);
  // ether src 02:00:00:00:00:0a and inbound, as tcpdump would have it
  const program = parseProgram('6\n32 0 0 8\n21 0 3 10\n40 0 0 4294963204\n21 1 0 4\n6 0 0 262144\n6 0 0 0');
  const { read } = watch(plane, nameOf, { program });
  p0.give(frame(A, ALL));
  p1.give(frame(B, ALL));
  plane.step(0);
  assert.equal(
    read().map(({ comment }) => comment),
    ['in p0: flooded to 2 ports'],
  );
});

test('capture: a full ring loses frames, counts them by port, and goes on when it is read; the traffic is whole', () => {
  const [p0, p1, p2] = three();
  const plane = bridge([p0, p1, p2]);
  const { read, ring } = watch(plane, nameOf, { memory: captureMemory(8_192) });
  const sizes = [64, 100, 333, 61, 480];
  let given = 0;
  let kept = 0;
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < 30; i++) p0.give(frame(A, ALL, sizes[given % 5], given++ & 0xff));
    plane.step(round);
    const records = read();
    for (const { data, incoming, port } of records) {
      // Whole, and of the bytes that it was given with, wherever in the ring it stood.
      assert.ok(sizes.includes(data.length) && new Set(data.subarray(14)).size === 1);
      assert.is(incoming, port === 0);
    }
    kept += records.length;
  }
  assert.is(p1.sent.length, given);
  assert.is(p2.sent.length, given);
  const lost = [0, 1, 2].reduce((sum, index) => sum + (ring.lost[index] as number), 0);
  assert.ok(lost > given, `${lost}`);
  assert.is(kept + lost, 3 * given);
});

test('capture: four at a time have their own frames, and ended ones none', () => {
  const [p0, p1, p2] = three();
  const plane = bridge([p0, p1, p2]);
  const all = watch(plane, nameOf, { id: 1 });
  const one = watch(plane, nameOf, { id: 2, port: 2 });
  p0.give(frame(A, ALL));
  plane.step(0);
  assert.equal([all.read().length, one.read().length], [3, 1]);
  plane.endCapture(1);
  plane.endCapture(7);
  p0.give(frame(A, ALL));
  plane.step(1);
  assert.equal([all.read().length, one.read().length], [0, 1]);
  plane.endCapture(2);
  p0.give(frame(A, ALL));
  plane.step(2);
  assert.equal([all.read().length, one.read().length], [0, 0]);
});

/** Its frames end in memory of a guest's. */
class TailPort extends MemoryPort {
  override receive(batch: Batch, ingress: number): number {
    const guest = Uint8Array.from({ length: 1_000 }, (_, i) => i & 0xff);
    const head = frame(A, ALL, 200, 0xee);
    const at = batch.arena + HEADROOM;
    batch.slab.fill(0xaa, at, at + 2_000);
    batch.slab.set(head.subarray(0, 192), at);
    const row = batch.push(at, 1_192, ingress);
    batch.tailFirst[row] = 0;
    batch.tailCount[row] = 2;
    batch.origin = {
      windows: [guest],
      window: Int32Array.of(0, 0),
      at: Int32Array.of(0, 300),
      bytes: Int32Array.of(300, 700),
    } satisfies Origin;
    return 1;
  }
}

for (const [what, port] of [
  ['where they come in', 0],
  ['where they go out', 2],
  ['where they are too long', 1],
] as const)
  test(`capture: frames are whole whose ends are in a guest's memory, ${what}`, () => {
    const plane = bridge([new TailPort('p0'), new MemoryPort('p1', { mtu: 500 }), new MemoryPort('p2')]);
    const { read } = watch(plane, nameOf, { port });
    plane.serve(0, 0);
    const [{ data, length } = { data: [] as number[], length: 0 }] = read();
    assert.is(length, 1_192);
    assert.equal([...data.slice(180, 192)], Array(12).fill(0xee));
    assert.equal(
      [...data.slice(192)],
      Array.from({ length: 1_000 }, (_, i) => i & 0xff),
    );
  });

test('capture ring: positions wrap at 2^32', () => {
  const memory = captureMemory(4_096);
  const [producer, consumer] = [new CaptureRing(memory), new CaptureRing(memory)];
  let passed = 0;
  for (let bytes = 0; bytes < 2 ** 32 + 2 ** 20; ) {
    for (let i = 0; i < 2; i++) assert.ok(producer.reserve(1_500, 0) >= 0);
    producer.commit();
    for (let at = consumer.oldest(); at >= 0; at = consumer.oldest(), passed++) consumer.pass(at);
    consumer.release();
    bytes += 2 * 1_584;
  }
  assert.ok(passed > 2.7e6, `${passed}`);
  assert.is(producer.lost[0], 0);
});

test.run();
