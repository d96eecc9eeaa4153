/**
 * Who has how much of the subnet's pool. A guest may ask with as many MACs as it likes, decline what it gets, and answer for
 * addresses that it does not have; so the last addresses are kept for ports that have none yet, one each. What it takes
 * before that is its own affair: there may be a whole network behind a port.
 *
 * While there are plenty nobody counts. Then it is counted once a second, and what is given in between is added.
 */
import type { Ip4 } from '../../wire/address.ts';
import type { LeaseTable } from './leases.ts';
import { LOCAL } from './pools.ts';
import { freeAtS } from './shelf.ts';

export class Shares {
  readonly #table: LeaseTable;
  readonly #ports: () => readonly string[];
  readonly #held = new Map<string, number>();
  #free = 0;
  #countedS = Number.NaN;

  /** `ports`: those that get their addresses from the pool. */
  constructor(table: LeaseTable, ports: () => readonly string[]) {
    this.#table = table;
    this.#ports = ports;
  }

  /** May a port have one more address of the subnet? */
  admits(port: string, nowS: number): boolean {
    const ports = this.#ports();
    if (ports.length < 2 || this.#table.plenty(ports.length, LOCAL)) return true;
    this.#count(nowS);
    if (!this.#held.has(port)) return true;
    const without = ports.filter(each => !this.#held.has(each)).length;
    // where there are more ports than addresses, half of these go to whoever comes
    return this.#free > Math.min(without, this.#table.capacityOf(LOCAL) >> 1);
  }

  /** An address that was free is a port's now. */
  took(port: string, ip: Ip4): void {
    if (this.#table.poolOf(ip) !== LOCAL) return;
    this.#free--;
    this.#held.set(port, (this.#held.get(port) ?? 0) + 1);
  }

  /** What was one port's is another's now. */
  passed(from: string, to: string): void {
    const left = (this.#held.get(from) ?? 0) - 1;
    if (left > 0) this.#held.set(from, left);
    else this.#held.delete(from);
    this.#held.set(to, (this.#held.get(to) ?? 0) + 1);
  }

  #count(nowS: number): void {
    if (nowS === this.#countedS) return;
    this.#countedS = nowS;
    this.#held.clear();
    this.#free = this.#table.capacityOf(LOCAL);
    for (const lease of this.#table.all()) {
      const { ip, port } = lease.record;
      if (freeAtS(lease) > nowS && this.#table.inPool(ip)) this.took(port, ip);
    }
  }
}
