/**
 * The DHCP server of one subnet, RFC 2131 §4.3, without clock, socket or disk: a message and the time go in, and what to
 * send and what to keep come out. The caller must have the changes on disk before it sends an ACK.
 *
 *   DISCOVER              offer: present address, else the former one, else the one asked for, else any
 *   REQUEST  54 + 50      SELECTING: ACK, NAK when the address is gone; another server chosen: free our offer
 *   REQUEST  50           INIT-REBOOT: ACK, NAK when wrong; silence for a client that we know nothing of
 *   REQUEST  ciaddr       RENEWING, REBINDING: ACK, NAK when wrong
 *   DECLINE, RELEASE      no reply
 *   INFORM                ACK without an address
 *
 * It is the only server of its subnet, so it answers with NAK where a wrong address is claimed.
 */
import type { Ip4, Mac } from '../../wire/address.ts';
import {
  BROADCAST_FLAG,
  bytes32,
  CLIENT_PORT,
  Code,
  type DhcpMessage,
  ETHERNET,
  int32,
  MessageType,
  REPLY,
  SERVER_PORT,
  uint16,
  uint32,
} from '../../wire/dhcp.ts';
import { release } from './ends.ts';
import { PACKET_OVERHEAD } from './frame.ts';
import { type Change, type Lease, type LeaseRecord, LeaseState, LeaseTable, type Pool } from './leases.ts';

/** Why a message that was understood got no reply. */
export enum Ignored {
  OtherServer = 1,
  UnknownClient,
  UnknownRelay,
  OtherSubnet,
  PoolExhausted,
  OffersExhausted,
  ClientIdTooLong,
  /** No address where one is needed, or a type that only servers send. */
  Inconsistent,
}

export interface ServerOptions {
  /** Option 54, and the source of every reply. */
  readonly address: Ip4;
  readonly network: Ip4;
  readonly mask: Ip4;
  readonly pool: Pool;
  readonly leaseTimeS: number;
  /** How long an offered address is held. */
  readonly offerTimeS: number;
  /** How long a declined address is given to nobody. */
  readonly quarantineS: number;
  /** Offers that may be out at once. */
  readonly maxOffers: number;
  /** Addresses that may have a record, in memory and on disk. */
  readonly maxRecords: number;
  /** IP MTU, bytes: what a reply must fit, whatever the client says that it takes. */
  readonly mtu: number;
  /** The options for clients, in order of importance; those of the protocol itself are the server's own. */
  configured(): ReadonlyMap<number, Uint8Array>;
}

/** Where a message came from. */
export interface Origin {
  readonly source: Ip4;
  readonly mac: Mac;
  /** Name of the port. */
  readonly port: string;
}

export interface Reply {
  readonly message: DhcpMessage;
  readonly destination: Ip4;
  readonly destinationMac: Mac;
  readonly destinationPort: number;
  /** Bytes that the message may have. */
  readonly limit: number;
}

export interface Outcome {
  readonly reply?: Reply;
  readonly ignored?: Ignored;
  /** In the order in which they were made. Offers are not among them: they need not survive. */
  readonly changes: readonly Change[];
  /** The client has no claim to what it is offered, and it is on our network: somebody else there may use the address. */
  readonly unclaimed?: boolean;
}

const NONE = 0 as Ip4;
const BROADCAST = -1 as Ip4;
const BROADCAST_MAC: Mac = { hi: 0xffff, lo: -1 };
/** RFC 2131 §2: what every client takes, and the least that option 57 may say; IP header included. */
const MIN_MAX_SIZE = 576;
const MAX_CLIENT_ID = 255;
const MAX_HOST_NAME = 63;
const QUIET: Outcome = { changes: [] };
const silent = (ignored: Ignored): Outcome => ({ ignored, changes: [] });
const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');

/** Who a client is: option 61 where it sent one, else its hardware address. RFC 2131 §4.2. */
export function clientKey(message: DhcpMessage): string {
  const id = message.options.get(Code.ClientId);
  if (id !== undefined && id.length > 0) return `id:${hex(id)}`;
  return `hw:${message.htype}:${hex(message.chaddr)}`;
}

/** The host name in option 12 as far as it is one: it is shown to people and served by DNS. */
function hostName(message: DhcpMessage): string {
  const value = message.options.get(Code.HostName);
  if (value === undefined) return '';
  const text = String.fromCharCode(...value.subarray(0, MAX_HOST_NAME));
  return text.replace(/[^A-Za-z0-9.-]/g, '');
}

const colons = (chaddr: Uint8Array): string => (hex(chaddr).match(/../g) ?? []).join(':');

const address = (message: DhcpMessage, code: Code): Ip4 | undefined => {
  const value = message.options.get(code);
  return value === undefined ? undefined : (int32(value) as Ip4);
};

export class DhcpServer {
  readonly table: LeaseTable;
  readonly #options: ServerOptions;

  constructor(options: ServerOptions, records: readonly LeaseRecord[]) {
    this.#options = options;
    this.table = new LeaseTable(options.pool, options.maxRecords);
    for (const record of records) this.#restore(record);
  }

  /** Answers one message. `nowS` is Unix time in whole seconds. */
  handle(message: DhcpMessage, origin: Origin, nowS: number): Outcome {
    if (message.giaddr !== NONE && !this.#inSubnet(message.giaddr)) return silent(Ignored.UnknownRelay);
    const id = message.options.get(Code.ClientId);
    if (id !== undefined && id.length > MAX_CLIENT_ID) return silent(Ignored.ClientIdTooLong);
    if (!id?.length && message.chaddr.length === 0) return silent(Ignored.Inconsistent); // nobody: RFC 4390 §2.1
    switch (message.type) {
      case MessageType.Discover:
        return this.#discover(message, origin, nowS);
      case MessageType.Request:
        return this.#request(message, origin, nowS);
      case MessageType.Decline:
        return this.#decline(message, origin, nowS);
      case MessageType.Release:
        return this.#release(message, nowS);
      case MessageType.Inform:
        return this.#inform(message, origin);
      default:
        return silent(Ignored.Inconsistent);
    }
  }

  /** Takes changes back that did not get to disk. */
  undo(changes: readonly Change[]): void {
    for (const change of changes.toReversed()) this.table.set(change.ip, change.before);
  }

  /** Of two records of one client (its first address was given away in an offer) the later one counts. */
  #restore(record: LeaseRecord): void {
    if (!this.table.inPool(record.ip) || this.table.size >= this.#options.maxRecords) return;
    const other = record.key === '' ? undefined : this.table.byKey(record.key);
    if (other !== undefined) {
      if (other.record.expiresS >= record.expiresS) return;
      this.table.set(other.record.ip, undefined);
    }
    this.table.set(record.ip, record);
  }

  #discover(message: DhcpMessage, origin: Origin, nowS: number): Outcome {
    const { table } = this;
    const key = clientKey(message);
    let lease = table.byKey(key);
    const holds = lease !== undefined && lease.offeredUntilS > nowS;
    if (!holds && table.outstanding(nowS) >= this.#options.maxOffers) return silent(Ignored.OffersExhausted);
    if (lease === undefined) {
      const wanted = address(message, Code.RequestedAddress);
      const ip = wanted !== undefined && table.isFree(wanted, nowS) ? wanted : table.next(nowS);
      if (ip === undefined) return silent(Ignored.PoolExhausted);
      table.set(ip, { ...this.#describe(message, origin), ip, key, state: LeaseState.Offered, expiresS: 0 });
      lease = table.byIp(ip) as Lease;
    }
    const claims = holds || lease.record.state !== LeaseState.Offered || message.giaddr !== NONE;
    table.hold(lease, nowS + this.#options.offerTimeS);
    const reply = this.#grant(message, origin, MessageType.Offer, lease.record.ip);
    return { reply, changes: [], unclaimed: !claims };
  }

  #request(message: DhcpMessage, origin: Origin, nowS: number): Outcome {
    const server = address(message, Code.ServerId);
    const lease = this.table.byKey(clientKey(message));
    if (server !== undefined && server !== this.#options.address) {
      if (lease !== undefined) this.#withdraw(lease);
      return silent(Ignored.OtherServer);
    }
    const renewing = message.ciaddr !== NONE;
    const wanted = renewing ? message.ciaddr : address(message, Code.RequestedAddress);
    if (wanted === undefined) return silent(Ignored.Inconsistent);
    if (!this.#inSubnet(wanted)) return this.#refuse(message, origin, 'address of another network');
    if (lease?.record.ip === wanted) return this.#bind(message, origin, wanted, nowS);
    // Only INIT-REBOOT tells us nothing that would let us judge: another server may know the client, RFC 2131 §4.3.2.
    if (lease === undefined && server === undefined && !renewing) return silent(Ignored.UnknownClient);
    // A client that knows our offer, or uses an address, which we do not remember: we lost our memory, and believe it.
    const believed = server !== undefined || lease === undefined;
    if (believed && this.table.isFree(wanted, nowS)) return this.#bind(message, origin, wanted, nowS);
    return this.#refuse(
      message,
      origin,
      lease === undefined ? 'address in use' : 'address of another client',
    );
  }

  /** Frees an offer that the client did not take. */
  #withdraw(lease: Lease): void {
    if (lease.record.state === LeaseState.Offered) this.table.set(lease.record.ip, undefined);
    else this.table.endOffer(lease);
  }

  #bind(message: DhcpMessage, origin: Origin, ip: Ip4, nowS: number): Outcome {
    const { table } = this;
    const key = clientKey(message);
    const changes: Change[] = [];
    const former = table.byKey(key);
    if (former !== undefined && former.record.ip !== ip) changes.push(table.set(former.record.ip, undefined));
    const present = table.byIp(ip)?.record;
    const until = nowS + this.#leaseTimeS(message);
    // A client may ask for less than it was promised before, but the address stays its own till the later time.
    const promised = present?.key === key && present.state === LeaseState.Bound ? present.expiresS : 0;
    const described = this.#describe(message, origin);
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
    return { reply: this.#grant(message, origin, MessageType.Ack, ip), changes };
  }

  #decline(message: DhcpMessage, origin: Origin, nowS: number): Outcome {
    const lease = this.#ownLease(message, address(message, Code.RequestedAddress));
    if (typeof lease === 'number') return silent(lease);
    this.table.endOffer(lease);
    const change = this.table.set(lease.record.ip, {
      ...this.#describe(message, origin),
      ip: lease.record.ip,
      key: '',
      state: LeaseState.Declined,
      expiresS: nowS + this.#options.quarantineS,
    });
    return { changes: [change] };
  }

  #release(message: DhcpMessage, nowS: number): Outcome {
    const lease = this.#ownLease(message, message.ciaddr);
    if (typeof lease === 'number') return silent(lease);
    if (lease.record.state !== LeaseState.Bound) {
      this.#withdraw(lease);
      return QUIET;
    }
    return { changes: [release(this.table, lease, nowS)] };
  }

  /** The client's lease if it is the one that the message is about, and the message is for us. */
  #ownLease(message: DhcpMessage, ip: Ip4 | undefined): Lease | Ignored {
    const server = address(message, Code.ServerId);
    if (server !== undefined && server !== this.#options.address) return Ignored.OtherServer;
    const lease = this.table.byKey(clientKey(message));
    return lease !== undefined && lease.record.ip === ip ? lease : Ignored.UnknownClient;
  }

  #inform(message: DhcpMessage, origin: Origin): Outcome {
    // Some clients leave ciaddr empty; the packet's source is the same address then.
    const ciaddr = message.ciaddr === NONE ? origin.source : message.ciaddr;
    if (!this.#inSubnet(ciaddr)) return silent(Ignored.OtherSubnet);
    const reply = this.#reply({ ...message, ciaddr }, origin, MessageType.Ack, NONE, new Map());
    return { reply, changes: [] };
  }

  #refuse(message: DhcpMessage, origin: Origin, why: string): Outcome {
    const text = new Map([[Code.Message as number, new TextEncoder().encode(why)]]);
    return { reply: this.#reply(message, origin, MessageType.Nak, NONE, text), changes: [] };
  }

  /** An OFFER or ACK of an address, with its times. */
  #grant(message: DhcpMessage, origin: Origin, type: MessageType, ip: Ip4): Reply {
    const leaseTimeS = this.#leaseTimeS(message);
    const times = new Map<number, Uint8Array>([
      [Code.LeaseTime, bytes32(leaseTimeS)],
      [Code.RenewalTime, bytes32(Math.floor(leaseTimeS / 2))],
      [Code.RebindingTime, bytes32(Math.floor((leaseTimeS * 7) / 8))],
    ]);
    return this.#reply(message, origin, type, ip, times);
  }

  #reply(
    message: DhcpMessage,
    origin: Origin,
    type: MessageType,
    yiaddr: Ip4,
    own: ReadonlyMap<number, Uint8Array>,
  ): Reply {
    const options = new Map<number, Uint8Array>([[Code.ServerId, bytes32(this.#options.address)], ...own]);
    for (const code of [Code.ClientId, Code.RelayAgent]) {
      const echoed = message.options.get(code);
      if (echoed !== undefined) options.set(code, echoed); // RFC 6842, RFC 3046 §2.2
    }
    if (type !== MessageType.Nak) this.#addRequested(message, options);
    const nak = type === MessageType.Nak;
    const relayed = message.giaddr !== NONE;
    const answer: DhcpMessage = {
      op: REPLY,
      htype: message.htype,
      hops: 0,
      xid: message.xid,
      secs: 0,
      flags: nak && relayed ? message.flags | BROADCAST_FLAG : message.flags,
      ciaddr: type === MessageType.Ack ? message.ciaddr : NONE,
      yiaddr,
      siaddr: NONE,
      giaddr: message.giaddr,
      chaddr: message.chaddr,
      type,
      options,
    };
    return { message: answer, ...destination(answer, message.ciaddr, origin), limit: this.#limit(message) };
  }

  /** Option 55: what was asked for and is configured, each once, in the client's order; all where it asks for nothing. */
  #addRequested(message: DhcpMessage, options: Map<number, Uint8Array>): void {
    const configured = this.#options.configured();
    const requested = message.options.get(Code.ParameterList) ?? [...configured.keys()].filter(byDefault);
    for (const code of requested) {
      const value = configured.get(code);
      if (value !== undefined && !options.has(code)) options.set(code, value);
    }
  }

  #limit(message: DhcpMessage): number {
    const value = message.options.get(Code.MaxSize);
    const accepted = Math.max(MIN_MAX_SIZE, value === undefined ? 0 : uint16(value));
    return Math.min(accepted, this.#options.mtu) - PACKET_OVERHEAD;
  }

  /** Option 51: a client may ask for less than is configured, never for more. */
  #leaseTimeS(message: DhcpMessage): number {
    const value = message.options.get(Code.LeaseTime);
    const requested = value === undefined ? 0 : uint32(value);
    const { leaseTimeS } = this.#options;
    return requested === 0 ? leaseTimeS : Math.min(requested, leaseTimeS);
  }

  #describe(message: DhcpMessage, origin: Origin): Pick<LeaseRecord, 'mac' | 'hostname' | 'port'> {
    return { mac: colons(message.chaddr), hostname: hostName(message), port: origin.port };
  }

  #inSubnet(ip: Ip4): boolean {
    return (ip & this.#options.mask) === this.#options.network;
  }
}

/** Option 121 replaces the router in a client that understands it, so it goes only to those that ask. RFC 3442. */
const byDefault = (code: number): boolean => code !== Code.Routes;

const sameRecord = (a: LeaseRecord, b: LeaseRecord): boolean =>
  a.key === b.key &&
  a.state === b.state &&
  a.expiresS === b.expiresS &&
  a.mac === b.mac &&
  a.hostname === b.hostname &&
  a.port === b.port;

/** RFC 2131 §4.1: where a reply goes, and to which hardware address. */
function destination(
  reply: DhcpMessage,
  ciaddr: Ip4,
  origin: Origin,
): Pick<Reply, 'destination' | 'destinationMac' | 'destinationPort'> {
  if (reply.giaddr !== NONE) {
    return { destination: reply.giaddr, destinationMac: origin.mac, destinationPort: SERVER_PORT };
  }
  const broadcast = { destination: BROADCAST, destinationMac: BROADCAST_MAC, destinationPort: CLIENT_PORT };
  if (reply.type === MessageType.Nak) return broadcast;
  const unicast = ciaddr !== NONE ? ciaddr : reply.yiaddr;
  if (ciaddr === NONE && (reply.flags & BROADCAST_FLAG) !== 0) return broadcast;
  // Another medium's hardware address is no destination for an Ethernet frame.
  if (reply.htype !== ETHERNET) return broadcast;
  const mem = new DataView(reply.chaddr.buffer, reply.chaddr.byteOffset, 6);
  const destinationMac = { hi: mem.getUint16(0), lo: mem.getInt32(2) };
  return { destination: unicast, destinationMac, destinationPort: CLIENT_PORT };
}
