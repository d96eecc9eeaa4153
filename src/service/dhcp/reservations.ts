/**
 * Addresses that are kept for guests: found by the port that a guest is on, its client id, or its MAC, in this order. The
 * port comes first because it alone can't be forged: whoever is plugged into tap0 gets tap0's address, and can't get the
 * address of another by sending its MAC. The client id comes before the MAC as in RFC 2131 §4.2.
 */
import type { HostReservation } from '../../config.ts';
import { formatMac, type Ip4 } from '../../wire/address.ts';
import type { LeaseRecord } from './leases.ts';

export class Reservations {
  /** The addresses of all. */
  readonly addresses: ReadonlySet<Ip4>;
  readonly #byPort = new Map<string, HostReservation>();
  readonly #byKey = new Map<string, HostReservation>();
  readonly #byMac = new Map<string, HostReservation>();

  constructor(hosts: readonly HostReservation[]) {
    this.addresses = new Set(hosts.map(host => host.address));
    for (const host of hosts) {
      const { identity } = host;
      if (identity.kind === 'port') this.#byPort.set(identity.port, host);
      else if (identity.kind === 'client') this.#byKey.set(`id:${identity.id}`, host);
      else this.#byMac.set(formatMac(identity.mac.hi, identity.mac.lo), host);
    }
  }

  /** What is kept for a client. `port`, `key`: empty where it shall not be found by them. */
  find(port: string, key: string, mac: string): HostReservation | undefined {
    if (this.addresses.size === 0) return undefined;
    return this.#byPort.get(port) ?? this.#byKey.get(key) ?? this.#byMac.get(mac);
  }
}

/** Was a lease given to somebody for whom this is kept? Then the next one may have it at once: the guest was replaced. */
export function fits({ identity }: HostReservation, record: LeaseRecord): boolean {
  if (identity.kind === 'port') return record.port === identity.port;
  if (identity.kind === 'client') return record.key === `id:${identity.id}`;
  return record.mac === formatMac(identity.mac.hi, identity.mac.lo);
}
