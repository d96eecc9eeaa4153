/** Recordings and captures of frames whose ends stay in a guest's memory: they have them whole, and so have the guests. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ALL_PORTS } from '../../../src/dataplane/capture.ts';
import { loadNative } from '../../../src/port/native.ts';
import { RecordPort } from '../../../src/port/pcap/record.ts';
import { PcapRing, pcapRingMemory } from '../../../src/port/pcap/ring.ts';
import { watch } from '../../dataplane/captured.ts';
import { frameOf, hex, meet, withGuests } from './bench.ts';
import type { Layout } from './guest.ts';

const native = loadNative();

test('a recording has whole frames, though their ends were in guest memory, and the guest gets them all the same', () => {
  withGuests({}, {}, bench => {
    meet(bench);
    const { dataplane, a, b, turn } = bench;
    const memory = pcapRingMemory(262_144);
    const ring = new PcapRing(memory);
    const fd = native.eventCreate();
    dataplane.attach(4, new RecordPort('all', fd, memory, 65_557));
    const sent = [60, 192, 193, 256, 257, 1_000, 1_514].map((bytes, mark) => frameOf(1, 2, bytes, mark));
    for (const frame of sent) a.send(frame);
    turn();
    const recorded: Uint8Array[] = [];
    while (ring.next()) recorded.push(ring.bytes.slice(ring.at, ring.at + ring.kept));
    assert.equal(recorded.map(hex), sent.map(hex));
    assert.equal(
      b.received().map(got => hex(got.frame)),
      sent.map(hex),
    );
    dataplane.detach(4);
    native.close(fd);
  });
});

for (const port of [2, ALL_PORTS])
  test(`captures have frames whole, from guest to guest and to all, and so do the guests: port ${port}`, () => {
    withGuests({}, {}, bench => {
      meet(bench);
      const { a, b, dataplane, memory, turn } = bench;
      memory.sent.length = 0;
      const { read } = watch(dataplane, String, { port });
      const sent = [60, 192, 257, 700, 1_514].map((bytes, i) => frameOf(1, 2, bytes, i));
      const all = frameOf(1, 2, 1_400, 9);
      all.fill(0xff, 0, 6);
      for (const [i, frame] of [...sent, all].entries())
        a.send(frame, { layout: (['single', 'scattered', 'split'] as const)[i % 3] as Layout });
      turn();
      const got = b.received().map(({ frame }) => hex(frame));
      assert.equal(got, [...sent, all].map(hex));
      assert.equal(memory.sent.map(hex), [hex(all)]);
      const records = read();
      for (const [index, frames] of [[...sent, all], [...sent, all], [all]].entries())
        if (port === ALL_PORTS || port === index + 1)
          assert.equal(
            records.filter(record => record.port === index + 1).map(({ data }) => hex(data)),
            frames.map(hex),
          );
    });
  });

test.run();
