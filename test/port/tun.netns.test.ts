/** The uplink's tun: the host's own ping, answered from the switch's side. And rtnetlink, as links come and go. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Batch, BURST } from '../../src/dataplane/batch.ts';
import { loadNative } from '../../src/port/native.ts';
import { TunPort } from '../../src/port/tun.ts';
import type { Ip4 } from '../../src/wire/address.ts';
import * as ip4 from '../../src/wire/ipv4.ts';
import { slopeOf } from '../slope.ts';
import { enterNamespace, sh, start } from './namespace.ts';

enterNamespace(import.meta.url);
const native = loadNative();
const gatewayMac = { hi: 0x0200, lo: 0x00000001 };
const uplinkMac = { hi: 0x0200, lo: 0x00000002 };

test('tun: packets wear an Ethernet header inside and none outside, and a sent frame is left as it was', async () => {
  const { fd } = native.openTun({ name: 'vsw7', mode: 'tun', netns: -1, mustExist: false, ifindex: 0 });
  sh('ip addr add 10.8.0.1/24 dev vsw7 && ip link set vsw7 up');
  const port = new TunPort('vsw7', fd, 1500, { gatewayMac, uplinkMac });
  const batch = new Batch();
  const rows = Int32Array.of(0);
  let ended = false;
  const ping = start('ping -c 2 -i 0.2 -W 2 10.8.0.5').finally(() => {
    ended = true;
  });
  let answered = 0;
  while (!ended) {
    batch.reset(0);
    if (port.receive(batch, 0) === 1) {
      const at = batch.offset[0]!;
      assert.is(at & 3, 2);
      assert.is(batch.mem.getUint16(at), gatewayMac.hi);
      assert.is(batch.mem.getInt32(at + 2), gatewayMac.lo);
      assert.is(batch.mem.getUint16(at + 6), uplinkMac.hi);
      assert.is(batch.mem.getInt32(at + 8), uplinkMac.lo);
      assert.is(batch.mem.getUint16(at + 12), 0x0800);
      assert.is(batch.length[0], 14 + 84);
      // To a reply: addresses swapped, type 8 → 0, and the sum that goes with it.
      const [from, to] = [batch.mem.getInt32(at + 26), batch.mem.getInt32(at + 30)];
      batch.mem.setInt32(at + 26, to);
      batch.mem.setInt32(at + 30, from);
      const sum = batch.mem.getUint16(at + 36) + 0x0800;
      batch.mem.setUint16(at + 34, 0);
      batch.mem.setUint16(at + 36, (sum & 0xffff) + (sum >> 16));
      const before = batch.slab.slice(at - 10, at + batch.length[0]!);
      assert.is(port.transmit(batch, rows, 1), 1);
      assert.is(port.refused, 0);
      assert.equal(batch.slab.slice(at - 10, at + batch.length[0]!), before);
      answered++;
    }
    await new Promise(resolve => setTimeout(resolve, 2));
  }
  const { code, output } = await ping;
  assert.is(code, 0, output);
  assert.is(answered, 2);
  native.close(fd);
});

test('tun: what is no IP packet is refused', () => {
  const { fd } = native.openTun({ name: 'vsw7', mode: 'tun', netns: -1, mustExist: false, ifindex: 0 });
  native.setUp('vsw7', -1);
  const port = new TunPort('vsw7', fd, 1500, { gatewayMac, uplinkMac });
  const batch = new Batch();
  const row = batch.append(60, 0);
  batch.slab.fill(0, batch.offset[row]!, batch.offset[row]! + 60);
  assert.is(port.transmit(batch, Int32Array.of(row), 1), 1);
  assert.is(port.refused, 1);
  native.close(fd);
});

test('netlink: a new link is told, and watch calls on this thread', async () => {
  const RTM_NEWLINK = 16;
  const fd = native.netlinkOpen(1);
  const buffer = new Uint8Array(65_536);
  const types: number[] = [];
  const told = new Promise<void>(resolve => {
    const watched = native.watch(fd, () => {
      for (
        let bytes = native.netlinkReceive(fd, buffer);
        bytes > 0;
        bytes = native.netlinkReceive(fd, buffer)
      )
        types.push(new DataView(buffer.buffer).getUint16(4, true));
      watched.close();
      watched.close();
      resolve();
    });
  });
  await start('ip link add dm0 type veth peer name dm1');
  await told;
  assert.ok(types.includes(RTM_NEWLINK), String(types));
  await new Promise(resolve => setTimeout(resolve, 100));
  while (native.netlinkReceive(fd, buffer) > 0); // the other end's events, till there is none
  sh('ip link del dm0');
  assert.throws(() => native.netlinkReceive(fd, new Uint8Array(16)), /EMSGSIZE/);
  native.close(fd);
});

test('tun: receive and transmit allocate nothing per frame', () => {
  const open = (name: string, address: string): TunPort => {
    const { fd } = native.openTun({ name, mode: 'tun', netns: -1, mustExist: false, ifindex: 0 });
    sh(`ip addr add ${address} dev ${name} && ip link set ${name} up`);
    return new TunPort(name, fd, 1500, { gatewayMac, uplinkMac });
  };
  const [near, far] = [open('vsw7', '10.8.0.1/24'), open('vsw8', '10.9.0.1/24')];
  sh('sysctl -qw net.ipv4.ip_forward=1'); // of this namespace: from one tun to the other
  const batch = new Batch();
  const rows = Int32Array.from({ length: BURST }, (_, row) => row);
  let received = 0;
  const round = (): void => {
    batch.reset(0);
    for (let i = 0; i < BURST; i++) {
      const at = batch.offset[batch.append(60, 1)]!;
      ip4.emit(batch.mem, at + 14, 46, i, 64, ip4.UDP, 0x0a080005 as Ip4, 0x0a090009 as Ip4);
    }
    near.transmit(batch, rows, BURST);
    batch.reset(0);
    received += far.receive(batch, 1);
  };
  const slope = slopeOf({ rounds: 100, warmUp: 5_000, framesARound: BURST }, round);
  assert.ok(slope < 1, `${slope.toFixed(2)} bytes a frame`);
  assert.ok(received > 5_000 * BURST, `${received} frames were received`);
  native.close(near.fd);
  native.close(far.fd);
});

test.run();
