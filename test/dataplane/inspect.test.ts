/** A strict guard: whose addresses are known, and what a guest may say with them. */
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  arpFrame,
  echoPacket,
  ethernetFrame,
  ip,
  mac,
  tcpPacket,
  udpPacket,
} from '../../fixtures/packets.ts';
import { Binder } from '../../src/binder.ts';
import { ANY_MAC, ANY_PORT, BINDING_WORDS, Bindings } from '../../src/dataplane/bindings.ts';
import { counterMemory } from '../../src/dataplane/counters.ts';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { fdbMemory } from '../../src/dataplane/fdb.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { type LeaseRecord, LeaseState } from '../../src/service/dhcp/leases.ts';
import { UNSPECIFIED } from '../../src/wire/address.ts';

const GATEWAY = ip('192.168.100.1');
const [RED_IP, BLUE_IP] = [ip('192.168.100.10'), ip('192.168.100.11')];
const [RED, BLUE] = [mac('02:00:00:00:00:0a'), mac('02:00:00:00:00:0b')];
const [IP4, IP6] = [0x0800, 0x86dd];

type Words = readonly number[];
const none = new Int32Array(0);

test('bindings: the same as a set of words, whatever comes and goes', () => {
  const word = fc.tuple(fc.constantFrom(0, 1, 254), fc.nat(3), fc.integer({ min: -2, max: 2 }), fc.nat(300));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), word), { maxLength: 600 }), steps => {
      const bindings = new Bindings(7);
      const model = new Map<string, Words>();
      for (const [adds, words] of steps) {
        bindings.change(adds ? Int32Array.from(words) : none, adds ? none : Int32Array.from(words));
        if (adds) model.set(String(words), words);
        else model.delete(String(words));
      }
      assert.is(bindings.size, model.size);
      for (const [, words] of steps) {
        const [port, hi, lo, address] = words;
        assert.is(
          bindings.allows(port, hi, lo, address),
          model.has(String(words)) || model.has(String([port, 0, 0, address])),
        );
      }
    }),
    { numRuns: 200 },
  );
});

/** Red on port 0, blue on port 1, with their leases; what red sends to blue, and why it does not arrive. */
function world(...bound: Words[]): { said(frame: Uint8Array): string } {
  const bindings = new Bindings(1);
  const leases = [
    [0, RED.hi, RED.lo, RED_IP],
    [1, BLUE.hi, BLUE.lo, BLUE_IP],
  ];
  bindings.change(Int32Array.from((bound.length > 0 ? bound : leases).flat()), none);
  const plane = new Dataplane({
    ...{
      fdbMemory: fdbMemory(16),
      counterMemory: counterMemory(),
      maxMacs: 16,
      ageingS: 300,
      seed: 1,
      uplink: -1,
    },
    strict: { bindings, gatewayIp: GATEWAY },
    onGone: () => undefined,
  });
  const [red, blue] = [new MemoryPort('red'), new MemoryPort('blue')];
  plane.attach(0, red);
  plane.attach(1, blue);
  return {
    said(frame) {
      plane.counters.clear(0);
      const before = blue.sent.length;
      red.give(frame);
      plane.step(1_000);
      return blue.sent.length > before ? 'passes' : Object.keys(plane.counters.dropsOf(0)).join();
    },
  };
}

const echo = (source: number, from = RED): Uint8Array =>
  ethernetFrame(
    from,
    BLUE,
    IP4,
    echoPacket({ source: source as typeof RED_IP, destination: BLUE_IP }, 8, 1, 1),
  );
const asks = (senderIp: typeof RED_IP, sender = RED, from = RED): Uint8Array => {
  const frame = arpFrame({ operation: 1, sender, senderIp, targetIp: BLUE_IP });
  frame.set(Uint8Array.of(0x02, 0, 0, 0, 0, from.lo), 6);
  return frame;
};
const dhcp = (source: typeof RED_IP, ports: { from: number; to: number }, operation: number): Uint8Array =>
  ethernetFrame(
    RED,
    mac('ff:ff:ff:ff:ff:ff'),
    IP4,
    udpPacket(
      { source, destination: ip('255.255.255.255') },
      ports,
      Uint8Array.from({ length: 240 }, (_, i) => (i === 0 ? operation : 0)),
    ),
  );

test('a guest speaks with its own addresses', () => {
  const { said } = world();
  assert.is(said(echo(RED_IP)), 'passes');
  assert.is(
    said(
      ethernetFrame(
        RED,
        BLUE,
        IP4,
        tcpPacket({ source: RED_IP, destination: BLUE_IP }, { from: 1, to: 2 }, 2),
      ),
    ),
    'passes',
  );
  assert.is(said(asks(RED_IP)), 'passes');
  assert.is(said(asks(UNSPECIFIED)), 'passes', 'a probe');
  assert.is(said(dhcp(UNSPECIFIED, { from: 68, to: 67 }, 1)), 'passes', 'before it has an address');
});

test('and with nobody else’s', () => {
  const { said } = world();
  assert.is(said(echo(BLUE_IP)), 'GuardAddress', 'a neighbour’s address');
  assert.is(said(echo(RED_IP, BLUE)), 'GuardAddress', 'a neighbour’s MAC');
  assert.is(said(echo(BLUE_IP, BLUE)), 'GuardAddress', 'both');
  assert.is(said(echo(UNSPECIFIED)), 'GuardAddress');
  assert.is(said(asks(BLUE_IP)), 'GuardAddress');
  assert.is(said(asks(RED_IP, BLUE)), 'GuardAddress', 'ARP with another MAC than the frame’s');
  assert.is(said(asks(RED_IP, BLUE, BLUE)), 'GuardAddress');
  assert.is(said(asks(GATEWAY)), 'GuardGateway');
  assert.is(said(dhcp(RED_IP, { from: 67, to: 68 }, 2)), 'GuardServer');
  assert.is(said(dhcp(BLUE_IP, { from: 68, to: 67 }, 1)), 'GuardAddress');
  assert.is(said(ethernetFrame(RED, BLUE, IP6, new Uint8Array(60))), 'GuardProtocol');
  const tagged = echo(RED_IP);
  assert.is(
    said(Uint8Array.from([...tagged.slice(0, 12), 0x81, 0, 0, 5, ...tagged.slice(12)])),
    'GuardProtocol',
  );
  assert.is(said(echo(RED_IP).slice(0, 20)), 'Ip4Truncated');
  assert.is(said(asks(RED_IP).slice(0, 30)), 'ArpTruncated');
});

test('a reservation by MAC holds at any port, one by port for any MAC', () => {
  const byMac = world([ANY_PORT, RED.hi, RED.lo, RED_IP]);
  assert.is(byMac.said(echo(RED_IP)), 'passes');
  assert.is(byMac.said(echo(BLUE_IP)), 'GuardAddress');
  const byPort = world([0, ANY_MAC, ANY_MAC, RED_IP]);
  assert.is(byPort.said(echo(RED_IP)), 'passes');
  assert.is(byPort.said(echo(RED_IP, mac('02:00:00:00:00:0c'))), 'passes');
  const elsewhere = world([1, ANY_MAC, ANY_MAC, RED_IP]);
  assert.is(elsewhere.said(echo(RED_IP)), 'GuardAddress');
});

test('leases come, move and go: the data plane is told of what differs, and no more', () => {
  const told: [Words[], Words[]][] = [];
  const rows = (words: Int32Array): Words[] =>
    Array.from({ length: words.length / BINDING_WORDS }, (_, i) => [
      ...words.slice(BINDING_WORDS * i, BINDING_WORDS * (i + 1)),
    ]);
  const ports: Record<string, number> = { tap0: 1, tap1: 2 };
  const binder = new Binder(
    { bind: (added, removed) => void told.push([rows(added), rows(removed)]) },
    { indexFor: name => ports[name] ?? -1 },
  );
  const record = (port: string, state = LeaseState.Bound): LeaseRecord => ({
    ...{ ip: RED_IP, state, key: '', mac: '02:00:00:00:00:0a', hostname: '', port, expiresS: 9 },
  });
  const [first, second] = [
    [1, RED.hi, RED.lo, RED_IP],
    [2, RED.hi, RED.lo, RED_IP],
  ];
  binder.leasesChanged([{ ip: RED_IP, after: record('tap0') }]);
  binder.leasesChanged([{ ip: RED_IP, after: record('tap0') }]);
  binder.leasesChanged([{ ip: RED_IP, after: record('tap1') }]);
  binder.leasesChanged([{ ip: RED_IP, after: record('gone') }]);
  binder.leasesChanged([{ ip: RED_IP, after: record('tap1') }]);
  binder.leasesExpired([{ ip: RED_IP }]);
  binder.leasesChanged([{ ip: RED_IP, after: record('tap1', LeaseState.Released) }]);
  assert.equal(told.splice(0), [
    [[first], []],
    [[second], [first]],
    [[], [second]],
    [[second], []],
    [[], [second]],
  ]);
  const reserved = { name: '', identity: { kind: 'mac', mac: BLUE }, address: BLUE_IP, tags: [] } as const;
  binder.reserve([reserved, { ...reserved, identity: { kind: 'port', port: 'tap0' } }]);
  binder.load([record('tap0')]);
  binder.tellAgain();
  const both = [
    [ANY_PORT, BLUE.hi, BLUE.lo, BLUE_IP],
    [1, 0, 0, BLUE_IP],
  ];
  assert.equal(told, [
    [both, []],
    [[first], []],
    [[...both, first], []],
  ]);
});

test.run();
