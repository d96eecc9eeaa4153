/** Which addresses of the subnet are somebody's already, and so no guest's. */
import type { Subnet } from '../config.ts';
import { formatIp4, type Ip4 } from '../wire/address.ts';

/** What settings about guests are held against. */
export interface Surroundings {
  readonly subnet: Subnet;
  /** UNSPECIFIED: there is no NAT. */
  readonly natAddress: Ip4;
  /** The ports' names. */
  readonly ports: readonly string[];
}

/** Why an address can't be a guest's; undefined when it can. */
export function guestFault(ip: Ip4, subnet: Subnet, natAddress: Ip4): string | undefined {
  if ((ip & subnet.mask) !== subnet.network) return `names ${formatIp4(ip)}, which is outside ${subnet.text}`;
  const role = ip === natAddress ? 'NAT address' : roleOf(ip, subnet);
  return role === undefined ? undefined : `names ${formatIp4(ip)}, which is the ${role}`;
}

/** Whose an address is by its place in the subnet; undefined: a guest's, or outside. */
export function roleOf(ip: Ip4, subnet: Subnet): string | undefined {
  if (ip === subnet.network) return 'network address';
  if (ip === subnet.gateway) return 'gateway';
  return ip === subnet.broadcast ? 'broadcast address' : undefined;
}
