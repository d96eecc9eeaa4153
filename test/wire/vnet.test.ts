/** The virtio-net header before a frame: read, shifted, cleared, and believed only where it can be true. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as vnet from '../../src/wire/vnet.ts';

const AT = 16;
const BYTES = 1514;

/** flags, gso_type, hdr_len, gso_size, csum_start, csum_offset */
function memory(flags = 1, gso = vnet.GSO_TCPV4, headers = 54, size = 1448, start = 34, offset = 16) {
  const bytes = new Uint8Array(AT + 64).fill(0xa5);
  const mem = new DataView(bytes.buffer);
  bytes.set([flags, gso], AT - 10);
  for (const [i, value] of [headers, size, start, offset].entries())
    mem.setUint16(AT - 8 + 2 * i, value, true);
  return { bytes, mem };
}

test('vnet: taken apart', () => {
  const { mem } = memory();
  assert.equal([vnet.vnetFlags(mem, AT), vnet.gsoType(mem, AT)], [vnet.VNET_NEEDS_CSUM, vnet.GSO_TCPV4]);
  assert.equal([vnet.headersLength(mem, AT), vnet.gsoSize(mem, AT)], [54, 1448]);
  assert.equal([vnet.csumStart(mem, AT), vnet.csumOffset(mem, AT)], [34, 16]);
});

test('vnet: finished means nothing to sum and nothing to cut', () => {
  assert.not(vnet.finished(memory().mem, AT));
  assert.not(vnet.finished(memory(1, vnet.GSO_NONE).mem, AT));
  assert.not(vnet.finished(memory(0, vnet.GSO_TCPV4).mem, AT));
  assert.ok(vnet.finished(memory(vnet.VNET_DATA_VALID, vnet.GSO_NONE).mem, AT));
  const { bytes, mem } = memory();
  vnet.setFinished(mem, AT);
  assert.ok(vnet.finished(mem, AT));
  assert.equal([...bytes.subarray(AT - 12, AT + 2)], [0xa5, 0xa5, ...new Array(10).fill(0), 0xa5, 0xa5]);
});

test('vnet: a frame whose start moves takes its offsets along, those that mean something', () => {
  const { bytes, mem } = memory();
  vnet.shiftStart(mem, AT, 14);
  assert.equal(bytes, memory(1, vnet.GSO_TCPV4, 68, 1448, 48, 16).bytes);
  vnet.shiftStart(mem, AT, -14);
  assert.equal(bytes, memory().bytes);
  const finished = memory(0, vnet.GSO_NONE, 0, 0, 0, 0);
  vnet.shiftStart(finished.mem, AT, 14);
  assert.equal(finished.bytes, memory(0, vnet.GSO_NONE, 0, 0, 0, 0).bytes);
});

test('vnet: what can be true and what cannot', () => {
  const good = (...header: Parameters<typeof memory>): boolean =>
    vnet.checkOffload(memory(...header).mem, AT, BYTES);
  assert.ok(good());
  for (const kind of [vnet.GSO_TCPV6, vnet.GSO_UDP_L4, vnet.GSO_NONE, vnet.GSO_TCPV4 | vnet.GSO_ECN])
    assert.ok(good(1, kind), `kind ${kind}`);
  assert.ok(good(0, vnet.GSO_NONE, 0, 0, 0xffff, 0xffff), 'no sum to fill: its place does not matter');
  assert.ok(good(1, vnet.GSO_TCPV4, 54, 1448, BYTES - 18, 16), 'the last two bytes');
  assert.not(good(1, vnet.GSO_TCPV4, 54, 1448, BYTES - 17, 16), 'one byte beyond');
  assert.not(good(1, vnet.GSO_TCPV4, 54, 1448, 0xffff, 0xffff));
  assert.not(good(1, vnet.GSO_TCPV4, 54, 1448, 13, 16), 'a sum over the MACs');
  assert.not(good(1, vnet.GSO_TCPV4, 54, 0), 'segments of nothing');
  assert.not(good(0, vnet.GSO_TCPV4), 'segments without a sum');
  for (const kind of [2, vnet.GSO_UDP, 6, 0x7f]) assert.not(good(1, kind), `kind ${kind}`);
});

test.run();
