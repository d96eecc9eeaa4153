/**
 * Where the NAT's mappings and flows stand: typed arrays over shared memory of a size fixed at the start.
 *
 * A flow costs 64 bytes, one cache line, and its share of mapping (28) and hash heads (18 to 36): 128 in all at the most.
 * An ICMP echo's identifier stands where a port stands.
 */
import { multiplier, shiftFor, spread } from '../wire/hash.ts';

export const FLOW_WORDS = 16;
/** Words of a flow. */
export const F_PROTOCOL = 0; // protocol | TCP state << 8; 0: free
export const F_INSIDE_IP = 1;
export const F_INSIDE_PORT = 2;
export const F_REMOTE_IP = 3;
export const F_REMOTE_PORT = 4;
export const F_MAPPING = 5;
export const F_EXPIRES = 6; // seconds of the monotonic clock
export const F_NEXT = 7; // hash chain, or the free list
export const F_SEEN = 8; // seconds
export const F_EXTERNAL_PORT = 9; // the mapping's, again, for readers
export const F_PEER_NEXT = 10; // flows of the same mapping and remote address
export const F_PEER_BEFORE = 11;
export const F_DUE = 12; // seconds: when the wheel looks at it; 0: never
export const F_WHEEL_NEXT = 13; // flows that it looks at in the same second
export const F_WHEEL_BEFORE = 14;
export const F_PORT = 15; // that it was opened from

export const MAPPING_WORDS = 7;
export const M_PROTOCOL = 0; // 0: free
export const M_INSIDE_IP = 1;
export const M_INSIDE_PORT = 2;
export const M_EXTERNAL_PORT = 3;
export const M_FLOWS = 4;
export const M_NEXT = 5;
export const M_FORWARD = 6; // 1: a port forward, which lives without flows and admits everybody
/** Mappings beside those of flows: port forwards. */
export const MAX_FORWARDS = 1_024;

export const HEADER_WORDS = 16;
export const H_MAX = 0;
export const H_COUNT = 1;
/** Counts since the start, 32 bits without a sign: flows opened, and refused by reason. */
export const H_OPENED = 2;
export const H_TABLE_FULL = 3;
export const H_GUEST_FULL = 4;
export const H_NO_PORT = 5;
/** Protocols with ports of their own: ICMP, TCP, UDP. */
const SPACES = 3;
export const PORTS = 65_536;

/** The end of a chain; no flow, no mapping. */
export const NONE = -1;

const heads = (maxFlows: number): number => 1 << Math.ceil(Math.log2(maxFlows * 1.5));

/** Memory for `maxFlows` flows. */
export const flowMemory = (maxFlows: number): SharedArrayBuffer => {
  const memory = new SharedArrayBuffer(
    4 *
      (HEADER_WORDS +
        maxFlows * FLOW_WORDS +
        (maxFlows + MAX_FORWARDS) * MAPPING_WORDS +
        3 * heads(maxFlows) +
        SPACES * PORTS),
  );
  new Int32Array(memory)[H_MAX] = maxFlows;
  return memory;
};

/** Makes a table's memory as it was when it was new, but for its size and its counts since the start. */
export function clearFlows(memory: SharedArrayBuffer): void {
  const words = new Int32Array(memory);
  words.fill(0, HEADER_WORDS);
  words[H_COUNT] = 0;
}

/** Where a protocol's ports begin in `external`. */
export const space = (protocol: number): number => (protocol === 17 ? 2 : protocol === 6 ? 1 : 0) * PORTS;

/** The parts of the memory, and where in them to look. Closures, for what they share is a constant to the compiler. */
export interface FlowParts {
  readonly maxFlows: number;
  readonly header: Int32Array;
  readonly flows: Int32Array;
  readonly mappings: Int32Array;
  readonly flowHeads: Int32Array;
  readonly mappingHeads: Int32Array;
  readonly peerHeads: Int32Array;
  /** By protocol's space and port: the mapping. */
  readonly external: Int32Array;
  flowHead(
    protocol: number,
    insideIp: number,
    insidePort: number,
    remoteIp: number,
    remotePort: number,
  ): number;
  mappingHead(protocol: number, insideIp: number, insidePort: number): number;
  peerHead(mapping: number, remoteIp: number): number;
}

export function partsOf(memory: SharedArrayBuffer, seed: number): FlowParts {
  const header = new Int32Array(memory, 0, HEADER_WORDS);
  const maxFlows = header[H_MAX] as number;
  let at = HEADER_WORDS;
  const part = (words: number): Int32Array => {
    const view = new Int32Array(memory, at * 4, words);
    at += words;
    return view;
  };
  const size = heads(maxFlows);
  const shift = shiftFor(size);
  const [forInside, forPorts, forRemote, forRest] = [0, 1, 2, 3].map(i => multiplier(seed, i)) as [
    number,
    number,
    number,
    number,
  ];
  return {
    maxFlows,
    header,
    flows: part(maxFlows * FLOW_WORDS),
    mappings: part((maxFlows + MAX_FORWARDS) * MAPPING_WORDS),
    flowHeads: part(size),
    mappingHeads: part(size),
    peerHeads: part(size),
    external: part(SPACES * PORTS),
    flowHead: (protocol, insideIp, insidePort, remoteIp, remotePort) =>
      spread(
        Math.imul(insideIp, forInside) ^
          Math.imul((insidePort << 16) | remotePort, forPorts) ^
          Math.imul(remoteIp, forRemote) ^
          Math.imul(protocol, forRest),
        shift,
      ),
    mappingHead: (protocol, insideIp, insidePort) =>
      spread(Math.imul(insideIp, forInside) ^ Math.imul((insidePort << 8) | protocol, forPorts), shift),
    peerHead: (mapping, remoteIp) =>
      spread(Math.imul(remoteIp, forRemote) ^ Math.imul(mapping, forRest), shift),
  };
}

export interface Flow {
  readonly protocol: number;
  readonly insideIp: number;
  readonly insidePort: number;
  readonly externalPort: number;
  readonly remoteIp: number;
  readonly remotePort: number;
  readonly tcpState: number;
  readonly expiresS: number;
  readonly seenS: number;
}

/** All flows that are alive at `nowS`, for people. */
export function listFlows(memory: SharedArrayBuffer, nowS: number): Flow[] {
  const words = new Int32Array(memory);
  const found: Flow[] = [];
  for (let i = 0; i < (words[H_MAX] as number); i++) {
    const flow = words.subarray(HEADER_WORDS + i * FLOW_WORDS, HEADER_WORDS + (i + 1) * FLOW_WORDS);
    const protocol = flow[F_PROTOCOL] as number;
    if (protocol === 0 || (flow[F_EXPIRES] as number) <= nowS) continue;
    found.push({
      protocol: protocol & 0xff,
      insideIp: flow[F_INSIDE_IP] as number,
      insidePort: flow[F_INSIDE_PORT] as number,
      externalPort: flow[F_EXTERNAL_PORT] as number,
      remoteIp: flow[F_REMOTE_IP] as number,
      remotePort: flow[F_REMOTE_PORT] as number,
      tcpState: protocol >> 8,
      expiresS: flow[F_EXPIRES] as number,
      seenS: flow[F_SEEN] as number,
    });
  }
  return found;
}
