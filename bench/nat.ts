/**
 * The NAT in memory: 64-byte UDP datagrams of 100,000 flows (25,000 endpoints of guests with four remotes each), out
 * and back in, through the whole pipeline. Each frame is written to the slab before it is received, as the NAT changes it
 * where it stands; that is in the figure.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { arpFrame, ethernetFrame, ip, udpPacket } from '../fixtures/packets.ts';
import { readReplayConfig } from '../src/config.ts';
import { counterMemory } from '../src/dataplane/counters.ts';
import { Dataplane } from '../src/dataplane/dataplane.ts';
import { fdbMemory } from '../src/dataplane/fdb.ts';
import { flowMemory, listFlows } from '../src/gateway/flowmemory.ts';
import { Gateway } from '../src/gateway/gateway.ts';
import { gatewaySettings } from '../src/identity.ts';
import { MemoryPort } from '../src/port/memory.ts';
import type { Ip4, Mac } from '../src/wire/address.ts';
import { ETHERTYPE_IP4 } from '../src/wire/ethernet.ts';
import { arenaFor, type Row, row, turn } from './memory.ts';

const FLOWS = 100_000;
const REMOTES = 4;
const GUESTS = 200;
/** Of which one port may have three quarters. */
const MAX_FLOWS = 134_000;
const MAX_MACS = 1_024;
const PAYLOAD = 'x'.repeat(22); // 64 bytes with the headers
const [GUESTS_PORT, UPLINK] = [0, 1];

const settings = gatewaySettings(readReplayConfig({ subnet: '10.0.0.0/16' }));
const guestMac = (guest: number): Mac => ({ hi: 0x0200, lo: guest + 1 });
const guestIp = (guest: number): Ip4 => (ip('10.0.1.0') + guest) as Ip4;
const remoteIp = (remote: number): Ip4 => (ip('203.0.113.1') + remote) as Ip4;

/** What the guests send: to the gateway, for elsewhere. */
function outward(): Uint8Array[] {
  return Array.from({ length: FLOWS }, (_, flow) => {
    const endpoint = Math.floor(flow / REMOTES);
    const guest = endpoint % GUESTS;
    const header = { source: guestIp(guest), destination: remoteIp(flow % REMOTES) };
    const ports = { from: 2_000 + Math.floor(endpoint / GUESTS), to: 53 };
    return ethernetFrame(
      guestMac(guest),
      settings.gatewayMac,
      ETHERTYPE_IP4,
      udpPacket(header, ports, PAYLOAD),
    );
  });
}

/** The answers to all flows that there are. */
const inward = (memory: SharedArrayBuffer): Uint8Array[] =>
  listFlows(memory, 0).map(flow => {
    const header = { source: flow.remoteIp as Ip4, destination: settings.natAddress };
    const ports = { from: flow.remotePort, to: flow.externalPort };
    const datagram = udpPacket(header, ports, PAYLOAD);
    return ethernetFrame(settings.uplinkMac, settings.gatewayMac, ETHERTYPE_IP4, datagram);
  });

interface Box {
  readonly dataplane: Dataplane;
  readonly memory: SharedArrayBuffer;
  readonly ports: readonly [guests: MemoryPort, uplink: MemoryPort];
}

function box(arenaBytes: number): Box {
  const memory = flowMemory(MAX_FLOWS);
  const dataplane = new Dataplane({
    fdbMemory: fdbMemory(MAX_MACS),
    counterMemory: counterMemory(),
    maxMacs: MAX_MACS,
    ageingS: 300,
    seed: 1,
    gateway: new Gateway({
      ...settings,
      uplink: UPLINK,
      punt: { punt: () => true },
      seed: 1,
      flowMemory: memory,
    }),
    gatewayMac: settings.gatewayMac,
    uplink: UPLINK,
    arenaBytes,
    onGone: () => undefined,
  });
  const ports = [new MemoryPort('guests'), new MemoryPort('uplink')] as const;
  for (const [index, port] of ports.entries()) dataplane.attach(index, port);
  return { dataplane, memory, ports };
}

/** `out`: guests to the outside. `both`: the same and its answers, in turn. */
function measure(way: 'out' | 'both'): Row {
  const frames = outward();
  const { dataplane, memory, ports } = box(2 * arenaFor([frames]));
  const [guests, uplink] = ports;
  // The gateway must know its neighbours, or it would ask for them.
  for (let guest = 0; guest < GUESTS; guest++)
    guests.give(
      arpFrame({
        operation: 1,
        sender: guestMac(guest),
        senderIp: guestIp(guest),
        targetIp: settings.gatewayIp,
      }),
    );
  while (dataplane.serve(GUESTS_PORT, 0) > 0);
  dataplane.counters.clear(GUESTS_PORT); // a question to all has nobody else to go to
  guests.loop(frames, true);
  for (let done = 0; done < FLOWS; ) done += dataplane.serve(GUESTS_PORT, 0);
  const answers = inward(memory);
  if (answers.length !== FLOWS) throw new Error(`${answers.length} of ${FLOWS} flows were made`);
  uplink.loop(way === 'both' ? answers : [], true);
  const rate = turn(dataplane, way === 'both' ? [GUESTS_PORT, UPLINK] : [GUESTS_PORT]);
  for (const index of [GUESTS_PORT, UPLINK]) {
    const drops = JSON.stringify(dataplane.counters.dropsOf(index));
    if (drops !== '{}') throw new Error(`frames were dropped: ${drops}`);
  }
  return row(`NAT ${way}, 64 B UDP, ${FLOWS} flows`, rate, frames);
}

const SELF = fileURLToPath(import.meta.url);
export const natBench = (): Row[] =>
  ['out', 'both'].map(
    way => JSON.parse(execFileSync(process.execPath, [SELF, way], { encoding: 'utf8' })) as Row,
  );

if (process.argv[1] === SELF)
  console.log(JSON.stringify(measure(process.argv[2] === 'both' ? 'both' : 'out')));
