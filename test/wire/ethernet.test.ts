/** Ethernet headers: taken apart, put together, and checked. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Drop } from '../../src/wire/drop.ts';
import * as ethernet from '../../src/wire/ethernet.ts';

const FRAME = [0x02, 0x4c, 0x40, 0x5b, 0xf7, 0x3c, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x08, 0x06];
const AT = 3;

function memory(bytes: readonly number[] = []): { bytes: Uint8Array; mem: DataView } {
  const all = new Uint8Array(AT + 14 + 4).fill(0xa5);
  all.set(bytes, AT);
  return { bytes: all, mem: new DataView(all.buffer) };
}

test('ethernet: taken apart', () => {
  const { mem } = memory(FRAME);
  assert.is(ethernet.destinationHi(mem, AT), 0x024c);
  assert.is(ethernet.destinationLo(mem, AT), 0x405bf73c);
  assert.is(ethernet.sourceHi(mem, AT), 0xfedc);
  assert.is(ethernet.sourceLo(mem, AT), 0xba987654 | 0);
  assert.is(ethernet.type(mem, AT), ethernet.ETHERTYPE_ARP);
});

test('ethernet: put together, and nothing around it is touched', () => {
  const { bytes, mem } = memory();
  ethernet.setHeader(mem, AT, 0x024c, 0x405bf73c, 0xfedc, 0xba987654 | 0, ethernet.ETHERTYPE_ARP);
  assert.equal(bytes, memory(FRAME).bytes);
});

test('ethernet: each address alone', () => {
  const { bytes, mem } = memory(FRAME);
  ethernet.setDestination(mem, AT, 0xffff, -1);
  ethernet.setSource(mem, AT, 0x0200, 0x00000001);
  assert.equal(
    [...bytes.subarray(AT, AT + 14)],
    [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x08, 0x06],
  );
});

test('ethernet: group and broadcast', () => {
  assert.ok(ethernet.isGroup(0x0100));
  assert.ok(ethernet.isGroup(0x3333));
  assert.not(ethernet.isGroup(0x0200));
  assert.not(ethernet.isGroup(0x0201), 'the I/G bit is in the first octet, not the second');
  assert.ok(ethernet.isBroadcast(0xffff, -1));
  assert.not(ethernet.isBroadcast(0xffff, -2));
  assert.not(ethernet.isBroadcast(0xfffe, -1));
});

test('ethernet: thirteen bytes are no header', () => {
  const { mem } = memory(FRAME);
  assert.is(ethernet.check(mem, AT, 13), Drop.FrameTooShort);
  assert.is(ethernet.check(mem, AT, 14), Drop.None);
});

test.run();
