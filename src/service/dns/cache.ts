/**
 * Replies that may be used again, bounded by bytes. Who makes room is found by a clock: the hand passes over what has been
 * used since it last came by, and takes the rest. So a guest that asks for a million names once drives out its own.
 */
import type { Reply } from './reply.ts';

/** What an entry takes beside its bytes: objects, a place in the map, memory that the allocator rounds up. */
const OVERHEAD_BYTES = 400;
/** Of one name, as they are looked through in turn: a guest could ask for all 65,536 types. */
const MAX_KINDS = 16;
/** A reply longer than this part of the cache isn't kept. */
const MAX_PART = 8;

export interface Entry {
  readonly name: string;
  /** Type, and the bits that change the answer. */
  readonly kind: number;
  readonly reply: Reply;
  readonly storedMs: number;
  readonly untilMs: number;
  readonly bytes: number;
  /** The next entry of the same name. */
  next: Entry | undefined;
  used: boolean;
  slot: number;
}

/** `bits`: DO and CD. */
export const kindOf = (type: number, bits: number): number => (bits << 16) | type;

export class Cache {
  /** Entries driven out before their time. */
  evicted = 0;
  readonly #maxBytes: number;
  readonly #names = new Map<string, Entry>();
  readonly #ring: Entry[] = [];
  #hand = 0;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get entries(): number {
    return this.#ring.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What may still be used at `nowMs`. */
  get(name: string, kind: number, nowMs: number): Entry | undefined {
    for (let entry = this.#names.get(name); entry !== undefined; entry = entry.next) {
      if (entry.kind !== kind) continue;
      if (nowMs >= entry.untilMs) {
        this.#remove(entry);
        return undefined;
      }
      entry.used = true;
      return entry;
    }
    return undefined;
  }

  /** Takes a reply in, if it may be kept; it takes the place of an older one. */
  put(name: string, kind: number, reply: Reply, nowMs: number): void {
    const bytes = reply.data.length + (reply.error?.length ?? 0) + name.length + OVERHEAD_BYTES;
    if (reply.ttlS <= 0 || bytes > this.#maxBytes / MAX_PART) return;
    this.#makeWay(name, kind);
    while (this.#bytes + bytes > this.#maxBytes) this.#evict(nowMs);
    const [untilMs, slot] = [nowMs + reply.ttlS * 1000, this.#ring.length];
    const next = this.#names.get(name);
    const entry = { name, kind, reply, storedMs: nowMs, untilMs, bytes, next, used: false, slot };
    this.#names.set(name, entry);
    this.#ring.push(entry);
    this.#bytes += bytes;
  }

  clear(): void {
    this.#names.clear();
    this.#ring.length = 0;
    this.#bytes = 0;
  }

  /** For an entry of that kind; the oldest goes when a name has many. */
  #makeWay(name: string, kind: number): void {
    let count = 1;
    for (let entry = this.#names.get(name); entry !== undefined; entry = entry.next)
      if (entry.kind === kind || ++count > MAX_KINDS) {
        this.#remove(entry);
        return;
      }
  }

  #evict(nowMs: number): void {
    for (;;) {
      if (this.#hand >= this.#ring.length) this.#hand = 0;
      const entry = this.#ring[this.#hand] as Entry;
      const expired = nowMs >= entry.untilMs;
      if (!entry.used || expired) {
        if (!expired) this.evicted++;
        this.#remove(entry);
        return;
      }
      entry.used = false;
      this.#hand++;
    }
  }

  #remove(entry: Entry): void {
    const first = this.#names.get(entry.name) as Entry;
    if (first !== entry) {
      let before = first;
      while (before.next !== entry) before = before.next as Entry;
      before.next = entry.next;
    } else if (entry.next === undefined) this.#names.delete(entry.name);
    else this.#names.set(entry.name, entry.next);
    const last = this.#ring.pop() as Entry;
    if (last !== entry) {
      this.#ring[entry.slot] = last;
      last.slot = entry.slot;
    }
    this.#bytes -= entry.bytes;
  }
}
