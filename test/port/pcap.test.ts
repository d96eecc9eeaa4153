/**
 * Ports that are captures: the ring between the data plane and a file's thread, what a recording is given of a switch's frames, and
 * how a replay comes in.
 */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MAX_FRAME } from '../../src/dataplane/batch.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { loadNative } from '../../src/port/native.ts';
import { obstacleAt, startFile } from '../../src/port/pcap/files.ts';
import { RecordPort } from '../../src/port/pcap/record.ts';
import { ReplayPort } from '../../src/port/pcap/replay.ts';
import { PcapRing, pcapRingMemory } from '../../src/port/pcap/ring.ts';
import { parseOne, portText } from '../../src/settings/ports.ts';
import { Drop } from '../../src/wire/drop.ts';
import * as ethernet from '../../src/wire/ethernet.ts';
import { VNET_SIZE } from '../../src/wire/vnet.ts';
import { plainPlane } from '../dataplane/plain.ts';
import { random } from '../random.ts';
import { slopeOf } from '../slope.ts';
import { unfinished } from './gso.ts';
import { hostThat } from './host.ts';

const native = loadNative();

/** A frame between two stations, with a number. */
function frame(from: number, to: number, number: number, bytes = 60): Uint8Array {
  const data = new Uint8Array(bytes);
  const mem = new DataView(data.buffer);
  ethernet.setHeader(mem, 0, to === 0xffff ? 0xffff : 0x0200, to === 0xffff ? -1 : to, 0x0200, from, 0x88b5);
  mem.setUint32(20, number);
  return data;
}

const ALL = 0xffff;

function newPlane() {
  const gone: (string | undefined)[] = [];
  const plane = plainPlane(16, (_index, fault) => void gone.push(fault));
  return { plane, gone };
}

/** All frames that stand in a ring, which are then taken. */
function taken(ring: PcapRing): Uint8Array[] {
  const frames: Uint8Array[] = [];
  while (ring.next()) frames.push(ring.bytes.slice(ring.at, ring.at + ring.kept));
  ring.release();
  return frames;
}

const numberOf = (data: Uint8Array): number => new DataView(data.buffer, data.byteOffset).getUint32(20);

function put(ring: PcapRing, data: Uint8Array): boolean {
  const at = ring.reserve(data.length, data.length, 1, 2);
  if (at < 0) return false;
  ring.bytes.set(data, at);
  ring.commit();
  return true;
}

/** A recording on port 2 of a switch with two stations. */
function recording(capacity = 65_536, snapLength = 262_144) {
  const { plane } = newPlane();
  const memory = pcapRingMemory(capacity);
  const ring = new PcapRing(memory);
  const fd = native.eventCreate();
  const left = new MemoryPort('left', { offloads: true });
  const right = new MemoryPort('right', { offloads: true });
  plane.attach(0, left);
  plane.attach(1, right);
  plane.attach(2, new RecordPort('all', fd, memory, snapLength));
  return { plane, ring, left, right, end: () => native.close(fd) };
}

function replaying(capacity = 65_536) {
  const { plane, gone } = newPlane();
  const memory = pcapRingMemory(capacity);
  const ring = new PcapRing(memory);
  const fd = native.eventCreate();
  const host = hostThat({ drop: (reason, frames) => plane.counters.drop(0, reason, frames) });
  const guest = new MemoryPort('guest');
  plane.attach(0, new ReplayPort('in', fd, 1500, memory, host));
  plane.attach(1, guest);
  return { plane, ring, guest, gone, end: () => native.close(fd) };
}

test('ring: frames of any length keep their order and their bytes, and a full ring refuses', () => {
  const below = random(17);
  const memory = pcapRingMemory(4_096);
  const [producer, consumer] = [new PcapRing(memory), new PcapRing(memory)];
  const waiting: Uint8Array[] = [];
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    if (below(2) === 0) {
      const data = Uint8Array.from({ length: below(below(8) === 0 ? 3_000 : 120) }, () => below(256));
      const room = producer.hasRoom(data.length);
      assert.is(put(producer, data), room);
      if (room) waiting.push(data);
      else refused++;
    } else if (consumer.next()) {
      const found = consumer.bytes.slice(consumer.at, consumer.at + consumer.kept);
      if (below(5) === 0) consumer.rewind();
      else {
        assert.equal(found, waiting.shift());
        consumer.release();
      }
    } else assert.is(waiting.length, 0);
  }
  assert.ok(refused > 100);
});

test('record: what comes in is there once and in order, flooded or not, dropped or not; nothing is flooded to it', () => {
  const { plane, ring, left, right, end } = recording();
  left.give(frame(1, ALL, 1));
  plane.step(0);
  right.give(frame(2, 1, 2));
  plane.step(0);
  for (let number = 3; number < 103; number++) left.give(frame(1, 2, number));
  left.give(frame(1, 1, 103)); // to where it comes from: filtered
  plane.step(0);
  plane.step(0);
  assert.equal(
    taken(ring).map(numberOf),
    Array.from({ length: 103 }, (_, index) => index + 1),
  );
  assert.is(plane.counters.txFrames[2], 103);
  assert.is(right.sent.length, 101);
  assert.equal(plane.counters.dropsOf(2), {});
  plane.detach(1);
  left.give(frame(1, ALL, 104));
  plane.step(0);
  assert.equal(plane.counters.dropsOf(0), { SameSegment: 1, NoEgressPort: 1 });
  end();
});

test('record: what the switch itself sends is there, too', () => {
  const { plane, ring, end } = recording();
  plane.inject(frame(9, ALL, 7), -2, 0);
  plane.inject(frame(9, 1, 8), 0, 0);
  assert.equal(taken(ring).map(numberOf), [7, 8]);
  end();
});

test('record: an unfinished frame is finished, as wires would carry it, and goes on whole to others', () => {
  const { plane, ring, left, right, end } = recording();
  const { bytes, headers } = unfinished({ version: 4, protocol: 'tcp', payload: 3_000, size: 1_000 });
  left.give(bytes.subarray(VNET_SIZE), bytes.subarray(0, VNET_SIZE));
  plane.step(0);
  const frames = taken(ring);
  assert.equal(
    frames.map(one => one.length),
    [headers + 1_000, headers + 1_000, headers + 1_000],
  );
  assert.equal(
    right.sent.map(one => one.length),
    [headers + 3_000],
  );
  end();
});

test('record: a ring that is full costs the recording frames, counted, and the stations none', () => {
  const { plane, ring, left, right, end } = recording(4_096);
  for (let number = 0; number < 60; number++) left.give(frame(1, ALL, number, 1_000));
  plane.step(0);
  const kept = taken(ring).map(numberOf);
  assert.equal(kept, [0, 1, 2, 3]);
  assert.is(plane.counters.txFrames[2], kept.length);
  assert.equal(plane.counters.dropsOf(2), { TxFull: 60 - kept.length });
  assert.is(ring.takeLost(), 60 - kept.length);
  assert.is(right.sent.length, 60);
  end();
});

test('record: snaplen cuts what is kept, and the length is told', () => {
  const { plane, ring, left, end } = recording(65_536, 100);
  left.give(frame(1, ALL, 5, 900));
  plane.step(0);
  assert.ok(ring.next());
  assert.equal([ring.kept, ring.originalLength], [100, 900]);
  assert.ok(Math.abs(ring.seconds - Date.now() / 1000) < 2);
  assert.ok(ring.nanoseconds >= 0 && ring.nanoseconds < 1e9);
  end();
});

test('record and replay allocate nothing for a frame', () => {
  const { plane, ring, left, right, end } = recording(1_048_576);
  left.loop(Array.from({ length: 64 }, (_, number) => frame(1, 2, number)));
  right.loop([]);
  const turned = { rounds: 40, warmUp: 4_000, framesARound: 64 };
  const slope = slopeOf(turned, () => {
    plane.serve(0, 0);
    while (ring.next());
    ring.release();
  });
  assert.ok(slope < 1, `${slope} bytes a frame`);
  end();
  const other = replaying(1_048_576);
  other.guest.loop([]);
  const one = frame(3, ALL, 1);
  const slopeIn = slopeOf(turned, () => {
    for (let i = 0; i < 64; i++) put(other.ring, one);
    other.plane.serve(0, 0);
  });
  assert.ok(slopeIn < 1, `${slopeIn} bytes a frame`);
  other.end();
});

test('replay: every frame once and in order, then it is gone and says why', () => {
  const { plane, ring, guest, gone, end } = replaying();
  for (let number = 0; number < 200; number++) assert.ok(put(ring, frame(3, ALL, number)));
  ring.end('it has been played');
  for (let turn = 0; turn < 5 && gone.length === 0; turn++) plane.step(0);
  assert.equal(
    guest.sent.map(numberOf),
    Array.from({ length: 200 }, (_, index) => index),
  );
  assert.equal(gone, ['it has been played']);
  end();
});

test('replay: the largest frame passes, what was left out is counted, and what is for it is refused', () => {
  const { plane, ring, guest, end } = replaying(262_144);
  assert.ok(put(ring, frame(3, ALL, 1, MAX_FRAME)));
  assert.ok(put(ring, frame(3, ALL, 2)));
  ring.lose(3);
  plane.step(0);
  guest.give(frame(1, 3, 9));
  guest.give(frame(1, ALL, 10));
  plane.step(0);
  assert.is(plane.counters.rxFrames[0], 2);
  assert.equal(guest.sent.map(numberOf), [2]);
  assert.equal(plane.counters.dropsOf(0), { [Drop[Drop.FrameTooLong]]: 3, TxRefused: 1 });
  assert.equal(plane.counters.dropsOf(1), { EgressMtu: 1, NoEgressPort: 1 });
  end();
});

test('files: captures move on, the eldest goes, and nothing but captures is moved', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vsw-pcap-'));
  const path = join(folder, 'all.pcapng');
  const section = (number: number): Uint8Array => Uint8Array.of(0x0a, 0x0d, 0x0d, 0x0a, number);
  try {
    for (let number = 0; number < 4; number++) {
      assert.is(obstacleAt(path), undefined);
      native.close(startFile({ path, files: 3 }));
      assert.is(statSync(path).mode & 0o777, 0o600);
      writeFileSync(path, section(number));
    }
    assert.equal(
      [path, `${path}.1`, `${path}.2`].map(file => readFileSync(file)[4]),
      [3, 2, 1],
    );
    assert.throws(() => statSync(`${path}.3`));
    writeFileSync(path, 'somebody else has written this');
    assert.match(obstacleAt(path) ?? '', /no pcapng capture/);
    assert.match(obstacleAt(folder) ?? '', /no regular file/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a port is written as it could have been given', () => {
  for (const text of [
    'pcap:/r/all.pcapng,name=all,mode=record,limit=1048576,files=3,snaplen=200',
    'pcap:/r/in.pcap,name=in,mode=replay,speed=max,loop=4',
    'pcap:/r/in.pcap,name=in,mode=replay,speed=0.5,loop=1',
  ]) {
    const port = parseOne(text);
    assert.ok('kind' in port, text);
    if ('kind' in port) assert.is(portText(port), text);
  }
});

test.run();
