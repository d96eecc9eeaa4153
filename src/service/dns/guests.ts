/**
 * Guests' names and whose they are. A name belongs to a reservation first; else to the lease that had it first, for as long
 * as that lease runs without a break. Who claims it later waits behind: a guest names itself, and must not get what is sent
 * to another by taking his name.
 *
 * Changes come as leases do, a few at a time; none costs more for there being fifty thousand others. A lease ends without a
 * change being told of, so every question is asked at a time.
 */
import type { Ip4 } from '../../wire/address.ts';
import { NEVER } from '../dhcp/hostnames.ts';
import { type Change, LeaseState } from '../dhcp/leases.ts';

/** RFC 1123 §2.1, and the underscore that people use within names all the same. */
const LABEL = /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/;

/**
 * The label of a lease's or a reservation's name. Both are labels already (dhcp/hostnames.ts), but for what an older version
 * or somebody's hand has written into the file of leases; undefined: that can't be a name.
 */
export function labelOf(hostname: string): string | undefined {
  const [label = ''] = hostname.toLowerCase().split('.');
  return LABEL.test(label) ? label : undefined;
}

export interface GuestName {
  readonly name: string;
  readonly ip: Ip4;
  readonly origin: 'reservation' | 'lease';
}

/** A host's reservation, as far as it has a name. */
export interface NamedHost {
  readonly name: string;
  readonly address: Ip4;
}

interface Claim {
  readonly label: string;
  /** Unix time, seconds. */
  expiresS: number;
}

export class GuestNames {
  /** Claims that came when the name was somebody else's. */
  refused = 0;
  readonly #reserved = new Map<string, Ip4>();
  readonly #reservedOf = new Map<Ip4, string>();
  readonly #taken: ReadonlySet<string>;
  readonly #refuse: (label: string, ip: Ip4) => void;
  /** Leases that run, by address, with the name that each claims. */
  readonly #leases = new Map<Ip4, Claim>();
  /** By name who claims it, the first one first. */
  readonly #claims = new Map<string, Set<Ip4>>();

  /** `taken`: names that are not for guests. `refuse` hears of each claim that came too late. */
  constructor(
    hosts: readonly NamedHost[],
    taken: Iterable<string>,
    refuse: (label: string, ip: Ip4) => void,
  ) {
    this.#taken = new Set([...taken, ...NEVER]);
    this.#refuse = refuse;
    for (const { name, address } of hosts) {
      const label = labelOf(name);
      if (label === undefined || this.#reserved.has(label)) continue;
      this.#reserved.set(label, address);
      if (!this.#reservedOf.has(address)) this.#reservedOf.set(address, label);
    }
  }

  /** Leases have changed, at `nowS`. */
  apply(changes: readonly Pick<Change, 'ip' | 'after'>[], nowS: number): void {
    for (const { ip, after } of changes) {
      const bound = after?.state === LeaseState.Bound && after.expiresS > nowS;
      this.set(ip, bound ? after.hostname : '', bound ? after.expiresS : 0, nowS);
    }
  }

  /** What the lease of an address says now; without a name, or at its end, it claims none. */
  set(ip: Ip4, hostname: string, expiresS: number, nowS: number): void {
    const label = expiresS > nowS && !this.#reservedOf.has(ip) ? labelOf(hostname) : undefined;
    const before = this.#leases.get(ip);
    if (before !== undefined) {
      if (before.label === label && before.expiresS > nowS) {
        before.expiresS = expiresS;
        return;
      }
      this.#leave(ip, before.label);
    }
    if (label === undefined) return;
    this.#leases.set(ip, { label, expiresS });
    const claims = this.#claims.get(label) ?? new Set<Ip4>();
    this.#claims.set(label, claims.add(ip));
    if (this.addressOf(label, nowS) === ip) return;
    this.refused++;
    this.#refuse(label, ip);
  }

  /** Whose name it is. */
  addressOf(label: string, nowS: number): Ip4 | undefined {
    const reserved = this.#reserved.get(label);
    if (reserved !== undefined) return reserved;
    return this.#taken.has(label) ? undefined : this.#first(label, nowS);
  }

  /** The name of an address; undefined: it has none, or claims somebody else's. */
  nameOf(ip: Ip4, nowS: number): string | undefined {
    const reserved = this.#reservedOf.get(ip);
    if (reserved !== undefined) return reserved;
    const label = this.#leases.get(ip)?.label;
    return label !== undefined && this.addressOf(label, nowS) === ip ? label : undefined;
  }

  list(nowS: number): GuestName[] {
    const reserved = [...this.#reserved].map(([name, ip]) => ({ name, ip, origin: 'reservation' }) as const);
    const leased = [...this.#leases.keys()].flatMap(ip => {
      const name = this.nameOf(ip, nowS);
      return name === undefined ? [] : [{ name, ip, origin: 'lease' } as const];
    });
    return [...reserved, ...leased];
  }

  /** The first of those who claim a name and whose lease runs; those before him whose lease has ended claim it no longer. */
  #first(label: string, nowS: number): Ip4 | undefined {
    for (const ip of this.#claims.get(label) ?? []) {
      if ((this.#leases.get(ip)?.expiresS ?? 0) > nowS) return ip;
      this.#leave(ip, label);
    }
    return undefined;
  }

  #leave(ip: Ip4, label: string): void {
    this.#leases.delete(ip);
    const claims = this.#claims.get(label);
    if (claims?.delete(ip) === true && claims.size === 0) this.#claims.delete(label);
  }
}
