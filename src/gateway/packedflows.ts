/**
 * Flows taken out of a table and put into another: when the data plane's thread has died, or the whole switch. Packed they are
 * 8 words each, in no order; the mappings are made again from them.
 */
import {
  F_EXPIRES,
  F_EXTERNAL_PORT,
  F_INSIDE_IP,
  F_INSIDE_PORT,
  F_PROTOCOL,
  F_REMOTE_IP,
  F_REMOTE_PORT,
  F_SEEN,
  FLOW_WORDS,
  type Flow,
  H_MAX,
  HEADER_WORDS,
} from './flowmemory.ts';

/** Words of a packed flow. */
export const PACKED_WORDS = 8;

/** All flows that are alive at `nowS`, packed. The table may be in use: a flow that is just opened may be missing. */
export function packFlows(memory: SharedArrayBuffer, nowS: number): Int32Array {
  const words = new Int32Array(memory);
  const max = words[H_MAX] as number;
  const alive = (at: number): boolean =>
    words[at + F_PROTOCOL] !== 0 && (words[at + F_EXPIRES] as number) > nowS;
  let count = 0;
  const end = HEADER_WORDS + max * FLOW_WORDS;
  for (let at = HEADER_WORDS; at < end; at += FLOW_WORDS) if (alive(at)) count++;
  const packed = new Int32Array(count * PACKED_WORDS);
  let to = 0;
  for (let at = HEADER_WORDS; at < end && to < packed.length; at += FLOW_WORDS) {
    if (!alive(at)) continue;
    packed[to++] = words[at + F_PROTOCOL] as number;
    packed[to++] = words[at + F_INSIDE_IP] as number;
    packed[to++] = words[at + F_INSIDE_PORT] as number;
    packed[to++] = words[at + F_EXTERNAL_PORT] as number;
    packed[to++] = words[at + F_REMOTE_IP] as number;
    packed[to++] = words[at + F_REMOTE_PORT] as number;
    packed[to++] = words[at + F_EXPIRES] as number;
    packed[to++] = words[at + F_SEEN] as number;
  }
  return packed.slice(0, to);
}

/** The flows again, one after the other. */
export function* unpackFlows(packed: Int32Array): Generator<Flow> {
  for (let at = 0; at + PACKED_WORDS <= packed.length; at += PACKED_WORDS) {
    const protocol = packed[at] as number;
    yield {
      protocol: protocol & 0xff,
      insideIp: packed[at + 1] as number,
      insidePort: packed[at + 2] as number,
      externalPort: packed[at + 3] as number,
      remoteIp: packed[at + 4] as number,
      remotePort: packed[at + 5] as number,
      tcpState: protocol >> 8,
      expiresS: packed[at + 6] as number,
      seenS: packed[at + 7] as number,
    };
  }
}
