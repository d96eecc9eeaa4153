/** Fuzzed under guidance as well: several frames through the whole pipeline, and what a guest writes into its rings and says to their device. */
import * as assert from 'uvu/assert';
import { cases as arpCases, PORTS } from '../../fixtures/arp.ts';
import { cases as fragmentCases } from '../../fixtures/fragments.ts';
import { cases as natCases } from '../../fixtures/nat.ts';
import type { Case } from '../../fixtures/packets.ts';
import { MAX_FRAME, SLOT } from '../../src/dataplane/batch.ts';
import { loadNative } from '../../src/port/native.ts';
import { VhostPort } from '../../src/port/vhost/port.ts';
import { plainPlane } from '../dataplane/plain.ts';
import { memorySwitch } from '../gateway/harness.ts';
import { hostThat } from '../port/host.ts';
import { VhostGuest } from '../port/vhost/guest.ts';
import type { Target } from './engine.ts';

/** Of a frame in an input: its port, and its bytes in two octets. */
const PREFIX = 3;
const MOST_FRAMES = 8;

/** The frames of a case one after the other. */
const inputOf = ({ inputs }: Case): Uint8Array =>
  Buffer.concat(
    inputs.slice(0, MOST_FRAMES).flatMap(({ port, frame }) => {
      const index = PORTS.indexOf(port as (typeof PORTS)[number]);
      return [Uint8Array.of(Math.max(index, 0), frame.length >> 8, frame.length), frame];
    }),
  );

export const pipeline: Target = {
  name: 'pipeline',
  code: /src\/(dataplane|gateway|wire)\//,
  seeds: () =>
    [...arpCases(), ...natCases(), ...fragmentCases()].map(inputOf).filter(({ length }) => length < 2_048),
  words: [
    Uint8Array.of(8, 0, 0x45, 0),
    Uint8Array.of(8, 6, 0, 1, 8, 0, 6, 4, 0),
    Uint8Array.of(0x81, 0, 0, 5),
    Uint8Array.of(0x20, 0, 64, 17),
    Uint8Array.of(192, 168, 100, 1),
    Uint8Array.of(192, 168, 100, 254),
  ],
  run(input) {
    const box = memorySwitch({ arenaBytes: 4 * SLOT });
    let nowMs = 1_000;
    let given = 0;
    for (let at = 0; at + PREFIX <= input.length && given < MOST_FRAMES; given++) {
      const length = ((input[at + 1] as number) << 8) | (input[at + 2] as number);
      const frame = input.subarray(at + PREFIX, at + PREFIX + length);
      box.ports[PORTS[(input[at] as number) % PORTS.length] as string]?.give(frame);
      nowMs += 50;
      box.plane.step(nowMs);
      at += PREFIX + frame.length;
    }
    box.plane.tick(nowMs + 10_000);
    for (const port of Object.values(box.ports))
      for (const { length } of port.sent)
        assert.ok(length >= 14 && length <= MAX_FRAME, `${length} bytes sent`);
  },
};

const MEMORY = 1 << 20;
const STEP = 8;
const host = hostThat();
const native = loadNative();

/** Eight bytes each: write into a descriptor, offer it, move an index, say something, write anywhere; and have the device look. */
export const vhost: Target = {
  name: 'vhost',
  code: /src\/port\/vhost\//,
  seeds: () => [
    Uint8Array.of(0, 1, 0, 0, 0, 0, 64, 0, 1, 1, 0, 0, 0, 0, 0, 0),
    Uint8Array.of(0, 1, 0, 0, 0, 1, 64, 1, 1, 1, 0, 0, 0, 0, 0, 0, 2, 1, 0, 9, 0, 0, 0, 0),
    Uint8Array.of(3, 11, 8, 0, 0, 0, 0, 0, 3, 5, 40, 0, 0, 0, 0, 0),
  ],
  run(input) {
    const gone: unknown[] = [];
    const plane = plainPlane(64, (_, fault) => void gone.push(fault));
    const guest = new VhostGuest({ regions: [[0, MEMORY]], size: 64 });
    let nowMs = 1_000;
    const look = (): void => void plane.serve(1, nowMs++);
    try {
      plane.attach(1, new VhostPort('v', guest.theirs, 1500, 1, undefined, host));
      guest.start(look);
      guest.fill(4);
      const memory = new DataView(guest.regions[0]!.memory);
      for (let at = 0; at + STEP <= input.length && gone.length === 0; at += STEP) {
        const [what = 0, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0] = input.subarray(at, at + STEP);
        const queue = guest.queues[a & 1]!;
        const index = b % queue.size;
        if (what % 6 === 0) queue.describe(index, (c << 16) | (d << 8) | e, f << 4, g & 7, e % queue.size);
        else if (what % 6 === 1) queue.offer(index);
        else if (what % 6 === 2) Atomics.store(queue.available, 1, (c << 8) | d);
        else if (what % 6 === 3)
          guest.say(
            a,
            Uint8Array.from({ length: b }, (_, i) => [c, d, e, f, g][i % 5]!),
            [],
            1,
          );
        else if (what % 6 === 4)
          memory.setUint32(((b << 12) | (c << 4)) & (MEMORY - 4), (d << 24) | (e << 8) | f, true);
        look();
      }
    } finally {
      plane.detach(1);
      native.close(guest.theirs);
      guest.close();
    }
  },
};
