// timeout: 120 s
/**
 * A million mutated frames through the whole pipeline, gateway and NAT included, a part of them captured: no exception, nothing written beside a
 * frame, no row that points outside the slab, nothing sent that is longer than what came in or what the switch makes.
 *
 * Typed arrays are silent about indices out of bounds. So each frame stands between guard bytes, which must be there
 * afterwards, and every other one stands at the slab's very end, where a read behind the frame is an exception.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cases as arpCases } from '../../fixtures/arp.ts';
import { cases as bridgeCases } from '../../fixtures/bridge.ts';
import { cases as dhcpCases } from '../../fixtures/dhcp-cases.ts';
import { cases as egressCases, policyOf, rulesOf } from '../../fixtures/egress.ts';
import { cases as fragmentCases } from '../../fixtures/fragments.ts';
import { ALIAS_PORT, cases as metadataCases, SERVICE_PORT } from '../../fixtures/metadata.ts';
import { cases as natCases } from '../../fixtures/nat.ts';
import type { Input } from '../../fixtures/packets.ts';
import { type Batch, GATEWAY_PORT, HEADROOM, MAX_FRAME, RESERVED_SLOT } from '../../src/dataplane/batch.ts';
import { captureMemory } from '../../src/dataplane/capturering.ts';
import { callerMemory } from '../../src/gateway/callers.ts';
import type { MemoryPort } from '../../src/port/memory.ts';
import * as sums from '../../src/wire/checksum.ts';
import * as ethernet from '../../src/wire/ethernet.ts';
import * as icmp from '../../src/wire/icmp.ts';
import * as ip4 from '../../src/wire/ipv4.ts';
import {
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  VNET_NEEDS_CSUM,
  VNET_SIZE,
} from '../../src/wire/vnet.ts';
import { watch as capture } from '../dataplane/captured.ts';
import { memorySwitch } from '../gateway/harness.ts';
import { type Random, random } from '../random.ts';

const FRAMES = 1_000_000;
const SEED = 20_261_123;
const SCRATCH = 4096;
const LONGER = 64; // bytes that a mutation may add
const GUARD = 0xa5;
const BEHIND = 32; // guard bytes after a frame
/** Some packets are denied, and answers from DNS servers go to the control plane. */
const RULES = ['deny tcp/25 any', 'deny encrypted-dns', 'deny *.test'];
const KINDS = [GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4];

/** What all golden cases send in, as it is and with VLAN tags. */
function corpus(): Input[] {
  const all = [
    ...arpCases(),
    ...bridgeCases(),
    ...dhcpCases(),
    ...egressCases(),
    ...natCases(),
    ...fragmentCases(),
    ...metadataCases(),
  ].flatMap(one => one.inputs);
  const tagged = all.map(input => {
    const { frame } = input;
    return { ...input, frame: Uint8Array.from([...frame.slice(0, 12), 0x81, 0, 0, 5, ...frame.slice(12)]) };
  });
  return [...all, ...tagged];
}

/**
 * Makes an IPv4 packet of `length` bytes consistent again where its own length and checksums say otherwise: else hardly
 * a mutated packet would come as far as the checks of what IP carries.
 */
function repair(frame: Uint8Array, length: number): void {
  const at = ethernet.ETHERNET_SIZE;
  const mem = new DataView(frame.buffer, 0, length);
  if (length < at + ip4.MIN_SIZE || ethernet.type(mem, 0) !== ethernet.ETHERTYPE_IP4) return;
  const header = ip4.headerLength(mem, at);
  if (header < ip4.MIN_SIZE || at + header > length) return;
  ip4.setTotalLength(mem, at, length - at);
  const message = at + header;
  if (ip4.protocol(mem, at) === ip4.ICMP && message + icmp.ICMP_CHECKSUM + 2 <= length) {
    mem.setUint16(message + icmp.ICMP_CHECKSUM, 0);
    mem.setUint16(message + icmp.ICMP_CHECKSUM, sums.checksum(mem, message, length - message));
  }
  ip4.setChecksum(mem, at);
}

/** A virtio-net header: mostly nothing, at times rubbish, at times one that could be right. */
function offload(header: Uint8Array, length: number, next: Random): void {
  header.fill(0);
  const choice = next(8);
  if (choice === 0) for (let at = 0; at < header.length; at++) header[at] = next(3) === 0 ? next(256) : 0;
  if (choice !== 1 || length === 0) return;
  const mem = new DataView(header.buffer);
  header[0] = VNET_NEEDS_CSUM;
  header[1] = KINDS[next(KINDS.length)] as number;
  mem.setUint16(4, next(2000), true);
  const usual = ethernet.ETHERNET_SIZE + ip4.MIN_SIZE;
  mem.setUint16(6, [usual, usual, next(length), Math.max(length - next(32), 0)][next(4)] as number, true);
  mem.setUint16(8, next(20), true);
}

/** Lets a port receive one frame at a time between guard bytes; `check` says whether they still stand. */
class Guarded {
  frame = new Uint8Array(0);
  readonly header = new Uint8Array(VNET_SIZE);
  atEnd = false;
  #batch: Batch | undefined;
  #from = 0;
  #end = 0;

  receive(batch: Batch, ingress: number): number {
    const { slab } = batch;
    const { length } = this.frame;
    const last = ((slab.length - length - 2) & ~3) + 2; // 2 mod 4, as frames stand
    const at = this.atEnd ? last : batch.arena + HEADROOM;
    this.#batch = batch;
    this.#from = at;
    this.#end = at + length;
    slab.fill(GUARD, at - HEADROOM, at - VNET_SIZE);
    slab.fill(GUARD, this.#end, this.#end + BEHIND);
    slab.set(this.header, at - VNET_SIZE);
    slab.set(this.frame, at);
    batch.push(at, length, ingress);
    return 1;
  }

  /** The first byte beside the frame that was written, counted from the frame's start; undefined: none. */
  written(): number | undefined {
    const slab = this.#batch?.slab;
    if (slab === undefined) return undefined;
    for (let at = this.#from - HEADROOM; at < this.#from - VNET_SIZE; at++)
      if (slab[at] !== GUARD) return at - this.#from;
    for (let at = this.#end; at < Math.min(this.#end + BEHIND, slab.length); at++)
      if (slab[at] !== GUARD) return at - this.#from;
    return undefined;
  }
}

/** Why a row may not be sent; undefined: it may. */
function rowFault(batch: Batch, row: number): string | undefined {
  if (row < 0 || row >= batch.count) return `row ${row} of ${batch.count}`;
  const at = batch.offset[row] as number;
  const length = batch.length[row] as number;
  const l3 = batch.l3[row] as number;
  if (at % 4 !== 2) return `offset ${at} is not aligned`;
  if (length < 14 || length > MAX_FRAME) return `${length} bytes`;
  if (l3 < at + 14 || l3 > at + length) return `l3 ${l3 - at} in a frame of ${length} bytes`;
  if (at >= batch.arena) return at + length > batch.slab.length ? `ends at ${at + length}` : undefined;
  if (batch.ingress[row] !== GATEWAY_PORT) return `ingress ${batch.ingress[row]} of a frame of our own`;
  if (at % RESERVED_SLOT !== HEADROOM) return `offset ${at} is no slot's`;
  return length > RESERVED_SLOT - HEADROOM ? `${length} bytes of our own` : undefined;
}

/** Checks each row that a port is given. */
function watch(port: MemoryPort): void {
  const transmit = port.transmit.bind(port);
  port.transmit = (batch, rows, count) => {
    for (let i = 0; i < count; i++) {
      const fault = rowFault(batch, rows[i] as number);
      if (fault !== undefined) throw new Error(`${port.name}: ${fault}`);
    }
    return transmit(batch, rows, count);
  };
}

test('a million mutated frames do no harm', () => {
  const inputs = corpus();
  const next = random(SEED);
  const { gateway, plane, ports, punted, drops } = memorySwitch({
    egress: policyOf(rulesOf(RULES), 'all'),
    callers: callerMemory(),
  });
  gateway.serve(SERVICE_PORT, ALIAS_PORT);
  const names = Object.keys(ports);
  const guarded = new Guarded();
  for (const port of Object.values(ports)) {
    port.receive = (batch, ingress) => guarded.receive(batch, ingress);
    watch(port);
  }
  const scratch = new Uint8Array(SCRATCH);
  const captured = capture(plane, name => names[name] ?? 'none', { memory: captureMemory(1 << 21) });
  let sent = 0;
  let records = 0;
  for (let i = 0; i < FRAMES; i++) {
    const { frame, port } = inputs[next(inputs.length)] as Input;
    scratch.set(frame);
    let length = frame.length;
    for (let changes = next(4); changes > 0; changes--) scratch[next(length)] = next(256);
    if (next(16) === 0) length = next(length + LONGER);
    if (next(64) === 0) length = next(SCRATCH);
    if (next(2) === 0) repair(scratch, length);
    offload(guarded.header, length, next);
    const usual = names.indexOf(port);
    const index = usual < 0 || next(8) === 0 ? next(names.length) : usual;
    guarded.frame = scratch.subarray(0, length);
    guarded.atEnd = (i & 1) === 0;
    plane.serve(index, i);
    const wrong = guarded.written();
    if (wrong !== undefined) throw new Error(`frame ${i}: byte ${wrong} of ${length} was written`);
    if (next(64) === 0) plane.tick(i);
    if ((i & 1023) !== 0) continue;
    for (const each of Object.values(ports)) {
      for (const data of each.sent) assert.ok(data.length <= SCRATCH + LONGER);
      sent += each.sent.length;
      each.sent.length = 0;
    }
    punted.length = 0;
    if (i > FRAMES / 4) plane.endCapture(1);
    for (const { comment } of captured.read()) {
      assert.ok(!comment.includes('?') && !comment.includes('none'), comment);
      records++;
    }
  }
  let received = 0;
  for (const index of names.keys()) received += plane.counters.rxFrames[index] as number;
  assert.is(received, FRAMES);
  assert.ok(records > FRAMES / 4, `${records} records`);
  // Frames of all kinds got through to where harm could be done, and a good part of the reasons occurred.
  assert.ok(sent > FRAMES / 4, `${sent} sent`);
  assert.ok(Object.keys(drops()).length >= 27, Object.keys(drops()).join(' '));
  assert.ok('CallerTaken' in drops() && 'CallerUnknown' in drops());
});

test.run();
