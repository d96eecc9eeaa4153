/**
 * Which addresses guests have learnt by name, and what of that the data plane must be told. Bounded: no guest has more than
 * its share, of which the oldest goes for a new one; where all are too many, what has run out goes, or else the oldest of the
 * guest that has most.
 */

/** How much longer than its time to live an address counts, and the longest such time that is believed. */
const GRACE_S = 60;
const MAX_TTL_S = 86_400;

/**
 * How long an address counts, seconds. For a minute more than its time to live: a program that had it from a cache in its
 * last second has yet to connect, and a name without any time to live is connected to as well. For a day at the most, as
 * resolvers keep no name longer (unbound's cache-max-ttl).
 */
export const lifetimeS = (ttlS: number): number => Math.min(ttlS, MAX_TTL_S) + GRACE_S;

export interface NameEntry {
  readonly guest: number;
  readonly address: number;
  /** Which of the policy's domains the name is of. */
  readonly domain: number;
  /** The name that was asked for, the last one where there were several. */
  readonly name: string;
  /** Seconds of the monotonic clock. */
  readonly expiresS: number;
}

/** For whoever keeps the same table; what is forgotten goes first. */
export interface Changes {
  readonly learnt: readonly NameEntry[];
  readonly forgotten: readonly NameEntry[];
}

const keyOf = ({ address, domain }: NameEntry): string => `${address} ${domain}`;

export class NameBook {
  readonly #max: number;
  readonly #share: number;
  /** By guest, then by address and domain; the oldest first. */
  readonly #guests = new Map<number, Map<string, NameEntry>>();
  /** What is no longer as it was at the last `changes`, in the state that it had then or later. */
  readonly #changed = new Map<string, NameEntry>();
  #count = 0;
  #sweptS = Number.NEGATIVE_INFINITY;

  /** `max` entries in all, `share` of one guest. */
  constructor(max: number, share: number) {
    this.#max = max;
    this.#share = share;
  }

  /** Takes an entry in. One that is there already lives till the later of its two ends. */
  learn(entry: NameEntry, nowS: number): void {
    const before = this.#find(entry);
    if (before === undefined) this.#makeRoom(entry.guest, nowS);
    else this.#remove(before);
    const kept = { ...entry, expiresS: Math.max(entry.expiresS, before?.expiresS ?? 0) };
    const own = this.#guests.get(entry.guest) ?? new Map<string, NameEntry>();
    own.set(keyOf(kept), kept);
    this.#guests.set(entry.guest, own);
    this.#count++;
    if (kept.expiresS !== before?.expiresS) this.#note(kept);
  }

  /** What has changed since the last call. */
  changes(): Changes {
    const learnt: NameEntry[] = [];
    const forgotten: NameEntry[] = [];
    for (const entry of this.#changed.values()) {
      const now = this.#find(entry);
      if (now === undefined) forgotten.push(entry);
      else learnt.push(now);
    }
    this.#changed.clear();
    return { learnt, forgotten };
  }

  /** What counts at `nowS`. */
  entries(nowS: number): NameEntry[] {
    return [...this.#guests.values()].flatMap(own =>
      [...own.values()].filter(entry => entry.expiresS > nowS),
    );
  }

  #makeRoom(guest: number, nowS: number): void {
    const own = this.#guests.get(guest);
    if (own !== undefined && own.size >= this.#share) this.#forgetOldest(own);
    if (this.#count >= this.#max && this.#sweptS !== nowS) {
      this.#sweptS = nowS; // once a second is enough: in between nothing more runs out
      for (const each of this.#guests.values()) this.#forgetExpired(each, nowS);
    }
    if (this.#count >= this.#max) this.#forgetOldest(this.#largest());
  }

  #largest(): Map<string, NameEntry> {
    let largest = new Map<string, NameEntry>();
    for (const own of this.#guests.values()) if (own.size > largest.size) largest = own;
    return largest;
  }

  #forgetExpired(own: Map<string, NameEntry>, nowS: number): void {
    for (const entry of own.values()) if (entry.expiresS <= nowS) this.#forget(entry);
  }

  #forgetOldest(own: Map<string, NameEntry>): void {
    const [oldest] = own.values();
    if (oldest !== undefined) this.#forget(oldest);
  }

  #forget(entry: NameEntry): void {
    this.#remove(entry);
    this.#note(entry);
  }

  #find(entry: NameEntry): NameEntry | undefined {
    return this.#guests.get(entry.guest)?.get(keyOf(entry));
  }

  #remove(entry: NameEntry): void {
    const own = this.#guests.get(entry.guest);
    if (own?.delete(keyOf(entry)) !== true) return;
    this.#count--;
    if (own.size === 0) this.#guests.delete(entry.guest);
  }

  #note(entry: NameEntry): void {
    this.#changed.set(`${entry.guest} ${keyOf(entry)}`, entry);
  }
}
