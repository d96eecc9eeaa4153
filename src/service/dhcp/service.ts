/**
 * The DHCP service: frames in, frames out, leases on disk in between.
 *
 *   handle ─ queue ─┬─ parse ─ server ─┬─ nothing to keep ─────────── send
 *                   └ one turn's burst ┘ group commit: one fsync ─── send: no ACK leaves before it
 *
 * If the disk refuses, memory goes back to what the disk says and no ACK leaves of what could not be kept; the clients
 * ask again. An offer whose address must be asked for first (probe.ts) leaves when the answer or none has come.
 */
import type { LeaseView } from '../../control/views.ts';
import { formatIp4, formatMac, type Ip4, type Mac } from '../../wire/address.ts';
import {
  type DhcpMessage,
  emitShared,
  Fault,
  MessageType,
  parse,
  REQUEST,
  SERVER_PORT,
} from '../../wire/dhcp.ts';
import { openDatagram, sealFrame } from '../datagram.ts';
import { Seldom } from '../seldom.ts';
import { GroupCommit } from './commit.ts';
import { isOffered, quarantine, releasePort } from './ends.ts';
import { Expiry } from './expiry.ts';
import { type Change, type LeaseRecord, LeaseState } from './leases.ts';
import { makeServer, QUARANTINE_S } from './make.ts';
import type { OptionPolicy, PolicySettings } from './options.ts';
import type { PoolSettings } from './pools.ts';
import { type InUse, type ProbeCounters, Prober } from './probe.ts';
import { FairQueue } from './queue.ts';
import type { Reply } from './reply.ts';
import { type DhcpServer, Ignored, type Origin } from './server.ts';
import type { LeaseStore } from './store.ts';
import { leaseOf, leaseViews, type PoolUse, poolUse } from './view.ts';

/** How long the answer of `resolvers` is believed. */
const RESOLVERS_MS = 5_000;
/** A guest may ask with as many MACs as it likes: the operator is told of it this seldom. */
const EXHAUSTED_MS = 600_000;

/** Addresses that are asked for at once; offers beyond that leave unasked. */
const MAX_PROBES = 64;
/** Leases whose end is told of in one tick. */
const MAX_ENDS = 1_024;
/** Lines about addresses in use, in a minute. */
const MAX_WARNINGS = 10;
const WARNINGS_MS = 60_000;

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
  /** How long is waited for an answer of somebody who has an address already; 0 or none: nobody is asked. */
  readonly probeMs?: number;
  readonly maxProbes?: number;
  /** Names of the ports that guests are on; without them nothing is kept for anybody. */
  readonly ports?: () => readonly string[];

  readonly store: LeaseStore;
  /** Takes a finished frame for a port. */
  send(frame: Uint8Array, egress: number): void;
  /** Takes a finished frame for everybody on the network; without it nobody is asked for an address. */
  flood?(frame: Uint8Array): void;
  /** Calls back once, so much later; a timer of Node's where none is given. */
  after?(ms: number, act: () => void): void;
  /** The host's own name servers, as far as guests can use them. */
  resolvers(): readonly Ip4[];
  portName(index: number): string;
  log(level: 'warn' | 'error', sentence: string): void;
  /** Leases have changed, in this order, and the changes are on disk. */
  changed?(changes: readonly Change[]): void;
  /** Leases have ended by themselves; before `changed` says who has the address next. */
  expired?(records: readonly LeaseRecord[]): void;
  /** Unix time, ms. */
  now(): number;
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

/** A message that was understood, and from where. */
interface Said {
  readonly message: DhcpMessage;
  readonly origin: Origin;
  readonly ingress: number;
}

/** An offer that waits till its address has been asked for. */
interface HeldOffer {
  readonly said: Said;
  readonly reply: Reply;
  /** The client's, as the address is held for it. */
  readonly key: string;
}

/** What is to be done about one message: to be written, and then sent. */
interface Work {
  readonly reply?: Reply;
  /** Where the reply goes. */
  readonly ingress: number;
  readonly changes: readonly Change[];
}

const NOWHERE = -1;
const NOTHING: Work = { ingress: NOWHERE, changes: [] };

const names = (values: Record<string, string | number>): Record<string, number> =>
  Object.fromEntries(Object.keys(values).flatMap(key => (/^\d+$/.test(key) ? [] : [[key, 0]])));

export class DhcpService {
  readonly counters: DhcpCounters = {
    received: names(MessageType),
    sent: names(MessageType),
    ignored: { ...names(Fault), ...names(Ignored), NotDhcp: 0, QueueFull: 0, NotStored: 0 },
  };
  #options: DhcpServiceOptions;
  #policy: OptionPolicy;
  #server: DhcpServer;
  readonly #commit: GroupCommit;
  readonly #prober: Prober<HeldOffer>;
  readonly #expiry = new Expiry();
  readonly #warnings = new Seldom(MAX_WARNINGS, WARNINGS_MS);
  readonly #exhausted = new Seldom(1, EXHAUSTED_MS);
  readonly #queue = new FairQueue<() => Work>();
  #running: Promise<void> | undefined;
  #closed = false;
  #configuredAtMs = Number.NEGATIVE_INFINITY;
  #warnedOfResolvers = false;
  #fault: string | undefined;

  constructor(options: DhcpServiceOptions) {
    this.#options = options;
    this.#commit = new GroupCommit({
      store: options.store,
      stored: changes => this.#stored(changes),
      failed: (changes, cause) => this.#notStored(changes, cause),
    });
    ({ policy: this.#policy, server: this.#server } = makeServer(options, options.store.load()));
    const nowS = Math.floor(options.now() / 1000);
    for (const { record } of this.#server.table.all())
      if (record.state === LeaseState.Bound && record.expiresS > nowS) this.#expiry.set(record.ip, record);
    this.#prober = new Prober({
      timeMs: options.flood === undefined ? 0 : (options.probeMs ?? 0),
      maxProbes: options.maxProbes ?? MAX_PROBES,
      mac: options.gatewayMac,
      send: frame => options.flood?.(frame),
      after: (ms, act) => (options.after ?? later)(ms, act),
      verdict: (ip, held, by) => this.#enqueue(() => this.#settle(ip, held, by)),
    });
  }

  /**
   * Takes a punted frame, a message or an answer to a probe, which the caller must not change afterwards. `nowMs` is Unix
   * time: leases outlive the process. Never throws; replies follow through `send`.
   */
  handle(frame: Uint8Array, ingress: number, nowMs: number): void {
    if (this.#closed || this.#prober.hear(frame, ingress)) return;
    if (this.#queue.push(() => this.#process({ frame, ingress, nowMs }), ingress)) this.#workSoon();
    else this.#ignore('QueueFull');
  }

  /**
   * Serves by other settings from the next message on. Leases and offers stay, but for those of addresses that are in no pool any
   * more: their clients are refused when they renew.
   */
  async reconfigure(settings: Partial<DhcpServiceOptions>): Promise<void> {
    // Till nothing waits for the disk: what is undone then must find its own table.
    do await this.settled();
    while (this.#commit.pending);
    const { table } = this.#server;
    this.#options = { ...this.#options, ...settings };
    ({ policy: this.#policy, server: this.#server } = makeServer(
      this.#options,
      [...table.all()].map(({ record }) => record),
    ));
    this.#server.adoptOffers(table, this.#nowS());
    this.#prober.timeMs = this.#options.flood === undefined ? 0 : (this.#options.probeMs ?? 0);
    this.#configuredAtMs = Number.NEGATIVE_INFINITY;
  }

  /** Releases the leases that were last seen on a port. */
  releasePort(port: string): void {
    this.#enqueue(() => ({
      ingress: NOWHERE,
      changes: releasePort(this.#server.table, port, this.#nowS()),
    }));
  }

  /** Tells of leases that have ended; once a second is enough. */
  tick(): void {
    const ended = this.#expiry.take(this.#nowS(), MAX_ENDS);
    if (ended.length > 0) this.#options.expired?.(ended);
  }

  /** Resolves when everything that was handed in has been answered, but for offers whose address is being asked for. */
  async settled(): Promise<void> {
    await this.#running;
    await this.#commit.settled();
  }

  /** Why leases can't be written, since they were tried to be written last; undefined: they can. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** Of addresses that were asked for before they were offered. */
  get probes(): ProbeCounters & { readonly running: number } {
    return { ...this.#prober.counters, running: this.#prober.running };
  }

  pool(): PoolUse {
    return poolUse(this.#server.table, this.#nowS());
  }

  /** Every lease that is or was, without offers that ran out. */
  leases(): LeaseView[] {
    return leaseViews(this.#server.table, this.#nowS());
  }

  /** The leases that run, as they are kept. */
  bound(): LeaseRecord[] {
    const nowS = this.#nowS();
    return [...this.#server.table.all()]
      .map(({ record }) => record)
      .filter(({ state, expiresS }) => state === LeaseState.Bound && expiresS > nowS);
  }

  /** The running lease of a machine on a port. */
  leaseOf(mac: string, port: string): LeaseView | undefined {
    return leaseOf(this.#server.table, mac, port, this.#nowS());
  }

  /** Answers what has arrived and closes the store. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.settled();
    this.#options.store.close();
  }

  /** Work of our own. */
  #enqueue(work: () => Work): void {
    if (this.#closed) return;
    this.#queue.add(work);
    this.#workSoon();
  }

  #workSoon(): void {
    this.#running ??= new Promise(resolve => setImmediate(resolve)).then(() => this.#work());
  }

  #work(): void {
    const burst = this.#queue.take();
    this.#running = undefined;
    for (const work of burst) this.#answer(work());
  }

  /** Nobody waits for the disk but those who are promised an address. */
  #answer({ reply, ingress, changes }: Work): void {
    const acknowledges = reply?.message.type === MessageType.Ack;
    if (changes.length === 0 && !(acknowledges && this.#commit.pending)) {
      if (reply !== undefined) this.#send(reply, ingress);
      return;
    }
    this.#commit.add(changes, stored => {
      if (reply === undefined) return;
      if (stored || !acknowledges) this.#send(reply, ingress);
      else this.#ignore('NotStored');
    });
  }

  #stored(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    if (this.#fault !== undefined) {
      this.#fault = undefined;
      this.#options.log('warn', 'leases are written again, and addresses acknowledged');
    }
    try {
      this.#follow(changes);
    } catch (error) {
      // A fault of ours, in whoever listens: the leases are on disk and in memory all the same, and their clients are told so.
      const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#options.log('error', `what became of leases could not be told: ${why}`);
    }
  }

  #notStored(changes: readonly Change[], cause: unknown): void {
    this.#server.undo(changes);
    const why = cause instanceof Error ? cause.message : String(cause);
    // One line till it works again: clients go on asking, and each would add one.
    if (this.#fault === undefined)
      this.#options.log(
        'error',
        `leases could not be written, so no address is acknowledged till they can be: ${why}`,
      );
    this.#fault = why;
  }

  /** Tells of what is on disk now. */
  #follow(changes: readonly Change[]): void {
    const { changed, expired } = this.#options;
    const nowS = this.#nowS();
    const ended = changes.flatMap(({ ip }) => this.#expiry.endedAt(ip, nowS) ?? []);
    for (const change of changes) {
      const { ip, after } = change;
      this.#expiry.set(ip, after?.state === LeaseState.Bound ? after : undefined);
      if (after?.state === LeaseState.Declined) this.#warnOf(after, change.conflict === true, nowS);
    }
    if (ended.length > 0) expired?.(ended);
    changed?.(changes);
  }

  #warnOf({ ip, mac, port, expiresS }: LeaseRecord, conflict: boolean, nowS: number): void {
    const what = conflict
      ? `${formatIp4(ip)} is in use by ${mac} on ${port}, which has no lease of it`
      : `${mac} on ${port} declined ${formatIp4(ip)}, as somebody else uses it`;
    this.#warn(this.#warnings, `${what}; nobody is given it for ${expiresS - nowS} s`);
  }

  /** Guests can bring it about as often as they like. */
  #warn(seldom: Seldom, sentence: string): void {
    const said = seldom.say(sentence, this.#options.now());
    if (said !== undefined) this.#options.log('warn', said);
  }

  #process({ frame, ingress, nowMs }: Arrival): Work {
    const datagram = openDatagram(frame);
    if (datagram?.destinationPort !== SERVER_PORT) return this.#ignored('NotDhcp');
    const message = parse(datagram.payload);
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
    return this.#serve({ message, origin, ingress }, Math.floor(nowMs / 1000));
  }

  /** What the server says; an offer may have to wait. */
  #serve(said: Said, nowS: number): Work {
    const { message, origin, ingress } = said;
    const { reply, ignored, changes, unclaimed } = this.#server.handle(message, origin, nowS);
    if (ignored !== undefined) this.#ignore(Ignored[ignored]!);
    if (ignored === Ignored.PoolExhausted) this.#sayExhausted(origin);
    if (reply === undefined) return { ingress, changes };
    const isOffer = reply.message.type === MessageType.Offer;
    const ip = reply.message.yiaddr;
    const held = { said, reply, key: this.#server.table.byIp(ip)?.record.key ?? '' };
    if (isOffer && this.#prober.hold(ip, origin.mac, held, unclaimed === true)) return { ingress, changes };
    return { reply, ingress, changes };
  }

  /** The address has been asked for: the offer leaves, or the next address is. */
  #settle(ip: Ip4, { said, reply, key }: HeldOffer, by: InUse | undefined): Work {
    const { table } = this.#server;
    if (!isOffered(table, ip, key)) return NOTHING; // the client has gone elsewhere meanwhile
    if (by === undefined) return { reply, ingress: said.ingress, changes: [] };
    const user = { mac: formatMac(by.mac.hi, by.mac.lo), port: this.#options.portName(by.ingress) };
    const nowS = this.#nowS();
    if (!this.#server.believes(user.port, said.origin.port, nowS)) {
      this.#warn(
        this.#warnings,
        `${user.mac} on ${user.port} answers for ${formatIp4(ip)} too, and is not believed: it claims all but the last addresses`,
      );
      return { reply, ingress: said.ingress, changes: [] };
    }
    const change = quarantine(table, ip, user, nowS + (this.#options.quarantineS ?? QUARANTINE_S));
    const next = this.#serve(said, nowS);
    return { ...next, changes: [change, ...next.changes] };
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
    this.#options.send(sealFrame(envelope, emitShared(reply.message, reply.limit)), ingress);
  }

  #sayExhausted({ mac, port }: Origin): void {
    this.#warn(
      this.#exhausted,
      `${formatMac(mac.hi, mac.lo)} on ${port} gets no address, as none is left; give more (--dhcp-range, --pool) or for less long (--lease-time)`,
    );
  }

  #ignore(reason: string): void {
    this.counters.ignored[reason]!++;
  }

  #ignored(reason: string): Work {
    this.#ignore(reason);
    return NOTHING;
  }

  #nowS(): number {
    return Math.floor(this.#options.now() / 1000);
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

function later(ms: number, act: () => void): void {
  setTimeout(act, ms).unref();
}
