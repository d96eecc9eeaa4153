/** The flow table against a model, and what must hold whatever is opened, ends or is looked up. */
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip } from '../../fixtures/packets.ts';
import { flowMemory, listFlows, partsOf } from '../../src/gateway/flowmemory.ts';
import { FlowTable } from '../../src/gateway/flows.ts';
import type { Ip4 } from '../../src/wire/address.ts';

const UDP = 17;
const TCP = 6;
const A = ip('192.168.100.10');
const B = ip('192.168.100.11');
const WORLD = ip('203.0.113.7');

const tableIn = (memory: SharedArrayBuffer, seed: number): FlowTable =>
  new FlowTable(partsOf(memory, seed), seed);
const table = (maxFlows: number, seed = 1): FlowTable => tableIn(flowMemory(maxFlows), seed);

test('flows: a flow takes at most 128 bytes beyond what every table has', () => {
  const fixed = flowMemory(2).byteLength;
  for (const n of [1_000, 40_000, 65_536, 87_382, 1_048_576])
    assert.ok((flowMemory(n).byteLength - fixed) / n <= 128, `${n}`);
});

test('flows: the port is kept when free, and never given twice', () => {
  const flows = table(16);
  const a = flows.map(UDP, A, 4000);
  const b = flows.map(UDP, B, 4000);
  assert.is(flows.mappingPort(a), 4000);
  assert.is.not(flows.mappingPort(b), 4000);
  assert.ok(flows.mappingPort(b) >= 1024);
  assert.is(flows.mappingPort(flows.map(TCP, B, 4000)), 4000, 'TCP has ports of its own');
});

test('flows: ports below 1024 keep to themselves', () => {
  const flows = table(16);
  flows.map(UDP, A, 500);
  const port = flows.mappingPort(flows.map(UDP, B, 500));
  assert.ok(port > 0 && port < 1024 && port !== 500);
});

test('flows: the port after a collision follows from the seed', () => {
  const second = (seed: number): number => {
    const flows = table(16, seed);
    flows.map(UDP, A, 4000);
    return flows.mappingPort(flows.map(UDP, B, 4000));
  };
  assert.is(second(7), second(7));
  assert.is.not(second(7), second(8));
});

test('flows: all low ports taken is no port, and nothing is lost by asking', () => {
  const flows = table(2000);
  for (let i = 1; i < 1024; i++) assert.ok(flows.map(UDP, (A + i) as Ip4, 500) >= 0);
  assert.is(flows.map(UDP, B, 501), -1);
  assert.ok(flows.map(UDP, B, 5000) >= 0);
});

test('flows: listFlows shows what is alive', () => {
  const memory = flowMemory(4);
  const flows = tableIn(memory, 1);
  flows.refresh(flows.open(flows.map(UDP, A, 4000), WORLD, 53), 10, 300);
  assert.equal(listFlows(memory, 11), [
    {
      protocol: UDP,
      insideIp: A,
      insidePort: 4000,
      externalPort: 4000,
      remoteIp: WORLD,
      remotePort: 53,
      tcpState: 0,
      expiresS: 310,
      seenS: 10,
    },
  ]);
  assert.equal(listFlows(memory, 310), []);
});

test('flows: ten thousand flows of one port to one host end without a walk over each other', () => {
  const flows = table(10_000);
  const mapping = flows.map(TCP, A, 4000);
  for (let port = 1; port <= 10_000; port++) flows.refresh(flows.open(mapping, WORLD, port), 0, 10);
  assert.ok(flows.full && flows.hasRemote(mapping, WORLD, 1));
  assert.not(flows.hasRemote(mapping, B, 1));
  const startedMs = performance.now();
  for (let i = 0; i < 101; i++) flows.sweep(11);
  assert.is(flows.count, 0);
  assert.ok(performance.now() - startedMs < 1_000, 'took as long as the square of their number would');
  assert.is(flows.mappingAt(TCP, 4000), -1);
});

test('flows: a life that packets lengthened ends then, and one that was cut short ends soon', () => {
  const flows = table(16);
  const opened = (port: number): number => flows.open(flows.map(TCP, A, port), WORLD, 80);
  const [long, short, kept] = [opened(1024), opened(1025), opened(1026)];
  for (const flow of [long, short, kept]) flows.refresh(flow, 10, 7_440);
  flows.refresh(long, 100, 7_440);
  flows.refresh(short, 100, 240);
  flows.shorten(kept, 100, 8_000);
  for (const [nowS, count] of [
    [339, 3],
    [340, 2],
    [7_449, 2],
    [7_450, 1],
    [7_539, 1],
    [7_540, 0],
  ] as const) {
    flows.sweep(nowS);
    assert.is(flows.count, count, `at ${nowS} s`);
  }
});

test('flows: the wheel looks at each flow once or twice in its life, however many there are', () => {
  const looksOf = (count: number): number => {
    const flows = table(count);
    for (let i = 0; i < count; i++)
      flows.refresh(flows.open(flows.map(UDP, A, 1_024 + i), WORLD, 53), 1 + (i % 100), 300);
    let ended = 0;
    let calls = 0;
    for (let nowS = 1; ended < count; nowS++, calls++) {
      flows.sweep(nowS);
      ended = count - flows.count;
    }
    return calls;
  };
  assert.is(looksOf(100), 400);
  assert.is(looksOf(20_000), 400);
});

test('flows: those that end in one second do not hold up a round, and all end', () => {
  const flows = table(40_000);
  for (let i = 0; i < 40_000; i++) flows.refresh(flows.open(flows.map(UDP, A, 1_024 + i), WORLD, 53), 1, 300);
  flows.sweep(301);
  assert.is(flows.count, 40_000 - 2_500);
  for (let calls = 0; calls < 15; calls++) flows.sweep(301);
  assert.is(flows.count, 0);
});

test('flows: a clock that has stood still for a day ends them at once', () => {
  const flows = table(16);
  flows.sweep(5);
  flows.refresh(flows.open(flows.map(UDP, A, 4000), WORLD, 53), 5, 300);
  flows.sweep(86_400);
  assert.is(flows.count, 0);
});

test('flows: a guest has its share and no more, and gets it back', () => {
  const parts = partsOf(flowMemory(16), 1);
  const flows = new FlowTable(parts, 1, 3);
  const opened = [1, 2, 3].map(port => flows.open(flows.map(UDP, A, port + 2_000), WORLD, port));
  assert.ok(flows.guestFull(A));
  assert.not(flows.guestFull(B));
  flows.remove(opened[1] as number);
  assert.not(flows.guestFull(A));
});

/** A few endpoints, so that they meet often. */
const guests = fc.constantFrom(A, B);
const remotes = fc.integer({ min: 0, max: 3 }).map(i => (WORLD + i) as Ip4);
const ports = fc.integer({ min: 1023, max: 1026 });
const step = fc.record({
  end: fc.integer({ min: 0, max: 3 }).map(n => n === 0),
  guest: guests,
  port: ports,
  remote: remotes,
  remotePort: ports,
  waitS: fc.integer({ min: 0, max: 3 }),
});

test('flows: as a model has it', () => {
  const run = (steps: readonly (typeof step extends fc.Arbitrary<infer S> ? S : never)[]): void => {
    const flows = table(8);
    const model = new Map<string, number>(); // what a flow is, to when it ends
    let nowS = 1;
    for (const { end, guest, port, remote, remotePort, waitS } of steps) {
      nowS += waitS;
      for (let i = 0; i < 8; i++) flows.sweep(nowS);
      for (const [key, expires] of model) if (expires <= nowS) model.delete(key);
      const key = `${guest} ${port} ${remote} ${remotePort}`;
      let flow = flows.find(UDP, guest, port, remote, remotePort, nowS);
      assert.is(flow >= 0, model.has(key));
      if (end) {
        if (flow >= 0) flows.remove(flow);
        model.delete(key);
      } else if (flow >= 0 || !flows.full) {
        if (flow < 0) {
          const known = flows.mappingOf(UDP, guest, port);
          flow = flows.open(known >= 0 ? known : flows.map(UDP, guest, port), remote, remotePort);
        }
        flows.refresh(flow, nowS, 5);
        model.set(key, nowS + 5);
      }
      assert.is(flows.count, model.size);
      const mapping = flows.mappingOf(UDP, guest, port);
      const own = [...model.keys()].filter(other => other.startsWith(`${guest} ${port} `));
      assert.is(mapping >= 0, own.length > 0, 'a mapping lives as long as a flow of it does');
      if (mapping < 0) continue;
      assert.is(flows.mappingAt(UDP, flows.mappingPort(mapping)), mapping);
      const spoken = own.some(other => other.startsWith(`${guest} ${port} ${remote} `));
      assert.is(flows.hasRemote(mapping, remote, nowS), spoken);
    }
  };
  fc.assert(fc.property(fc.array(step, { maxLength: 200, size: 'max' }), run), { seed: 42, numRuns: 200 });
});

test.run();
