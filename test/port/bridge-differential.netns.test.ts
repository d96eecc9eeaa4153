// timeout: 60 s
/**
 * The same frames, random by a seed, through the data plane and through a kernel bridge: they come out of the same ports, and the
 * same. Where the two differ by policy stands in POLICIES, with what each does; those frames are held to that.
 *
 * VSWITCHD_SEED and VSWITCHD_FRAMES say which and how many.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Batch, HEADROOM } from '../../src/dataplane/batch.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { loadNative } from '../../src/port/native.ts';
import { PacketPort } from '../../src/port/packet.ts';
import { setFinished } from '../../src/wire/vnet.ts';
import { plainPlane } from '../dataplane/plain.ts';
import { type Random, random } from '../random.ts';
import { enterNamespace, sh } from './namespace.ts';

enterNamespace(import.meta.url);
const native = loadNative();
const seed = Number(process.env.VSWITCHD_SEED ?? Date.now() % 1_000_000);
const frames = Number(process.env.VSWITCHD_FRAMES ?? 6_000);
const PORTS = 4;
const MTU = 1_500;
/** The kernel takes two bytes behind a tag for granted. No wire has such short frames. */
const SHORTEST_TAGGED = 16;
const ROW_0 = new Int32Array(1);
/** How often an empty receive is tried again: the bridge forwards within the send, but for what another core took over. */
const LOOKS = 20;

/** A kernel bridge whose ports' other ends are packet sockets here. */
class Bridge {
  readonly #ends: PacketPort[] = [];
  readonly #batch = new Batch();

  constructor() {
    // Where br_netfilter is loaded, every namespace begins with it on.
    sh('for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 >$f; done');
    sh('ip link add name lan type bridge stp_state 0 mcast_snooping 0 forward_delay 0; ip link set lan up');
    for (let port = 0; port < PORTS; port++) {
      sh(
        `ip link add e${port} type veth peer name b${port}; ip link set b${port} master lan up; ip link set e${port} up`,
      );
      this.#ends.push(
        new PacketPort(`e${port}`, native.openPacket(native.interfaceIndex(`e${port}`, -1)), MTU),
      );
    }
    const forwards = (): boolean => sh('ip -d link show master lan').split('state forwarding').length > PORTS;
    for (const until = Date.now() + 5_000; !forwards(); )
      assert.ok(Date.now() < until, 'the bridge forwards');
    this.take(); // whatever the kernel said of itself
  }

  send(port: number, frame: Uint8Array): void {
    const batch = this.#batch;
    batch.reset(0);
    const at = batch.arena + HEADROOM;
    batch.slab.set(frame, at);
    setFinished(batch.mem, at);
    batch.offset[0] = at;
    batch.length[0] = frame.length;
    assert.is((this.#ends[port] as PacketPort).transmit(batch, ROW_0, 1), 1);
  }

  /** What has come out, by port. */
  take(): string[][] {
    return this.#ends.map(end => {
      const batch = this.#batch;
      const got: string[] = [];
      for (;;) {
        batch.reset(0);
        const count = end.receive(batch, 0);
        if (count <= 0) return got;
        for (let row = 0; row < count; row++) {
          const at = batch.offset[row] as number;
          got.push(hex(batch.slab.subarray(at, at + (batch.length[row] as number))));
        }
      }
    });
  }

  close(): void {
    for (const { fd } of this.#ends) native.close(fd);
  }
}

class Ours {
  readonly #plane = plainPlane(256);
  readonly #ports = Array.from({ length: PORTS }, (_, i) => new MemoryPort(`p${i}`, { mtu: MTU }));
  #ms = 1_000;

  constructor() {
    this.#ports.forEach((port, i) => void this.#plane.attach(i, port));
  }

  send(port: number, frame: Uint8Array): string[][] {
    (this.#ports[port] as MemoryPort).give(frame);
    this.#plane.step(this.#ms++);
    return this.#ports.map(({ sent }) => sent.splice(0).map(hex));
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const station = (number: number): number[] => [2, 0, 0, 0, 0x10, number];

interface Policy {
  readonly why: string;
  concerns(frame: Uint8Array): boolean;
  /** To whom the bridge sends it and we do not, or the other way round. */
  readonly passes: 'bridge' | 'switch';
}

/** docs/decisions.md has the reasons. */
const POLICIES: readonly Policy[] = [
  {
    why: 'the address of spanning tree: a bridge without STP passes it, IEEE 802.1Q §8.6.3 has no bridge do that',
    concerns: frame => hex(frame.subarray(0, 6)) === '0180c2000000',
    passes: 'bridge',
  },
  {
    why: 'a source of zeros: the kernel takes it for no address; here it is one like others',
    concerns: frame => hex(frame.subarray(6, 12)) === '000000000000',
    passes: 'switch',
  },
];

function destination(below: Random): number[] {
  switch (below(10)) {
    case 0:
      return [255, 255, 255, 255, 255, 255];
    case 1:
      return [1, 0, 0x5e, below(3), 0, below(9)];
    case 2:
      return [0x33, 0x33, 0, 0, 0, below(9)];
    case 3:
      return [1, 0x80, 0xc2, 0, 0, below(20)];
    default:
      return station(below(12)); // some of whom nobody has heard
  }
}

function source(below: Random): number[] {
  const kind = below(40);
  if (kind === 0) return [0, 0, 0, 0, 0, 0];
  if (kind === 1) return [3, 0, 0, 0, 0x10, below(8)];
  return station(below(8));
}

const isReserved = (frame: Uint8Array): boolean =>
  hex(frame.subarray(0, 5)) === '0180c20000' && (frame[5] as number) < 16;

function frameOf(below: Random, number: number): Uint8Array {
  const bytes = below(5) === 0 ? 14 + below(46) : below(20) === 0 ? MTU + 14 : 60 + below(400);
  const frame = Uint8Array.from({ length: bytes }, () => below(256));
  frame.set(destination(below));
  // A bridge learns from what is for the link alone, too; here nothing is learnt from what goes nowhere. So those are others.
  frame.set(isReserved(frame) ? station(0x30 + below(4)) : source(below), 6);
  const type = [0x0800, 0x0806, 0x86dd, 0x88b5, 0x0027][below(5)] as number;
  frame.set([type >> 8, type & 255], 12);
  if (bytes >= 18) new DataView(frame.buffer).setUint32(14, number);
  if (below(8) > 0 || bytes > MTU || bytes < SHORTEST_TAGGED) return frame;
  // Tagged stations are others: the bridge, which looks at no tags, learns per address, and here it is per VLAN.
  for (const at of [0, 6]) if (frame[at] === 2) frame[at + 5] = (frame[at + 5] as number) | 0x40;
  return Uint8Array.from([...frame.subarray(0, 12), 0x81, 0, below(8) << 5, 5, ...frame.subarray(12)]);
}

test(`${frames} frames of seed ${seed} come out alike`, async () => {
  const below = random(seed);
  const [bridge, ours] = [new Bridge(), new Ours()];
  let [flooded, known, dropped, special] = [0, 0, 0, 0];
  try {
    for (let number = 0; number < frames; number++) {
      const port = below(PORTS);
      const frame = frameOf(below, number);
      const mine = ours.send(port, frame);
      bridge.send(port, frame);
      const theirs = bridge.take();
      const outs = mine.filter(out => out.length > 0).length;
      const policy = POLICIES.find(({ concerns }) => concerns(frame));
      if (policy !== undefined) {
        special++;
        const silent = policy.passes === 'bridge' ? mine : theirs;
        assert.ok(
          silent.every(out => out.length === 0),
          `frame ${number}: ${policy.why}`,
        );
        continue;
      }
      for (let look = 0; look < LOOKS && !isSame(mine, theirs); look++) {
        await new Promise(resolve => setImmediate(resolve));
        bridge.take().forEach((more, i) => void theirs[i]!.push(...more));
      }
      assert.equal(
        theirs,
        mine,
        `seed ${seed}, frame ${number} at port ${port}: ${hex(frame.subarray(0, 34))}`,
      );
      if (outs === 0) dropped++;
      else if (outs === 1) known++;
      else flooded++;
    }
  } finally {
    bridge.close();
  }
  for (const [what, count] of Object.entries({ flooded, known, dropped, special }))
    assert.ok(count > frames / 100, `${count} ${what}: the frames are not what they should be`);
});

const isSame = (left: readonly string[][], right: readonly string[][]): boolean =>
  left.join() === right.join();

test.run();
