/**
 * When leases end. The table's own heap is in the order in which addresses may go to somebody else: what ended long ago
 * stays at its top. So the ends that are still to come have a heap here, by which an end is told of once, and a tick looks
 * at no more than has ended.
 */
import type { Ip4 } from '../../wire/address.ts';
import { Heap, type Member } from './heap.ts';
import type { LeaseRecord } from './leases.ts';

/** A lease that runs, or whose end nobody was told of yet. */
interface End extends Member {
  record: LeaseRecord;
}

const atS = (end: End): number => end.record.expiresS;

export class Expiry {
  readonly #heap = new Heap(atS);
  readonly #byIp = new Map<Ip4, End>();

  /** Ends that are still to come. */
  get size(): number {
    return this.#heap.size;
  }

  /** The address's lease is this one from now on; undefined: there is none. */
  set(ip: Ip4, record: LeaseRecord | undefined): void {
    const end = this.#byIp.get(ip);
    if (record === undefined) {
      if (end !== undefined) this.#remove(end);
    } else if (end === undefined) {
      const added = { record, slot: 0 };
      this.#byIp.set(ip, added);
      this.#heap.add(added);
    } else {
      end.record = record;
      this.#heap.settle(end);
    }
  }

  /** The address's lease, if it has ended by `nowS`. */
  endedAt(ip: Ip4, nowS: number): LeaseRecord | undefined {
    const record = this.#byIp.get(ip)?.record;
    return record !== undefined && record.expiresS <= nowS ? record : undefined;
  }

  /** Takes out leases that have ended by `nowS`, Unix time in seconds, in the order of their ends, at most `limit`. */
  take(nowS: number, limit: number): LeaseRecord[] {
    const ended: LeaseRecord[] = [];
    for (let end = this.#heap.first(); end !== undefined && atS(end) <= nowS; end = this.#heap.first()) {
      if (ended.length === limit) break;
      this.#remove(end);
      ended.push(end.record);
    }
    return ended;
  }

  #remove(end: End): void {
    this.#byIp.delete(end.record.ip);
    this.#heap.remove(end);
  }
}
