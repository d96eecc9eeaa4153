/** Flows out of one table into another: all of them, with their ports and times, or left out whole. */
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip } from '../../fixtures/packets.ts';
import { clearFlows, type Flow, flowMemory, listFlows, partsOf } from '../../src/gateway/flowmemory.ts';
import { FlowTable } from '../../src/gateway/flows.ts';
import { PACKED_WORDS, packFlows, unpackFlows } from '../../src/gateway/packedflows.ts';
import type { Ip4 } from '../../src/wire/address.ts';

const [UDP, TCP, ICMP] = [17, 6, 1];
const GUEST = ip('192.168.100.10');
const WORLD = ip('203.0.113.7');
const NOW_S = 100;

const tableIn = (memory: SharedArrayBuffer, seed: number): FlowTable =>
  new FlowTable(partsOf(memory, seed), seed);

const sorted = (flows: readonly Flow[]): string[] => flows.map(flow => JSON.stringify(flow)).sort();

/** A table with conversations of few guests, ports and hosts, so that many share a mapping or collide. */
function filled(talks: readonly (readonly number[])[], memory = flowMemory(64)): SharedArrayBuffer {
  const flows = tableIn(memory, 1);
  for (const [kind = 0, guest = 0, port = 0, host = 0, life = 0] of talks) {
    const protocol = [UDP, TCP, ICMP][kind % 3] as number;
    const inside = (GUEST + guest) as Ip4;
    if (flows.full || flows.find(protocol, inside, 4000 + port, (WORLD + host) as Ip4, 80, NOW_S) >= 0)
      continue;
    const known = flows.mappingOf(protocol, inside, 4000 + port);
    const mapping = known >= 0 ? known : flows.map(protocol, inside, 4000 + port);
    const flow = flows.open(mapping, (WORLD + host) as Ip4, 80);
    flows.setTcpState(flow, protocol === TCP ? life % 5 : 0);
    flows.refresh(flow, NOW_S, 1 + life);
  }
  return memory;
}

const talks = fc.array(fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(200)), { maxLength: 80 });

test('what is packed is what is alive, and a table with another seed has the same from it', () => {
  fc.assert(
    fc.property(talks, list => {
      const memory = filled(list);
      const before = listFlows(memory, NOW_S);
      const packed = packFlows(memory, NOW_S);
      assert.equal(sorted([...unpackFlows(packed)]), sorted(before));
      const other = flowMemory(64);
      const flows = tableIn(other, 99);
      for (const flow of unpackFlows(packed)) assert.ok(flows.restore(flow));
      assert.equal(sorted(listFlows(other, NOW_S)), sorted(before));
      for (const { protocol, insideIp, insidePort, externalPort, remoteIp, remotePort } of before) {
        const found = flows.find(protocol, insideIp as Ip4, insidePort, remoteIp as Ip4, remotePort, NOW_S);
        assert.is(flows.externalPort(found), externalPort);
        assert.is(flows.insidePort(flows.mappingAt(protocol, externalPort)), insidePort);
      }
      for (let nowS = NOW_S; nowS < NOW_S + 210; nowS++) flows.sweep(nowS);
      assert.is(flows.count, 0, 'all of them end');
    }),
  );
});

test('a memory that is cleared takes them as a new one does', () => {
  const memory = filled([
    [0, 0, 0, 0, 9],
    [1, 1, 0, 1, 9],
  ]);
  const packed = packFlows(memory, NOW_S);
  clearFlows(memory);
  assert.equal(listFlows(memory, NOW_S), []);
  const flows = tableIn(memory, 5);
  for (const flow of unpackFlows(packed)) assert.ok(flows.restore(flow));
  assert.is(flows.count, 2);
});

test('a flow whose port another endpoint has, or that is there already, is left out whole', () => {
  const memory = flowMemory(4);
  const flows = tableIn(memory, 1);
  const flow: Flow = {
    ...{
      protocol: UDP,
      insideIp: GUEST,
      insidePort: 4000,
      externalPort: 4000,
      remoteIp: WORLD,
      remotePort: 53,
    },
    ...{ tcpState: 0, expiresS: 200, seenS: 90 },
  };
  assert.ok(flows.restore(flow));
  assert.not(flows.restore(flow));
  assert.not(flows.restore({ ...flow, insidePort: 4001 }), 'the external port is taken');
  assert.not(flows.restore({ ...flow, remotePort: 54, externalPort: 4001 }), 'the endpoint has another');
  assert.equal(listFlows(memory, NOW_S), [flow]);
});

test('a forward of the same endpoint keeps the conversations over it, another ends them', () => {
  const memory = flowMemory(4);
  const flows = tableIn(memory, 1);
  for (const flow of unpackFlows(packFlows(filled([[1, 0, 0, 0, 50]]), NOW_S))) flows.restore(flow);
  flows.forward(TCP, 4000, GUEST, 4000);
  assert.is(flows.count, 1);
  flows.endForward(flows.mappingAt(TCP, 4000));
  assert.is(flows.count, 0);
});

test('a packed list that is cut off in a flow gives those before it', () => {
  const packed = packFlows(
    filled([
      [0, 0, 0, 0, 9],
      [0, 1, 1, 0, 9],
    ]),
    NOW_S,
  );
  assert.is(packed.length, 2 * PACKED_WORDS);
  assert.is([...unpackFlows(packed.subarray(0, packed.length - 1))].length, 1);
});

test.run();
