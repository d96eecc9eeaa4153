/**
 * When leases end. The table's own heap is in the order in which addresses may go to somebody else: what ended long ago
 * stays at its top. So the ends that are still to come have a heap here, by which an end is told of once, and a tick looks
 * at no more than has ended.
 */
import type { Ip4 } from '../../wire/address.ts';
import type { LeaseRecord } from './leases.ts';

/** A lease that runs, or whose end nobody was told of yet. */
interface End {
  record: LeaseRecord;
  /** Index in the heap. */
  slot: number;
}

const atS = (end: End): number => end.record.expiresS;

export class Expiry {
  readonly #heap: End[] = [];
  readonly #byIp = new Map<Ip4, End>();

  /** Ends that are still to come. */
  get size(): number {
    return this.#heap.length;
  }

  /** The address's lease is this one from now on; undefined: there is none. */
  set(ip: Ip4, record: LeaseRecord | undefined): void {
    const end = this.#byIp.get(ip);
    if (record === undefined) {
      if (end !== undefined) this.#remove(end);
    } else if (end === undefined) {
      const added = { record, slot: this.#heap.length };
      this.#byIp.set(ip, added);
      this.#heap.push(added);
      this.#settle(added);
    } else {
      end.record = record;
      this.#settle(end);
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
    for (let end = this.#heap[0]; end !== undefined && atS(end) <= nowS; end = this.#heap[0]) {
      if (ended.length === limit) break;
      this.#remove(end);
      ended.push(end.record);
    }
    return ended;
  }

  #remove(end: End): void {
    this.#byIp.delete(end.record.ip);
    const last = this.#heap.pop()!;
    if (last === end) return;
    this.#place(last, end.slot);
    this.#settle(last);
  }

  /** Restores the heap's order after one end has changed. */
  #settle(end: End): void {
    const heap = this.#heap;
    let { slot } = end;
    while (slot > 0) {
      const parent = (slot - 1) >> 1;
      if (atS(heap[parent]!) <= atS(end)) break;
      this.#place(heap[parent]!, slot);
      slot = parent;
    }
    for (;;) {
      let child = 2 * slot + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && atS(heap[child + 1]!) < atS(heap[child]!)) child++;
      if (atS(end) <= atS(heap[child]!)) break;
      this.#place(heap[child]!, slot);
      slot = child;
    }
    this.#place(end, slot);
  }

  #place(end: End, slot: number): void {
    this.#heap[slot] = end;
    end.slot = slot;
  }
}
