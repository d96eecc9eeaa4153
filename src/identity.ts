/** Who the switch is to others on its network: its addresses, from its configuration alone. */
import { createHash } from 'node:crypto';
import type { Config, DhcpConfig, EgressConfig } from './config.ts';
import type { GatewaySettings } from './dataplane/messages.ts';
import { callerMemory } from './gateway/callers.ts';
import { compile, type EgressPolicy } from './gateway/policy.ts';
import { configuredPorts, indexIn } from './porttable.ts';
import type { DhcpServiceOptions } from './service/dhcp/service.ts';
import type { Ip4, Mac } from './wire/address.ts';

/** The switch's own MACs: locally administered, the same at every start, others for another name. */
export function ownMac(name: string, role: string): Mac {
  const hash = createHash('sha256').update(`vswitchd ${role} ${name}`).digest();
  return { hi: 0x0200 | (hash[0] as number), lo: hash.readInt32BE(1) };
}

/** The policy as the gateway reads it. */
export const egressPolicy = (
  egress: EgressConfig,
  hostResolvers: readonly Ip4[],
  portOf: (name: string) => number,
): EgressPolicy =>
  compile(egress, {
    resolvers: egress.resolvers.length > 0 ? egress.resolvers : hostResolvers,
    portOf,
  });

/** What the gateway is told of the configuration, with the resolvers that the host has, where it tells of none. */
export const gatewaySettings = (config: Config, hostResolvers: readonly Ip4[] = []): GatewaySettings => ({
  network: config.subnet.network,
  mask: config.subnet.mask,
  broadcast: config.subnet.broadcast,
  gatewayIp: config.subnet.gateway,
  gatewayMac: ownMac(config.name, 'gateway'),
  uplinkMac: ownMac(config.name, 'uplink'),
  natAddress: config.natAddress,
  natFiltering: config.natFiltering,
  maxFlows: config.maxFlows,
  maxGuestFlows: config.maxGuestFlows,
  mtu: config.mtu,
  hostBehind: config.uplink.kind === 'tun',
  hostOpen: config.hostAccess === 'all',
  dhcp: config.dhcp !== undefined,
  dns: config.dns !== undefined,
  egress: egressPolicy(config.egress, hostResolvers, port => indexIn(config, port)),
  strict: config.guard === 'strict',
  callers: config.cloudInit && callerMemory(),
});

type Told = Pick<
  DhcpServiceOptions,
  | keyof DhcpConfig
  | 'ports'
  | 'network'
  | 'mask'
  | 'broadcast'
  | 'gateway'
  | 'gatewayMac'
  | 'natAddress'
  | 'mtu'
>;

/** What guests are told of names: the gateway where it serves them. No servers: the host's own, as far as guests reach them; no domain: none. */
export const toldNames = ({
  dns,
  dhcp,
  subnet,
}: Pick<Config, 'dns' | 'dhcp' | 'subnet'>): Pick<DhcpConfig, 'dns' | 'domain'> =>
  dns === undefined
    ? { dns: dhcp?.dns ?? [], domain: dhcp?.domain ?? '' }
    : { dns: [subnet.gateway], domain: dns.domain };

/** What the DHCP service is told of it; the store and the ways out are its owner's. */
export const dhcpSettings = (config: Config, dhcp: DhcpConfig): Told => ({
  ...dhcp,
  ...toldNames(config),
  network: config.subnet.network,
  mask: config.subnet.mask,
  broadcast: config.subnet.broadcast,
  gateway: config.subnet.gateway,
  gatewayMac: ownMac(config.name, 'gateway'),
  natAddress: config.natAddress,
  mtu: config.mtu,
  ports: () => configuredPorts(config),
});
