/** ARP packets: taken apart, put together, and each way to be wrong. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Ip4 } from '../../src/wire/address.ts';
import * as arp from '../../src/wire/arp.ts';
import { Drop } from '../../src/wire/drop.ts';

const AT = 2;
const PACKET = [
  ...[0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x02],
  ...[0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 192, 168, 100, 1],
  ...[0x02, 0x4c, 0x40, 0x5b, 0xf7, 0x3c, 10, 0, 0, 7],
];
const GATEWAY = 0xc0a86401 | 0;

function memory(bytes: readonly number[] = []): { bytes: Uint8Array; mem: DataView } {
  const all = new Uint8Array(AT + arp.ARP_SIZE + 4).fill(0xa5);
  all.set(bytes, AT);
  return { bytes: all, mem: new DataView(all.buffer) };
}

test('arp: taken apart', () => {
  const { mem } = memory(PACKET);
  assert.is(arp.check(mem, AT, 28), Drop.None);
  assert.is(arp.operation(mem, AT), arp.REPLY);
  assert.is(arp.senderMacHi(mem, AT), 0xfedc);
  assert.is(arp.senderMacLo(mem, AT), 0xba987654 | 0);
  assert.is(arp.senderIp(mem, AT), GATEWAY);
  assert.is(arp.targetIp(mem, AT), 0x0a000007);
});

test('arp: put together, and nothing around it is touched', () => {
  const { bytes, mem } = memory();
  const [from, to] = [GATEWAY as Ip4, 0x0a000007 as Ip4];
  arp.emit(mem, AT, arp.REPLY, 0xfedc, 0xba987654 | 0, from, 0x024c, 0x405bf73c, to);
  assert.equal(bytes, memory(PACKET).bytes);
});

test('arp: what is emitted is what is read', () => {
  const int32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
  const word = fc.integer({ min: 0, max: 0xffff });
  fc.assert(
    fc.property(word, word, int32, int32, int32, (op, hi, lo, sender, target) => {
      const { mem } = memory();
      arp.emit(mem, AT, op, hi, lo, sender as Ip4, 0, 0, target as Ip4);
      assert.is(arp.check(mem, AT, 28), Drop.None);
      assert.equal(
        [arp.operation(mem, AT), arp.senderMacHi(mem, AT), arp.senderMacLo(mem, AT)],
        [op, hi, lo],
      );
      assert.equal([arp.senderIp(mem, AT), arp.targetIp(mem, AT)], [sender, target]);
    }),
    { seed: 826 },
  );
});

test('arp: a short packet, and a wrong hardware type, protocol or address length', () => {
  assert.is(arp.check(memory(PACKET).mem, AT, 27), Drop.ArpTruncated);
  for (const index of [0, 1, 2, 3, 4, 5]) {
    const { bytes, mem } = memory(PACKET);
    bytes[AT + index]! ^= 1;
    assert.is(arp.check(mem, AT, 28), Drop.ArpBadFormat, `byte ${index}`);
  }
});

test.run();
