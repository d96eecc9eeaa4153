/** The data plane with memory ports: the lines of IEEE 802.1D §7.7–7.9, counters, back-pressure, ports that vanish. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { LOOK_UP } from '../../src/dataplane/batch.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { parseMac } from '../../src/wire/address.ts';
import * as ethernet from '../../src/wire/ethernet.ts';
import { plainPlane } from './plain.ts';

const A = '02:00:00:00:00:0a';
const B = '02:00:00:00:00:0b';
const C = '02:00:00:00:00:0c';
const ALL = 'ff:ff:ff:ff:ff:ff';

function frame(from: string, to: string, bytes = 64, filling = 0): Uint8Array {
  const data = new Uint8Array(bytes).fill(filling);
  const [source, target] = [parseMac(from), parseMac(to)];
  if (source === undefined || target === undefined) throw new Error('not a MAC');
  ethernet.setHeader(new DataView(data.buffer), 0, target.hi, target.lo, source.hi, source.lo, 0x88b5);
  return data;
}

function bridge(ports = 3, maxMacs = 1024) {
  const gone: number[] = [];
  const plane = plainPlane(maxMacs, index => gone.push(index));
  const all = Array.from({ length: ports }, (_, index) => new MemoryPort(`p${index}`));
  for (const [index, port] of all.entries()) plane.attach(index, port);
  const at = (index: number): MemoryPort => all[index] as MemoryPort;
  /** Sends on a port and says how many frames each port then got. */
  const send = (index: number, data: Uint8Array, nowMs = 0): number[] => {
    for (const port of all) port.sent.length = 0;
    at(index).give(data);
    plane.serve(index, nowMs);
    return all.map(port => port.sent.length);
  };
  return { plane, at, send, gone };
}

test('unknown unicast, group and broadcast go to all others', () => {
  const { send } = bridge();
  assert.equal(send(0, frame(A, B)), [0, 1, 1]);
  assert.equal(send(0, frame(A, ALL)), [0, 1, 1]);
  assert.equal(send(0, frame(A, '01:00:5e:00:00:fb')), [0, 1, 1]);
});

test('a station that was heard gets its frames alone, and moves with its next frame', () => {
  const { send } = bridge();
  send(1, frame(B, ALL));
  assert.equal(send(0, frame(A, B)), [0, 1, 0]);
  send(2, frame(B, ALL));
  assert.equal(send(0, frame(A, B)), [0, 0, 1]);
});

test('a destination behind the port of reception is filtered', () => {
  const { send, plane } = bridge();
  send(0, frame(B, ALL));
  assert.equal(send(0, frame(A, B)), [0, 0, 0]);
  assert.equal(plane.counters.dropsOf(0), { SameSegment: 1 });
});

test('a group source is dropped and never learnt', () => {
  const { send, plane } = bridge();
  assert.equal(send(0, frame('03:00:00:00:00:01', ALL)), [0, 0, 0]);
  assert.equal(plane.counters.dropsOf(0), { SourceIsGroup: 1 });
  assert.is(plane.fdb.size, 0);
});

test('01-80-C2-00-00-00 to 0F stay, -10 is flooded', () => {
  const { send } = bridge();
  for (let last = 0; last < 16; last++)
    assert.equal(send(0, frame(A, `01:80:c2:00:00:0${last.toString(16)}`)), [0, 0, 0]);
  assert.equal(send(0, frame(A, '01:80:c2:00:00:10')), [0, 1, 1]);
});

test('ageing: after 300 s a station is unknown again', () => {
  const { send, plane } = bridge();
  send(1, frame(B, ALL), 0);
  for (let ms = 0; ms <= 320_000; ms += 100) plane.tick(ms);
  assert.equal(send(0, frame(A, B), 320_000), [0, 1, 1]);
});

test('the table full: forwarding goes on', () => {
  const { send, plane } = bridge(3, 4);
  for (let i = 0; i < 50; i++) send(0, frame(`02:00:00:00:01:${i.toString(16).padStart(2, '0')}`, ALL));
  assert.is(plane.fdb.size, 4);
  assert.equal(send(1, frame(B, C)), [1, 0, 1]);
});

test('order is kept and nothing doubled, over many bursts', () => {
  const { plane, at } = bridge();
  at(1).give(frame(B, ALL));
  plane.serve(1, 0);
  for (let i = 0; i < 300; i++) at(0).give(frame(A, B, 64, i & 0xff));
  while (plane.serve(0, 0) > 0);
  assert.equal(
    at(1).sent.map(data => data[63]),
    Array.from({ length: 300 }, (_, i) => i & 0xff),
  );
});

test('tags pass byte for byte, and stations are known by VLAN', () => {
  const { send, at } = bridge();
  const tagged = (from: string, to: string, vlan: number): Uint8Array => {
    const plain = frame(from, to, 64, 3);
    const data = new Uint8Array(68);
    data.set(plain.subarray(0, 12));
    data.set([0x81, 0x00, 0x60 | (vlan >> 8), vlan & 0xff], 12);
    data.set(plain.subarray(12), 16);
    return data;
  };
  send(1, tagged(B, ALL, 5));
  assert.equal(send(0, tagged(A, B, 5)), [0, 1, 0]);
  assert.equal(at(1).sent[0], tagged(A, B, 5));
  assert.equal(send(0, tagged(A, B, 6)), [0, 1, 1]);
});

test('what exceeds the egress port’s MTU is dropped there, a tag apart', () => {
  const { send, plane } = bridge();
  assert.equal(send(0, frame(A, ALL, 1514)), [0, 1, 1]);
  assert.equal(send(0, frame(A, ALL, 1515)), [0, 0, 0]);
  assert.equal(plane.counters.dropsOf(1), { EgressMtu: 1 });
});

test('runts are dropped', () => {
  const { send, plane } = bridge();
  send(0, new Uint8Array(13));
  assert.equal(plane.counters.dropsOf(0), { FrameTooShort: 1 });
});

test('counters count frames and bytes both ways', () => {
  const { send, plane } = bridge();
  send(0, frame(A, ALL, 100));
  const { rxFrames, rxBytes, txFrames, txBytes } = plane.counters;
  assert.equal([rxFrames[0], rxBytes[0], txFrames[1], txBytes[1]], [1, 100, 1, 100]);
});

test('a full port loses its frames, counted, and the others do not', () => {
  const { send, plane, at } = bridge();
  at(1).full = true;
  assert.equal(send(0, frame(A, ALL)), [0, 0, 1]);
  assert.equal(plane.counters.dropsOf(1), { TxFull: 1 });
});

test('a port whose device vanishes is reported once, and its stations are forgotten', () => {
  const { send, plane, at, gone } = bridge();
  send(1, frame(B, ALL));
  at(1).gone = true;
  plane.serve(1, 0);
  plane.serve(1, 0);
  assert.equal(gone, [1]);
  assert.is(plane.fdb.lookup(0x0200, 0x0b), -1);
  assert.equal(send(0, frame(A, B)), [0, 0, 1]);
});

test('injected frames go to the port that was named, or where the FDB says', () => {
  const { plane, at, send } = bridge();
  plane.inject(frame(A, B), 2, 0);
  assert.equal([at(1).sent.length, at(2).sent.length], [0, 1]);
  send(1, frame(B, ALL));
  at(1).sent.length = 0;
  plane.inject(frame(A, B), LOOK_UP, 0);
  assert.is(at(1).sent.length, 1);
});

test('an index is used once at a time', () => {
  const { plane } = bridge();
  assert.throws(() => plane.attach(1, new MemoryPort('x')), /taken/);
  plane.detach(1);
  plane.attach(1, new MemoryPort('x'));
});

test.run();
