/** Taps by their device end and interfaces by packet sockets, against the kernel's own stack in namespaces. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Batch, BURST, HEADROOM } from '../../src/dataplane/batch.ts';
import { loadNative } from '../../src/port/native.ts';
import { PacketPort } from '../../src/port/packet.ts';
import { GONE } from '../../src/port/port.ts';
import { TapPort } from '../../src/port/tap.ts';
import { addNamespace, carry, enterNamespace, inNamespace, sh, start } from './namespace.ts';

enterNamespace(import.meta.url);
const native = loadNative();
const MTU = 1500;
addNamespace('red');
addNamespace('blue');

/** A tap in a namespace with an address; the switch's side is the device end. */
function guest(netns: string, name: string, address: string): TapPort {
  const tap = inNamespace(netns, fd =>
    native.openTun({ name, mode: 'tap', netns: fd, mustExist: false, ifindex: 0 }),
  );
  sh(`ip -n ${netns} addr add ${address} dev ${name} && ip -n ${netns} link set ${name} up`);
  return new TapPort(name, tap.fd, MTU);
}

/** A veth with one end in a namespace; the switch's side is a packet socket on the other. */
function wire(netns: string, name: string, address: string): PacketPort {
  sh(`ip link add ${name} type veth peer name eth-${name} netns ${netns}`);
  sh(`ip link set ${name} up; ip -n ${netns} addr add ${address} dev eth-${name}`);
  sh(`ip -n ${netns} link set eth-${name} up`);
  return new PacketPort(name, native.openPacket(native.interfaceIndex(name, -1)), MTU);
}

interface Thrown {
  code?: string;
  syscall?: string;
  device?: string;
}

function thrown(call: () => unknown): Thrown {
  try {
    call();
  } catch (error) {
    return error as Thrown;
  }
  return {};
}

const open = (netns: string, name: string, mustExist: boolean, ifindex = 0, persist?: boolean) =>
  inNamespace(netns, fd =>
    native.openTun({
      name,
      mode: 'tap',
      netns: fd,
      mustExist,
      ifindex,
      ...(persist === undefined ? {} : { persist }),
    }),
  );

const exists = (netns: string, name: string): boolean => sh(`ip -n ${netns} -o link`).includes(` ${name}:`);

test('device ends: two namespaces ping each other, and TCP passes in frames larger than the MTU', async () => {
  const left = guest('red', 'ta', '10.1.0.1/24');
  const right = guest('blue', 'tb', '10.1.0.2/24');
  const ping = await carry(left, right, start('ip netns exec red ping -c 3 -i 0.2 -W 2 10.1.0.2'));
  assert.is(ping.value.code, 0, ping.value.output);
  assert.is(ping.seen.refused, 0);
  const server = start('ip netns exec blue iperf3 -s -1');
  await new Promise(resolve => setTimeout(resolve, 300));
  const client = start('ip netns exec red iperf3 -c 10.1.0.2 -t 1');
  const tcp = await carry(left, right, client);
  assert.is(tcp.value.code, 0, tcp.value.output);
  assert.ok(tcp.seen.largest > 10_000, `largest frame ${tcp.seen.largest}`);
  await server;
  native.close(left.fd);
  native.close(right.fd);
});

test('device end to packet socket: checksums and segmentation pass unfinished, both ways', async () => {
  const left = guest('red', 'ta', '10.2.0.1/24');
  const right = wire('blue', 'vb', '10.2.0.2/24');
  for (const direction of ['', ' -R']) {
    const server = start('ip netns exec blue iperf3 -s -1');
    await new Promise(resolve => setTimeout(resolve, 300));
    const client = start(`ip netns exec red iperf3 -c 10.2.0.2 -t 1${direction}`);
    const { value, seen } = await carry(left, right, client);
    assert.is(value.code, 0, value.output);
    assert.ok(seen.largest > 10_000, `largest frame ${seen.largest}`);
    await server;
  }
  native.close(left.fd);
  native.close(right.fd);
  sh('ip link del vb');
});

test('packet socket: a VLAN tag that the kernel took out is back in its place, with the offsets moved', () => {
  sh('ip link add vl type veth peer name vr && ip link set vl up && ip link set vr up');
  const [left, right] = ['vl', 'vr'].map(
    name => new PacketPort(name, native.openPacket(native.interfaceIndex(name, -1)), MTU),
  ) as [PacketPort, PacketPort];
  const batch = new Batch();
  const at = batch.offset[batch.append(78, 1)]!;
  for (let i = 0; i < 78; i++) batch.slab[at + i] = i;
  batch.mem.setInt32(at + 12, 0x8100_2007 | 0); // priority 1, VLAN 7
  batch.mem.setUint16(at + 16, 0x88b5);
  // A checksum still to be filled, from byte 38 on, its field 6 further.
  batch.slab.set([1, 0, 0, 0, 0, 0, 38, 0, 6, 0], at - 10);
  const sent = batch.slab.slice(at, at + 78);
  assert.is(left.transmit(batch, Int32Array.of(0), 1), 1);
  assert.is(left.refused, 0);
  batch.reset(0);
  assert.is(right.receive(batch, 3), 1);
  assert.is(batch.offset[0]! & 3, 2);
  assert.is(batch.offset[0], batch.arena + HEADROOM - 4, 'the kernel had taken it out');
  assert.is(batch.ingress[0], 3);
  const start = batch.offset[0]!;
  assert.equal(batch.slab.slice(start, start + batch.length[0]!), sent);
  assert.is(batch.slab[start - 10]! & 1, 1);
  assert.is(batch.mem.getUint16(start - 4, true), 38);
  assert.is(batch.mem.getUint16(start - 2, true), 6);
  native.close(left.fd);
  native.close(right.fd);
  sh('ip link del vl');
});

test('openTun: nothing is made when it must exist, whatever was asked for', () => {
  assert.is(thrown(() => open('red', 'absent', true)).code, 'ENODEV');
  assert.not(exists('red', 'absent'));
  native.close(open('red', 'keep', false, 0, true).fd);
  assert.ok(exists('red', 'keep'), 'persistent');
  const ifindex = inNamespace('red', fd => native.interfaceIndex('keep', fd));
  assert.is(thrown(() => open('red', 'keep', true, ifindex + 1000)).code, 'ENODEV');
  assert.is(
    inNamespace('red', fd => native.interfaceName(ifindex, fd)),
    'keep',
  );
  const again = open('red', 'keep', true, ifindex);
  assert.equal([again.name, again.ifindex], ['keep', ifindex]);
  const busy = thrown(() => open('red', 'keep', true, ifindex));
  assert.equal([busy.code, busy.syscall, busy.device], ['EBUSY', 'TUNSETIFF', 'keep']);
  native.setPersist(again.fd, false);
  native.close(again.fd);
  assert.not(exists('red', 'keep'));
});

test('openTun: a tap that was moved and renamed is opened where it is, also a multi-queue one', () => {
  for (const kind of ['', ' multi_queue vnet_hdr']) {
    sh(`ip tuntap add moved mode tap${kind} && ip link set moved netns blue name eth9`);
    const ifindex = inNamespace('blue', fd => native.interfaceIndex('eth9', fd));
    const tap = open('blue', 'eth9', true, ifindex);
    assert.is(tap.name, 'eth9');
    native.close(tap.fd);
    sh('ip -n blue link del eth9');
  }
});

test('openTun: the calling thread stays in its namespace', () => {
  const before = sh('ip -o link');
  native.close(open('red', 'there', false).fd);
  assert.is(sh('ip -o link'), before);
  assert.is(thrown(() => native.interfaceIndex('there', -1)).code, 'ENODEV');
});

test('a device that goes is GONE; one that is down only takes nothing', () => {
  const batch = new Batch();
  const rows = Int32Array.of(0);
  const frame = (): void => {
    batch.reset(0);
    const row = batch.append(60, 1);
    batch.slab.fill(0xff, batch.offset[row]!, batch.offset[row]! + 12);
    batch.mem.setUint16(batch.offset[row]! + 12, 0x88b5);
  };
  const tap = guest('red', 'tg', '10.4.0.1/24');
  frame();
  assert.is(tap.transmit(batch, rows, 1), 1);
  assert.is(tap.refused, 0);
  sh('ip -n red link set tg down');
  assert.is(tap.transmit(batch, rows, 1), 1);
  assert.is(tap.refused, 1, 'down');
  sh('ip -n red link del tg');
  assert.is(tap.transmit(batch, rows, 1), GONE);
  assert.is(tap.receive(batch, 1), GONE);
  native.close(tap.fd);

  const port = wire('red', 'vg', '10.4.0.2/24');
  frame();
  assert.is(port.transmit(batch, rows, 1), 1);
  assert.is(port.refused, 0);
  sh('ip link set vg down');
  assert.is(port.receive(batch, 1), 0);
  assert.is(port.transmit(batch, rows, 1), 1);
  assert.is(port.refused, 1, 'down');
  sh('ip link set vg up; ip netns exec red ping -c 1 -W 1 10.4.0.77 || true');
  batch.reset(0);
  assert.ok(port.receive(batch, 1) > 0, 'it goes on when the interface is up again');
  sh('ip link del vg');
  frame();
  assert.is(port.receive(batch, 1), GONE);
  assert.is(port.transmit(batch, rows, 1), GONE);
  native.close(port.fd);
});

test('a hostile virtio-net header is refused, and the frames around it pass', () => {
  const tap = guest('red', 'th', '10.5.0.1/24');
  const port = wire('red', 'vh', '10.5.0.2/24');
  const batch = new Batch();
  for (let i = 0; i < 3; i++) {
    const row = batch.append(60, 1);
    batch.slab.fill(0xff, batch.offset[row]!, batch.offset[row]! + 6);
    batch.mem.setUint16(batch.offset[row]! + 12, 0x88b5);
  }
  // Checksum wanted from beyond the frame's end.
  batch.slab.set([1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], batch.offset[1]! - 10);
  const rows = Int32Array.of(0, 1, 2);
  assert.is(tap.transmit(batch, rows, 3), 3);
  assert.is(tap.refused, 1);
  assert.is(port.transmit(batch, rows, 3), 3);
  assert.is(port.refused, 1);
  native.close(tap.fd);
  native.close(port.fd);
  sh('ip link del vh');
});

test('setUp, setMtu and setQueue reach into a namespace', () => {
  sh('ip -n red link add dm type veth peer name dn');
  inNamespace('red', fd => {
    native.setUp('dm', fd);
    native.setMtu('dm', 1400, fd);
    native.setQueue('dm', 77, fd);
  });
  assert.match(sh('ip -n red -o link show dm'), /UP.* mtu 1400 .* qlen 77/);
  sh('ip -n red link del dm');
});

test('the four hot calls allocate nothing per frame', () => {
  const tap = native.openTun({ name: 'ts', mode: 'tap', netns: -1, mustExist: false, ifindex: 0 });
  native.setUp('ts', -1);
  const device = new TapPort('ts', tap.fd, MTU);
  const inner = new PacketPort('ts', native.openPacket(tap.ifindex), MTU);
  const batch = new Batch();
  const rows = Int32Array.from({ length: BURST }, (_, row) => row);
  const fill = (): void => {
    batch.reset(0);
    for (let i = 0; i < BURST; i++) {
      const at = batch.offset[batch.append(60, 1)]!;
      batch.mem.setInt32(at, -1);
      batch.mem.setUint16(at + 12, 0x88b5);
    }
  };
  let received = 0;
  const rounds = (count: number): number => {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < count; i++) {
      fill();
      device.transmit(batch, rows, BURST);
      received += inner.receive(batch, 1);
      fill();
      inner.transmit(batch, rows, BURST);
      received += device.receive(batch, 1);
    }
    return process.memoryUsage().heapUsed - before;
  };
  rounds(2_000);
  const ROUNDS = 300;
  // A collection in the middle makes an attempt worthless; what the calls allocate shows in every one.
  let slope = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 5; attempt++) {
    received = 0;
    const few = rounds(ROUNDS);
    const many = rounds(10 * ROUNDS);
    assert.ok(received > 11 * ROUNDS * BURST * 1.9, `only ${received} frames arrived`);
    slope = Math.min(slope, Math.abs(many - few) / (9 * ROUNDS * BURST * 2));
  }
  assert.ok(slope < 0.5, `${slope.toFixed(2)} bytes a frame`);
  native.close(device.fd);
  native.close(inner.fd);
});

test.run();
