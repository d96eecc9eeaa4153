/**
 * The DHCP service: frames in, frames out, leases on disk in between.
 *
 *   handle ─ queue ─┬─ parse ─ server ─┬─ stage ─ commit ─┬─ send
 *                   └ one turn's burst ┘    one fsync     └ nothing leaves before it
 *
 * What arrives in one turn of the event loop is answered together: all of it is worked out, written in one transaction,
 * and only then sent. If that fails, memory goes back to what the disk says and no ACK of the burst leaves; the clients
 * ask again.
 */
import { formatIp4, formatMac, type Ip4, type Mac } from '../../wire/address.ts';
import { emit, Fault, MessageType, parse, REQUEST, SERVER_PORT } from '../../wire/dhcp.ts';
import { openFrame, sealFrame } from './frame.ts';
import { type Change, type Lease, LeaseState } from './leases.ts';
import { OptionPolicy, type PolicySettings } from './options.ts';
import type { PoolSettings } from './pools.ts';
import { FairQueue } from './queue.ts';
import type { Reply } from './reply.ts';
import { DhcpServer, Ignored, type Origin } from './server.ts';
import type { LeaseStore } from './store.ts';

/** How long the answer of `resolvers` is believed. */
const RESOLVERS_MS = 5_000;
/** A guest may ask with as many MACs as it likes: the operator is told of it this seldom. */
const EXHAUSTED_MS = 600_000;
const OFFER_TIME_S = 60;
const QUARANTINE_S = 600;
const MAX_OFFERS = 4_096;
const MAX_RECORDS = 65_536;

export interface DhcpServiceOptions extends Partial<Omit<PolicySettings, 'address' | 'pools'>> {
  readonly network: Ip4;
  readonly mask: Ip4;
  readonly broadcast: Ip4;
  readonly gateway: Ip4;
  readonly gatewayMac: Mac;
  readonly natAddress: Ip4;
  readonly mtu: number;
  /** As in `DhcpConfig`. */
  readonly first: Ip4;
  readonly last: Ip4;
  readonly leaseTimeS: number;
  /** Empty: what `resolvers` says. */
  readonly dns: readonly Ip4[];
  readonly domain: string;
  /** Networks behind relays, beside the subnet. */
  readonly pools?: readonly PoolSettings[];
  readonly offerTimeS?: number;
  readonly quarantineS?: number;
  readonly maxOffers?: number;
  readonly maxRecords?: number;

  readonly store: LeaseStore;
  /** Takes a finished frame for a port. */
  send(frame: Uint8Array, egress: number): void;
  /** The host's own name servers, as far as guests can use them. */
  resolvers(): readonly Ip4[];
  portName(index: number): string;
  log(level: 'warn' | 'error', sentence: string): void;
  /** Leases have changed, in this order, and the changes are on disk. */
  changed?(changes: readonly Change[]): void;
  /** Unix time, ms: only what `leases` compares with. */
  now(): number;
}

export interface LeaseView {
  readonly address: string;
  readonly mac: string;
  /** `id:` and option 61, or `hw:`, type and hardware address, in hexadecimal; or `port:` and its name. */
  readonly client: string;
  readonly hostname?: string;
  readonly state: string;
  readonly port?: string;
  /** Unix time, seconds. */
  readonly expires: number;
}

/** Counters by name; every name is there from the start. */
export interface DhcpCounters {
  /** By message type. */
  readonly received: Record<string, number>;
  readonly sent: Record<string, number>;
  /** Got no reply: by fault of the message, or by the server's reason. */
  readonly ignored: Record<string, number>;
}

interface Arrival {
  readonly frame: Uint8Array;
  readonly ingress: number;
  readonly nowMs: number;
}

const names = (values: Record<string, string | number>): Record<string, number> =>
  Object.fromEntries(Object.keys(values).flatMap(key => (/^\d+$/.test(key) ? [] : [[key, 0]])));

export class DhcpService {
  readonly counters: DhcpCounters = {
    received: names(MessageType),
    sent: names(MessageType),
    ignored: { ...names(Fault), ...names(Ignored), NotDhcp: 0, QueueFull: 0, NotStored: 0 },
  };
  readonly #options: DhcpServiceOptions;
  readonly #policy: OptionPolicy;
  readonly #server: DhcpServer;
  readonly #queue = new FairQueue<Arrival>();
  #running: Promise<void> | undefined;
  #closed = false;
  #configuredAtMs = Number.NEGATIVE_INFINITY;
  #warnedOfResolvers = false;
  #exhaustedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: DhcpServiceOptions) {
    this.#options = options;
    const { network, mask, broadcast, gateway, natAddress, first, last, leaseTimeS, mtu } = options;
    const { hosts = [], options: given = [], tags = [], boots = [] } = options;
    const subnet = { network, mask, broadcast, router: gateway, first, last };
    const pools = [subnet, ...(options.pools ?? [])];
    this.#policy = new OptionPolicy({ address: gateway, pools, hosts, options: given, tags, boots });
    this.#server = new DhcpServer(
      {
        address: gateway,
        pools,
        hosts,
        excluded: [natAddress],
        policy: this.#policy,
        leaseTimeS,
        mtu,
        offerTimeS: options.offerTimeS ?? OFFER_TIME_S,
        quarantineS: options.quarantineS ?? QUARANTINE_S,
        maxOffers: options.maxOffers ?? MAX_OFFERS,
        maxRecords: options.maxRecords ?? MAX_RECORDS,
        warn: sentence => options.log('warn', sentence),
      },
      options.store.load(),
    );
  }

  /**
   * Takes a punted frame, which the caller must not change afterwards. `nowMs` is Unix time: leases outlive the process.
   * Never throws; replies follow through `send`.
   */
  handle(frame: Uint8Array, ingress: number, nowMs: number): void {
    if (this.#closed) return;
    if (!this.#queue.push({ frame, ingress, nowMs }, ingress)) {
      this.#ignore('QueueFull');
      return;
    }
    this.#running ??= new Promise(resolve => setImmediate(resolve)).then(() => this.#work());
  }

  /** Resolves when everything that was handed in has been answered. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** Every lease that is or was, without offers that ran out. */
  leases(): LeaseView[] {
    const nowS = Math.floor(this.#options.now() / 1000);
    const views: LeaseView[] = [];
    for (const lease of this.#server.table.all()) {
      const state = stateOf(lease, nowS);
      if (state === undefined) continue;
      const { ip, mac, key, hostname, port } = lease.record;
      views.push({
        address: formatIp4(ip),
        mac,
        client: key,
        ...(hostname === '' ? {} : { hostname }),
        state,
        ...(port === '' ? {} : { port }),
        expires: state === 'offered' ? lease.offeredUntilS : lease.record.expiresS,
      });
    }
    return views;
  }

  /** Answers what has arrived and closes the store. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.settled();
    this.#options.store.close();
  }

  async #work(): Promise<void> {
    while (this.#queue.size > 0) await this.#answer(this.#queue.take());
    this.#running = undefined;
  }

  async #answer(burst: readonly Arrival[]): Promise<void> {
    const { store } = this.#options;
    const replies: { reply: Reply; ingress: number }[] = [];
    const changes: Change[] = [];
    for (const arrival of burst) {
      const outcome = this.#process(arrival);
      if (outcome.reply !== undefined) replies.push({ reply: outcome.reply, ingress: arrival.ingress });
      changes.push(...outcome.changes);
    }
    for (const change of changes) store.stage(change.ip, change.after);
    const stored = await this.#commit(changes);
    if (stored && changes.length > 0) this.#options.changed?.(changes);
    for (const { reply, ingress } of replies) {
      if (stored || reply.message.type !== MessageType.Ack) this.#send(reply, ingress);
      else this.#ignore('NotStored');
    }
  }

  async #commit(changes: readonly Change[]): Promise<boolean> {
    try {
      await this.#options.store.commit();
      return true;
    } catch (error) {
      this.#server.undo(changes);
      const why = error instanceof Error ? error.message : String(error);
      this.#options.log('error', `leases could not be written, so no address was acknowledged: ${why}`);
      return false;
    }
  }

  #process({ frame, ingress, nowMs }: Arrival): { reply?: Reply; changes: readonly Change[] } {
    const datagram = openFrame(frame);
    const message = datagram === undefined ? undefined : parse(datagram.payload);
    if (datagram === undefined || message === undefined) return this.#ignored('NotDhcp');
    if (typeof message === 'number') return this.#ignored(Fault[message]!);
    if (message.op !== REQUEST) return this.#ignored(Fault[Fault.NotRequest]!);
    this.counters.received[MessageType[message.type]!]!++;
    this.#refresh(nowMs);
    const origin = {
      source: datagram.source,
      destination: datagram.destination,
      mac: datagram.sourceMac,
      port: this.#options.portName(ingress),
    };
    const outcome = this.#server.handle(message, origin, Math.floor(nowMs / 1000));
    if (outcome.ignored !== undefined) this.#ignore(Ignored[outcome.ignored]!);
    if (outcome.ignored === Ignored.PoolExhausted) this.#sayExhausted(origin, nowMs);
    return outcome;
  }

  #send(reply: Reply, ingress: number): void {
    const envelope = {
      sourceMac: this.#options.gatewayMac,
      destinationMac: reply.destinationMac,
      source: this.#options.gateway,
      destination: reply.destination,
      sourcePort: SERVER_PORT,
      destinationPort: reply.destinationPort,
    };
    this.counters.sent[MessageType[reply.message.type]!]!++;
    // A reply goes where the question came from: nobody else on the network has business with it.
    this.#options.send(sealFrame(envelope, emit(reply.message, reply.limit)), ingress);
  }

  #sayExhausted({ mac, port }: Origin, nowMs: number): void {
    if (Math.abs(nowMs - this.#exhaustedAtMs) < EXHAUSTED_MS) return;
    this.#exhaustedAtMs = nowMs;
    this.#options.log(
      'warn',
      `${formatMac(mac.hi, mac.lo)} on ${port} gets no address, as none is left; give more (--dhcp-range, --pool) or for less long (--lease-time)`,
    );
  }

  #ignore(reason: string): void {
    this.counters.ignored[reason]!++;
  }

  #ignored(reason: string): { changes: readonly Change[] } {
    this.#ignore(reason);
    return { changes: [] };
  }

  /** Looks again, now and then, which name servers the host uses. */
  #refresh(nowMs: number): void {
    if (Math.abs(nowMs - this.#configuredAtMs) < RESOLVERS_MS) return;
    this.#configuredAtMs = nowMs;
    const options = this.#options;
    const dns = options.dns.length > 0 ? options.dns : options.resolvers();
    if (dns.length === 0 && !this.#warnedOfResolvers)
      options.log(
        'warn',
        'the host has no name server that guests can use, so they are given none; --dns names one',
      );
    this.#warnedOfResolvers = dns.length === 0;
    this.#policy.refresh({ mtu: options.mtu, dns, domain: options.domain });
  }
}

/** What to call a record's state; undefined when there is nothing left of it to show. */
function stateOf(lease: Lease, nowS: number): string | undefined {
  const { state, expiresS } = lease.record;
  if (state === LeaseState.Bound) return expiresS > nowS ? 'bound' : 'expired';
  if (state === LeaseState.Released) return 'released';
  if (state === LeaseState.Declined) return expiresS > nowS ? 'declined' : undefined;
  return lease.offeredUntilS > nowS ? 'offered' : undefined;
}
