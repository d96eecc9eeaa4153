/**
 * A port's MTU and frames that are not finished: what counts of a frame to be segmented is its segments' size, and what
 * the sender says of it is not believed beyond that.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ethernetFrame, ip, mac, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { GSO_ECN, GSO_TCPV4, GSO_UDP_L4, VNET_NEEDS_CSUM } from '../../src/wire/vnet.ts';
import { plainPlane } from './plain.ts';

const A = mac('02:00:00:00:00:0a');
const B = mac('02:00:00:00:00:0b');
const IP4 = 0x0800;
const HEADER = { source: ip('192.168.100.10'), destination: ip('192.168.100.11') };
const PORTS = { from: 1, to: 2 };
const TEXT = 'x'.repeat(4000);
const IP_HEADER = 20;
const TCP_HEADER = 20;
const UDP_HEADER = 8;

/** Two ports of the given MTU, which take frames as they are. */
function pair(mtu: number) {
  const plane = plainPlane(16);
  const from = new MemoryPort('from', { mtu, offloads: true });
  const to = new MemoryPort('to', { mtu, offloads: true });
  plane.attach(0, from);
  plane.attach(1, to);
  /** The reasons for which the frame did not arrive; none: it did. */
  const send = (frame: Uint8Array, header: Uint8Array): string[] => {
    plane.counters.clear(0);
    plane.counters.clear(1);
    to.sent.length = 0;
    from.give(frame, header);
    plane.serve(0, 0);
    const drops = [...Object.keys(plane.counters.dropsOf(0)), ...Object.keys(plane.counters.dropsOf(1))];
    assert.is(to.sent.length, drops.length === 0 ? 1 : 0);
    return drops;
  };
  return { plane, to, send };
}

/** A virtio-net header: the sum begins at the transport header. */
function vnet(kind: number, size: number, sumAt = 34, field = 16): Uint8Array {
  const header = new Uint8Array(10);
  const mem = new DataView(header.buffer);
  header[0] = VNET_NEEDS_CSUM;
  header[1] = kind;
  mem.setUint16(4, size, true);
  mem.setUint16(6, sumAt, true);
  mem.setUint16(8, field, true);
  return header;
}

const tcp = ethernetFrame(A, B, IP4, tcpPacket(HEADER, PORTS, 0x10, TEXT));
const udp = ethernetFrame(A, B, IP4, udpPacket(HEADER, PORTS, TEXT));

test('a frame to be segmented passes when its segments fit', () => {
  for (const mtu of [576, 1500, 3000]) {
    const { send } = pair(mtu);
    const fitting = mtu - IP_HEADER - TCP_HEADER;
    assert.equal(send(tcp, vnet(GSO_TCPV4, fitting)), [], `${mtu}: TCP`);
    assert.equal(send(tcp, vnet(GSO_TCPV4, fitting + 1)), ['EgressMtu'], `${mtu}: TCP, a byte more`);
    const datagram = mtu - IP_HEADER - UDP_HEADER;
    assert.equal(send(udp, vnet(GSO_UDP_L4, datagram, 34, 6)), [], `${mtu}: UDP`);
    assert.equal(send(udp, vnet(GSO_UDP_L4, datagram + 1, 34, 6)), ['EgressMtu'], `${mtu}: UDP, a byte more`);
  }
});

test('options of TCP and the ECN bit change nothing but the room', () => {
  const { send } = pair(1500);
  const optioned = tcp.slice();
  optioned[34 + 12] = 0x80; // 32 bytes of header: the next twelve are options
  assert.equal(send(optioned, vnet(GSO_TCPV4 | GSO_ECN, 1448)), []);
  assert.equal(send(optioned, vnet(GSO_TCPV4 | GSO_ECN, 1449)), ['EgressMtu']);
});

test('a tag comes on top of a segment, too', () => {
  const { send } = pair(1500);
  const tagged = Uint8Array.from([...tcp.subarray(0, 12), 0x81, 0, 0, 5, ...tcp.subarray(12)]);
  assert.equal(send(tagged, vnet(GSO_TCPV4, 1460, 38)), []);
  assert.equal(send(tagged, vnet(GSO_TCPV4, 1461, 38)), ['EgressMtu']);
});

test('a frame that fits as it is passes, whatever size its segments would have', () => {
  const { send } = pair(1500);
  const short = ethernetFrame(A, B, IP4, tcpPacket(HEADER, PORTS, 0x10, 'x'));
  assert.equal(send(short, vnet(GSO_TCPV4, 9000)), []);
});

test('the ECN bit alone is no segmentation: such a frame must fit whole', () => {
  const { send } = pair(1500);
  assert.equal(send(tcp, vnet(GSO_ECN, 1000)), ['EgressMtu']);
});

test('an injected frame is judged by itself, not by what stood in its row before', () => {
  const { plane, to, send } = pair(1500);
  const tag = [0x81, 0, 0, 5];
  const twice = Uint8Array.from([...tcp.subarray(0, 12), ...tag, ...tag, ...tcp.subarray(12, 200)]);
  assert.equal(send(twice, new Uint8Array(10)), []);
  plane.counters.clear(1);
  to.sent.length = 0;
  plane.inject(new Uint8Array(1515), 1, 0);
  assert.equal([to.sent.length, plane.counters.dropsOf(1)], [0, { EgressMtu: 1 }]);
});

test.run();
