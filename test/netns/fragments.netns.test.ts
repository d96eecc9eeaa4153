// coverage: none
/** Fragments through the whole way: a guest's kernel, the NAT, the host's, and back. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lineFrom } from '../../src/lab.ts';
import { addOutside, GATEWAY, gatewayMacOf, OUTSIDE, plugIn, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('fr', import.meta.url);

/** Says how many bytes came, whether they are what was sent, and sends them back. */
const SERVER = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (data, from) => {
    const good = data.every((byte, i) => byte === i % 251);
    console.log('got', data.length, good);
    socket.send(data, from.port, from.address);
  });
  socket.bind(7000, () => console.log('listening'));`;

/** Sends a 3,000-byte datagram from port 4000 as fragments 2, 0, 3, 1 past the kernel, and waits for it on a socket of the kernel's. */
const CLIENT = `
import socket, struct, sys, fcntl
mac = fcntl.ioctl(socket.socket(), 0x8927, struct.pack('256s', b'tap0'))[18:24]
gateway = bytes(int(octet, 16) for octet in sys.argv[2].split(':'))
source, target = socket.inet_aton(sys.argv[1]), socket.inet_aton('${OUTSIDE}')
payload = bytes(i % 251 for i in range(3000))
def folded(data):
    data += b'\\0' * (len(data) & 1)
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff
length = 8 + len(payload)
def datagram(check): return struct.pack('!4H', 4000, 7000, length, check) + payload
sum_ = folded(source + target + struct.pack('!HH', 17, length) + datagram(0))
whole = datagram(sum_)
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind((sys.argv[1], 4000))
receiver.settimeout(5)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(('tap0', 0x0800))
cut = 800
for piece in (2, 0, 3, 1):
    part = whole[piece * cut:(piece + 1) * cut]
    more = 0x2000 if (piece + 1) * cut < length else 0
    def header(check): return struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(part), 77, more | piece * cut // 8, 64, 17, check, source, target)
    wire.send(gateway + mac + b'\\x08\\x00' + header(folded(header(0))) + part)
print('back', receiver.recv(65536) == payload)
`;

inStage('a 3,000-byte datagram sent as fragments 2, 0, 3, 1 arrives, and its answer does', async stage => {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  const address = await lab.lease(red, 'tap0');
  const server = lab.spawn(out, process.execPath, '-e', SERVER);
  await lineFrom(server, /listening/, 5_000);
  const got = lineFrom(server, /got 3000 true/, 10_000);
  await lab.ping(red, GATEWAY, 1);
  const neighbour = await gatewayMacOf(stage, red);
  const client = await lab.inside(red, 'python3', '-c', CLIENT, address, neighbour);
  await got;
  assert.match(client, /back True/);
});

inStage('large echoes and large datagrams of the kernel’s own pass, by both ways of the MTU', async stage => {
  const { lab, host, red } = stage;
  await addOutside(stage);
  await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  for (const bytes of ['3000', '20000', '65000'])
    assert.match(
      await lab.inside(red, 'ping', '-c', '2', '-i', '0.2', '-W', '3', '-s', bytes, OUTSIDE),
      / 0% packet loss/,
    );
  await lab.ip(red, 'link', 'set', 'tap0', 'mtu', '9000');
  assert.match(
    await lab.inside(red, 'ping', '-c', '2', '-i', '0.2', '-W', '3', '-M', 'dont', '-s', '8000', OUTSIDE),
    / 0% packet loss/,
  );
  const refused = await lab
    .inside(red, 'ping', '-c', '1', '-W', '3', '-M', 'do', '-s', '8000', OUTSIDE)
    .catch((error: Error) => error.message);
  assert.match(refused, /mtu.?=.?1500/);
});

test.run();
