/** Captures over the golden cases: nothing passes otherwise for being captured, each frame is there, and what is said is so. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as arp from '../../fixtures/arp.ts';
import * as fragments from '../../fixtures/fragments.ts';
import * as metadata from '../../fixtures/metadata.ts';
import * as nat from '../../fixtures/nat.ts';
import { arpFrame, type Case, echoPacket, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { down, up, WORLD } from '../../fixtures/routed.ts';
import * as router from '../../fixtures/router.ts';
import { BURST, BY_ADDRESS } from '../../src/dataplane/batch.ts';
import { type Record, type Watched, watch } from '../dataplane/captured.ts';
import { slopeOf } from '../slope.ts';
import { expected, hex, memorySwitch, play } from './harness.ts';

const { A, A_MAC, B, GATEWAY, GATEWAY_MAC, NAT_ADDRESS: NAT, PORTS } = arp;
const nameOf = (index: number): string => PORTS[index] ?? `port ${index}`;
const kinds = new Set<string>();

/** Frames not delivered, by reason, as comments have them. */
function dropsIn(records: readonly Record[]): { [reason: string]: number } {
  const drops: { [reason: string]: number } = {};
  for (const { comment, incoming } of records) {
    const reason = (incoming ? /: dropped: (\w+)/ : /not sent: (\w+)/).exec(comment)?.[1];
    if (reason !== undefined) drops[reason] = (drops[reason] ?? 0) + 1;
  }
  return drops;
}

for (const one of [arp, fragments, metadata, nat, router].flatMap(({ cases }): readonly Case[] => cases()))
  test(`captured: ${one.name}`, () => {
    let watched: Watched | undefined;
    const played = play(one, box => {
      watched = watch(box.plane, nameOf);
    });
    assert.equal(played, expected(one));
    const records = watched!.read();
    for (const [index, name] of PORTS.entries()) {
      const seen = records.filter(({ port }) => port === index);
      const given = [...one.inputs].sort((a, b) => a.ms - b.ms).filter(({ port }) => port === name);
      assert.equal(
        seen.filter(({ incoming }) => incoming).map(({ data }) => hex(data)),
        given.map(({ frame }) => hex(frame)),
      );
      const gone = seen.filter(({ incoming, comment }) => !incoming && !/not sent/.test(comment));
      // A port may finish what is unfinished, and then sends more or other frames than it was given.
      if (!gone.some(({ unfinished }) => unfinished))
        assert.equal(
          gone.map(({ data }) => hex(data)),
          played.sent[name],
        );
    }
    // What waits may be dropped later, when it is no frame of a burst any more.
    if (!records.some(({ comment }) => /waits at/.test(comment)))
      assert.equal(dropsIn(records), played.drops);
    for (const { comment } of records)
      kinds.add(comment.replace(/^(in|out) \w+: /, '$1 ').replaceAll(/[\d.:]+/g, '#'));
  });

test('captured: every kind of decision was among them', () => {
  for (const kind of [
    'in forwarded to p#',
    'in forwarded to uplink, source NATed to #',
    'in forwarded to p#, destination NATed to #',
    'in forwarded to p#, source NATed to #, destination NATed to #',
    'in ARP for the gateway',
    'in answered by the gateway',
    'in waits at the gateway for the answer to its ARP request',
    'in waits at the gateway for the first fragment of its datagram',
    'in flooded to # port, answered by the gateway',
    'out from the gateway',
    'out from p#, source NATed from #',
    'out from uplink, destination NATed from #',
  ])
    assert.ok(kinds.has(kind), `${kind} is not among\n${[...kinds].join('\n')}`);
});

test('captured: a packet too large for its way is said to be sent in fragments, DHCP to be taken', () => {
  const box = memorySwitch();
  const watched = watch(box.plane, nameOf);
  const large = 'x'.repeat(2_000);
  box.ports.p0?.give(up(A_MAC, udpPacket({ source: A, destination: WORLD }, { from: 4000, to: 67 }, large)));
  box.ports.p0?.give(
    up(A_MAC, udpPacket({ source: A, destination: GATEWAY }, { from: 68, to: 67 }, 'hello')),
  );
  box.plane.step(0);
  const said = watched.read().map(({ comment }) => comment);
  assert.equal(said, [
    'in p0: sent on by the gateway in fragments',
    'in p0: to the DHCP server',
    'out uplink: from the gateway',
    'out uplink: from the gateway',
  ]);
});

test('captured: what the services send to a guest that is not known waits, and the gateway asks for it', () => {
  const box = memorySwitch();
  const watched = watch(box.plane, nameOf);
  const answer = up(A_MAC, udpPacket({ source: GATEWAY, destination: B }, { from: 53, to: 4000 }, 'hello'));
  box.plane.inject(answer, BY_ADDRESS, 0);
  const ask = ['out p0: from the gateway', 'out p1: from the gateway'];
  assert.equal(
    watched.read().map(({ comment }) => comment),
    ask,
  );
  box.plane.inject(answer, 1, 1);
  assert.equal(
    watched.read().map(({ comment }) => comment),
    ["out p1: from the switch's services"],
  );
});

const burst = (frames: readonly Uint8Array[]): Uint8Array[] =>
  Array.from({ length: BURST }, (_, i) => (frames[i % frames.length] as Uint8Array).slice());

test('captured: allocates nothing per frame, through the NAT and past it', () => {
  const box = memorySwitch();
  const ports = { from: 4000, to: 53 };
  box.ports.p0?.loop(
    burst([
      up(A_MAC, udpPacket({ source: A, destination: WORLD }, ports, 'hello')),
      up(A_MAC, tcpPacket({ source: A, destination: WORLD }, ports, 0x10, 'hello'.repeat(200))),
      up(A_MAC, echoPacket({ source: A, destination: GATEWAY }, 8, 9, 1)),
      up(A_MAC, udpPacket({ source: A, destination: B, ttl: 1 }, ports, 'dies')),
      arpFrame({ operation: 1, sender: A_MAC, senderIp: A, targetIp: GATEWAY }),
      arpFrame({ operation: 1, sender: A_MAC, senderIp: A, targetIp: GATEWAY }, GATEWAY_MAC),
    ]),
    true,
  );
  box.ports.p1?.loop([]); // it counts what is flooded to it
  box.ports.uplink?.loop(
    burst([
      down(udpPacket({ source: WORLD, destination: NAT }, { from: 53, to: 4000 }, 'hello')),
      down(udpPacket({ source: WORLD, destination: NAT }, { from: 53, to: 9 }, 'unmapped')),
    ]),
    true,
  );
  const { ring } = watch(box.plane, nameOf);
  let nowMs = 0;
  let records = 0;
  const turned = { rounds: 20, warmUp: 3_000, framesARound: 128 };
  const slope = slopeOf(turned, () => {
    nowMs += 1;
    box.plane.step(nowMs);
    for (let at = ring.oldest(); at >= 0; at = ring.oldest(), records++) ring.pass(at);
    ring.release();
  });
  assert.ok(slope < 1, `${slope.toFixed(2)} bytes a frame`);
  assert.ok(records > 2 * 128 * 2_000, `${records} records`);
  assert.is(ring.lost[0], 0);
});

test.run();
