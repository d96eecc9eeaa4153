/** Tells the data plane which guest has which address, by leases and reservations, for `--guard strict`. */
import type { HostReservation } from './config.ts';
import { ANY_MAC, ANY_PORT } from './dataplane/bindings.ts';
import type { Plane } from './dataplane/plane.ts';
import type { PortTable } from './porttable.ts';
import { type Change, type LeaseRecord, LeaseState } from './service/dhcp/leases.ts';
import { type Ip4, parseMac } from './wire/address.ts';

/** As the data plane takes them. */
type Binding = readonly [port: number, hi: number, lo: number, ip: Ip4];

/** What the lists say of leases. */
export interface BoundLease {
  readonly ip: Ip4;
  readonly mac: string;
  readonly port: string;
}

export class Binder {
  readonly #plane: Pick<Plane, 'bind'>;
  readonly #table: Pick<PortTable, 'indexFor'>;
  readonly #leased = new Map<Ip4, Binding>();
  #reserved: readonly Binding[] = [];

  constructor(plane: Pick<Plane, 'bind'>, table: Pick<PortTable, 'indexFor'>) {
    this.#plane = plane;
    this.#table = table;
  }

  /** The reservations that hold from now on, and those alone. One by a client's identifier is bound by its lease. */
  reserve(hosts: readonly HostReservation[]): void {
    const before = this.#reserved;
    this.#reserved = hosts.flatMap(({ identity, address }): Binding[] => {
      if (identity.kind === 'mac') return [[ANY_PORT, identity.mac.hi, identity.mac.lo, address]];
      const index = identity.kind === 'port' ? this.#table.indexFor(identity.port) : -1;
      return index < 0 ? [] : [[index, ANY_MAC, ANY_MAC, address]];
    });
    this.#tell(this.#reserved, before);
  }

  /** All leases that are bound, when the switch starts. */
  load(leases: readonly BoundLease[]): void {
    this.#tell(
      leases.flatMap(lease => this.#take(lease)),
      [],
    );
  }

  /** Returns when the data plane knows: before any client is told of its address. */
  leasesChanged(changes: readonly Pick<Change, 'ip' | 'after'>[]): void {
    const gone: Binding[] = [];
    const come = changes.flatMap(({ ip, after }) => {
      const before = this.#leased.get(ip);
      const lease = after?.state === LeaseState.Bound ? after : undefined;
      if (before !== undefined && lease !== undefined && isSame(before, this.#bindingOf(lease))) return [];
      if (before !== undefined) gone.push(before);
      this.#leased.delete(ip);
      return lease === undefined ? [] : this.#take(lease);
    });
    if (come.length > 0 || gone.length > 0) this.#tell(come, gone);
  }

  leasesExpired(records: readonly Pick<LeaseRecord, 'ip'>[]): void {
    this.leasesChanged(records.map(({ ip }) => ({ ip, after: undefined })));
  }

  /** Says all again, to a data plane that knows nothing. */
  tellAgain(): void {
    this.#tell([...this.#reserved, ...this.#leased.values()], []);
  }

  #take(lease: BoundLease): Binding[] {
    const binding = this.#bindingOf(lease);
    if (binding === undefined) return [];
    this.#leased.set(lease.ip, binding);
    return [binding];
  }

  /** Undefined: its port is not there. */
  #bindingOf({ ip, mac, port }: BoundLease): Binding | undefined {
    const [index, address] = [this.#table.indexFor(port), parseMac(mac)];
    return index < 0 || address === undefined ? undefined : [index, address.hi, address.lo, ip];
  }

  #tell(added: readonly Binding[], removed: readonly Binding[]): void {
    this.#plane.bind(Int32Array.from(added.flat()), Int32Array.from(removed.flat()));
  }
}

const isSame = (left: Binding, right: Binding | undefined): boolean =>
  right !== undefined && left.every((word, i) => word === right[i]);
