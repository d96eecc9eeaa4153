/**
 * Port forwards as they are wanted, and the two places that must know them: the host's rules bring a connection to the NAT
 * address, the gateway passes it to the guest. A guest that is named is looked for among the reservations, and then among the
 * leases, again whenever one with its name or its address changes; till it is found its port is nobody's, and the gateway
 * answers nothing.
 */

import { guestFault } from './config/addresses.ts';
import type { Config, Forward, HostReservation } from './config.ts';
import type { ForwardView } from './control/views.ts';
import { OperatorError } from './errors.ts';
import { MAX_FORWARDS } from './gateway/flowmemory.ts';
import type { NatForward } from './gateway/nat.ts';
import { parseForwards } from './settings/forward.ts';
import { Refusal } from './settings/schema.ts';
import { formatIp4, type Ip4, parseIp4 } from './wire/address.ts';
import * as ip4 from './wire/ipv4.ts';

/** A lease, as far as a name is looked for in it. */
export interface NamedLease {
  readonly address: string;
  readonly hostname?: string;
  readonly state: string;
}

/** Of a change of a lease, what says whether a named guest is concerned; names in lower case. */
export interface LeaseChange {
  readonly ip: Ip4;
  readonly before: { readonly hostname: string } | undefined;
  readonly after: { readonly hostname: string } | undefined;
}

export interface ForwardingParts {
  readonly config: Pick<Config, 'subnet' | 'natAddress' | 'forwards' | 'dhcp'>;
  leases(): readonly NamedLease[];
  /** Tells the gateway all that it shall pass on. */
  gateway(forwards: readonly NatForward[]): void;
  /** Makes the host's rules those for exactly these. */
  host(forwards: readonly Forward[]): Promise<void>;
  /** Why a port of the host can't be forwarded, as a part of a sentence; undefined: it can. */
  taken(forward: Forward): string | undefined;
  warn(sentence: string): void;
}

const PROTOCOLS = { tcp: ip4.TCP, udp: ip4.UDP } as const;

export const nameOf = ({ protocol, port }: Pick<Forward, 'protocol' | 'port'>): string =>
  `${protocol}/${port}`;

export class Forwarding {
  readonly #parts: ForwardingParts;
  #forwards: readonly Forward[] = [];
  #hosts: readonly HostReservation[];
  /** Where named guests were last, by name. */
  readonly #found = new Map<string, Ip4>();
  /** Changes are made one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: ForwardingParts) {
    this.#parts = parts;
    this.#hosts = parts.config.dhcp?.hosts ?? [];
  }

  /** Refuses what the host itself uses; to be called before anything is changed. */
  check(): void {
    for (const forward of this.#parts.config.forwards) this.#checkPort(forward);
  }

  /** Sets up what the configuration asks for: nothing to do, for a host that has just been set up, where that is nothing. */
  async start(): Promise<void> {
    const { forwards } = this.#parts.config;
    if (forwards.length > 0) await this.#make(forwards);
  }

  list(): ForwardView[] {
    return this.#forwards.map(forward => {
      const { guest } = forward;
      const address = typeof guest === 'string' ? this.#found.get(guest) : guest;
      return {
        protocol: forward.protocol,
        port: forward.port,
        guest: typeof guest === 'string' ? guest : formatIp4(guest),
        guestPort: forward.guestPort,
        ...(address === undefined ? {} : { address: formatIp4(address) }),
      };
    });
  }

  /** Adds one that is written as for `--forward`. Throws an OperatorError that says why it can't be. */
  add(text: string): Promise<void> {
    const parsed = parseForwards([text]);
    if (parsed instanceof Refusal) throw usage(`forward ${text}: ${parsed.why}`);
    const forward = parsed[0] as Forward;
    return this.#inTurn(() => {
      this.#check(forward);
      return this.#make([...this.#forwards, forward]);
    });
  }

  /** Other reservations, whose names are guests' from now on. */
  reserve(hosts: readonly HostReservation[]): void {
    this.#hosts = hosts;
    this.#tellGateway();
  }

  /** Takes one away, `tcp/8080`, with its conversations. Throws an OperatorError when there is none. */
  remove(name: string): Promise<void> {
    return this.#inTurn(() => {
      const left = this.#forwards.filter(forward => nameOf(forward) !== name);
      if (left.length === this.#forwards.length)
        throw usage(`forward ${name}: there is none; expected one that is, such as tcp/8080`);
      return this.#make(left);
    });
  }

  /** Leases have changed: named guests may have come, moved or gone. There may be many leases, so none is looked at for others. */
  leasesChanged(changes: readonly LeaseChange[]): void {
    const names = new Set(
      this.#forwards.flatMap(({ guest }) => (typeof guest === 'string' ? [guest.toLowerCase()] : [])),
    );
    if (names.size === 0) return;
    const found = new Set(this.#found.values());
    const concerned = changes.some(
      ({ ip, before, after }) =>
        found.has(ip) || names.has(before?.hostname ?? '') || names.has(after?.hostname ?? ''),
    );
    if (concerned) this.#tellGateway();
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(act, act);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #make(forwards: readonly Forward[]): Promise<void> {
    await this.#parts.host(forwards);
    this.#forwards = forwards;
    this.#tellGateway();
  }

  #tellGateway(): void {
    this.#parts.gateway(
      this.#forwards.flatMap(forward => {
        const guest = this.#addressOf(forward);
        const { port, guestPort } = forward;
        return guest === undefined ? [] : [{ protocol: PROTOCOLS[forward.protocol], port, guest, guestPort }];
      }),
    );
  }

  #check(forward: Forward): void {
    const name = nameOf(forward);
    const { subnet, natAddress } = this.#parts.config;
    const fault =
      typeof forward.guest === 'string' ? undefined : guestFault(forward.guest, subnet, natAddress);
    if (fault !== undefined)
      throw usage(`forward ${name}: ${fault}; expected a guest's address in ${subnet.text}`);
    const other = this.#forwards.find(known => nameOf(known) === name);
    if (other !== undefined)
      throw usage(`forward ${name}: is there already; expected another port, or take that away first`);
    if (this.#forwards.length >= MAX_FORWARDS)
      throw usage(`forward ${name}: there are ${MAX_FORWARDS} already; expected at most that many`);
    this.#checkPort(forward);
  }

  #checkPort(forward: Forward): void {
    const taken = this.#parts.taken(forward);
    if (taken !== undefined) throw new OperatorError(`forward ${taken}`, { code: 'Busy' });
  }

  /**
   * The guest's address. A reserved name is the reservation's. Any guest may call itself by any other, so the one that had the
   * name first keeps it while its lease lasts, and of two that come to it at once neither gets it.
   */
  #addressOf({ guest }: Forward): Ip4 | undefined {
    if (typeof guest !== 'string') return guest;
    const reserved = this.#hosts.find(({ name }) => name === guest.toLowerCase());
    if (reserved !== undefined) {
      this.#found.set(guest, reserved.address);
      return reserved.address;
    }
    const known = this.#found.get(guest);
    const addresses = this.#parts
      .leases()
      .filter(lease => lease.state === 'bound' && lease.hostname?.toLowerCase() === guest.toLowerCase())
      .map(lease => parseIp4(lease.address) as Ip4);
    if (known !== undefined && addresses.includes(known)) return known;
    this.#found.delete(guest);
    const [only, another] = addresses;
    if (another !== undefined)
      this.#parts.warn(`${addresses.length} guests call themselves ${guest}, so nothing is forwarded to it`);
    if (only === undefined || another !== undefined) return undefined;
    this.#found.set(guest, only);
    return only;
  }
}

const usage = (message: string): OperatorError => new OperatorError(message, { code: 'Usage' });
