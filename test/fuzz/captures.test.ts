// timeout: 120 s
/**
 * Captures through every configuration of the pipeline: those of the golden cases, and real and malformed ones of a folder that
 * VSWITCHD_CAPTURES names. No exception; without a gateway each frame goes on or is dropped for a reason; nothing that a port
 * without offloads is sent needs finishing.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GATEWAY_MAC } from '../../fixtures/arp.ts';
import { policyOf, rulesOf } from '../../fixtures/egress.ts';
import { readReplayConfig } from '../../src/config.ts';
import type { GatewayOptions } from '../../src/gateway/gateway.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { projectRoot } from '../../src/port/native.ts';
import { readCaptureSync } from '../../src/port/pcap-file.ts';
import { replay } from '../../src/replay.ts';
import { UNSPECIFIED } from '../../src/wire/address.ts';
import type { Captured } from '../../src/wire/pcap.ts';
import { watch } from '../dataplane/captured.ts';
import { plainPlane } from '../dataplane/plain.ts';
import { memorySwitch } from '../gateway/harness.ts';

const folder = process.env.VSWITCHD_CAPTURES;
if (folder === undefined) console.log('VSWITCHD_CAPTURES names no folder: golden cases alone');

/** Frames of one capture: most are small, and a large one has its say in a second. */
const MOST = 20_000;

function golden(): string[] {
  const root = join(projectRoot(), 'fixtures');
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter(path => /in\.[^/]*\.pcap$/.test(path))
    .map(path => join(root, path));
}

const real = (): string[] =>
  folder === undefined
    ? []
    : readdirSync(folder)
        .filter(name => name.endsWith('.pcap'))
        .map(name => join(folder, name));

const captures = [
  { name: 'golden cases', frames: golden().flatMap(path => readCaptureSync(path)) },
  ...real().map(path => ({ name: path, frames: readCaptureSync(path).slice(0, MOST) })),
];

/** By name: what differs from the usual gateway. */
const GATEWAYS: Readonly<Record<string, Partial<GatewayOptions>>> = {
  usual: {},
  'frame by frame': { express: false },
  'endpoints filtered by port': { natFiltering: 'endpoint' },
  'no NAT': { natAddress: UNSPECIFIED },
  'no host behind': { hostBehind: false },
  'host closed': { hostOpen: false },
  'no DHCP, names': { dhcp: false, dns: true },
  'an egress policy': {
    egress: policyOf(rulesOf(['deny tcp/25 any', 'deny encrypted-dns', 'deny *.test']), 'all'),
  },
  'a capture beside, and small ports': { mtu: 576 },
};

const total = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

for (const { name, frames } of captures) {
  test(`${name}: without a gateway, ${frames.length} frames go on or are dropped for a reason`, () => {
    const plane = plainPlane(4_096);
    const [from, to] = [new MemoryPort('from'), new MemoryPort('to', { mtu: 1_500 })];
    plane.attach(0, from);
    plane.attach(1, to);
    let ms = 1_000;
    for (const { data } of frames) {
      from.give(data);
      plane.step(ms++);
    }
    const { rxFrames } = plane.counters;
    assert.is(rxFrames[0], frames.length);
    const drops = total(plane.counters.dropsOf(0)) + total(plane.counters.dropsOf(1));
    assert.is(to.sent.length + drops, frames.length);
    if (name === 'golden cases') assert.ok(to.sent.length > 0); // else all stations may be behind the one port
  });

  for (const [what, options] of Object.entries(GATEWAYS))
    test(`${name}: ${what}, from a guest and from the uplink`, () => {
      const box = memorySwitch({ ...options, maxFlows: 256 });
      const watched = what.startsWith('a capture') ? watch(box.plane, String) : undefined;
      const [guest, other, uplink] = Object.values(box.ports) as [MemoryPort, MemoryPort, MemoryPort];
      let ms = 1_000;
      for (const { data } of frames) {
        guest.give(toGateway(data));
        uplink.give(data);
        box.plane.step(ms);
        ms += 7;
        if (ms % 100 < 7) box.plane.tick(ms);
        watched?.read();
      }
      const { rxFrames } = box.plane.counters;
      assert.is(rxFrames[0], frames.length);
      assert.ok(total(box.drops()) + other.sent.length + uplink.sent.length + box.punted.length > 0);
    });

  test(`${name}: with DHCP, names and metadata behind it`, async () => {
    const some = frames.slice(0, 4_000);
    const given = (port: string): { port: string; frames: readonly Captured[] } => ({ port, frames: some });
    const { ports } = await replay(readReplayConfig({}), [given('p0'), given('p1'), given('uplink')]);
    assert.is(ports.p0?.counters.rxFrames, some.length);
  });
}

/** Every other frame is the gateway's to handle, whomever it was for. */
function toGateway(data: Uint8Array): Uint8Array {
  if (data.length < 14 || (data.at(-1) as number) % 2 === 0) return data;
  const frame = Uint8Array.from(data);
  const mem = new DataView(frame.buffer);
  mem.setUint16(0, GATEWAY_MAC.hi);
  mem.setInt32(2, GATEWAY_MAC.lo);
  return frame;
}

test.run();
