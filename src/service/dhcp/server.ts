/**
 * The DHCP server, RFC 2131 §4.3, without clock, socket or disk: a message and the time go in, and what to send and what to
 * keep come out. The caller must have the changes on disk before it sends an ACK.
 *
 *   DISCOVER              offer: the reserved address, else the present one, the former one, the one asked for, any
 *   REQUEST  54 + 50      SELECTING: ACK, NAK when the address is gone; another server chosen: free our offer
 *   REQUEST  50           INIT-REBOOT: ACK, NAK when wrong; silence for a client that we know nothing of
 *   REQUEST  ciaddr       RENEWING, REBINDING: ACK, NAK when wrong
 *   DECLINE, RELEASE      no reply
 *   INFORM                ACK without an address
 *
 * It is the only server of its networks, so it answers with NAK where a wrong address is claimed. A reserved address needs
 * no offer to hold it: nobody else gets it. Where somebody still is on it, from before it was reserved, its owner gets another
 * till then; both are told at their renewal.
 */
import { type Ip4, type Mac, UNSPECIFIED as NONE } from '../../wire/address.ts';
import { Code, type DhcpMessage, int32, MessageType } from '../../wire/dhcp.ts';
import { Claims } from './claims.ts';
import { release } from './ends.ts';
import { type Change, type Lease, type LeaseRecord, LeaseState, LeaseTable } from './leases.ts';
import type { OptionPolicy, PolicySettings } from './options.ts';
import { LOCAL, placeOf, poolsOf } from './pools.ts';
import { type Ask, Replies, type Reply } from './reply.ts';
import { Reservations } from './reservations.ts';
import { Shares } from './shares.ts';

/** Why a message that was understood got no reply. */
export enum Ignored {
  OtherServer = 1,
  UnknownClient,
  /** About a lease of another port's guest. */
  OtherPort,
  UnknownRelay,
  OtherSubnet,
  /** None is left, or none for this port. */
  PoolExhausted,
  OffersExhausted,
  ClientIdTooLong,
  /** No address where one is needed, or a type that only servers send. */
  Inconsistent,
}

export interface ServerOptions extends Pick<PolicySettings, 'pools' | 'hosts'> {
  /** Option 54, and the source of every reply. */
  readonly address: Ip4;
  /** Of the subnet's pool, beside its network, broadcast and router. */
  readonly excluded: readonly Ip4[];
  readonly leaseTimeS: number;
  /** How long an offered address is held. */
  readonly offerTimeS: number;
  /** How long a declined address is given to nobody. */
  readonly quarantineS: number;
  /** Offers that may be out at once. */
  readonly maxOffers: number;
  /** Addresses that may have a record, in memory and on disk; reserved ones come on top. */
  readonly maxRecords: number;
  /** Ports that get addresses of the subnet: the last ones are kept for those that have none. */
  readonly ports: () => readonly string[];
  /** IP MTU, bytes: what a reply must fit, whatever the client says that it takes. */
  readonly mtu: number;
  /** The options for clients; those of the protocol itself are the server's own. */
  readonly policy: OptionPolicy;
  warn(sentence: string): void;
}

/** Where a message came from, and which address it was sent to. */
export interface Origin {
  readonly source: Ip4;
  readonly destination: Ip4;
  readonly mac: Mac;
  /** Name of the port. */
  readonly port: string;
}

export interface Outcome {
  readonly reply?: Reply;
  readonly ignored?: Ignored;
  /** In the order in which they were made. Offers are not among them: they need not survive. */
  readonly changes: readonly Change[];
  /** The client has no claim to what it is offered, and it is on our network: somebody else there may use the address. */
  readonly unclaimed?: boolean;
}

const MAX_CLIENT_ID = 255;
/** Of the offers, what each port may have out, however many others have. */
const FEW_OFFERS = 1 / 256;
const QUIET: Outcome = { changes: [] };
const silent = (ignored: Ignored): Outcome => ({ ignored, changes: [] });

const address = (message: DhcpMessage, code: Code): Ip4 | undefined => {
  const value = message.options.get(code);
  return value === undefined ? undefined : (int32(value) as Ip4);
};

export class DhcpServer {
  readonly table: LeaseTable;
  readonly #options: ServerOptions;
  readonly #claims: Claims;
  readonly #replies: Replies;
  readonly #shares: Shares;
  readonly #poolOf = (ip: Ip4): number => this.table.poolOf(ip);

  constructor(options: ServerOptions, records: readonly LeaseRecord[]) {
    this.#options = options;
    const reservations = new Reservations(options.hosts);
    const pools = poolsOf(options.pools, options.excluded);
    this.table = new LeaseTable(pools, options.maxRecords, reservations.addresses);
    this.#claims = new Claims(this.table, reservations, sentence => options.warn(sentence));
    this.#replies = new Replies(options);
    const reserved = options.hosts.flatMap(({ identity }) =>
      identity.kind === 'port' ? [identity.port] : [],
    );
    this.#shares = new Shares(this.table, () => options.ports().filter(port => !reserved.includes(port)));
    for (const record of records) this.#restore(record);
  }

  /** Answers one message. `nowS` is Unix time in whole seconds. */
  handle(message: DhcpMessage, origin: Origin, nowS: number): Outcome {
    const place = placeOf(message, origin, this.#options.address, this.#poolOf);
    if (place === undefined) return silent(Ignored.UnknownRelay);
    const id = message.options.get(Code.ClientId);
    if (id !== undefined && id.length > MAX_CLIENT_ID) return silent(Ignored.ClientIdTooLong);
    if (!id?.length && message.chaddr.length === 0) return silent(Ignored.Inconsistent); // nobody: RFC 4390 §2.1
    const ask = { message, origin, place, client: this.#claims.of(message, origin.port, place, nowS), nowS };
    switch (message.type) {
      case MessageType.Discover:
        return this.#discover(ask);
      case MessageType.Request:
        return this.#request(ask);
      case MessageType.Decline:
        return this.#decline(ask);
      case MessageType.Release:
        return this.#release(ask);
      case MessageType.Inform:
        return this.#inform(ask);
      default:
        return silent(Ignored.Inconsistent);
    }
  }

  /** Takes changes back that did not get to disk. */
  undo(changes: readonly Change[]): void {
    for (const change of changes.toReversed()) this.table.set(change.ip, change.before);
  }

  /** Is a port believed that says that what another is to be offered is in use? By that it has one address more. */
  believes(port: string, other: string, nowS: number): boolean {
    const believed = this.#shares.admits(port, nowS);
    if (believed) this.#shares.passed(other, port);
    return believed;
  }

  /** Holds what another table has offered, as far as it is ours too. */
  adoptOffers(from: LeaseTable, nowS: number): void {
    for (const { record, offeredUntilS } of from.all()) {
      const lease = offeredUntilS > nowS ? this.table.byIp(record.ip) : undefined;
      if (lease?.record.key === record.key) this.table.hold(lease, offeredUntilS);
    }
  }

  /** Of two records of one client (its first address was given away in an offer) the later one counts. */
  #restore(record: LeaseRecord): void {
    const { table } = this;
    const pool = table.poolOf(record.ip);
    if (!table.inPool(record.ip) && !(pool >= 0 && table.isReserved(record.ip))) return;
    if (table.size >= this.#options.maxRecords && !table.isReserved(record.ip)) return;
    const other = record.key === '' ? undefined : table.byKey(record.key, pool);
    if (other !== undefined) {
      if (other.record.expiresS >= record.expiresS) return;
      table.set(other.record.ip, undefined);
    }
    table.set(record.ip, record);
  }

  #discover(ask: Ask): Outcome {
    const { table } = this;
    const { message, client, nowS, place } = ask;
    const offer = (ip: Ip4): Reply => this.#replies.grant(ask, MessageType.Offer, ip);
    if (client.due !== undefined) return { reply: offer(client.due), changes: [] };
    const changes: Change[] = [];
    let { lease } = client;
    const holds = lease !== undefined && lease.offeredUntilS > nowS;
    // Strangers can't keep one out that had an address already: its record is there anyhow.
    const known = holds || (lease !== undefined && lease.record.state !== LeaseState.Offered);
    if (!known && !this.#mayOffer(ask)) return silent(Ignored.OffersExhausted);
    if (lease !== undefined && table.isReserved(lease.record.ip)) {
      changes.push(table.set(lease.record.ip, undefined)); // it is somebody else's now, and who discovers has left it
      lease = undefined;
    }
    if (lease === undefined) {
      const wanted = address(message, Code.RequestedAddress);
      const asked = wanted !== undefined && table.poolOf(wanted) === place.pool && table.isFree(wanted, nowS);
      const ip = asked ? wanted : table.next(nowS, place.pool);
      if (ip === undefined || !this.#mayTake(ask, ip)) return { ignored: Ignored.PoolExhausted, changes };
      const { key } = client;
      table.set(ip, { ...this.#describe(ask), ip, key, state: LeaseState.Offered, expiresS: 0 });
      lease = table.byIp(ip) as Lease;
    }
    const claims = holds || lease.record.state !== LeaseState.Offered || message.giaddr !== NONE;
    table.hold(lease, nowS + this.#options.offerTimeS);
    return { reply: offer(lease.record.ip), changes, unclaimed: !claims };
  }

  #request(ask: Ask): Outcome {
    const { message, client, place, nowS } = ask;
    const { lease, due } = client;
    const server = address(message, Code.ServerId);
    if (server !== undefined && !this.#isOurs(server, ask)) {
      if (lease !== undefined && isFrom(ask, lease)) this.#withdraw(lease);
      return silent(Ignored.OtherServer);
    }
    const renewing = message.ciaddr !== NONE;
    const wanted = renewing ? message.ciaddr : address(message, Code.RequestedAddress);
    if (wanted === undefined) return silent(Ignored.Inconsistent);
    if (this.table.poolOf(wanted) !== place.pool) return this.#refuse(ask, 'address of another network');
    if (due !== undefined)
      return wanted === due ? this.#bind(ask, due) : this.#refuse(ask, 'another address is reserved');
    if (this.table.isReserved(wanted)) return this.#refuse(ask, 'address is reserved for another client');
    if (lease?.record.ip === wanted) return this.#bind(ask, wanted);
    // Only INIT-REBOOT tells us nothing that would let us judge: another server may know the client, RFC 2131 §4.3.2.
    // Not so of a copy, which has the address from its original.
    if (lease === undefined && server === undefined && !renewing && !client.duplicate)
      return silent(Ignored.UnknownClient);
    // A client that knows our offer, or uses an address, which we do not remember: we lost our memory, and believe it.
    const believed = server !== undefined || lease === undefined;
    const free = believed && this.table.isFree(wanted, nowS) && this.#mayTake(ask, wanted);
    if (free) return this.#bind(ask, wanted);
    return this.#refuse(ask, lease === undefined ? 'address in use' : 'address of another client');
  }

  /** One port has half of the offers at the most; where all together are too many, it may still have a few. */
  #mayOffer({ origin, nowS }: Ask): boolean {
    const { table } = this;
    const { maxOffers } = this.#options;
    const out = table.outstanding(nowS);
    if (out < maxOffers / 2) return true;
    return table.outstandingTo(origin.port) < maxOffers * (out < maxOffers ? 1 / 2 : FEW_OFFERS);
  }

  /** May the message's port have a free address more? Then it has. */
  #mayTake({ origin, place, nowS }: Ask, ip: Ip4): boolean {
    if (place.pool !== LOCAL) return true;
    const may = this.#shares.admits(origin.port, nowS);
    if (may) this.#shares.took(origin.port, ip);
    return may;
  }

  /** Frees an offer that the client did not take. */
  #withdraw(lease: Lease): void {
    if (lease.record.state === LeaseState.Offered) this.table.set(lease.record.ip, undefined);
    else this.table.endOffer(lease);
  }

  #bind(ask: Ask, ip: Ip4): Outcome {
    const { table } = this;
    const { message, client, nowS } = ask;
    const { key } = client;
    const changes: Change[] = [];
    for (const former of [client.lease, client.other])
      if (former !== undefined && former.record.ip !== ip)
        changes.push(table.set(former.record.ip, undefined));
    const present = table.byIp(ip)?.record;
    const until = nowS + this.#replies.leaseTimeS(message);
    // A client may ask for less than it was promised before, but the address stays its own till the later time.
    const promised = present?.key === key && present.state === LeaseState.Bound ? present.expiresS : 0;
    const described = this.#describe(ask);
    const record: LeaseRecord = {
      ...described,
      hostname: described.hostname === '' && present?.key === key ? present.hostname : described.hostname,
      ip,
      key,
      state: LeaseState.Bound,
      expiresS: Math.max(until, promised),
    };
    if (present === undefined || !sameRecord(present, record)) changes.push(table.set(ip, record));
    table.endOffer(table.byIp(ip) as Lease);
    return { reply: this.#replies.grant(ask, MessageType.Ack, ip), changes };
  }

  #decline(ask: Ask): Outcome {
    const lease = this.#ownLease(ask, address(ask.message, Code.RequestedAddress));
    if (typeof lease === 'number') return silent(lease);
    this.table.endOffer(lease);
    const change = this.table.set(lease.record.ip, {
      ...this.#describe(ask),
      ip: lease.record.ip,
      key: '',
      state: LeaseState.Declined,
      expiresS: ask.nowS + this.#options.quarantineS,
    });
    return { changes: [change] };
  }

  #release(ask: Ask): Outcome {
    const lease = this.#ownLease(ask, ask.message.ciaddr);
    if (typeof lease === 'number') return silent(lease);
    if (lease.record.state !== LeaseState.Bound) {
      this.#withdraw(lease);
      return QUIET;
    }
    return { changes: [release(this.table, lease, ask.nowS)] };
  }

  /** The client's lease if it is the one that the message is about, and the message is for us. */
  #ownLease(ask: Ask, ip: Ip4 | undefined): Lease | Ignored {
    const server = address(ask.message, Code.ServerId);
    if (server !== undefined && !this.#isOurs(server, ask)) return Ignored.OtherServer;
    const { lease } = ask.client;
    if (lease === undefined || lease.record.ip !== ip) return Ignored.UnknownClient;
    return isFrom(ask, lease) ? lease : Ignored.OtherPort;
  }

  /** By the name that the client's relay gives us, or by our own. */
  #isOurs(server: Ip4, { place }: Ask): boolean {
    return server === this.#options.address || server === place.serverId;
  }

  #inform(ask: Ask): Outcome {
    const { message, origin, place } = ask;
    // Some clients leave ciaddr empty; the packet's source is the same address then.
    const ciaddr = message.ciaddr === NONE ? origin.source : message.ciaddr;
    if (this.table.poolOf(ciaddr) !== place.pool) return silent(Ignored.OtherSubnet);
    return { reply: this.#replies.inform(ask, ciaddr), changes: [] };
  }

  #refuse(ask: Ask, why: string): Outcome {
    return { reply: this.#replies.refuse(ask, why), changes: [] };
  }

  #describe(ask: Ask): Pick<LeaseRecord, 'mac' | 'hostname' | 'port'> {
    const { hostname } = this.#replies.naming(ask);
    return { mac: ask.client.mac, hostname, port: ask.origin.port };
  }
}

/**
 * Does a message that ends a lease come from where it was last seen? Whoever knows a MAC can write it; a guest that moved has
 * asked for its address again where it is now.
 */
const isFrom = ({ origin }: Ask, { record }: Lease): boolean =>
  record.port === '' || record.port === origin.port;

const sameRecord = (a: LeaseRecord, b: LeaseRecord): boolean =>
  a.key === b.key &&
  a.state === b.state &&
  a.expiresS === b.expiresS &&
  a.mac === b.mac &&
  a.hostname === b.hostname &&
  a.port === b.port;
