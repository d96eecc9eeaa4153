/**
 * The leases in memory: which address belongs to which client, and which one is next to be given away.
 *
 * Every address that was ever touched has one record, found by address or by client. Records stand in a heap ordered by
 * the time at which their address may go to somebody else: the end of the lease, of the offer, or of a declined address's
 * quarantine. So an address is taken in O(log n): one that nobody has had yet while there are such, else the one whose
 * time ran out first. A client that stays away for long thus finds its address again for as long as possible.
 *
 * There is at most one record an address and `maxRecords` altogether, so hostile client ids cost a bounded amount.
 */
import type { Ip4 } from '../../wire/address.ts';

export enum LeaseState {
  /** Promised to a client that has not asked for it yet; never on disk. */
  Offered,
  Bound,
  /** Given back; the record is kept for the day the client returns. */
  Released,
  /** A client found somebody else using the address: nobody gets it until `expiresS`. */
  Declined,
}

/** What of a lease is on disk. */
export interface LeaseRecord {
  readonly ip: Ip4;
  readonly state: LeaseState;
  /** Identifies the client, see `clientKey`; empty when declined. */
  readonly key: string;
  readonly mac: string;
  readonly hostname: string;
  /** Name of the port that it was last seen on. */
  readonly port: string;
  /** Unix time, seconds: the end of the lease, of the quarantine, or the time of the release. */
  readonly expiresS: number;
}

/** A record with what belongs to this process only. Changed through the table alone. */
export interface Lease {
  record: LeaseRecord;
  /** Unix time, seconds, till which an offer holds the address; 0: no offer is out. */
  offeredUntilS: number;
  /** Index in the heap. */
  slot: number;
}

/** What it takes to undo a change: the address and what was known of it. */
export interface Change {
  readonly ip: Ip4;
  readonly before: LeaseRecord | undefined;
  readonly after: LeaseRecord | undefined;
  /** The address was found in use, by a probe: no client was told of it. */
  readonly conflict?: boolean;
}

export interface Pool {
  readonly first: Ip4;
  readonly last: Ip4;
  /** Addresses in between that must never be given: the gateway's, the NAT address, network and broadcast. */
  readonly excluded: readonly Ip4[];
}

const freeAtS = (lease: Lease): number => Math.max(lease.record.expiresS, lease.offeredUntilS);
const unsigned = (ip: Ip4): number => ip >>> 0;

export class LeaseTable {
  readonly #first: number;
  readonly #last: number;
  readonly #excluded: ReadonlySet<Ip4>;
  readonly #maxRecords: number;
  readonly #byIp = new Map<Ip4, Lease>();
  readonly #byKey = new Map<string, Lease>();
  readonly #heap: Lease[] = [];
  /** In the order in which they end, since each is held for the same time. */
  readonly #offers = new Set<Lease>();
  /** Every address below this one has a record, or is excluded, or stands in `#returned`. */
  #untouched: number;
  readonly #returned = new Set<Ip4>();

  constructor(pool: Pool, maxRecords: number) {
    this.#first = unsigned(pool.first);
    this.#last = unsigned(pool.last);
    this.#excluded = new Set(pool.excluded);
    this.#maxRecords = maxRecords;
    this.#untouched = this.#first;
  }

  get size(): number {
    return this.#byIp.size;
  }

  /** Addresses that clients may have. */
  get capacity(): number {
    const within = [...this.#excluded].filter(
      ip => this.#first <= unsigned(ip) && unsigned(ip) <= this.#last,
    );
    return this.#last - this.#first + 1 - within.length;
  }

  /** Every record, in no order. */
  all(): IterableIterator<Lease> {
    return this.#byIp.values();
  }

  inPool(ip: Ip4): boolean {
    const value = unsigned(ip);
    return this.#first <= value && value <= this.#last && !this.#excluded.has(ip);
  }

  byKey(key: string): Lease | undefined {
    return this.#byKey.get(key);
  }

  byIp(ip: Ip4): Lease | undefined {
    return this.#byIp.get(ip);
  }

  /** May the address go to a client that has no claim to it? */
  isFree(ip: Ip4, nowS: number): boolean {
    if (!this.inPool(ip)) return false;
    const lease = this.#byIp.get(ip);
    return lease === undefined ? this.#byIp.size < this.#maxRecords : freeAtS(lease) <= nowS;
  }

  /** The address that a new client should get, or undefined when all are taken. Takes nothing yet. */
  next(nowS: number): Ip4 | undefined {
    if (this.#byIp.size < this.#maxRecords) {
      for (const ip of this.#returned) return ip;
      for (; this.#untouched <= this.#last; this.#untouched++) {
        const ip = (this.#untouched | 0) as Ip4;
        if (!this.#excluded.has(ip) && !this.#byIp.has(ip)) return ip;
      }
    }
    const oldest = this.#heap[0];
    return oldest !== undefined && freeAtS(oldest) <= nowS ? oldest.record.ip : undefined;
  }

  /** Offers that are still out. */
  outstanding(nowS: number): number {
    for (const lease of this.#offers) {
      if (lease.offeredUntilS > nowS) break;
      this.#offers.delete(lease);
    }
    return this.#offers.size;
  }

  /** Holds an address for a client: an offer is out. It takes nothing away from a lease that runs. */
  hold(lease: Lease, untilS: number): void {
    this.#offers.delete(lease);
    this.#offers.add(lease);
    lease.offeredUntilS = untilS;
    this.#settle(lease.slot);
  }

  /** Ends an offer, whether it was taken up or declined. */
  endOffer(lease: Lease): void {
    if (!this.#offers.delete(lease) && lease.offeredUntilS === 0) return;
    lease.offeredUntilS = 0;
    this.#settle(lease.slot);
  }

  /**
   * Sets what is known of an address (undefined: nothing any more) and returns the change. A client has one address: the
   * caller removes its former record first.
   */
  set(ip: Ip4, record: LeaseRecord | undefined): Change {
    const lease = this.#byIp.get(ip);
    const before = lease?.record;
    if (lease !== undefined && this.#byKey.get(lease.record.key) === lease)
      this.#byKey.delete(lease.record.key);
    if (record === undefined) {
      if (lease !== undefined) this.#remove(lease);
    } else if (lease === undefined) {
      this.#insert({ record, offeredUntilS: 0, slot: -1 });
    } else {
      lease.record = record;
      if (record.key !== '') this.#byKey.set(record.key, lease);
      this.#settle(lease.slot);
    }
    return { ip, before, after: record };
  }

  #insert(lease: Lease): void {
    this.#byIp.set(lease.record.ip, lease);
    this.#returned.delete(lease.record.ip);
    if (lease.record.key !== '') this.#byKey.set(lease.record.key, lease);
    lease.slot = this.#heap.length;
    this.#heap.push(lease);
    this.#settle(lease.slot);
  }

  #remove(lease: Lease): void {
    this.#byIp.delete(lease.record.ip);
    this.#offers.delete(lease);
    if (unsigned(lease.record.ip) < this.#untouched) this.#returned.add(lease.record.ip);
    const last = this.#heap.pop()!;
    if (last === lease) return;
    this.#heap[lease.slot] = last;
    last.slot = lease.slot;
    this.#settle(last.slot);
  }

  /** Restores the heap's order after the time of the lease at `slot` has changed. */
  #settle(slot: number): void {
    const heap = this.#heap;
    const lease = heap[slot]!;
    const time = freeAtS(lease);
    while (slot > 0) {
      const parent = (slot - 1) >> 1;
      if (freeAtS(heap[parent]!) <= time) break;
      this.#place(heap[parent]!, slot);
      slot = parent;
    }
    for (;;) {
      let child = 2 * slot + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && freeAtS(heap[child + 1]!) < freeAtS(heap[child]!)) child++;
      if (time <= freeAtS(heap[child]!)) break;
      this.#place(heap[child]!, slot);
      slot = child;
    }
    this.#place(lease, slot);
  }

  #place(lease: Lease, slot: number): void {
    this.#heap[slot] = lease;
    lease.slot = slot;
  }
}
