// timeout: 120 s
// coverage: none
/**
 * The NAT against the kernel's own (nftables' masquerade): the same packets to both, out and back, their errors too. What
 * leaves must be the same byte for byte, but for the time to live, which is the host's to count; and sound by its checksums.
 */
import { readSync, writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, GATEWAY, GATEWAY_MAC, NAT_ADDRESS as NAT, UPLINK_MAC } from '../../fixtures/arp.ts';
import {
  arpFrame,
  echoPacket,
  ethernetFrame,
  type Header,
  icmpPacket,
  ip,
  mac,
  type Ports,
  tcpPacket,
  udpPacket,
} from '../../fixtures/packets.ts';
import { down, up } from '../../fixtures/routed.ts';
import { loadNative } from '../../src/port/native.ts';
import { formatIp4, formatMac, type Ip4, type Mac } from '../../src/wire/address.ts';
import * as sums from '../../src/wire/checksum.ts';
import * as ip4 from '../../src/wire/ipv4.ts';
import { ACK, FIN, SYN } from '../../src/wire/tcp.ts';
import { VNET_SIZE } from '../../src/wire/vnet.ts';
import { hex, memorySwitch } from '../gateway/harness.ts';
import { enterNamespace, sh } from '../port/namespace.ts';
import { random } from '../random.ts';

enterNamespace(import.meta.url);

const SESSIONS = 300;
const OUT_MAC = mac('02:00:00:00:02:01');
const HOP = ip('198.51.100.1');
const L3 = 14;
const text = ({ hi, lo }: Mac): string => formatMac(hi, lo);

/** This namespace is the kernel's router; the test holds both its taps by their device ends. */
function router(): { inside: number; outside: number } {
  const native = loadNative();
  const open = (name: string): number =>
    native.openTun({ name, mode: 'tap', netns: -1, mustExist: false, ifindex: 0 }).fd;
  const taps = { inside: open('in'), outside: open('out') };
  const nat = formatIp4(NAT);
  sh(`set -e
    ip link set in address ${text(GATEWAY_MAC)} up && ip link set out address ${text(OUT_MAC)} up
    ip addr add ${formatIp4(GATEWAY)}/24 dev in && ip addr add ${nat}/32 dev out
    ip neigh add ${formatIp4(A)} lladdr ${text(A_MAC)} dev in nud permanent
    ip neigh add 10.255.0.2 lladdr ${text(UPLINK_MAC)} dev out nud permanent
    ip route add default via 10.255.0.2 dev out onlink
    nft add table ip nat && nft 'add chain ip nat post { type nat hook postrouting priority srcnat; }'
    nft add rule ip nat post oifname out masquerade
    nft 'add chain ip nat in { type filter hook input priority 0; policy drop; }' # it says nothing of its own
    sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_tcp_be_liberal=1`);
  return taps;
}

const taps = router();
/** As the kernel filters: from the address and port that were spoken to. */
const ours = memorySwitch({ maxFlows: 4096, natFiltering: 'address-port' });

/** The next IPv4 packet that the kernel sends on a tap. */
async function fromKernel(fd: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(65_536);
  for (let tries = 0; tries < 2_000; tries++) {
    let bytes = 0;
    try {
      bytes = readSync(fd, buffer);
    } catch {
      await pause(1);
      continue;
    }
    const frame = buffer.subarray(VNET_SIZE, bytes);
    if (frame[12] === 8 && frame[13] === 0) return frame.slice(L3);
  }
  throw new Error('the kernel sent nothing within two seconds');
}

const toKernel = (fd: number, frame: Uint8Array): number =>
  writeSync(fd, Buffer.concat([new Uint8Array(VNET_SIZE), frame]));

/** A guest's packet through both, and back what left: the one packet that the two agree on. */
async function goOut(bytes: Uint8Array): Promise<Uint8Array> {
  const frame = up(A_MAC, bytes);
  toKernel(taps.inside, frame);
  ours.ports.p0?.give(frame);
  return agreed('uplink', await fromKernel(taps.outside), bytes);
}

/** A packet from outside to the NAT address. */
async function comeIn(bytes: Uint8Array): Promise<Uint8Array> {
  toKernel(taps.outside, ethernetFrame(UPLINK_MAC, OUT_MAC, 0x0800, bytes));
  ours.ports.uplink?.give(down(bytes));
  return agreed('p0', await fromKernel(taps.inside), bytes);
}

function agreed(port: string, theirs: Uint8Array, given: Uint8Array): Uint8Array {
  ours.plane.step(1000);
  const [frame, ...more] = ours.ports[port]?.sent.splice(0) ?? [];
  assert.equal(more, []);
  assert.ok(frame !== undefined, `we sent nothing for ${hex(given)}: ${JSON.stringify(ours.drops())}`);
  const packet = frame.slice(L3);
  assert.is(hex(aged(packet)), hex(theirs), `for ${hex(given)}`);
  assert.ok(isSound(theirs), hex(theirs));
  return packet;
}

/** The packet one hop further. */
function aged(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  copy[8] = (copy[8] as number) - 1;
  ip4.setChecksum(new DataView(copy.buffer), 0);
  return copy;
}

/** Are its sums right, counted from the start? A UDP packet may have none. */
function isSound(packet: Uint8Array): boolean {
  const mem = new DataView(packet.buffer, packet.byteOffset);
  const l4 = ip4.headerLength(mem, 0);
  const bytes = packet.length - l4;
  const protocol = ip4.protocol(mem, 0);
  if (!sums.valid(mem, 0, l4)) return false;
  if (protocol === ip4.ICMP) return sums.valid(mem, l4, bytes);
  if (protocol === ip4.UDP && mem.getUint16(l4 + 6) === 0) return true;
  const start = sums.pseudo(ip4.source(mem, 0), ip4.destination(mem, 0), protocol, bytes);
  return sums.checksum(mem, l4, bytes, start) === 0;
}

const next = random(4787);
const words = (): string =>
  Array.from({ length: next(1_400) }, () => String.fromCharCode(32 + next(95))).join('');
const ports = () => ({ from: 1 + next(65_535), to: 1 + next(65_535) });
const remote = (): Ip4 => (ip('203.0.113.0') + 1 + next(250)) as Ip4;
const there = (destination: Ip4): Header => ({ source: A, destination });
const back = (source: Ip4): Header => ({ source, destination: NAT });

test('the kernel’s masquerade and the NAT make the same of UDP, summed or not, both ways', async () => {
  for (let i = 0; i < SESSIONS; i++) {
    const [far, { from, to }, summed] = [remote(), ports(), next(4) > 0];
    await goOut(udpPacket(there(far), { from, to }, words(), summed));
    await comeIn(udpPacket(back(far), { from: to, to: from }, words(), summed));
  }
});

test('and of UDP sums that come out as zero, on this side or that, quoted too', async () => {
  for (const side of [there, (far: Ip4): Header => ({ source: NAT, destination: far })]) {
    const { far, between, said } = zeroSum(side);
    const packet = udpPacket(there(far), between, said);
    const left = await goOut(packet);
    assert.is(sumOf(side === there ? packet : left), 0xffff);
    await comeIn(icmpPacket(back(HOP), 3, 3, 0, left));
  }
});

/** RFC 768: what sums to zero is sent as all ones, for zero says that there is no sum. */
function zeroSum(header: (far: Ip4) => Header): { far: Ip4; between: Ports; said: string } {
  for (;;) {
    const [far, between, said] = [remote(), ports(), String(next(10_000))];
    if (sumOf(udpPacket(header(far), between, said)) === 0xffff) return { far, between, said };
  }
}

const sumOf = (packet: Uint8Array): number => new DataView(packet.buffer, packet.byteOffset).getUint16(26);

test('and of TCP, from the first segment to the last', async () => {
  for (let i = 0; i < SESSIONS; i++) {
    const [far, { from, to }] = [remote(), ports()];
    const sends = (flags: number, said = ''): Promise<Uint8Array> =>
      goOut(tcpPacket(there(far), { from, to }, flags, said));
    const gets = (flags: number, said = ''): Promise<Uint8Array> =>
      comeIn(tcpPacket(back(far), { from: to, to: from }, flags, said));
    await sends(SYN);
    await gets(SYN | ACK);
    await sends(ACK, words());
    await gets(ACK, words());
    await gets(FIN | ACK);
    await sends(FIN | ACK);
  }
});

test('and of echoes', async () => {
  for (let i = 0; i < SESSIONS; i++) {
    const [far, id, sequence] = [remote(), next(65_536), next(65_536)];
    await goOut(echoPacket(there(far), 8, id, sequence));
    await comeIn(echoPacket(back(far), 0, id, sequence));
  }
});

const KINDS = [
  [3, 1, 0],
  [3, 3, 0],
  [3, 4, 1280],
  [3, 13, 0],
  [11, 0, 0],
  [12, 0, 0x14000000],
] as const;

test('and of errors about each of them, whole or quoted in eight bytes, in both directions', async () => {
  for (let i = 0; i < SESSIONS; i++) {
    const [far, { from, to }] = [remote(), ports()];
    const [type, code, rest] = KINDS[next(KINDS.length)] as (typeof KINDS)[number];
    const error = (header: Header, about: Uint8Array): Uint8Array =>
      icmpPacket(header, type, code, rest, about.subarray(0, next(2) === 0 ? 28 : 548));
    const packets = [
      udpPacket(there(far), { from, to }, words(), next(4) > 0),
      tcpPacket(there(far), { from, to }, SYN, ''),
      echoPacket(there(far), 8, from, 1),
    ];
    for (const packet of packets) await comeIn(error(back(HOP), await goOut(packet)));
    const reply = udpPacket(back(far), { from: to, to: from }, words(), next(4) > 0);
    await goOut(error(there(far), await comeIn(reply)));
  }
});

test('and of many sessions at once, in any order', async () => {
  const open = Array.from({ length: 80 }, (_, i) => ({
    kind: i % 3,
    far: remote(),
    from: 2_000 + i,
    to: 1 + next(65_535),
  }));
  for (const { kind, far, from, to } of open)
    if (kind === 0) {
      await goOut(tcpPacket(there(far), { from, to }, SYN, ''));
      await comeIn(tcpPacket(back(far), { from: to, to: from }, SYN | ACK, ''));
    } else if (kind === 1) await goOut(udpPacket(there(far), { from, to }, ''));
    else await goOut(echoPacket(there(far), 8, from, 0));
  for (let i = 0; i < 6 * SESSIONS; i++) {
    const { kind, far, from, to } = open[next(open.length)]!;
    const isOut = next(2) === 0;
    if (kind === 0 && isOut) await goOut(tcpPacket(there(far), { from, to }, ACK, words()));
    else if (kind === 0) await comeIn(tcpPacket(back(far), { from: to, to: from }, ACK, words()));
    else if (kind === 1 && isOut) await goOut(udpPacket(there(far), { from, to }, words()));
    else if (kind === 1) await comeIn(udpPacket(back(far), { from: to, to: from }, words()));
    else if (isOut) await goOut(echoPacket(there(far), 8, from, i & 0xffff));
    else await comeIn(echoPacket(back(far), 0, from, i & 0xffff));
  }
});

test('what nobody has asked for is let in by neither', async () => {
  for (let i = 0; i < SESSIONS; i++) {
    const [far, { from, to }] = [remote(), ports()];
    await goOut(udpPacket(there(far), { from, to }, ''));
    const others = [
      udpPacket(back(far), { from: (to % 65_535) + 1, to: from }, 'x'),
      udpPacket(back((far ^ 0x100) as Ip4), { from: to, to: from }, 'x'),
      udpPacket(back(far), { from: to, to: (from % 65_535) + 1 }, 'x'),
      tcpPacket(back(far), { from: to, to: from }, SYN, ''),
      tcpPacket(back(far), { from: to, to: from }, SYN | ACK, ''),
      echoPacket(back(far), 0, from, 0),
      icmpPacket(
        back(HOP),
        3,
        3,
        0,
        udpPacket({ source: NAT, destination: far }, { from: to, to: from }, 'x'),
      ),
    ];
    for (const packet of others) {
      toKernel(taps.outside, ethernetFrame(UPLINK_MAC, OUT_MAC, 0x0800, packet));
      ours.ports.uplink?.give(down(packet));
      ours.plane.step(1000);
      assert.equal(ours.ports.p0?.sent.splice(0), [], `we let in ${hex(packet)}`);
    }
    // the next that the kernel lets in is what was asked for
    await comeIn(udpPacket(back(far), { from: to, to: from }, `${i}`));
  }
});

test.before(() => {
  const here = { operation: 2, sender: A_MAC, senderIp: A, target: GATEWAY_MAC, targetIp: GATEWAY };
  ours.ports.p0?.give(arpFrame(here, GATEWAY_MAC));
  ours.plane.step(1000);
});

test.run();
