/** The one place where text becomes addresses and limits: options, file and defaults into one frozen Config. */
import type { Ip4 } from './wire/address.ts';

export interface Subnet {
  readonly network: Ip4;
  readonly prefix: number;
  readonly mask: Ip4;
  readonly broadcast: Ip4;
  /** The first address: the gateway's, and the host's on the uplink. */
  readonly gateway: Ip4;
  /** As it was written: `192.168.100.0/24`. */
  readonly text: string;
}

/** Which end of the tap to serve: `auto` is the interface end here and the device end elsewhere. */
export type TapEnd = 'auto' | 'device' | 'interface';

export interface TapConfig {
  readonly name: string;
  /** A name under /run/netns, or a path. */
  readonly netns?: string;
  readonly end: TapEnd;
}

export interface DhcpConfig {
  readonly first: Ip4;
  readonly last: Ip4;
  readonly leaseTimeS: number;
  /** Empty: the host's own resolvers, read from resolv.conf when it is asked for. */
  readonly dns: readonly Ip4[];
  readonly domain: string;
}

export type NatFiltering = 'endpoint' | 'address' | 'address-port';

export interface Config {
  readonly name: string;
  readonly subnet: Subnet;
  readonly taps: readonly TapConfig[];
  readonly uplink: 'tun' | 'none';
  readonly mtu: number;
  readonly ageingS: number;
  readonly maxMacs: number;
  readonly dhcp: DhcpConfig | undefined;
  readonly natAddress: Ip4;
  readonly natFiltering: NatFiltering;
  readonly maxFlows: number;
  readonly firewall: 'auto' | 'nft' | 'none';
  readonly stateDir: string;
  readonly runDir: string;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error';
}
