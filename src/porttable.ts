/**
 * Which port has which name and index, and what is known of it outside the data plane. Ports come and go; the names of the
 * configuration keep their indices, for rules about them are compiled to these.
 */
import type { Config } from './config.ts';
import { GATEWAY_PORT } from './dataplane/batch.ts';
import { UPLINK_PORT } from './dataplane/messages.ts';

export interface PortEntry {
  readonly index: number;
  readonly name: string;
  /** What it is made from, `uplink` for that. */
  readonly origin: string;
  /** How it is served now; -: it is not. */
  kind: string;
  netns: string | undefined;
  /** Is a guest there, and the port not set down? */
  up: boolean;
  /** Has the operator set it down? */
  disabled: boolean;
}

/** What the uplink's port is called; undefined: there is none. */
const uplinkPort = (config: Config): string | undefined =>
  config.uplink.kind === 'none' ? undefined : uplinkName(config);

/** The LAN's interface, or as the switch is called, and the tun with it. */
export const uplinkName = ({ name, uplink }: Config): string =>
  uplink.kind === 'bridge' ? uplink.interface : name;

/** The names of the ports that the configuration has, in the order of their indices. */
export const configuredPorts = ({ taps, ports }: Pick<Config, 'taps' | 'ports'>): readonly string[] =>
  [...taps, ...ports].map(port => port.name);

/** The index of a port that the configuration names. */
export const indexIn = (config: Config, name: string): number =>
  UPLINK_PORT + 1 + configuredPorts(config).indexOf(name);

export class PortTable {
  readonly #entries: PortEntry[] = [];
  readonly #turned: (name: string, up: boolean) => void;
  #kept: ReadonlyMap<string, number>;
  /** Indices that nobody has, the one that has been free for longest first. */
  readonly #free: number[] = [];

  /** `turned` is called when a port goes up or down. */
  constructor(config: Config, turned: (name: string, up: boolean) => void) {
    this.#turned = turned;
    const names = configuredPorts(config);
    this.#kept = new Map(names.map(name => [name, indexIn(config, name)]));
    for (let index = UPLINK_PORT + 1 + names.length; index < GATEWAY_PORT; index++) this.#free.push(index);
    const uplink = uplinkPort(config);
    if (uplink !== undefined) this.#enter(uplink, UPLINK_PORT, 'uplink');
    for (const { name } of config.taps) this.#enter(name, indexIn(config, name), 'tap');
    for (const { name, kind } of config.ports) this.#enter(name, indexIn(config, name), kind);
  }

  get entries(): readonly PortEntry[] {
    return this.#entries;
  }

  has = (name: string): boolean => this.#entries.some(entry => entry.name === name);

  /** The ports that guests are on. */
  guests = (): string[] => this.#entries.filter(({ origin }) => origin !== 'uplink').map(({ name }) => name);

  /** The index that a name has, or that is kept for it; -1: none. */
  indexFor = (name: string): number => this.find(name)?.index ?? this.#kept.get(name) ?? -1;

  /** From now on these names keep their indices, and no others; false: there are too few, and nothing has changed. */
  keep(names: readonly string[]): boolean {
    const left = [...this.#kept].filter(([name]) => !names.includes(name) && !this.has(name));
    const fresh = names.filter(name => this.indexFor(name) < 0);
    if (fresh.length > this.#free.length + left.length) return false;
    const known = names.map(name => [name, this.indexFor(name)] as const);
    this.#free.push(...left.map(([, index]) => index));
    this.#kept = new Map(
      known.map(([name, index]) => [name, index < 0 ? (this.#free.shift() as number) : index]),
    );
    return true;
  }

  /** One more port; false: there are as many as may be, or one of that name. */
  add(name: string, origin: string): boolean {
    if (this.has(name)) return false;
    const index = this.#kept.get(name) ?? this.#free.shift();
    if (index === undefined) return false;
    this.#enter(name, index, origin);
    return true;
  }

  /** What the data plane holds under its index must be forgotten by then. */
  remove(name: string): void {
    const entry = this.#find(name);
    this.carrier(name, false);
    this.#entries.splice(this.#entries.indexOf(entry), 1);
    if (!this.#kept.has(name)) this.#free.push(entry.index);
  }

  indexOf = (name: string): number => this.#find(name).index;

  nameOf = (index: number): string =>
    index === GATEWAY_PORT
      ? 'gateway'
      : (this.#entries.find(entry => entry.index === index)?.name ?? `port ${index}`);

  attached(name: string, kind: string, netns: string | undefined): void {
    const entry = this.#find(name);
    entry.kind = kind;
    entry.netns = netns;
  }

  detached(name: string): void {
    this.attached(name, '-', undefined);
    this.carrier(name, false);
  }

  /** True when that is news. */
  carrier(name: string, up: boolean): boolean {
    const entry = this.#find(name);
    const news = entry.up !== up;
    entry.up = up;
    if (news) this.#turned(name, up);
    return news;
  }

  find = (name: string): PortEntry | undefined => this.#entries.find(entry => entry.name === name);

  #enter(name: string, index: number, origin: string): void {
    const entry = { index, name, origin, kind: '-', netns: undefined, up: false, disabled: false };
    const behind = this.#entries.findIndex(other => other.index > index);
    this.#entries.splice(behind < 0 ? this.#entries.length : behind, 0, entry);
  }

  #find(name: string): PortEntry {
    const entry = this.find(name);
    if (entry === undefined) throw new Error(`there is no port ${name}`);
    return entry;
  }
}
