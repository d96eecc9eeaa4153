/** The host's service for guests: golden cases, offloaded frames, a full table, what the control thread reads, no allocation. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, B, B_MAC, GATEWAY } from '../../fixtures/arp.ts';
import { ALIAS, ALIAS_PORT, cases, SERVICE_PORT } from '../../fixtures/metadata.ts';
import { ip, tcpPacket } from '../../fixtures/packets.ts';
import { down, tcp, up } from '../../fixtures/routed.ts';
import { BURST } from '../../src/dataplane/batch.ts';
import {
  Callers,
  callerKey,
  callerMemory,
  callerOf,
  IDLE_S,
  MAX_CALLERS,
} from '../../src/gateway/callers.ts';
import * as sums from '../../src/wire/checksum.ts';
import { Drop } from '../../src/wire/drop.ts';
import * as ip4 from '../../src/wire/ipv4.ts';
import { ACK, FIN, PSH, RST, SYN, TCP_CHECKSUM } from '../../src/wire/tcp.ts';
import { GSO_TCPV4, VNET_NEEDS_CSUM, VNET_SIZE } from '../../src/wire/vnet.ts';
import { slopeOf } from '../slope.ts';
import { expected, memorySwitch, play, type Switch } from './harness.ts';

const L3 = 14;
const L4 = 34;
const HEADERS = 54;

for (const one of cases()) test(`metadata: ${one.name}`, () => assert.equal(play(one), expected(one)));

function serving(): Switch & { readonly callers: SharedArrayBuffer } {
  const callers = callerMemory();
  const box = memorySwitch({ callers });
  box.gateway.serve(SERVICE_PORT, ALIAS_PORT);
  return { ...box, callers };
}

function give(box: Switch, port: string, frame: Uint8Array, header?: Uint8Array): void {
  box.ports[port]?.give(frame, header);
  box.plane.step(1);
}

const view = (frame: Uint8Array): DataView => new DataView(frame.buffer, frame.byteOffset, frame.byteLength);

/** Leaves the sum of a frame's TCP segment to whoever sends it, as a guest with offloads does. */
function unfinished(frame: Uint8Array): Uint8Array {
  const mem = view(frame);
  const bytes = ip4.totalLength(mem, L3) - ip4.MIN_SIZE;
  const start = sums.pseudo(ip4.source(mem, L3), ip4.destination(mem, L3), ip4.TCP, bytes);
  mem.setUint16(L4 + TCP_CHECKSUM, sums.fold(start));
  return frame;
}

const offload = (kind: number, size: number): Uint8Array => {
  const header = new Uint8Array(VNET_SIZE);
  const mem = view(header);
  header[0] = VNET_NEEDS_CSUM;
  header[1] = kind;
  mem.setUint16(2, HEADERS, true);
  mem.setUint16(4, size, true);
  mem.setUint16(6, L4, true);
  mem.setUint16(8, TCP_CHECKSUM, true);
  return header;
};

/** Is the segment's sum what it must be: a whole one, or the pseudo-header's alone? */
function sumOf(frame: Uint8Array, whole: boolean): void {
  const mem = view(frame);
  assert.ok(sums.valid(mem, L3, ip4.MIN_SIZE), 'the header');
  const bytes = ip4.totalLength(mem, L3) - ip4.MIN_SIZE;
  const start = sums.pseudo(ip4.source(mem, L3), ip4.destination(mem, L3), ip4.TCP, bytes);
  if (whole) assert.ok(sums.valid(mem, L4, bytes, start), 'the segment');
  else assert.is(mem.getUint16(L4 + TCP_CHECKSUM), sums.fold(start));
}

test('metadata: an unfinished sum stays unfinished, and right, through the alias and back', () => {
  const box = serving();
  give(box, 'p0', unfinished(up(A_MAC, tcp(A, 5000, ALIAS, 80))), offload(0, 0));
  const [asked = new Uint8Array(0)] = box.ports.uplink?.sent ?? [];
  assert.is(ip4.destination(view(asked), L3), GATEWAY);
  sumOf(asked, false);
  const page = tcpPacket(
    { source: GATEWAY, destination: A },
    { from: ALIAS_PORT, to: 5000 },
    ACK | PSH,
    'x'.repeat(4_000),
  );
  give(box, 'uplink', unfinished(down(page)), offload(GSO_TCPV4, 1_400));
  const pieces = box.ports.p0?.sent ?? []; // this port takes none: they are cut and summed
  assert.equal(
    pieces.map(frame => frame.length),
    [1_454, 1_454, 1_254],
  );
  for (const piece of pieces) {
    sumOf(piece, true);
    assert.is(ip4.source(view(piece), L3), ALIAS);
    assert.is(view(piece).getUint16(L4), 80);
  }
});

test('metadata: the end of a FIN that ends a large segment is behind all of it', () => {
  const box = serving();
  give(box, 'p0', up(A_MAC, tcp(A, 5000, GATEWAY, SERVICE_PORT)));
  const page = tcpPacket(
    { source: GATEWAY, destination: A },
    { from: SERVICE_PORT, to: 5000 },
    ACK | FIN,
    'x'.repeat(4_000),
  );
  give(box, 'uplink', unfinished(down(page)), offload(GSO_TCPV4, 1_400));
  const acknowledge = (number: number): void => {
    const frame = up(A_MAC, tcp(A, 5000, GATEWAY, SERVICE_PORT, ACK));
    view(frame).setInt32(L4 + 8, number);
    give(box, 'p0', frame);
    give(box, 'p1', up(B_MAC, tcp(A, 5000, GATEWAY, SERVICE_PORT)));
  };
  acknowledge(0x01020304 + 4_000);
  assert.equal(box.drops(), { CallerTaken: 1 });
  acknowledge(0x01020304 + 4_001);
  assert.equal(box.drops(), { CallerTaken: 1 });
});

test('metadata: the control thread reads who calls', () => {
  const box = serving();
  give(box, 'p1', up(B_MAC, tcp(A, 5000, ALIAS, 80)));
  give(box, 'p0', up(A_MAC, tcp(A, 5000, GATEWAY, SERVICE_PORT)));
  assert.equal(callerOf(box.callers, A, callerKey(5000, true)), {
    ip: A,
    key: callerKey(5000, true),
    ingress: 1,
    ...B_MAC,
  });
  assert.is(callerOf(box.callers, A, callerKey(5000, false))?.ingress, 0);
  assert.is(callerOf(box.callers, B, callerKey(5000, false)), undefined);
  give(box, 'uplink', down(tcp(GATEWAY, ALIAS_PORT, A, 5000, RST)));
  give(box, 'p0', up(A_MAC, tcp(A, 5000, ALIAS, 80)));
  assert.is(callerOf(box.callers, A, callerKey(5000, true))?.ingress, 0);
});

const MINE = 7;
const syn = (callers: Callers, port: number, ingress: number, nowS: number): Drop =>
  callers.admit(A, port, ingress, 2, 10, SYN, 0, nowS);

test('metadata: a port has 64 calls at the most, and those that are over make room', () => {
  const callers = new Callers(callerMemory(), 1);
  for (let port = 0; port < 64; port++) assert.is(syn(callers, port, MINE, 1), Drop.None);
  assert.is(syn(callers, 64, MINE, 1), Drop.CallersFull);
  assert.is(syn(callers, 64, 8, 1), Drop.None); // others are not concerned
  callers.answered(callers.find(A, 9), RST, 0, 1);
  assert.is(syn(callers, 65, MINE, 1), Drop.CallersFull); // looked for once a second
  assert.is(syn(callers, 65, MINE, 2), Drop.None);
  assert.is(callers.find(A, 9), -1);
  assert.is(syn(callers, 66, MINE, 3), Drop.CallersFull);
  callers.admit(A, 3, MINE, 2, 10, ACK, 0, 100);
  for (let port = 100; port < 163; port++) assert.is(syn(callers, port, MINE, 2 + IDLE_S), Drop.None);
  assert.is(syn(callers, 163, MINE, 2 + IDLE_S), Drop.CallersFull);
  assert.is.not(callers.find(A, 3), -1);
});

test('metadata: no port is kept out by the calls of others', () => {
  const callers = new Callers(callerMemory(), 1);
  let open = 0;
  for (let ingress = 0; ingress < 254; ingress++)
    for (let port = 0; port < 100; port++)
      if (syn(callers, 1000 * ingress + port, ingress, 1) === Drop.None) open++;
  assert.ok(open < MAX_CALLERS);
  for (let port = 0; port < 8; port++) assert.is(syn(callers, 1_000_000 + port, 254, 1), Drop.None);
});

test('metadata: whatever is called and ended, the table stays whole', () => {
  const memory = callerMemory();
  const callers = new Callers(memory, 1);
  let state = 1;
  const next = (below: number): number => {
    state = Math.imul(state, 1_103_515_245) + 12_345;
    return (state >>> 8) % below;
  };
  const owner = new Map<number, number>();
  for (let i = 0; i < 200_000; i++) {
    const [port, ingress, nowS] = [next(6_000), next(100), Math.floor(i / 500)];
    const entry = callers.find(A, port);
    if (entry >= 0 && next(3) === 0) callers.answered(entry, next(2) === 0 ? RST : ACK, 0, nowS);
    else if (syn(callers, port, ingress, nowS) === Drop.None) owner.set(port, ingress);
    const found = callerOf(memory, A, port);
    if (found !== undefined) assert.is(found.ingress, owner.get(port));
    assert.is(found === undefined, callers.find(A, port) < 0);
  }
});

test('metadata: allocates nothing per frame', () => {
  const box = serving();
  const burst = (frames: readonly Uint8Array[]): Uint8Array[] =>
    Array.from({ length: 2 * BURST }, (_, i) => (frames[i % frames.length] as Uint8Array).slice());
  const guests = Array.from({ length: 126 }, (_, i) =>
    up(A_MAC, tcp(ip(`192.168.100.${i + 10}`), 5000, ALIAS, 80)),
  );
  box.ports.p0?.loop(
    burst([
      ...guests,
      up(A_MAC, tcp(A, 5000, ALIAS, 80, ACK)),
      up(A_MAC, tcp(A, 5000, GATEWAY, SERVICE_PORT)),
    ]),
    true,
  );
  box.ports.p1?.loop(
    burst([up(B_MAC, tcp(A, 5000, ALIAS, 80)), up(B_MAC, tcp(B, 5000, GATEWAY, SERVICE_PORT, ACK))]),
    true,
  );
  box.ports.uplink?.loop(
    burst([down(tcp(GATEWAY, ALIAS_PORT, A, 5000, ACK)), down(tcp(GATEWAY, SERVICE_PORT, A, 5000, RST))]),
    true,
  );
  let nowMs = 0;
  const slope = slopeOf({ rounds: 20, warmUp: 8_000, framesARound: 192 }, () => {
    nowMs += 1;
    box.plane.step(nowMs);
  });
  assert.ok(slope < 1, `${slope.toFixed(2)} bytes a frame`);
  const { CallerTaken = 0, CallersFull = 0 } = box.drops();
  assert.ok(CallerTaken > 1_000 && CallersFull > 1_000, JSON.stringify(box.drops()));
});

test.run();
