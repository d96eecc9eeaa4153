/** UDP, TCP and ICMP headers: taken apart, changed or put together, and each way to be wrong. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as sums from '../../src/wire/checksum.ts';
import { Drop } from '../../src/wire/drop.ts';
import * as icmp from '../../src/wire/icmp.ts';
import * as tcp from '../../src/wire/tcp.ts';
import * as udp from '../../src/wire/udp.ts';

const AT = 5;

function memory(bytes: readonly number[], size = 64): { bytes: Uint8Array; mem: DataView } {
  const all = new Uint8Array(AT + size).fill(0xa5);
  all.set(bytes, AT);
  return { bytes: all, mem: new DataView(all.buffer) };
}
const hex = (...texts: string[]): number[] => [...Buffer.from(texts.join('').replaceAll(' ', ''), 'hex')];

test('udp: taken apart', () => {
  const { mem } = memory(hex('0044 0043 012c 89ab'));
  assert.is(udp.check(mem, AT, 300), Drop.None);
  assert.is(udp.sourcePort(mem, AT), 68);
  assert.is(udp.destinationPort(mem, AT), 67);
  assert.is(udp.length(mem, AT), 300);
  assert.is(udp.checksum(mem, AT), 0x89ab);
});

test('udp: a length may be less than what IP carries, not more, and never less than the header', () => {
  const length = (said: number) => memory(hex('0044 0043', said.toString(16).padStart(4, '0'), '0000')).mem;
  assert.is(udp.check(length(8), AT, 7), Drop.UdpTruncated);
  assert.is(udp.check(length(7), AT, 20), Drop.UdpBadLength);
  assert.is(udp.check(length(21), AT, 20), Drop.UdpBadLength);
  assert.is(udp.check(length(20), AT, 20), Drop.None);
  assert.is(udp.check(length(8), AT, 20), Drop.None);
});

const SEGMENT = hex('c350 0050 89abcdef 01020304 8019 7210 1234 0000', '0101080a 00000001 00000002');

test('tcp: taken apart', () => {
  const { mem } = memory(SEGMENT);
  assert.is(tcp.check(mem, AT, 40), Drop.None);
  assert.is(tcp.sourcePort(mem, AT), 50_000);
  assert.is(tcp.destinationPort(mem, AT), 80);
  assert.is(tcp.sequence(mem, AT), 0x89abcdef | 0);
  assert.is(tcp.headerLength(mem, AT), 32);
  assert.is(tcp.flags(mem, AT), tcp.ACK | tcp.PSH | tcp.FIN);
  assert.is(mem.getUint16(AT + tcp.TCP_CHECKSUM), 0x1234);
});

test('tcp: flags and sequence change alone', () => {
  const { bytes, mem } = memory(SEGMENT);
  tcp.setFlags(mem, AT, tcp.SYN);
  tcp.setSequence(mem, AT, -2);
  const expected = memory(
    hex('c350 0050 fffffffe 01020304 8002 7210 1234 0000', '0101080a 00000001 00000002'),
  );
  assert.equal(bytes, expected.bytes);
});

test('tcp: short segments and impossible headers', () => {
  const { bytes, mem } = memory(SEGMENT);
  assert.is(tcp.check(mem, AT, 19), Drop.TcpTruncated);
  assert.is(tcp.check(mem, AT, 31), Drop.TcpBadHeader);
  assert.is(tcp.check(mem, AT, 32), Drop.None);
  bytes[AT + 12] = 0x40;
  assert.is(tcp.check(mem, AT, 32), Drop.TcpBadHeader);
});

test('icmp: an echo, taken apart and put together over its payload', () => {
  const { bytes, mem } = memory([], 20);
  icmp.emit(mem, AT, icmp.ECHO_REQUEST, 0, 0x1234_0001, 12);
  assert.equal([...bytes.subarray(AT + 4, AT + 8)], hex('1234 0001'));
  assert.equal([...bytes.subarray(AT + 8)], new Array(12).fill(0xa5), 'the payload stays');
  assert.is(icmp.check(mem, AT, 12), Drop.None);
  assert.equal([icmp.type(mem, AT), icmp.code(mem, AT), icmp.echoId(mem, AT)], [8, 0, 0x1234]);
});

test('icmp: what is emitted is valid, and no longer when a bit turns', () => {
  const octet = fc.integer({ min: 0, max: 255 });
  fc.assert(
    fc.property(
      octet,
      octet,
      fc.integer({ min: -0x80000000, max: 0x7fffffff }),
      fc.uint8Array({ maxLength: 57, size: 'max' }),
      fc.nat(),
      (kind, code, rest, payload, pick) => {
        const { bytes, mem } = memory([...hex('a5a5a5a5a5a5a5a5'), ...payload], 72);
        const size = icmp.ICMP_SIZE + payload.length;
        icmp.emit(mem, AT, kind, code, rest, size);
        assert.is(icmp.check(mem, AT, size), Drop.None);
        assert.is(sums.checksum(mem, AT, size), 0);
        assert.equal([icmp.type(mem, AT), icmp.code(mem, AT), mem.getInt32(AT + 4)], [kind, code, rest]);
        bytes[AT + (pick % size)]! ^= 0x10;
        assert.is(icmp.check(mem, AT, size), Drop.IcmpBadChecksum);
      },
    ),
    { seed: 792 },
  );
});

test('icmp: seven bytes are no message; errors are told from queries', () => {
  const { mem } = memory([]);
  assert.is(icmp.check(mem, AT, 7), Drop.IcmpTruncated);
  const errors = [];
  for (let kind = 0; kind < 256; kind++) {
    mem.setUint8(AT, kind);
    if (icmp.isError(mem, AT)) errors.push(kind);
  }
  assert.equal(errors, [3, 11, 12]); // without source quench (RFC 6633) and redirects
});

test.run();
