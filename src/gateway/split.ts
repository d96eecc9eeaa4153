/** Fragments of a packet that its way out is too narrow for: RFC 791 §3.2, RFC 1812 §5.3.4. */
import type { Batch } from '../dataplane/batch.ts';
import { checksum } from '../wire/checksum.ts';
import { ETHERNET_SIZE, ETHERTYPE_IP4 } from '../wire/ethernet.ts';
import * as ip4 from '../wire/ipv4.ts';
import { csumOffset, csumStart, VNET_NEEDS_CSUM, vnetFlags } from '../wire/vnet.ts';
import { HELD_BYTES } from './held.ts';

/**
 * Appends the row's packet in parts of at most `mtu` bytes and hands each to `pass`; the row itself is the caller's. False:
 * there is no room for all of them, or the header has options, which hardly anybody sends.
 */
export function split(
  batch: Batch,
  row: number,
  mtu: number,
  pass: (batch: Batch, row: number) => void,
): boolean {
  const { mem, slab } = batch;
  const at = batch.offset[row] as number;
  const l3 = batch.l3[row] as number;
  if (ip4.headerLength(mem, l3) !== ip4.MIN_SIZE) return false;
  finish(mem, at, l3);
  const payload = ip4.totalLength(mem, l3) - ip4.MIN_SIZE;
  const step = (Math.min(mtu, HELD_BYTES) - ip4.MIN_SIZE) & ~7;
  const [offset, more] = [ip4.fragmentOffset(mem, l3), ip4.moreFragments(mem, l3)];
  for (let from = 0; from < payload; from += step) {
    const bytes = Math.min(step, payload - from);
    const part = batch.append(ETHERNET_SIZE + ip4.MIN_SIZE + bytes, batch.ingress[row] as number);
    if (part < 0) return false;
    const to = batch.offset[part] as number;
    const ip = to + ETHERNET_SIZE;
    slab.copyWithin(to, at, at + ETHERNET_SIZE);
    slab.copyWithin(ip, l3, l3 + ip4.MIN_SIZE);
    slab.copyWithin(ip + ip4.MIN_SIZE, l3 + ip4.MIN_SIZE + from, l3 + ip4.MIN_SIZE + from + bytes);
    ip4.setTotalLength(mem, ip, ip4.MIN_SIZE + bytes);
    ip4.setFragment(mem, ip, offset + from, more || from + bytes < payload);
    ip4.setChecksum(mem, ip);
    batch.etherType[part] = ETHERTYPE_IP4;
    batch.l3[part] = ip;
    pass(batch, part);
  }
  return true;
}

/** Fills in the transport's sum: it is about the whole, and the parts can't be summed. The gateway has seen where it stands. */
function finish(mem: DataView, at: number, l3: number): void {
  if ((vnetFlags(mem, at) & VNET_NEEDS_CSUM) === 0) return;
  const start = at + csumStart(mem, at);
  const sum = checksum(mem, start, l3 + ip4.totalLength(mem, l3) - start);
  mem.setUint16(start + csumOffset(mem, at), sum === 0 ? 0xffff : sum);
}
