/**
 * What the operator wants clients to be told: for all of them, for those with a tag, for one host. The most specific counts:
 * the host's, then a tag's (of several the one given first), then what is for all, then what the network itself says.
 *
 * Nothing is put together for a message: what a client gets depends on its pool, its reservation and its tags alone, and each
 * combination that comes is kept till the network's own options change.
 */
import type { HostReservation } from '../../config.ts';
import { formatIp4, type Ip4, UNSPECIFIED } from '../../wire/address.ts';
import { bytes16, bytes32, bytesOf, Code, int32 } from '../../wire/dhcp.ts';
import { emitRoutes, hasDefaultRoute } from '../../wire/dhcpvalues.ts';
import type { PoolSettings } from './pools.ts';
import { type Facts, type TagRule, testOf } from './tags.ts';

/** Whom something is for. */
export type Scope =
  | { readonly kind: 'all' }
  | { readonly kind: 'tag'; readonly tag: string }
  | { readonly kind: 'host'; readonly name: string };

export interface GivenOption {
  readonly scope: Scope;
  readonly code: number;
  readonly value: Uint8Array;
  /** Given in hexadecimal: nothing is added to it. */
  readonly exact: boolean;
}

export interface GivenBoot {
  readonly scope: Scope;
  readonly file: string;
  /** An address, a name, or the switch itself. */
  readonly server: Ip4 | string | undefined;
}

/** What the configuration says; none of it changes while the switch runs. */
export interface PolicySettings {
  /** The server's own address. */
  readonly address: Ip4;
  readonly pools: readonly PoolSettings[];
  readonly hosts: readonly HostReservation[];
  readonly options: readonly GivenOption[];
  readonly tags: readonly TagRule[];
  readonly boots: readonly GivenBoot[];
}

/** What the network says of itself, in all pools. */
export interface NetworkOptions {
  readonly mtu: number;
  readonly dns: readonly Ip4[];
  /** Empty: none is given. */
  readonly domain: string;
}

export interface Boot {
  /** Next server; 0: it has only a name. */
  readonly siaddr: Ip4;
  readonly sname: Uint8Array | undefined;
  /** Undefined: too long for the field, so it is in option 67 alone. */
  readonly file: Uint8Array | undefined;
  /** Is the file to be had by HTTP? */
  readonly http: boolean;
}

/** What a client is told. */
export interface Told {
  /** In order of importance: what fits no more in a message is left out from the end. */
  readonly options: ReadonlyMap<number, Uint8Array>;
  /** What those get that ask for nothing in particular. */
  readonly usual: readonly number[];
  readonly boot: Boot | undefined;
}

const MAX_FILE = 127;
const MAX_SNAME = 63;
/** Combinations kept; with a hundred hosts and a few tags there are fewer. */
const MAX_KEPT = 4_096;

/**
 * What goes only to those that ask: routes replace the router in clients that understand them (RFC 3442), and a boot file
 * stands in the message's own fields.
 */
const ON_REQUEST = new Set<number>([Code.Routes, Code.MicrosoftRoutes, Code.TftpServer, Code.BootFile]);

const addresses = (list: readonly Ip4[]): Uint8Array => {
  const bytes = new Uint8Array(4 * list.length);
  for (const [i, ip] of list.entries()) bytes.set(bytes32(ip), 4 * i);
  return bytes;
};

function networkOptions(network: NetworkOptions, pool: PoolSettings): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>([
    [Code.Mask, bytes32(pool.mask)],
    [Code.Router, bytes32(pool.router)],
    [Code.Mtu, bytes16(network.mtu)],
    [Code.Broadcast, bytes32(pool.broadcast)],
  ]);
  if (network.dns.length > 0) options.set(Code.Dns, addresses(network.dns));
  if (network.domain !== '') options.set(Code.DomainName, bytesOf(network.domain));
  return options;
}

export class OptionPolicy {
  readonly #settings: PolicySettings;
  /** Tags that anything is given for, with their tests; a reservation's own need none. */
  readonly #rules: readonly { readonly tag: string; readonly test: (facts: Facts) => boolean }[];
  readonly #hosts: ReadonlyMap<HostReservation, number>;
  /** Names that are kept for guests. */
  readonly names: ReadonlySet<string>;
  readonly #plain: (Told | undefined)[] = [];
  readonly #kept = new Map<string, Told>();
  #network: NetworkOptions = { mtu: 1500, dns: [], domain: '' };

  constructor(settings: PolicySettings) {
    this.#settings = settings;
    const scopes = [...settings.options, ...settings.boots].map(({ scope }) => scope);
    const used = new Set(scopes.flatMap(scope => (scope.kind === 'tag' ? [scope.tag] : [])));
    const networks = settings.pools.map(pool => pool.network);
    this.#rules = settings.tags
      .filter(({ tag }) => used.has(tag))
      .map(({ tag, match }) => ({ tag, test: testOf(match, networks) }));
    this.names = new Set(settings.hosts.flatMap(({ name }) => (name === '' ? [] : [name])));
    this.#hosts = new Map(settings.hosts.map((host, index) => [host, index]));
  }

  /** What guests' names end with; empty: nothing. */
  get domain(): string {
    return this.#network.domain;
  }

  /** The network's own options have changed. */
  refresh(network: NetworkOptions): void {
    this.#network = network;
    this.#plain.length = 0;
    this.#kept.clear();
  }

  told(facts: Facts): Told {
    const { pool, host } = facts;
    const tagged = this.#rules.length === 0 ? '' : this.#tagged(facts);
    if (tagged === '' && host === undefined) {
      this.#plain[pool] ??= this.#make(pool, undefined, '');
      return this.#plain[pool];
    }
    const name = `${pool} ${host === undefined ? '' : this.#hosts.get(host)} ${tagged}`;
    const before = this.#kept.get(name);
    if (before !== undefined) return before;
    if (this.#kept.size >= MAX_KEPT) this.#kept.clear();
    const made = this.#make(pool, host, tagged);
    this.#kept.set(name, made);
    return made;
  }

  /** The rules that a client meets, as characters with their numbers. */
  #tagged(facts: Facts): string {
    let tagged = '';
    for (const [index, rule] of this.#rules.entries())
      if (rule.test(facts)) tagged += String.fromCharCode(index);
    return tagged;
  }

  #make(pool: number, host: HostReservation | undefined, tagged: string): Told {
    const tags = new Set(host?.tags);
    for (const letter of tagged) tags.add(this.#rules[letter.charCodeAt(0)]!.tag);
    const rank = ({ scope }: { readonly scope: Scope }): number => {
      if (scope.kind === 'all') return 2;
      const meant = scope.kind === 'tag' ? tags.has(scope.tag) : scope.name === host?.name;
      if (!meant) return -1;
      return scope.kind === 'tag' ? 1 : 0;
    };
    const settings = this.#settings.pools[pool]!;
    const options = networkOptions(this.#network, settings);
    const given = new Map<number, GivenOption>();
    for (const option of inOrder(this.#settings.options, rank))
      if (!given.has(option.code)) given.set(option.code, option);
    for (const [code, { value }] of given) options.set(code, value);
    for (const code of [Code.Routes, Code.MicrosoftRoutes]) this.#completeRoutes(options, given, code);
    if (host !== undefined && host.name !== '' && !given.has(Code.HostName))
      options.set(Code.HostName, bytesOf(host.name));
    const [first] = inOrder(this.#settings.boots, rank);
    const boot = first === undefined ? undefined : this.#boot(first, options);
    return { options, usual: [...options.keys()].filter(code => !ON_REQUEST.has(code)), boot };
  }

  /** A client that takes routes ignores the router option, so the default route stands among them too. */
  #completeRoutes(
    options: Map<number, Uint8Array>,
    given: ReadonlyMap<number, GivenOption>,
    code: number,
  ): void {
    const option = given.get(code);
    const router = options.get(Code.Router);
    if (option === undefined || option.exact || router === undefined || router.length < 4) return;
    if (hasDefaultRoute(option.value)) return;
    const byDefault = { network: UNSPECIFIED, prefix: 0, router: int32(router) as Ip4 };
    options.set(code, Uint8Array.from([...option.value, ...emitRoutes([byDefault])]));
  }

  /** Sets options 66 and 67 too, for those that ask; what was given for them counts more. */
  #boot({ file, server }: GivenBoot, options: Map<number, Uint8Array>): Boot {
    const next = server ?? this.#settings.address;
    const bytes = bytesOf(file);
    const name = bytesOf(typeof next === 'string' ? next : formatIp4(next));
    if (!options.has(Code.TftpServer)) options.set(Code.TftpServer, name);
    if (!options.has(Code.BootFile)) options.set(Code.BootFile, bytes);
    return {
      siaddr: typeof next === 'string' ? UNSPECIFIED : next,
      sname: typeof next === 'string' && name.length <= MAX_SNAME ? name : undefined,
      file: bytes.length <= MAX_FILE ? bytes : undefined,
      http: /^https?:/i.test(file),
    };
  }
}

/** Those of a rank that is not negative, the lowest first, and of one rank as they were given. */
function inOrder<T>(all: readonly T[], rank: (one: T) => number): T[] {
  return [0, 1, 2].flatMap(wanted => all.filter(one => rank(one) === wanted));
}
