/** What passes between guests and the uplink, and what does not, where the host stands behind it (tun) and where not (passt). */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  A,
  A_MAC,
  B,
  B_MAC,
  GATEWAY,
  GATEWAY_MAC,
  NAT_ADDRESS as NAT,
  UPLINK_MAC,
} from '../../fixtures/arp.ts';
import { ALL, arpFrame, ethernetFrame, ip, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { down, out, to, up, WORLD } from '../../fixtures/routed.ts';
import { countFlows } from '../../src/gateway/flowcount.ts';
import type { Ip4, Mac } from '../../src/wire/address.ts';
import { REPLY, REQUEST } from '../../src/wire/arp.ts';
import { ACK, PSH, RST, SYN } from '../../src/wire/tcp.ts';
import { hex, memorySwitch, type Switch } from './harness.ts';

const IP4 = 0x0800;
const L4 = 34;

function give(box: Switch, port: string, frame: Uint8Array): void {
  box.ports[port]?.give(frame);
  box.plane.step(0);
}

const sent = (box: Switch, port: string): string[] => (box.ports[port]?.sent ?? []).map(hex);

/** A switch whose guest A is known to it. */
function known(hostBehind: boolean): Switch {
  const box = memorySwitch({ hostBehind });
  give(box, 'p0', arpFrame({ operation: REPLY, sender: A_MAC, senderIp: A, targetIp: GATEWAY }, GATEWAY_MAC));
  return box;
}

test("with the host behind it the gateway's address is the host's; else its ports are closed", () => {
  for (const packet of [
    tcpPacket({ source: A, destination: GATEWAY }, { from: 4000, to: 80 }, SYN, ''),
    udpPacket({ source: A, destination: GATEWAY }, { from: 4000, to: 80 }, 'x'),
  ]) {
    const host = known(true);
    give(host, 'p0', up(A_MAC, packet));
    assert.is(sent(host, 'uplink').length, 1);
    const none = known(false);
    give(none, 'p0', up(A_MAC, packet));
    assert.equal(sent(none, 'uplink'), []);
    assert.equal(none.drops(), { Ip4NoRoute: 1 });
    const error = none.ports.p0?.sent.at(-1);
    assert.equal([error?.[L4], error?.[L4 + 1]], [3, 3]);
  }
});

test('closed to guests, the host is opened no connection at the gateway’s address, and has its answers', () => {
  const closed = (): Switch => {
    const box = memorySwitch({ hostOpen: false });
    give(
      box,
      'p0',
      arpFrame({ operation: REPLY, sender: A_MAC, senderIp: A, targetIp: GATEWAY }, GATEWAY_MAC),
    );
    return box;
  };
  const segment = (flags: number): Uint8Array =>
    tcpPacket({ source: A, destination: GATEWAY }, { from: 4000, to: 80 }, flags, '');
  for (const flags of [SYN, 0, SYN | PSH]) {
    const box = closed();
    give(box, 'p0', up(A_MAC, segment(flags)));
    assert.equal([sent(box, 'uplink').length, box.drops()], [0, { HostDenied: 1 }], `flags ${flags}`);
    const error = box.ports.p0?.sent.at(-1);
    assert.equal([error?.[L4], error?.[L4 + 1]], [3, 13], 'administratively prohibited');
  }
  for (const dns of [true, false]) {
    const box = memorySwitch({ hostOpen: false, dns });
    give(
      box,
      'p0',
      arpFrame({ operation: REPLY, sender: A_MAC, senderIp: A, targetIp: GATEWAY }, GATEWAY_MAC),
    );
    give(
      box,
      'p0',
      up(A_MAC, tcpPacket({ source: A, destination: GATEWAY }, { from: 4000, to: 53 }, SYN, '')),
    );
    assert.is(sent(box, 'uplink').length, dns ? 1 : 0, 'names by TCP are the switch’s');
  }
  for (const flags of [SYN | ACK, ACK, ACK | PSH, RST]) {
    const box = closed();
    give(box, 'p0', up(A_MAC, segment(flags)));
    assert.is(sent(box, 'uplink').length, 1, `flags ${flags}`);
  }
});

test('without the host behind it only what the NAT knows comes in, and only as far as the gateway', () => {
  const toGuest = udpPacket({ source: WORLD, destination: A }, { from: 53, to: 4000 }, 'x');
  const toNat = udpPacket({ source: WORLD, destination: NAT }, { from: 53, to: 4000 }, 'x');
  const frames = [
    [down(toGuest), 'NotForwarded'],
    [ethernetFrame(UPLINK_MAC, ALL, IP4, toGuest), 'NotForwarded'],
    [ethernetFrame(UPLINK_MAC, A_MAC, IP4, toGuest), 'NotForwarded'], // past the gateway, to a guest's own MAC
    [ethernetFrame(UPLINK_MAC, A_MAC, 0x86dd, toGuest), 'NotForwarded'],
    [ethernetFrame(UPLINK_MAC, ALL, 0x88b5, toGuest), 'NotForwarded'],
    [ethernetFrame(UPLINK_MAC, A_MAC, IP4, toNat), 'NatNoMapping'],
  ] as const;
  for (const [frame, reason] of frames) {
    const box = known(false);
    give(box, 'uplink', frame);
    assert.equal(box.drops(), { [reason]: 1 });
    assert.equal([...sent(box, 'p0'), ...sent(box, 'p1')], []);
  }
  const box = known(false);
  give(box, 'p0', up(A_MAC, udpPacket({ source: A, destination: WORLD }, { from: 4000, to: 53 }, 'x')));
  assert.equal(sent(box, 'uplink'), [
    hex(out(udpPacket({ source: NAT, destination: WORLD }, { from: 4000, to: 53 }, 'x'))),
  ]);
  give(box, 'uplink', down(toNat));
  assert.equal(sent(box, 'p0'), [hex(to(A_MAC, toGuest))]);
});

test('who asks on the uplink for the NAT address gets the gateway, and no guest hears of it', () => {
  const box = known(false);
  const ask = (targetIp: typeof NAT): Uint8Array =>
    arpFrame({ operation: REQUEST, sender: UPLINK_MAC, senderIp: GATEWAY, targetIp });
  give(box, 'uplink', ask(NAT));
  const answer = {
    operation: REPLY,
    sender: GATEWAY_MAC,
    senderIp: NAT,
    target: UPLINK_MAC,
    targetIp: GATEWAY,
  };
  assert.equal(sent(box, 'uplink'), [hex(arpFrame(answer, UPLINK_MAC))]);
  give(box, 'uplink', ask(A));
  assert.is(sent(box, 'uplink').length, 1);
  assert.equal([...sent(box, 'p0'), ...sent(box, 'p1')], []);
});

test("no guest's frame gets to the uplink past the gateway, whatever MAC it is for", () => {
  for (const hostBehind of [true, false]) {
    const box = known(hostBehind);
    // The uplink has spoken, so a bridge would know where its MAC is.
    give(box, 'uplink', down(udpPacket({ source: WORLD, destination: B }, { from: 53, to: 4000 }, 'x')));
    const packet = udpPacket({ source: A, destination: WORLD }, { from: 4000, to: 53 }, 'x');
    give(box, 'p0', ethernetFrame(A_MAC, UPLINK_MAC, IP4, packet));
    give(box, 'p1', ethernetFrame(B_MAC, UPLINK_MAC, 0x88b5, packet));
    assert.equal(sent(box, 'uplink'), []);
  }
});

test('a port that speaks for many addresses leaves the others a quarter of the table, and gets its share back', () => {
  const box = memorySwitch({ maxFlows: 64, maxGuestFlows: 16 });
  const opens = (port: string, from: Mac, source: Ip4, at: number): void => {
    box.ports[port]?.give(up(from, udpPacket({ source, destination: WORLD }, { from: at, to: 53 }, 'x')));
    box.plane.step(1_000);
  };
  const flows = (): number =>
    [...countFlows(box.flows).byKind.values()].reduce((sum, count) => sum + count, 0);
  for (let i = 0; i < 100; i++) opens('p0', A_MAC, (A + (i % 50)) as Ip4, 4_000 + i);
  assert.equal([flows(), box.drops()], [48, { NatGuestFull: 52 }]);
  for (let i = 0; i < 16; i++) opens('p1', B_MAC, ip('192.168.100.200'), 4_000 + i);
  assert.is(flows(), 64);
  for (let ms = 2_000; ms < 400_000; ms += 1_000) box.plane.tick(ms);
  assert.is(flows(), 0);
  opens('p0', A_MAC, A, 4_000);
  assert.is(flows(), 1);
});

test.run();
