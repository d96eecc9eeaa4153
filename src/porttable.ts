/** Which port has which name and index, and what is known of it outside the data plane. */
import type { Config } from './config.ts';
import { GATEWAY_PORT } from './dataplane/batch.ts';
import { UPLINK_PORT } from './dataplane/messages.ts';

export interface PortEntry {
  readonly index: number;
  readonly name: string;
  kind: string;
  netns: string | undefined;
  up: boolean;
}

/** What the uplink's port is called; undefined: there is none. */
const uplinkPort = (config: Config): string | undefined =>
  config.uplink.kind === 'none' ? undefined : uplinkName(config);

/** The LAN's interface, or as the switch is called, and the tun with it. */
export const uplinkName = ({ name, uplink }: Config): string =>
  uplink.kind === 'bridge' ? uplink.interface : name;

export class PortTable {
  readonly entries: readonly PortEntry[];
  readonly #turned: (name: string, up: boolean) => void;

  /** `turned` is called when a port goes up or down. */
  constructor(config: Config, turned: (name: string, up: boolean) => void) {
    this.#turned = turned;
    const names = config.taps.map(tap => tap.name);
    const entry = (name: string, index: number): PortEntry => ({
      index,
      name,
      kind: '-',
      netns: undefined,
      up: false,
    });
    const uplink = uplinkPort(config);
    this.entries = [
      ...(uplink === undefined ? [] : [entry(uplink, UPLINK_PORT)]),
      ...names.map((name, at) => entry(name, UPLINK_PORT + 1 + at)),
    ];
  }

  indexOf = (name: string): number => this.#find(name).index;

  nameOf = (index: number): string =>
    index === GATEWAY_PORT
      ? 'gateway'
      : (this.entries.find(entry => entry.index === index)?.name ?? `port ${index}`);

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

  #find(name: string): PortEntry {
    const entry = this.entries.find(candidate => candidate.name === name);
    if (entry === undefined) throw new Error(`there is no port ${name}`);
    return entry;
  }
}
