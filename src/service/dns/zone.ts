/**
 * What is answered here and never asked upstream: the zone of guests' names, its reverse, the operator's records, and names
 * that are nobody's to ask about (special.ts).
 *
 *   records of the operator ─ the zone and names without a dot ─ special names ─ private reverse zones ─ undefined: upstream
 *
 * A name in the zone that is not there does not exist (NXDOMAIN); one that is there without records of the kind has no data;
 * both with the SOA that says for how long (RFC 2308). Whoever asks for a guest a moment too early shall find it right after
 * its ACK, so that is one second.
 */
import type { Answer } from 'dns-packet';
import { formatIp4, type Ip4 } from '../../wire/address.ts';
import { CLASS_IN, type Question } from '../../wire/dns.ts';
import { Rcode } from '../../wire/dnsquery.ts';
import { TYPE_SOA } from '../../wire/dnsrecords.ts';
import { readReverse, reverseName } from '../../wire/reverse.ts';
import { GATEWAY_NAME } from '../dhcp/hostnames.ts';
import type { Change } from '../dhcp/leases.ts';
import { Seldom } from '../seldom.ts';
import { type GuestName, GuestNames, type NamedHost } from './guests.ts';
import { type DnsRecord, Records } from './records.ts';
import type { Local } from './resolver.ts';
import { type Encoded, encode, respond, type Said } from './respond.ts';
import { isLocalhost, isPrivate, isPrivate6, isWithin, LOCALHOST, nowhere } from './special.ts';

const LOOPBACK = 0x7f000001;

/** The server is a wire away, and an address may be another guest's next: long enough for a burst of connections. */
const TTL_S = 30;
/** For names in the zone that are not there yet. */
const SOON_S = 1;
/** For what will never be there; RFC 6303 §3 has three hours. */
const NEVER_S = 10_800;
/** RFC 6303 §3: for what has no mailbox. */
const NOBODY = 'nobody.invalid';
/** Aliases of aliases. */
const MAX_CHAIN = 8;
/** Answers that are kept till the second ends or a lease changes: to encode one takes ten times as long as to copy it. */
const MAX_KEPT = 1_024;
/** Between two warnings of names that are taken. */
const QUIET_MS = 60_000;

const TYPES: Readonly<Record<number, DnsRecord['type'] | 'SOA' | 'NS' | 'ANY'>> = {
  1: 'A',
  2: 'NS',
  5: 'CNAME',
  6: 'SOA',
  12: 'PTR',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  33: 'SRV',
  255: 'ANY',
};
/** AXFR, IXFR: nobody is given the list. */
const TRANSFERS = [251, 252];
/** What validating resolvers ask top-level domains for: NS, SOA, DS, DNSKEY. */
const DELEGATION = [2, TYPE_SOA, 43, 48];

export interface ZoneOptions {
  readonly domain: string;
  readonly gateway: Ip4;
  readonly network: Ip4;
  readonly mask: Ip4;
  readonly hosts: readonly NamedHost[];
  readonly records: readonly DnsRecord[];
  log(level: 'warn', sentence: string): void;
  /** Unix time, seconds. */
  nowS(): number;
}

/** A name that has an address. */
export interface NameView {
  readonly name: string;
  readonly address: string;
  readonly origin: GuestName['origin'] | 'record' | 'gateway';
}

export class Zone implements Local {
  readonly #options: ZoneOptions;
  readonly #domain: string;
  readonly #guests: GuestNames;
  readonly #records: Records;
  readonly #warnings = new Seldom(1, QUIET_MS);
  /** Answers by question, as they are within a second. */
  readonly #kept = new Map<string, Encoded>();
  #keptS = Number.NaN;

  constructor(options: ZoneOptions) {
    this.#options = options;
    this.#domain = options.domain.toLowerCase();
    this.#records = new Records(options.records);
    const taken = [GATEWAY_NAME, LOCALHOST, ...this.#records.hostsIn(this.#domain)];
    this.#guests = new GuestNames(options.hosts, taken, (label, ip) => this.#warn(label, ip));
  }

  /** Guests' names that were not given to whoever claimed them later. */
  get refused(): number {
    return this.#guests.refused;
  }

  /** Leases have changed. */
  changed(changes: readonly Change[]): void {
    this.#kept.clear();
    this.#guests.apply(changes, this.#options.nowS());
  }

  /** A lease that there was at the start. */
  lease(ip: Ip4, hostname: string, expiresS: number): void {
    this.#guests.set(ip, hostname, expiresS, this.#options.nowS());
  }

  /** Guests' names, the switch's own, and those that the operator has given an address. */
  list(): NameView[] {
    const guests = this.#guests.list(this.#options.nowS());
    const view = (name: string, ip: Ip4, origin: NameView['origin']): NameView => ({
      name: `${name}.${this.#domain}`,
      address: formatIp4(ip),
      origin,
    });
    return [
      view(GATEWAY_NAME, this.#options.gateway, 'gateway'),
      ...this.#options.records.flatMap(({ name, type, data }) =>
        type === 'A' || type === 'AAAA' ? [{ name, address: data, origin: 'record' } as const] : [],
      ),
      ...guests.map(({ name, ip, origin }) => view(name, ip, origin)),
    ];
  }

  /** The response to a question that is answered here; undefined: it is to be asked upstream. */
  answer(query: Uint8Array, question: Question): Uint8Array | undefined {
    const nowS = this.#options.nowS();
    if (nowS !== this.#keptS || this.#kept.size >= MAX_KEPT) {
      this.#kept.clear();
      this.#keptS = nowS;
    }
    const key = `${question.type} ${question.class} ${question.name}`;
    let encoded = this.#kept.get(key);
    if (encoded === undefined) {
      const found = this.find(question);
      if (found === undefined) return undefined;
      encoded = encode(found);
      this.#kept.set(key, encoded);
    }
    return respond(query, question.end, encoded);
  }

  /** The same as records. */
  find({ name, type, class: klass }: Pick<Question, 'name' | 'type' | 'class'>): Said | undefined {
    const zone = this.#zoneOf(name, type);
    if (zone === undefined) return undefined;
    if (klass !== CLASS_IN || TRANSFERS.includes(type)) return said(Rcode.Refused);
    const wanted = TYPES[type];
    const aliases: Answer[] = [];
    let at = name;
    let data = this.#at(at);
    while (data !== undefined && wanted !== 'CNAME' && wanted !== 'ANY' && aliases.length < MAX_CHAIN) {
      const alias = data.find(record => record.type === 'CNAME');
      if (alias?.type !== 'CNAME') break;
      aliases.push(alias);
      at = alias.data;
      data = this.#at(at);
    }
    const found = (data ?? []).filter(record => wanted === 'ANY' || record.type === wanted);
    if (found.length > 0) return said(Rcode.NoError, [...aliases, ...found]);
    const rcode = data !== undefined || this.#records.hasBelow(at) ? Rcode.NoError : Rcode.NxDomain;
    return said(rcode, aliases, zone === '' ? [] : [this.#soa(zone)]);
  }

  /** The zone of ours that a name is in; '' of a name without a dot, which has none above it. */
  #zoneOf(name: string, type: number): string | undefined {
    if (name === '') return undefined;
    if (name === this.#domain || name.endsWith(`.${this.#domain}`)) return this.#domain;
    const special = isLocalhost(name) ? LOCALHOST : nowhere(name);
    if (special !== undefined) return special;
    // Validating guests ask of real top-level domains what the root has; of names that are here nobody outside hears.
    if (!name.includes('.'))
      return DELEGATION.includes(type) && this.#at(name) === undefined ? undefined : '';
    if (isPrivate6(name)) return name.split('.').slice(-4).join('.');
    const reverse = readReverse(name);
    if (reverse !== undefined && (isPrivate(reverse) || isWithin(reverse, this.#options)))
      return reverseName(reverse.ip, Math.min(reverse.octets, 2));
    return this.#records.at(name) === undefined ? undefined : name;
  }

  /** What there is at a name, without a dot that of the domain: an empty list is no data, undefined no such name. */
  #at(name: string): readonly Answer[] | undefined {
    const records = this.#records.at(name) ?? this.#records.at(`${name}.${this.#domain}`);
    const made = this.#made(name);
    if (records === undefined) return made;
    const own = records.map(record => ({ ...record, name, ttl: TTL_S }));
    // what the operator says of hosts and addresses is not added to
    const says = records.some(({ type }) => type !== 'TXT' && type !== 'MX' && type !== 'SRV');
    return [...own, ...(made ?? []).filter(({ type }) => !says || (type !== 'A' && type !== 'PTR'))];
  }

  /** What the switch itself knows of a name. */
  #made(name: string): readonly Answer[] | undefined {
    if (name === this.#domain) return [this.#soa(this.#domain), this.#ns()];
    if (name.includes('\\')) return undefined; // a byte that no host name has: it could not be written again
    if (isLocalhost(name))
      return [
        { name, type: 'A', ttl: TTL_S, data: '127.0.0.1' },
        { name, type: 'AAAA', ttl: TTL_S, data: '::1' },
      ];
    const label = name.endsWith(`.${this.#domain}`) ? name.slice(0, -this.#domain.length - 1) : name;
    if (label.includes('.')) return this.#reverse(name);
    const ip =
      label === GATEWAY_NAME ? this.#options.gateway : this.#guests.addressOf(label, this.#options.nowS());
    return ip === undefined ? undefined : [{ name, type: 'A', ttl: TTL_S, data: formatIp4(ip) }];
  }

  #reverse(name: string): readonly Answer[] | undefined {
    const reverse = readReverse(name);
    if (reverse === undefined || reverse.stray) return undefined;
    if (reverse.octets < 4) return [];
    const data = this.#nameOf(reverse.ip);
    return data === undefined ? undefined : [{ name, type: 'PTR', ttl: TTL_S, data }];
  }

  #nameOf(ip: Ip4): string | undefined {
    if (ip === LOOPBACK) return LOCALHOST;
    const { gateway, nowS } = this.#options;
    const label = ip === gateway ? GATEWAY_NAME : this.#guests.nameOf(ip, nowS());
    return label === undefined ? undefined : `${label}.${this.#domain}`;
  }

  #ns(): Answer {
    return { name: this.#domain, type: 'NS', ttl: TTL_S, data: `${GATEWAY_NAME}.${this.#domain}` };
  }

  #soa(zone: string): Answer {
    const ttl = zone === this.#domain || readReverse(zone) !== undefined ? SOON_S : NEVER_S;
    const data = { mname: `${GATEWAY_NAME}.${this.#domain}`, rname: NOBODY, serial: 1 };
    const times = { refresh: 3_600, retry: 1_200, expire: 604_800, minimum: ttl };
    return { name: zone, type: 'SOA', ttl, data: { ...data, ...times } };
  }

  #warn(label: string, ip: Ip4): void {
    const sentence = `the guest at ${formatIp4(ip)} calls itself ${label}, which is another's name: it gets none`;
    const said = this.#warnings.say(sentence, this.#options.nowS() * 1000);
    if (said !== undefined) this.#options.log('warn', said);
  }
}

const said = (rcode: number, answers: readonly Answer[] = [], authorities: readonly Answer[] = []): Said => ({
  rcode,
  answers,
  authorities,
});
