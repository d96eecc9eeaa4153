/**
 * Who a client is, and what it may claim: its key, its lease, and the address that is reserved for it.
 *
 *   port:NAME     on a port that has a reservation; or with a client id that somebody else has on another port
 *   id:HEX        option 61, where the client sent one (RFC 2131 §4.2, RFC 4361)
 *   hw:TYPE:HEX   its hardware address else
 *
 * Cloned images share a client id. While the lease of the first runs, one on another port with another MAC is a second
 * machine, and is served by its port; the same MAC on another port is the same guest, which moved.
 */
import type { HostReservation } from '../../config.ts';
import { formatIp4, type Ip4 } from '../../wire/address.ts';
import { Code, type DhcpMessage } from '../../wire/dhcp.ts';
import { type Lease, LeaseState, type LeaseTable } from './leases.ts';
import type { Place } from './pools.ts';
import { fits, type Reservations } from './reservations.ts';

/** Duplicates that are told of, each once: a guest may make up as many as it likes. */
const MAX_TOLD = 256;

export interface Client {
  readonly key: string;
  /** Colon text; empty: it sent none. */
  readonly mac: string;
  /** What it has in this pool. */
  readonly lease: Lease | undefined;
  /** What it has in this pool under another key and must give up when it is bound. */
  readonly other: Lease | undefined;
  readonly host: HostReservation | undefined;
  /** The address reserved for it in this pool, when nobody else is on it. */
  readonly due: Ip4 | undefined;
  /** Has the client id of another machine. */
  readonly duplicate: boolean;
}

const OCTETS = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, '0'));

/** In hexadecimal; faster for a few bytes than a Buffer. */
function hex(bytes: Uint8Array, between = ''): string {
  let text = '';
  for (let i = 0; i < bytes.length; i++) text += i === 0 ? OCTETS[bytes[i]!]! : between + OCTETS[bytes[i]!]!;
  return text;
}

const portKey = (port: string): string => `port:${port}`;
const ID = 'id:';

export class Claims {
  readonly #table: LeaseTable;
  readonly #reservations: Reservations;
  readonly #warn: (sentence: string) => void;
  readonly #told = new Set<string>();

  constructor(table: LeaseTable, reservations: Reservations, warn: (sentence: string) => void) {
    this.#table = table;
    this.#reservations = reservations;
    this.#warn = warn;
  }

  /** `port`: where the message came in. */
  of(message: DhcpMessage, port: string, { pool, direct }: Place, nowS: number): Client {
    const id = message.options.get(Code.ClientId);
    const mac = hex(message.chaddr, ':');
    const base = id?.length ? `${ID}${hex(id)}` : `hw:${message.htype}:${hex(message.chaddr)}`;
    const at = direct ? port : '';
    const double = at === '' ? undefined : this.#double(base, mac, at, nowS);
    const host = this.#reservations.find(at, double === undefined ? base : '', mac);
    const here = host !== undefined && this.#table.poolOf(host.address) === pool ? host : undefined;
    const byPort = double !== undefined || here?.identity.kind === 'port' || this.#isServed(at, mac, nowS);
    const key = byPort ? portKey(at) : base;
    if (double !== undefined) this.#tell(base, mac, at, double);
    const former = byPort && double === undefined ? this.#table.byKey(base, pool) : undefined;
    return {
      key,
      mac,
      lease: this.#table.byKey(key, pool),
      other: former?.record.mac === mac ? former : undefined,
      host,
      due: here === undefined ? undefined : this.#due(here, mac, key, nowS),
      duplicate: double !== undefined,
    };
  }

  /** The lease of another machine with the same client id. */
  #double(key: string, mac: string, port: string, nowS: number): Lease | undefined {
    if (!key.startsWith(ID)) return undefined;
    const lease = this.#table.byKey(key);
    if (lease === undefined || !isRunning(lease, nowS)) return undefined;
    const { record } = lease;
    return record.mac === mac || record.port === port || record.port === '' ? undefined : lease;
  }

  /** Was this machine served by its port before? It keeps that lease, though the other's has ended. */
  #isServed(port: string, mac: string, nowS: number): boolean {
    const lease = port === '' ? undefined : this.#table.byKey(portKey(port));
    return lease !== undefined && lease.record.mac === mac && isRunning(lease, nowS);
  }

  #due(host: HostReservation, mac: string, key: string, nowS: number): Ip4 | undefined {
    const record = this.#table.byIp(host.address)?.record;
    if (record === undefined || record.expiresS <= nowS) return host.address;
    if (record.state === LeaseState.Declined) return undefined;
    // Its own lease, its predecessor's, or what it had itself under another key.
    const itself = record.key === key || (mac !== '' && record.mac === mac);
    if (itself || fits(host, record)) return host.address;
    return record.state === LeaseState.Bound ? undefined : host.address;
  }

  #tell(key: string, mac: string, port: string, { record }: Lease): void {
    const what = `${key} ${port}`;
    if (this.#told.has(what) || this.#told.size >= MAX_TOLD) return;
    this.#told.add(what);
    this.#warn(
      `${mac} on ${port} has the client id of ${record.mac} on ${record.port} (${formatIp4(record.ip)}), so it is served by its port; give cloned images a machine id each`,
    );
  }
}

function isRunning({ record, offeredUntilS }: Lease, nowS: number): boolean {
  return offeredUntilS > nowS || (record.state === LeaseState.Bound && record.expiresS > nowS);
}
