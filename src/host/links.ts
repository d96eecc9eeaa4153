/** The uplink's address and the routes that are there: the two things that are asked of `ip`. */
import type { Config, Subnet } from '../config.ts';
import { OperatorError } from '../errors.ts';
import { formatIp4, parseIp4, UNSPECIFIED } from '../wire/address.ts';
import { run } from './run.ts';

/** A route as `ip -j` shows it. Without `table` it is in the main one. */
export interface ShownRoute {
  readonly dst: string;
  readonly dev?: string;
  readonly type?: string;
  readonly table?: string;
  readonly metric?: number;
}

/** Shorter prefixes are default routes in parts, as VPNs set them, and no network that a subnet could be taken from. */
const SHORTEST_NETWORK = 8;
/** Routes by which nothing is reached. */
const NOWHERE = ['blackhole', 'unreachable', 'prohibit', 'throw', 'broadcast'];

/** Refuses a subnet of ours that overlaps a route of this host, in any table: packets for one of the two would go astray. */
export async function checkRoutes(config: Config): Promise<void> {
  if (config.uplink.kind === 'bridge') return; // the LAN's
  const [route] = overlapping(await readRoutes(), config);
  if (route === undefined) return;
  throw new OperatorError(
    `--subnet ${config.subnet.text} overlaps this host's route ${route.dst}${route.dev === undefined ? '' : ` on ${route.dev}`}; choose a subnet that the host has no route for`,
    { code: 'SubnetTaken' },
  );
}

/** The IPv4 routes of all tables. */
export async function readRoutes(): Promise<readonly ShownRoute[]> {
  const shown = await run('ip', ['-j', '-4', 'route', 'show', 'table', 'all']);
  return JSON.parse(shown || '[]') as ShownRoute[];
}

/** Others' routes to networks that have addresses of the switch's subnet. */
export const overlapping = (
  routes: readonly ShownRoute[],
  { name, subnet }: Pick<Config, 'name' | 'subnet'>,
): readonly ShownRoute[] =>
  routes.filter(
    ({ dst, dev, type = '' }) =>
      dst !== 'default' &&
      dev !== name &&
      !NOWHERE.includes(type) &&
      prefixOf(dst) >= SHORTEST_NETWORK &&
      overlaps(subnet, dst),
  );

/** Refuses an interface for the way out that is not there. */
export async function checkLan({ lan }: Pick<Config, 'lan'>): Promise<void> {
  if (lan === undefined) return;
  const links = JSON.parse(await run('ip', ['-j', 'link', 'show'])) as { ifname: string }[];
  const names = links.map(link => link.ifname);
  if (names.includes(lan)) return;
  throw new OperatorError(
    `--lan ${lan}: there is no such interface; expected one of ${names.filter(name => name !== 'lo').join(', ')}`,
    { code: 'Usage' },
  );
}

const prefixOf = (destination: string): number => Number(destination.split('/')[1] ?? 32);

/** Do the two have an address in common? `destination` as `ip route` shows it: an address, with or without a prefix length. */
export function overlaps(subnet: Pick<Subnet, 'network' | 'prefix'>, destination: string): boolean {
  const ip = parseIp4(destination.split('/')[0] ?? '');
  if (ip === undefined) return false;
  const prefix = Math.min(prefixOf(destination), subnet.prefix);
  const mask = prefix === 0 ? 0 : -1 << (32 - prefix);
  return (ip & mask) === (subnet.network & mask);
}

/** Gives the uplink the gateway's address and sets it up. One tool, once. */
export async function setUpUplink(config: Config): Promise<void> {
  const { name, subnet, mtu, natAddress } = config;
  const lines = [
    `address add ${formatIp4(subnet.gateway)}/${subnet.prefix} broadcast ${formatIp4(subnet.broadcast)} dev ${name}`,
    `link set dev ${name} mtu ${mtu} up`,
  ];
  // An address outside the subnet (that of RFC 7600, in a /30) needs a route of its own.
  if (natAddress !== UNSPECIFIED && (natAddress & subnet.mask) !== subnet.network)
    lines.push(`route add ${formatIp4(natAddress)}/32 dev ${name}`);
  await run('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
}
