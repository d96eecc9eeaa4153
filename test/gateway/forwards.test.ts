/** Port forwards in the NAT: who gets in, what answers carry, what a change ends; and a subnet without a NAT. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, B, B_MAC, GATEWAY, GATEWAY_MAC, NAT_ADDRESS as NAT } from '../../fixtures/arp.ts';
import { policyOf } from '../../fixtures/egress.ts';
import { arpFrame, icmpPacket, ip, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { down, out, to, up, WORLD } from '../../fixtures/routed.ts';
import { listFlows } from '../../src/gateway/flowmemory.ts';
import type { NatForward } from '../../src/gateway/nat.ts';
import { type Ip4, UNSPECIFIED } from '../../src/wire/address.ts';
import { ACK, RST, SYN } from '../../src/wire/tcp.ts';
import { hex, memorySwitch, type Switch } from './harness.ts';

const TCP = 6;
const UDP = 17;
const WEB: NatForward = { protocol: TCP, port: 8080, guest: A, guestPort: 80 };

/** A switch that knows both guests. */
function box(options: Parameters<typeof memorySwitch>[0] = {}): Switch {
  const made = memorySwitch({ natFiltering: 'address-port', ...options });
  for (const [port, sender, senderIp] of [
    ['p0', A_MAC, A],
    ['p1', B_MAC, B],
  ] as const)
    give(made, port, arpFrame({ operation: 2, sender, senderIp, targetIp: GATEWAY }, GATEWAY_MAC));
  return made;
}

/** What goes out of which port when a frame comes in. */
function give({ ports, plane }: Switch, port: string, frame: Uint8Array, ms = 0): Record<string, string[]> {
  ports[port]?.give(frame);
  plane.step(ms);
  const said = Object.entries(ports).map(([name, each]) => [name, each.sent.splice(0).map(hex)] as const);
  return Object.fromEntries(said.filter(([, frames]) => frames.length > 0));
}

const tcp = (source: Ip4, from: number, destination: Ip4, port: number, flags: number): Uint8Array =>
  tcpPacket({ source, destination }, { from, to: port }, flags);
const udp = (source: Ip4, from: number, destination: Ip4, port: number): Uint8Array =>
  udpPacket({ source, destination }, { from, to: port }, 'hello');

test('forward: a stranger gets in, whatever the filter says, and the answer comes from the port that it asked', () => {
  const one = box();
  one.gateway.setForwards([WEB]);
  const syn = give(one, 'uplink', down(tcp(WORLD, 5000, NAT, 8080, SYN)));
  assert.equal(syn, { p0: [hex(to(A_MAC, tcp(WORLD, 5000, A, 80, SYN)))] });
  const answer = give(one, 'p0', up(A_MAC, tcp(A, 80, WORLD, 5000, SYN | ACK)));
  assert.equal(answer, { uplink: [hex(out(tcp(NAT, 8080, WORLD, 5000, SYN | ACK)))] });
  assert.equal(give(one, 'uplink', down(tcp(WORLD, 5000, NAT, 80, SYN))), {}, 'no other port is open');
  assert.equal(one.drops(), { NatNoMapping: 1 });
});

test('forward: what the guest itself begins from that port leaves by the forwarded one', () => {
  const one = box();
  one.gateway.setForwards([{ ...WEB, protocol: UDP }]);
  const said = give(one, 'p0', up(A_MAC, udp(A, 80, WORLD, 53)));
  assert.equal(said, { uplink: [hex(out(udp(NAT, 8080, WORLD, 53)))] });
});

test('forward: the guest may answer whatever it may begin itself', () => {
  const one = box({ egress: policyOf([], 'none') });
  one.gateway.setForwards([WEB, { ...WEB, protocol: UDP }]);
  for (const [asked, answer, left] of [
    [udp(WORLD, 5000, NAT, 8080), udp(A, 80, WORLD, 5000), udp(NAT, 8080, WORLD, 5000)],
    [
      tcp(WORLD, 5000, NAT, 8080, SYN),
      tcp(A, 80, WORLD, 5000, SYN | ACK),
      tcp(NAT, 8080, WORLD, 5000, SYN | ACK),
    ],
  ] as const) {
    assert.is(give(one, 'uplink', down(asked)).p0?.length, 1);
    assert.equal(give(one, 'p0', up(A_MAC, answer)), { uplink: [hex(out(left))] });
  }
  give(one, 'p0', up(A_MAC, udp(A, 80, WORLD, 53)));
  assert.equal(one.drops(), { EgressDenied: 1 });
});

test('forward: it outlives its conversations', () => {
  const one = box({ natFiltering: 'address-port' });
  one.gateway.setForwards([{ ...WEB, protocol: UDP }]);
  for (const ms of [0, 400_000, 4_000_000]) {
    one.plane.tick(ms);
    assert.is(listFlows(one.flows, ms / 1000).length, 0);
    give(
      one,
      'p0',
      arpFrame({ operation: 2, sender: A_MAC, senderIp: A, targetIp: GATEWAY }, GATEWAY_MAC),
      ms,
    );
    const said = give(one, 'uplink', down(udp(WORLD, 5000, NAT, 8080)), ms);
    assert.equal(said, { p0: [hex(to(A_MAC, udp(WORLD, 5000, A, 80)))] });
  }
});

test('forward: another guest reaches it by the NAT address, and sees only that', () => {
  const one = box();
  one.gateway.setForwards([WEB]);
  const syn = tcpPacket({ source: NAT, destination: A, ttl: 63 }, { from: 5000, to: 80 }, SYN);
  assert.equal(give(one, 'p1', up(B_MAC, tcp(B, 5000, NAT, 8080, SYN))), { p0: [hex(to(A_MAC, syn))] });
  const back = tcpPacket({ source: NAT, destination: B, ttl: 63 }, { from: 8080, to: 5000 }, SYN | ACK);
  assert.equal(give(one, 'p0', up(A_MAC, tcp(A, 80, NAT, 5000, SYN | ACK))), { p1: [hex(to(B_MAC, back))] });
});

test('forward: the host gets its answers from where it asked; what it asked the guest itself stays as it is', () => {
  const one = box();
  one.gateway.setForwards([WEB]);
  give(one, 'uplink', down(tcp(GATEWAY, 5000, NAT, 8080, SYN)));
  give(one, 'uplink', down(tcp(GATEWAY, 5001, A, 80, SYN)));
  const answer = (port: number): Record<string, string[]> =>
    give(one, 'p0', up(A_MAC, tcp(A, 80, GATEWAY, port, SYN | ACK)));
  assert.equal(answer(5000), { uplink: [hex(out(tcp(NAT, 8080, GATEWAY, 5000, SYN | ACK)))] });
  assert.equal(answer(5001), { uplink: [hex(out(tcp(A, 80, GATEWAY, 5001, SYN | ACK)))] });
  const refusal = (source: Ip4, asked: Uint8Array): Uint8Array =>
    icmpPacket({ source, destination: GATEWAY }, 3, 3, 0, asked);
  assert.equal(give(one, 'p0', up(A_MAC, refusal(A, tcp(GATEWAY, 5000, A, 80, SYN)))), {
    uplink: [hex(out(refusal(NAT, tcp(GATEWAY, 5000, NAT, 8080, SYN))))],
  });
  const direct = refusal(A, tcp(GATEWAY, 5001, A, 80, SYN));
  assert.equal(give(one, 'p0', up(A_MAC, direct)), { uplink: [hex(out(direct))] });
});

test('forward: a guest that had the port outside loses it, and gets another', () => {
  const one = box();
  give(one, 'p1', up(B_MAC, tcp(B, 8080, WORLD, 443, SYN)));
  one.gateway.setForwards([WEB]);
  assert.is(listFlows(one.flows, 0).length, 0);
  const again = give(one, 'p1', up(B_MAC, tcp(B, 8080, WORLD, 443, SYN)));
  assert.is(again.uplink?.length, 1);
  assert.is.not(again.uplink?.[0], hex(out(tcp(NAT, 8080, WORLD, 443, SYN))));
});

test('forward: taken away it ends with its conversations; others stay', () => {
  const one = box();
  const ssh: NatForward = { protocol: TCP, port: 2222, guest: B, guestPort: 22 };
  one.gateway.setForwards([WEB, ssh]);
  give(one, 'uplink', down(tcp(WORLD, 5000, NAT, 8080, SYN)));
  give(one, 'uplink', down(tcp(WORLD, 5001, NAT, 2222, SYN)));
  one.gateway.setForwards([ssh]);
  assert.equal(give(one, 'uplink', down(tcp(WORLD, 5000, NAT, 8080, ACK))), {});
  assert.equal(one.drops(), { NatNoMapping: 1 });
  assert.is(give(one, 'uplink', down(tcp(WORLD, 5001, NAT, 2222, ACK))).p1?.length, 1);
  assert.equal(
    listFlows(one.flows, 0).map(flow => flow.externalPort),
    [2222],
  );
  one.gateway.setForwards([]);
  assert.is(listFlows(one.flows, 0).length, 0);
});

test('forward: the same list again ends nothing; another guest behind the port ends what was', () => {
  const one = box();
  one.gateway.setForwards([WEB]);
  give(one, 'uplink', down(tcp(WORLD, 5000, NAT, 8080, SYN)));
  one.gateway.setForwards([{ ...WEB }]);
  assert.is(listFlows(one.flows, 0).length, 1);
  one.gateway.setForwards([{ ...WEB, guest: B }]);
  assert.is(listFlows(one.flows, 0).length, 0);
  assert.is(give(one, 'uplink', down(tcp(WORLD, 5000, NAT, 8080, SYN))).p1?.length, 1);
});

test('forward: two ports to one of a guest do not mix: a client with one port of its own gets one of them', () => {
  const one = box();
  one.gateway.setForwards([WEB, { ...WEB, port: 8081 }]);
  assert.is(give(one, 'uplink', down(tcp(WORLD, 5000, NAT, 8080, SYN))).p0?.length, 1);
  assert.equal(give(one, 'uplink', down(tcp(WORLD, 5000, NAT, 8081, SYN))), {});
  assert.is(give(one, 'uplink', down(tcp(WORLD, 5001, NAT, 8081, SYN))).p0?.length, 1);
  assert.equal(one.drops(), { NatNoPort: 1 });
});

test('forward: strangers cannot fill the table with one guest’s flows', () => {
  const one = box({ maxFlows: 32, maxGuestFlows: 8 });
  one.gateway.setForwards([WEB]);
  for (let port = 1; port <= 40; port++) give(one, 'uplink', down(tcp(WORLD, port, NAT, 8080, SYN)));
  assert.is(listFlows(one.flows, 0).length, 8);
  assert.equal(one.drops(), { NatGuestFull: 32 });
  assert.is(give(one, 'p1', up(B_MAC, udp(B, 4000, WORLD, 53))).uplink?.length, 1);
});

test('forward: an RST that opens a conversation does not leave it there for ever', () => {
  const one = box();
  one.gateway.setForwards([WEB]);
  give(one, 'uplink', down(tcp(WORLD, 5000, NAT, 8080, RST)));
  one.plane.tick(2_000);
  assert.is(listFlows(one.flows, 0).length, 0);
  assert.equal(one.drops(), {});
});

test('quota: a guest with all its flows is told so, and the others are not touched', () => {
  const one = box({ maxFlows: 32, maxGuestFlows: 4 });
  for (let port = 1; port <= 6; port++) give(one, 'p0', up(A_MAC, udp(A, 2_000 + port, WORLD, 53)));
  assert.equal(one.drops(), { NatGuestFull: 2 });
  assert.is(give(one, 'p1', up(B_MAC, udp(B, 4000, WORLD, 53))).uplink?.length, 1);
});

test('without a NAT packets pass as they are, both ways', () => {
  const one = box({ natAddress: UNSPECIFIED });
  assert.equal(give(one, 'p0', up(A_MAC, udp(A, 4000, WORLD, 53))), {
    uplink: [hex(out(udp(A, 4000, WORLD, 53)))],
  });
  assert.equal(give(one, 'uplink', down(udp(WORLD, 53, A, 4000))), {
    p0: [hex(to(A_MAC, udp(WORLD, 53, A, 4000)))],
  });
  assert.equal(give(one, 'uplink', down(tcp(ip('198.51.100.9'), 1, B, 22, SYN))), {
    p1: [hex(to(B_MAC, tcp(ip('198.51.100.9'), 1, B, 22, SYN)))],
  });
  assert.is(listFlows(one.flows, 0).length, 0);
});

test.run();
