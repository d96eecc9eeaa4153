/**
 * Replies: what stands in an OFFER, an ACK or a NAK, how large it may be, and where it goes (RFC 2131 §4.1, table 3).
 *
 * Options stand in this order, since what does not fit is left out from the end: the protocol's own, what is echoed, what
 * the client asked for in its order (option 55).
 */
import { type Ip4, type Mac, UNSPECIFIED as NONE } from '../../wire/address.ts';
import {
  BROADCAST_FLAG,
  bytes32,
  bytesOf,
  CLIENT_PORT,
  Code,
  type DhcpMessage,
  ETHERNET,
  MessageType,
  REPLY,
  SERVER_PORT,
  uint16,
  uint32,
} from '../../wire/dhcp.ts';
import { PACKET_OVERHEAD } from '../datagram.ts';
import type { Client } from './claims.ts';
import { type Naming, naming } from './hostnames.ts';
import type { OptionPolicy, Told } from './options.ts';
import { LOCAL, type Place } from './pools.ts';
import type { Origin } from './server.ts';
import { vendorClass } from './tags.ts';

export interface Reply {
  readonly message: DhcpMessage;
  readonly destination: Ip4;
  readonly destinationMac: Mac;
  readonly destinationPort: number;
  /** Bytes that the message may have. */
  readonly limit: number;
}

/** A message, and all that is known of it before it is answered. */
export interface Ask {
  readonly message: DhcpMessage;
  readonly origin: Origin;
  readonly place: Place;
  readonly client: Client;
  /** Unix time, whole seconds. */
  readonly nowS: number;
}

export interface ReplyOptions {
  readonly leaseTimeS: number;
  /** IP MTU, bytes: what a reply must fit, whatever the client says that it takes. */
  readonly mtu: number;
  readonly policy: OptionPolicy;
}

const BROADCAST = -1 as Ip4;
const BROADCAST_MAC: Mac = { hi: 0xffff, lo: -1 };
/** RFC 2131 §2: what every client takes, and the least that option 57 may say; IP header included. */
const MIN_MAX_SIZE = 576;
/** UEFI's HTTP boot takes an answer for its own when option 60 says so; its clients' begins the same. */
const HTTP_CLIENT = 'HTTPClient';
/** RFC 4578 §2.3: a type and a UUID. */
const MACHINE_ID_SIZE = 17;
/** RFC 6842, RFC 3046 §2.2. */
const ECHOED = [Code.ClientId, Code.RelayAgent];
const NO_OPTIONS: ReadonlyMap<number, Uint8Array> = new Map();

export class Replies {
  readonly #options: ReplyOptions;

  constructor(options: ReplyOptions) {
    this.#options = options;
  }

  /** An OFFER or ACK of an address, with its times. */
  grant(ask: Ask, type: MessageType, ip: Ip4): Reply {
    const leaseTimeS = this.leaseTimeS(ask.message);
    const times = new Map<number, Uint8Array>([
      [Code.LeaseTime, bytes32(leaseTimeS)],
      [Code.RenewalTime, bytes32(Math.floor(leaseTimeS / 2))],
      [Code.RebindingTime, bytes32(Math.floor((leaseTimeS * 7) / 8))],
    ]);
    return this.#reply(ask, type, ip, times);
  }

  refuse(ask: Ask, why: string): Reply {
    return this.#reply(ask, MessageType.Nak, NONE, new Map([[Code.Message as number, bytesOf(why)]]));
  }

  /** An ACK of an INFORM: to whom asks, without address and times. */
  inform(ask: Ask, ciaddr: Ip4): Reply {
    return this.#reply({ ...ask, message: { ...ask.message, ciaddr } }, MessageType.Ack, NONE, NO_OPTIONS);
  }

  /** Option 51: a client may ask for less than is configured, never for more. */
  leaseTimeS(message: DhcpMessage): number {
    const value = message.options.get(Code.LeaseTime);
    const requested = value === undefined ? 0 : uint32(value);
    const { leaseTimeS } = this.#options;
    return requested === 0 ? leaseTimeS : Math.min(requested, leaseTimeS);
  }

  /** What the client is called. */
  naming({ message, client }: Ask): Naming {
    const { domain, names } = this.#options.policy;
    return naming(message, client.host?.name ?? '', domain, names);
  }

  #reply(ask: Ask, type: MessageType, yiaddr: Ip4, own: ReadonlyMap<number, Uint8Array>): Reply {
    const { message, place } = ask;
    const options = new Map<number, Uint8Array>([[Code.ServerId, bytes32(place.serverId)], ...own]);
    for (const code of ECHOED) {
      const echoed = message.options.get(code);
      if (echoed !== undefined) options.set(code, echoed);
    }
    const nak = type === MessageType.Nak;
    const told = nak ? undefined : this.#tell(ask, options);
    const boot = told?.boot;
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
      siaddr: boot?.siaddr ?? NONE,
      giaddr: message.giaddr,
      chaddr: message.chaddr,
      type,
      options,
      ...(boot?.sname === undefined ? {} : { sname: boot.sname }),
      ...(boot?.file === undefined ? {} : { file: boot.file }),
    };
    return { message: answer, ...destination(answer, ask), limit: this.#limit(message) };
  }

  /** What is configured for this client, and what its own options are answered with. */
  #tell(ask: Ask, options: Map<number, Uint8Array>): Told {
    const { message, origin, place, client } = ask;
    const { policy } = this.#options;
    const port = place.direct ? origin.port : '';
    const told = policy.told({ message, mac: client.mac, port, pool: place.pool, host: client.host });
    const machine = message.options.get(Code.MachineId);
    if (machine?.length === MACHINE_ID_SIZE) options.set(Code.MachineId, machine);
    if (told.boot?.http && vendorClass(message).startsWith(HTTP_CLIENT))
      options.set(Code.VendorClass, bytesOf(HTTP_CLIENT));
    if (message.options.has(Code.ClientName)) {
      const { answer } = this.naming(ask);
      if (answer !== undefined) options.set(Code.ClientName, answer);
    }
    // Option 55: what was asked for and is configured, each once, in the client's order; all where it asks for nothing.
    for (const code of message.options.get(Code.ParameterList) ?? told.usual) {
      const value = told.options.get(code);
      if (value !== undefined && !options.has(code)) options.set(code, value);
    }
    return told;
  }

  #limit(message: DhcpMessage): number {
    const value = message.options.get(Code.MaxSize);
    const accepted = Math.max(MIN_MAX_SIZE, value === undefined ? 0 : uint16(value));
    return Math.min(accepted, this.#options.mtu) - PACKET_OVERHEAD;
  }
}

/** RFC 2131 §4.1: where a reply goes, and to which hardware address. */
function destination(
  reply: DhcpMessage,
  { message, origin, place }: Ask,
): Pick<Reply, 'destination' | 'destinationMac' | 'destinationPort'> {
  const { ciaddr } = message;
  if (reply.giaddr !== NONE) {
    return { destination: reply.giaddr, destinationMac: origin.mac, destinationPort: SERVER_PORT };
  }
  const broadcast = { destination: BROADCAST, destinationMac: BROADCAST_MAC, destinationPort: CLIENT_PORT };
  if (reply.type === MessageType.Nak) return broadcast;
  const unicast = ciaddr !== NONE ? ciaddr : reply.yiaddr;
  // A client of a pool that comes without its relay is behind the router that brought the message.
  if (place.pool !== LOCAL)
    return { destination: unicast, destinationMac: origin.mac, destinationPort: CLIENT_PORT };
  if (ciaddr === NONE && (reply.flags & BROADCAST_FLAG) !== 0) return broadcast;
  // Another medium's hardware address is no destination for an Ethernet frame.
  if (reply.htype !== ETHERNET) return broadcast;
  const mem = new DataView(reply.chaddr.buffer, reply.chaddr.byteOffset, 6);
  const destinationMac = { hi: mem.getUint16(0), lo: mem.getInt32(2) };
  return { destination: unicast, destinationMac, destinationPort: CLIENT_PORT };
}
