/**
 * The leases of one pool: by client, and in the order in which their addresses may go to somebody else.
 *
 * Records stand in a heap ordered by the time at which their address is free again: the end of the lease, of the offer, or
 * of a declined address's quarantine. So an address is taken in O(log n): one that nobody has had yet while there are such,
 * else the one whose time ran out first. A client that stays away for long thus finds its address again for as long as
 * possible. Addresses that are kept for somebody (reserved) have records, and stand in no heap: nobody else gets them.
 */
import type { Ip4 } from '../../wire/address.ts';
import { Heap } from './heap.ts';
import type { Lease } from './leases.ts';

/** What is handed out in one network. */
export interface Pool {
  readonly network: Ip4;
  readonly mask: Ip4;
  readonly first: Ip4;
  readonly last: Ip4;
  /** Addresses in between that must never be given: the gateway's, the NAT address, network and broadcast. */
  readonly excluded: readonly Ip4[];
}

/** In no heap. */
export const NOWHERE = -1;

export const freeAtS = (lease: Lease): number => Math.max(lease.record.expiresS, lease.offeredUntilS);
const unsigned = (ip: Ip4): number => ip >>> 0;

export class Shelf {
  readonly byKey = new Map<string, Lease>();
  readonly #first: number;
  readonly #last: number;
  readonly #excluded: ReadonlySet<Ip4>;
  readonly #heap = new Heap(freeAtS);
  /** Every address below this one has a record, or is excluded, or stands in `#returned`. */
  #untouched: number;
  readonly #returned = new Set<Ip4>();

  constructor(pool: Pool, reserved: Iterable<Ip4>) {
    this.#first = unsigned(pool.first);
    this.#last = unsigned(pool.last);
    this.#excluded = new Set([...pool.excluded, ...reserved]);
    this.#untouched = this.#first;
  }

  /** Addresses that anybody may have. */
  get capacity(): number {
    const kept = [...this.#excluded].filter(ip => this.#first <= unsigned(ip) && unsigned(ip) <= this.#last);
    return this.#last - this.#first + 1 - kept.length;
  }

  /** Addresses without a record, at least. */
  get untouched(): number {
    return this.#last - this.#untouched + 1 - this.#excluded.size + this.#returned.size;
  }

  /** May the address go to anybody? */
  gives(ip: Ip4): boolean {
    const value = unsigned(ip);
    return this.#first <= value && value <= this.#last && !this.#excluded.has(ip);
  }

  /** An address that has no record (`known` says which have); undefined: there is none. */
  fresh(known: ReadonlyMap<Ip4, Lease>): Ip4 | undefined {
    for (const ip of this.#returned) return ip;
    for (; this.#untouched <= this.#last; this.#untouched++) {
      const ip = (this.#untouched | 0) as Ip4;
      if (!this.#excluded.has(ip) && !known.has(ip)) return ip;
    }
    return undefined;
  }

  /** The lease whose address was free first, or will be. */
  oldest(): Lease | undefined {
    return this.#heap.first();
  }

  add(lease: Lease): void {
    const { ip, key } = lease.record;
    if (key !== '') this.byKey.set(key, lease);
    if (!this.gives(ip)) return;
    this.#returned.delete(ip);
    this.#heap.add(lease);
  }

  remove(lease: Lease): void {
    if (lease.slot === NOWHERE) return;
    if (unsigned(lease.record.ip) < this.#untouched) this.#returned.add(lease.record.ip);
    this.#heap.remove(lease);
  }

  /** Restores the heap's order after the time of a lease has changed. */
  settle(lease: Lease): void {
    if (lease.slot !== NOWHERE) this.#heap.settle(lease);
  }
}
