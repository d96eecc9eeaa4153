/** A switch in memory with a gateway, two guests' ports and an uplink, and what a golden case does with it. */

import { GATEWAY, GATEWAY_MAC, NAT_ADDRESS, PORTS, UPLINK_MAC } from '../../fixtures/arp.ts';
import { policyOf } from '../../fixtures/egress.ts';
import { ALIAS_PORT, SERVICE_PORT } from '../../fixtures/metadata.ts';
import { type Case, ip } from '../../fixtures/packets.ts';
import { GATEWAY_PORT } from '../../src/dataplane/batch.ts';
import { counterMemory } from '../../src/dataplane/counters.ts';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { fdbMemory } from '../../src/dataplane/fdb.ts';
import { callerMemory } from '../../src/gateway/callers.ts';
import { flowMemory } from '../../src/gateway/flowmemory.ts';
import { Gateway, type GatewayOptions } from '../../src/gateway/gateway.ts';
import { MemoryPort } from '../../src/port/memory.ts';

const MAX_MACS = 1024;
const UPLINK = 2;
const TICK_MS = 100;

export interface Switch {
  readonly gateway: Gateway;
  readonly plane: Dataplane;
  readonly ports: Readonly<Record<string, MemoryPort>>;
  readonly flows: SharedArrayBuffer;
  /** Frames that went to the control plane. */
  readonly punted: Uint8Array[];
  drops(): Record<string, number>;
  /** Tells the gateway of names. */
  learn(learnt: Int32Array, forgotten: Int32Array): void;
  /** From now on the control plane is behind. */
  refusePunts(): void;
}

/** `arenaBytes`: as of a data plane. */
export function memorySwitch(
  options: Partial<GatewayOptions> & { readonly maxFlows?: number; readonly arenaBytes?: number } = {},
): Switch {
  const flows = flowMemory(options.maxFlows ?? 64);
  const punted: Uint8Array[] = [];
  let refusing = false;
  const gateway = new Gateway({
    network: ip('192.168.100.0'),
    mask: ip('255.255.255.0'),
    broadcast: ip('192.168.100.255'),
    gatewayIp: GATEWAY,
    gatewayMac: GATEWAY_MAC,
    uplinkMac: UPLINK_MAC,
    uplink: UPLINK,
    hostBehind: true,
    hostOpen: true,
    natAddress: NAT_ADDRESS,
    natFiltering: 'address',
    mtu: 1_500,
    maxGuestFlows: options.maxFlows ?? 64,
    dhcp: true,
    dns: false,
    punt: {
      punt: (batch, row) => {
        if (refusing) return false;
        const from = batch.offset[row] as number;
        punted.push(batch.slab.slice(from, from + (batch.length[row] as number)));
        return true;
      },
    },
    seed: 1,
    flowMemory: flows,
    egress: policyOf([], 'all'),
    ...options,
  });
  const plane = new Dataplane({
    fdbMemory: fdbMemory(MAX_MACS),
    counterMemory: counterMemory(),
    maxMacs: MAX_MACS,
    ageingS: 300,
    seed: 1,
    gateway,
    gatewayMac: GATEWAY_MAC,
    uplink: UPLINK,
    arenaBytes: options.arenaBytes,
    onGone: () => {},
  });
  const ports: Record<string, MemoryPort> = {};
  for (const [index, name] of PORTS.entries()) {
    const port = new MemoryPort(name, { offloads: name === 'uplink' });
    ports[name] = port;
    plane.attach(index, port);
  }
  const drops = (): Record<string, number> => {
    const sum: Record<string, number> = {};
    for (const index of [...PORTS.keys(), GATEWAY_PORT])
      for (const [reason, count] of Object.entries(plane.counters.dropsOf(index)))
        sum[reason] = (sum[reason] ?? 0) + count;
    return sum;
  };
  return {
    gateway,
    plane,
    ports,
    flows,
    punted,
    drops,
    learn: (learnt, forgotten) => gateway.egress.learn(learnt, forgotten),
    refusePunts: () => {
      refusing = true;
    },
  };
}

export interface Played {
  readonly sent: Record<string, string[]>;
  readonly drops: Record<string, number>;
}

/** Plays a case's frames in the order of their times, with the timers between them; what was sent as hex by port. `begin`: before the first. */
export function play(one: Case, begin?: (box: Switch) => void): Played {
  const filtering = one.config['nat-filtering'] as GatewayOptions['natFiltering'] | undefined;
  const served = one.config['cloud-init'] !== undefined;
  const box = memorySwitch({
    ...(filtering === undefined ? {} : { natFiltering: filtering }),
    ...(served ? { callers: callerMemory() } : {}),
  });
  if (served) box.gateway.serve(SERVICE_PORT, ALIAS_PORT);
  begin?.(box);
  let nowMs = 0;
  for (const input of [...one.inputs].sort((a, b) => a.ms - b.ms)) {
    for (; nowMs + TICK_MS <= input.ms; nowMs += TICK_MS) box.plane.tick(nowMs + TICK_MS);
    box.ports[input.port]?.give(input.frame);
    box.plane.step(input.ms);
  }
  const sent: Record<string, string[]> = {};
  for (const [name, port] of Object.entries(box.ports)) sent[name] = port.sent.map(hex);
  return { sent, drops: box.drops() };
}

/** The same shape of what a case expects. */
export const expected = (one: Case): Played => ({
  sent: Object.fromEntries(PORTS.map(name => [name, (one.outputs[name] ?? []).map(hex)])),
  drops: { ...one.drops },
});

export const hex = (frame: Uint8Array): string => Buffer.from(frame).toString('hex');
