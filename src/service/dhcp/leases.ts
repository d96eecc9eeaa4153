/**
 * The leases in memory: which address belongs to which client, and which one is next to be given away.
 *
 * Every address that was ever touched has one record, found by address, or within its pool by client. Which address of a
 * pool is next, the pool's shelf knows. Offers that are out are the table's: their number is bounded over all pools.
 *
 * There is at most one record an address and `maxRecords` altogether, so hostile client ids cost a bounded amount; reserved
 * addresses come on top.
 */
import type { Ip4 } from '../../wire/address.ts';
import { freeAtS, NOWHERE, type Pool, Shelf } from './shelf.ts';

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
  /** Identifies the client, see claims.ts; empty when declined. */
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
  /** Index in its shelf's heap; NOWHERE: in none. */
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

export class LeaseTable {
  readonly #pools: readonly Pool[];
  readonly #shelves: readonly Shelf[];
  readonly #reserved: ReadonlySet<Ip4>;
  readonly #maxRecords: number;
  readonly #byIp = new Map<Ip4, Lease>();
  /** In the order in which they end, since each is held for the same time. */
  readonly #offers = new Set<Lease>();

  /** `pools` are networks apart from each other; nobody gets a `reserved` address unless `set` gives it. */
  constructor(pools: readonly Pool[], maxRecords: number, reserved: ReadonlySet<Ip4> = new Set()) {
    this.#pools = pools;
    this.#reserved = reserved;
    this.#shelves = pools.map(pool => new Shelf(pool, reserved));
    this.#maxRecords = maxRecords;
  }

  get size(): number {
    return this.#byIp.size;
  }

  /** Addresses that anybody may have. */
  get capacity(): number {
    return this.#shelves.reduce((sum, shelf) => sum + shelf.capacity, 0);
  }

  /** The same of one pool. */
  capacityOf(pool: number): number {
    return this.#shelves[pool]!.capacity;
  }

  /** Has a pool more addresses than that which nobody has had yet, and is there room for them? */
  plenty(count: number, pool: number): boolean {
    return this.#shelves[pool]!.untouched > count && this.#maxRecords - this.#byIp.size > count;
  }

  /** Every record, in no order. */
  all(): IterableIterator<Lease> {
    return this.#byIp.values();
  }

  /** The number of the pool in whose network an address is; -1: in none. */
  poolOf(ip: Ip4): number {
    const pools = this.#pools;
    for (let i = 0; i < pools.length; i++) if ((ip & pools[i]!.mask) === pools[i]!.network) return i;
    return -1;
  }

  isReserved(ip: Ip4): boolean {
    return this.#reserved.has(ip);
  }

  /** May the address go to anybody who asks? */
  inPool(ip: Ip4): boolean {
    return this.#shelves[this.poolOf(ip)]?.gives(ip) ?? false;
  }

  /** A client's lease in a pool. */
  byKey(key: string, pool = 0): Lease | undefined {
    return this.#shelves[pool]!.byKey.get(key);
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
  next(nowS: number, pool = 0): Ip4 | undefined {
    const shelf = this.#shelves[pool]!;
    const fresh = this.#byIp.size < this.#maxRecords ? shelf.fresh(this.#byIp) : undefined;
    if (fresh !== undefined) return fresh;
    const oldest = shelf.oldest();
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

  /** Of these, those to a port. */
  outstandingTo(port: string): number {
    let count = 0;
    for (const { record } of this.#offers) if (record.port === port) count++;
    return count;
  }

  /** Holds an address for a client: an offer is out. It takes nothing away from a lease that runs. */
  hold(lease: Lease, untilS: number): void {
    this.#offers.delete(lease);
    this.#offers.add(lease);
    lease.offeredUntilS = untilS;
    this.#shelfOf(lease).settle(lease);
  }

  /** Ends an offer, whether it was taken up or declined. */
  endOffer(lease: Lease): void {
    if (!this.#offers.delete(lease) && lease.offeredUntilS === 0) return;
    lease.offeredUntilS = 0;
    this.#shelfOf(lease).settle(lease);
  }

  /**
   * Sets what is known of an address (undefined: nothing any more) and returns the change. A client has one address in a
   * pool: the caller removes its former record first. The address is in a pool's network.
   */
  set(ip: Ip4, record: LeaseRecord | undefined): Change {
    const shelf = this.#shelves[this.poolOf(ip)]!;
    const lease = this.#byIp.get(ip);
    const before = lease?.record;
    if (lease !== undefined && shelf.byKey.get(lease.record.key) === lease)
      shelf.byKey.delete(lease.record.key);
    if (record === undefined) {
      if (lease !== undefined) this.#remove(lease, shelf);
    } else if (lease === undefined) {
      const added = { record, offeredUntilS: 0, slot: NOWHERE };
      this.#byIp.set(ip, added);
      shelf.add(added);
    } else {
      lease.record = record;
      if (record.key !== '') shelf.byKey.set(record.key, lease);
      shelf.settle(lease);
    }
    return { ip, before, after: record };
  }

  #remove(lease: Lease, shelf: Shelf): void {
    this.#byIp.delete(lease.record.ip);
    this.#offers.delete(lease);
    shelf.remove(lease);
  }

  #shelfOf(lease: Lease): Shelf {
    return this.#shelves[this.poolOf(lease.record.ip)]!;
  }
}
