/** How many flows there are, by protocol and state: one pass over the table, which ends with the last flow. */
import {
  F_PROTOCOL,
  FLOW_WORDS,
  H_COUNT,
  H_GUEST_FULL,
  H_MAX,
  H_NO_PORT,
  H_OPENED,
  H_TABLE_FULL,
  HEADER_WORDS,
} from './flowmemory.ts';

export interface FlowCounts {
  readonly most: number;
  /** By protocol | TCP state << 8; flows that have run out and are not yet cleared away count too. */
  readonly byKind: ReadonlyMap<number, number>;
  /** Since the start, 32 bits. */
  readonly opened: number;
  readonly tableFull: number;
  readonly guestFull: number;
  readonly noPort: number;
}

export function countFlows(memory: SharedArrayBuffer): FlowCounts {
  const words = new Int32Array(memory);
  const most = words[H_MAX] as number;
  const byKind = new Map<number, number>();
  let left = words[H_COUNT] as number;
  for (let i = 0; i < most && left > 0; i++) {
    const kind = words[HEADER_WORDS + i * FLOW_WORDS + F_PROTOCOL] as number;
    if (kind === 0) continue;
    byKind.set(kind, (byKind.get(kind) ?? 0) + 1);
    left--;
  }
  const count = (at: number): number => (words[at] as number) >>> 0;
  return {
    most,
    byKind,
    opened: count(H_OPENED),
    tableFull: count(H_TABLE_FULL),
    guestFull: count(H_GUEST_FULL),
    noPort: count(H_NO_PORT),
  };
}
