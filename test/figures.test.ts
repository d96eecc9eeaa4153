/** The NAT's sessions as figures: counted by protocol and state, opened, and refused with the reason. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loopMemory } from '../src/dataplane/loopstats.ts';
import { figuresOf } from '../src/figures.ts';
import { flowMemory, partsOf } from '../src/gateway/flowmemory.ts';
import { FlowTable } from '../src/gateway/flows.ts';
import { after } from '../src/gateway/tcpstate.ts';
import { type Ip4, UNSPECIFIED } from '../src/wire/address.ts';
import { Drop } from '../src/wire/drop.ts';
import { ICMP, TCP, UDP } from '../src/wire/ipv4.ts';
import { ACK, FIN, SYN } from '../src/wire/tcp.ts';

const NAT = 1 as Ip4;
const [GUEST, OTHER, REMOTE] = [0x0a000002, 0x0a000003, 0x08080808] as Ip4[] as [Ip4, Ip4, Ip4];
const MOST = 8;

function table(): [SharedArrayBuffer, FlowTable] {
  const memory = flowMemory(MOST);
  return [memory, new FlowTable(partsOf(memory, 1), 1, 5)];
}

const flowsOf = (flows: SharedArrayBuffer) => {
  const figures = figuresOf({ natAddress: NAT }, { loop: loopMemory(), flows }).flows;
  if (figures === undefined) throw new Error('no figures');
  const counts = figures.counts.map(({ protocol, state, count }) => [`${protocol} ${state}`, count] as const);
  return {
    ...figures,
    counts: Object.fromEntries(counts.filter(([, count]) => count > 0)),
    all: counts.length,
  };
};

const open = (flows: FlowTable, protocol: number, guest: Ip4, port: number): number =>
  flows.open(flows.map(protocol, guest, port), REMOTE, port);

test('flows by protocol and state, in any order of the table', () => {
  const [memory, flows] = table();
  assert.equal(flowsOf(memory).counts, {});
  const gone = open(flows, UDP, GUEST, 1000);
  open(flows, UDP, GUEST, 1001);
  open(flows, ICMP, OTHER, 7);
  const opened = [SYN, SYN | ACK, ACK].reduce((state, flags, i) => after(state, flags, i !== 1), 0);
  flows.setTcpState(open(flows, TCP, GUEST, 2000), opened);
  flows.setTcpState(open(flows, TCP, GUEST, 2001), after(opened, FIN | ACK, true));
  flows.remove(gone);
  const { counts, opened: total, most, all } = flowsOf(memory);
  assert.equal(counts, { 'icmp -': 1, 'udp -': 1, 'tcp established': 1, 'tcp closing': 1 });
  assert.equal([total, most], [5, MOST]);
  assert.is(all, 7, 'states that no flow is in are shown too');
});

test('what is refused is counted by its reason, and past 31 bits', () => {
  const [memory, flows] = table();
  for (let port = 1; port <= 5; port++) open(flows, UDP, GUEST, 1000 + port);
  assert.is(flows.refuse(GUEST), Drop.NatGuestFull);
  assert.is(flows.refuse(OTHER), Drop.NatNoPort);
  for (let port = 1; port <= 3; port++) open(flows, UDP, OTHER, 2000 + port);
  assert.is(flows.refuse(OTHER), Drop.NatTableFull);
  assert.is(flows.refuse(GUEST), Drop.NatTableFull);
  assert.equal(flowsOf(memory).refused, { 'table-full': 2, 'guest-full': 1, 'no-port': 1 });
  const words = new Int32Array(memory);
  words[2] = 0x7fff_ffff; // opened
  flows.remove(0);
  open(flows, UDP, OTHER, 3000);
  assert.is(flowsOf(memory).opened, 0x8000_0000);
});

test('without a NAT there are no sessions', () => {
  const { flows } = figuresOf({ natAddress: UNSPECIFIED }, { loop: loopMemory(), flows: flowMemory(MOST) });
  assert.is(flows, undefined);
});

test.run();
