/**
 * The DNS service with its wires: questions come from the data plane and from the host's sockets, names from leases, answers
 * of the rest from the host's resolvers.
 *
 *   data plane ─ punt ─ service ─┐             ┌ zone ── leases, reservations, records
 *   host's address, port 53 ─ listener ─ resolver ─ upstreams
 *
 * Where egress rules have domains, what guests are told is learnt before it is sent.
 */
import { networkInterfaces } from 'node:os';
import { monotonicMs } from './clock.ts';
import type { DnsConfig } from './config/dns.ts';
import type { Config } from './config.ts';
import type { DnsView, LeaseView } from './control/views.ts';
import { UPLINK_PORT } from './dataplane/messages.ts';
import type { Plane } from './dataplane/plane.ts';
import { ownMac } from './identity.ts';
import type { Log } from './log.ts';
import { PACKET_OVERHEAD } from './service/datagram.ts';
import { SocketExchange } from './service/dns/exchange.ts';
import { DnsListener } from './service/dns/listen.ts';
import { Resolver } from './service/dns/resolver.ts';
import { DnsService, isDns } from './service/dns/service.ts';
import type { Upstream } from './service/dns/upstream.ts';
import { hostUpstreams } from './service/dns/upstreams.ts';
import { Zone } from './service/dns/zone.ts';
import type { NameService } from './service/names/service.ts';
import { formatIp4, type Ip4, parseIp4 } from './wire/address.ts';
import { DNS_PORT } from './wire/dns.ts';

const MAX_CACHE_BYTES = 16 << 20;
/** Who is not a guest's port, for the resolver's shares. By TCP the host sees no ports, and addresses are a guest's to choose. */
const [HOST, GUESTS_BY_TCP] = [-1, -2];
/** How long the list of the host's addresses is believed. */
const ADDRESSES_MS = 5_000;

export interface NamingParts {
  readonly config: Config;
  readonly plane: Plane;
  /** Learns what guests are told; undefined: nobody wants to know. */
  readonly watched: NameService | undefined;
  readonly log: Log;
}

/** The zone of a configuration. */
export const zoneOf = (
  { subnet, dhcp }: Pick<Config, 'subnet' | 'dhcp'>,
  { domain, records }: DnsConfig,
  nowMs: () => number,
  warn: (sentence: string) => void,
): Zone =>
  new Zone({
    domain,
    records,
    gateway: subnet.gateway,
    network: subnet.network,
    mask: subnet.mask,
    hosts: dhcp?.hosts ?? [],
    log: (_level, sentence) => warn(sentence),
    nowS: () => Math.floor(nowMs() / 1000),
  });

export class Naming {
  #zone: Zone;
  readonly #parts: NamingParts;
  #dns: DnsConfig;
  #upstreams: () => readonly Upstream[];
  readonly #resolver: Resolver;
  readonly #service: DnsService;
  #listener: DnsListener | undefined;
  #own: ReadonlySet<string> = new Set();
  #ownAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: NamingParts, dns: DnsConfig) {
    const { config, plane, watched, log } = parts;
    const { gateway } = config.subnet;
    this.#parts = parts;
    this.#dns = dns;
    this.#upstreams = upstreamsOf(dns, gateway, log);
    this.#zone = zoneOf(config, dns, Date.now, sentence => log.warn(sentence));
    this.#resolver = new Resolver({
      local: { answer: (query, question) => this.#zone.answer(query, question) },
      upstreams: () => this.#upstreams(),
      exchange: new SocketExchange(),
      maxCacheBytes: MAX_CACHE_BYTES,
      maxUdpBytes: config.mtu - PACKET_OVERHEAD,
      nowMs: monotonicMs,
      log: (level, sentence) => log[level](sentence),
    });
    const gatewayMac = ownMac(config.name, 'gateway');
    this.#service = new DnsService({
      gateway,
      gatewayMac,
      resolver: this.#resolver,
      send: (frame, egress) => {
        if (watched === undefined) return plane.inject(frame, egress);
        watched.handle(frame, monotonicMs(), egress); // by its port: whoever is called so elsewhere hears nothing
        return true;
      },
    });
    plane.on('punt', (frame, ingress) => {
      if (isDns(frame) && ingress !== UPLINK_PORT) this.#service.handle(frame, ingress);
    });
  }

  /** What is answered here. */
  get zone(): Zone {
    return this.#zone;
  }

  /** Other records, reservations and upstreams, from the next question on. */
  reconfigure(config: Pick<Config, 'subnet' | 'dhcp'>, dns: DnsConfig, leases: readonly LeaseView[]): void {
    const { log } = this.#parts;
    if (JSON.stringify(dns.upstreams) !== JSON.stringify(this.#dns.upstreams))
      this.#upstreams = upstreamsOf(dns, config.subnet.gateway, log);
    this.#dns = dns;
    this.#zone = zoneOf(config, dns, Date.now, sentence => log.warn(sentence));
    this.load(leases);
  }

  /** Leases that there are already. */
  load(leases: readonly LeaseView[]): void {
    for (const { address, hostname, state, expires } of leases)
      if (state === 'bound') this.zone.lease(parseIp4(address)!, hostname ?? '', expires);
  }

  /** Takes the gateway's address on the host; the switch goes on without, where somebody else has the port. */
  async listen(): Promise<void> {
    const { config, watched, log } = this.#parts;
    if (config.uplink.kind !== 'tun') return;
    const { gateway } = config.subnet;
    const listener = new DnsListener({
      address: formatIp4(gateway),
      resolver: this.#resolver,
      client: address => this.#clientAt(address),
      answered: (address, response) => {
        const guest = watched === undefined ? undefined : this.#guestAt(address);
        if (guest !== undefined) watched?.learn(gateway, guest, response, monotonicMs());
      },
    });
    try {
      await listener.listen();
      this.#listener = listener;
    } catch (error) {
      await listener.close();
      const { code } = error as NodeJS.ErrnoException;
      const hint =
        code === 'EACCES'
          ? 'it takes CAP_NET_BIND_SERVICE'
          : 'if a resolver listens on all addresses, let it leave this one out';
      log.warn(
        `port ${DNS_PORT} of ${formatIp4(gateway)} can't be had (${code}), so guests get names by UDP alone and this host gets none; ${hint}`,
      );
    }
  }

  async close(): Promise<void> {
    await this.#listener?.close();
    this.#resolver.close();
  }

  view(): DnsView {
    const { zone } = this;
    const { counters, cache, waiting, upstreams } = this.#resolver.view();
    const seen = new Map(upstreams.map(each => [`${each.address} ${each.port}`, each]));
    return {
      domain: this.#dns.domain,
      upstreams: this.#upstreams().map(({ address, port }) => {
        const { rttMs, queries = 0, failures = 0, alive = true } = seen.get(`${address} ${port}`) ?? {};
        return { address, queries, failures, alive, ...(rttMs === undefined ? {} : { rttMs }) };
      }),
      /** Listed when it is asked for: there may be as many as leases, and figures need none. */
      get names() {
        return zone.list();
      },
      refusedNames: zone.refused,
      cache,
      waiting,
      queries: { ...counters },
      byUdp: { ...this.#service.counters },
      byHost: { ...this.#listener?.counters },
    };
  }

  /** Guests, all as one, or the host; undefined: a stranger. */
  #clientAt(text: string): number | undefined {
    if (this.#guestAt(text) !== undefined) return GUESTS_BY_TCP;
    return this.#isOurs(text) ? HOST : undefined;
  }

  #guestAt(text: string): Ip4 | undefined {
    const ip = parseIp4(text);
    const { network, mask, gateway } = this.#parts.config.subnet;
    const inside = ip !== undefined && (ip & mask) === network;
    return inside && ip !== gateway && ip !== this.#parts.config.natAddress ? ip : undefined;
  }

  #isOurs(address: string): boolean {
    const nowMs = monotonicMs();
    if (nowMs - this.#ownAtMs >= ADDRESSES_MS) {
      this.#ownAtMs = nowMs;
      const all = Object.values(networkInterfaces()).flatMap(each => each ?? []);
      this.#own = new Set(all.map(each => each.address));
    }
    return this.#own.has(address) || address.startsWith('127.');
  }
}

function upstreamsOf({ upstreams }: DnsConfig, gateway: Ip4, log: Log): () => readonly Upstream[] {
  if (upstreams === 'host')
    return hostUpstreams({
      own: [formatIp4(gateway)],
      nowMs: monotonicMs,
      log: (level, sentence) => log[level](sentence),
    });
  const named = upstreams.map(ip => ({ address: formatIp4(ip), port: DNS_PORT }));
  return () => named;
}
