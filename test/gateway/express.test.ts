// timeout: 120 s
/**
 * The NAT's usual packets, decided together, against the same packets handled one by one: whatever guests and the outside
 * send, mutated or not, the same frames leave by the same ports and the same drops are counted.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, B, B_MAC, GATEWAY, NAT_ADDRESS as NAT, UPLINK_MAC } from '../../fixtures/arp.ts';
import { policyOf, rulesOf } from '../../fixtures/egress.ts';
import { arpFrame, echoPacket, type Header, ip, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { down, up, WORLD } from '../../fixtures/routed.ts';
import type { MemoryPort } from '../../src/port/memory.ts';
import type { Ip4 } from '../../src/wire/address.ts';
import { type Random, random } from '../random.ts';
import { hex, memorySwitch, type Switch } from './harness.ts';

const ROUNDS = 6_000;
const BURST = 20;
const PORTS = [53, 80, 4000, 4001];
const FLAGS = [0x02, 0x12, 0x10, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14];
const REMOTES = [WORLD, ip('203.0.113.8'), B, GATEWAY, NAT, ip('224.0.0.1')];

const pick = <T>(from: readonly T[], next: Random): T => from[next(from.length)] as T;

function transport(header: Header, next: Random): Uint8Array {
  const ports = { from: pick(PORTS, next), to: pick(PORTS, next) };
  const kind = next(8);
  if (kind === 0) return echoPacket(header, next(2) * 8, pick(PORTS, next), 1);
  if (kind < 4) return tcpPacket(header, ports, pick(FLAGS, next), 'x'.repeat(next(9)));
  return udpPacket(header, ports, 'x'.repeat(next(9)), next(4) > 0);
}

/** Now and then a bit is not what it was. */
function spoilt(frame: Uint8Array, next: Random): Uint8Array {
  if (next(12) !== 0) return frame;
  const at = next(frame.length);
  frame[at] = (frame[at] as number) ^ (1 << next(8));
  return frame;
}

interface Burst {
  readonly port: 'p0' | 'p1' | 'uplink';
  readonly frames: readonly Uint8Array[];
}

function burst(next: Random): Burst {
  const port = pick(['p0', 'p1', 'uplink', 'uplink'] as const, next);
  const frames = Array.from({ length: 1 + next(BURST) }, () => {
    if (port === 'uplink') {
      const source = pick([WORLD, WORLD, ip('203.0.113.8'), GATEWAY], next);
      return spoilt(down(transport({ source, destination: pick([NAT, NAT, NAT, A], next) }, next)), next);
    }
    const [own, ownMac] = port === 'p0' ? [A, A_MAC] : [B, B_MAC];
    const source = next(20) === 0 ? (pick(REMOTES, next) as Ip4) : own;
    const destination = next(3) > 0 ? WORLD : pick(REMOTES, next);
    return spoilt(up(ownMac, transport({ source, destination }, next)), next);
  });
  return { port, frames };
}

function introduce({ ports, plane }: Switch): void {
  const say = (port: MemoryPort | undefined, sender: typeof A_MAC, senderIp: Ip4): void =>
    port?.give(arpFrame({ operation: 1, sender, senderIp, targetIp: GATEWAY }));
  say(ports.p0, A_MAC, A);
  say(ports.p1, B_MAC, B);
  plane.step(0);
}

/** What has left since the last call, by port. */
const sentBy = ({ ports }: Switch): Record<string, string[]> =>
  Object.fromEntries(
    Object.entries(ports).map(([name, port]) => [name, port.sent.splice(0).map(frame => hex(frame))]),
  );

/** Rules, of which the last one has answers from port 53 go by the control plane. */
const RULES = ['tap0 deny tcp/80 any', 'deny udp/4001 203.0.113.8', 'deny icmp any', 'deny .test'];

for (const [natFiltering, rules] of [
  ['endpoint', []],
  ['address', []],
  ['address-port', []],
  ['address', RULES],
] as const)
  test(`express: decides as the gateway does, filtering by ${natFiltering}, ${rules.length} egress rules`, () => {
    const next = random(20_261_124);
    const boxes = [true, false].map(express =>
      memorySwitch({
        natFiltering,
        express,
        maxFlows: 48,
        uplinkMac: UPLINK_MAC,
        egress: policyOf(rulesOf(rules), 'all'),
      }),
    ) as [Switch, Switch];
    for (const box of boxes) introduce(box);
    let nowMs = 1_000;
    let crossed = 0;
    for (let round = 0; round < ROUNDS; round++) {
      // mostly within a second; at times so long that flows end
      nowMs += pick([1, 5, 50, 400, 400, 2_000, next(100) === 0 ? 400_000 : 10], next);
      const { port, frames } = burst(next);
      for (const box of boxes) {
        box.plane.tick(nowMs);
        introduce(box);
        for (const frame of frames) box.ports[port]?.give(frame);
        box.plane.step(nowMs);
      }
      const [together, single] = boxes.map(sentBy) as [Record<string, string[]>, Record<string, string[]>];
      assert.equal(together, single, `round ${round}`);
      crossed += (together.uplink as string[]).length;
    }
    const [together, single] = boxes;
    assert.equal(together.drops(), single.drops());
    assert.equal(together.punted, single.punted);
    assert.is(together.punted.length > 100, rules.length > 0);
    assert.is((together.drops().EgressDenied ?? 0) > 100, rules.length > 0);
    assert.ok(crossed > ROUNDS, `${crossed} frames left by the uplink`);
  });

test.run();
