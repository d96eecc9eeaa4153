/**
 * What a port may flood in a second: frames to all, to groups and to addresses that nobody is known to have, and how many new
 * addresses it may bring. A token bucket for each, as deep as a second's worth, so that a guest that resolves a few names
 * or joins a few groups at once is not held up.
 *
 *   to all, to groups   this stage, before anything is learnt or asked of the gateway
 *   unknown unicast     forward, which is where it shows
 *   new addresses       learn, likewise
 *
 * The uplink and the LAN have no limit: what they flood is not a guest's.
 */
import type { StormLimit } from '../settings/stormlimit.ts';
import { Drop } from '../wire/drop.ts';
import { isGroup as isGroupOf } from '../wire/ethernet.ts';
import { type Batch, DROPPED, KEY_OCTETS, MAX_PORTS, type Stage } from './batch.ts';
import { UPLINK_PORT } from './messages.ts';

const KINDS = 4;
export const UNKNOWN = 2;
export const NEW_MAC = 3;
const [BROADCAST, MULTICAST] = [0, 1];
const BROADCAST_HI = 0xffff;
const BROADCAST_LO = -1;
const [isGroup, OCTETS] = [isGroupOf, KEY_OCTETS]; // imports that each row needs

/** The buckets of all ports. */
export class Allowances {
  /** By port and kind, in frames. */
  readonly #left = new Float64Array(MAX_PORTS * KINDS);
  readonly #filledMs = new Float64Array(MAX_PORTS).fill(Number.NEGATIVE_INFINITY);
  readonly #perS: Float64Array;

  constructor({ broadcast, multicast, unknown, macs }: StormLimit) {
    this.#perS = Float64Array.from(
      [broadcast, multicast, unknown, macs],
      perS => perS ?? Number.POSITIVE_INFINITY,
    );
  }

  /** Fills a port's buckets by the time that has gone by. */
  fill(port: number, nowMs: number): void {
    if (!isGuest(port)) return;
    const ms = nowMs - (this.#filledMs[port] as number);
    if (ms <= 0) return;
    this.#filledMs[port] = nowMs;
    for (let kind = 0; kind < KINDS; kind++) {
      const at = port * KINDS + kind;
      const perS = this.#perS[kind] as number;
      this.#left[at] = Math.min(perS, (this.#left[at] as number) + (ms * perS) / 1000);
    }
  }

  /** One more of a kind from a port: may it? */
  take(port: number, kind: number): boolean {
    if (!isGuest(port)) return true;
    const at = port * KINDS + kind;
    const left = this.#left[at] as number;
    if (left < 1) return false;
    this.#left[at] = left - 1;
    return true;
  }
}

/** Neither the uplink nor the gateway, which has no port. */
const isGuest = (port: number): boolean => port > UPLINK_PORT && port < MAX_PORTS;

export const storm = (batch: Batch, allowances: Allowances): Stage => {
  const { egress, destinationKey, destinationLo } = batch;
  return {
    name: 'storm',
    run(): void {
      const { count, port } = batch;
      allowances.fill(port, batch.nowMs);
      if (!batch.grouped) return;
      for (let row = 0; row < count; row++) {
        const key = destinationKey[row] as number;
        if (!isGroup(key) || egress[row] === DROPPED) continue;
        const isBroadcast = destinationLo[row] === BROADCAST_LO && (key & OCTETS) === BROADCAST_HI;
        if (!allowances.take(port, isBroadcast ? BROADCAST : MULTICAST))
          batch.refuse(row, isBroadcast ? Drop.BroadcastLimit : Drop.MulticastLimit);
      }
    },
  };
};
