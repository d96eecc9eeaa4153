/**
 * Faults by chance and seed, around any port and around any store of leases: what devices, kernels, peers and disks do on a
 * bad day. What is behind is the real thing, or one in memory.
 */
import type { Batch } from '../../src/dataplane/batch.ts';
import { GONE, type Port, type PortKind } from '../../src/port/port.ts';
import type { LeaseRecord } from '../../src/service/dhcp/leases.ts';
import type { LeaseStore } from '../../src/service/dhcp/store.ts';
import type { Ip4 } from '../../src/wire/address.ts';
import type { Random } from '../random.ts';

/** Each of a thousand calls, or frames where it says so. */
export interface PortRates {
  /** A burst's last frames are lost. */
  readonly loss: number;
  /** A frame comes with its first few bytes alone. */
  readonly short: number;
  /** EAGAIN: nothing is there, though it was said so; or nothing more is taken. */
  readonly again: number;
  /** ENOBUFS and EIO: taken from us, and not delivered. */
  readonly refused: number;
  /** ENETDOWN, the device's removal, the peer's end: the port is no more. */
  readonly gone: number;
}

export const NO_FAULTS: PortRates = { loss: 0, short: 0, again: 0, refused: 0, gone: 0 };

/** Sees what the data plane sees of a port: rows that have come in, and rows that it is given. */
export interface Witness {
  received(batch: Batch, from: number, index: number): void;
  given(batch: Batch, rows: Int32Array, count: number, index: number): void;
}

const SHORTEST = 14;

export class FaultyPort implements Port {
  refused = 0;
  readonly #inner: Port;
  readonly #index: number;
  readonly #next: Random;
  readonly #rates: PortRates;
  readonly #witness: Witness;

  constructor(inner: Port, index: number, parts: { next: Random; rates: PortRates; witness: Witness }) {
    this.#inner = inner;
    this.#index = index;
    this.#next = parts.next;
    this.#rates = parts.rates;
    this.#witness = parts.witness;
  }

  get name(): string {
    return this.#inner.name;
  }
  get kind(): PortKind {
    return this.#inner.kind;
  }
  get mtu(): number {
    return this.#inner.mtu;
  }
  get fd(): number {
    return this.#inner.fd;
  }
  get offloads(): boolean {
    return this.#inner.offloads;
  }
  get holds(): boolean {
    return this.#inner.holds;
  }

  #strikes(rate: number): boolean {
    return rate > 0 && this.#next(1_000) < rate;
  }

  receive(batch: Batch, ingress: number): number {
    const { again, gone, loss, short } = this.#rates;
    if (this.#strikes(gone)) return GONE;
    if (this.#strikes(again)) return 0;
    const first = batch.count;
    let count = this.#inner.receive(batch, ingress);
    if (count <= 0) return count;
    if (this.#strikes(loss)) count -= 1 + this.#next(count);
    batch.count = first + count;
    for (let row = first; row < batch.count; row++)
      if (this.#strikes(short)) batch.length[row] = this.#next(SHORTEST);
    this.#witness.received(batch, first, this.#index);
    return count;
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    const { again, gone, refused } = this.#rates;
    this.refused = 0;
    this.#witness.given(batch, rows, count, this.#index);
    if (this.#strikes(gone)) return GONE;
    const most = this.#strikes(again) ? this.#next(count + 1) : count;
    if (this.#strikes(refused)) {
      this.refused = most;
      return most;
    }
    const taken = this.#inner.transmit(batch, rows, most);
    this.refused = this.#inner.refused;
    return taken;
  }

  close(): void {
    this.#inner.close();
  }
}

export interface StoreRates {
  /** ENOSPC and EIO, of a thousand commits. */
  readonly failing: number;
  /** It takes up to so many ms, of a thousand commits. */
  readonly slow: number;
  readonly slowMs: number;
}

const ERRORS = ['ENOSPC: no space left on device, write', 'EIO: i/o error, fsync'];

/** Nothing of a commit that fails is written. `after`: the time that a slow one takes is a simulation's. */
export class FaultyStore implements LeaseStore {
  readonly #inner: LeaseStore;
  readonly #next: Random;
  readonly #rates: () => StoreRates;
  readonly #after: (ms: number, act: () => void) => void;
  #staged = new Map<Ip4, LeaseRecord | undefined>();

  constructor(
    inner: LeaseStore,
    parts: { next: Random; rates: () => StoreRates; after: (ms: number, act: () => void) => void },
  ) {
    this.#inner = inner;
    this.#next = parts.next;
    this.#rates = parts.rates;
    this.#after = parts.after;
  }

  load(): LeaseRecord[] {
    return this.#inner.load();
  }

  stage(ip: Ip4, record: LeaseRecord | undefined): void {
    this.#staged.set(ip, record);
  }

  async commit(): Promise<void> {
    const staged = this.#staged;
    this.#staged = new Map();
    if (this.#next(1_000) < this.#rates().slow) {
      const ms = 1 + this.#next(this.#rates().slowMs);
      await new Promise<void>(resolve => this.#after(ms, resolve));
    }
    if (this.#next(1_000) < this.#rates().failing) {
      this.#staged.clear(); // what came meanwhile, too
      throw new Error(ERRORS[this.#next(ERRORS.length)]);
    }
    for (const [ip, record] of staged) this.#inner.stage(ip, record);
    await this.#inner.commit();
  }

  close(): void {
    this.#inner.close();
  }
}
