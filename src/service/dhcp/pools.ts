/**
 * Which network a message is from, and which server it may call us: the subnet itself, or one behind a relay.
 *
 *   relayed (giaddr)       option 82's link selection (RFC 3527), else giaddr; in no pool: the message is not for us
 *   sent to us (unicast)   a client behind a router renews: the pool that its address is in
 *   else                   the subnet, whose port it came in on
 */
import { type Ip4, UNSPECIFIED } from '../../wire/address.ts';
import { Code, type DhcpMessage } from '../../wire/dhcp.ts';
import { LINK_SELECTION, relayAddress, SERVER_ID_OVERRIDE } from '../../wire/dhcpvalues.ts';
import type { Origin } from './server.ts';
import type { Pool } from './shelf.ts';

/** One network with its addresses for guests; the first in a list is the switch's own subnet. */
export interface PoolSettings {
  readonly network: Ip4;
  readonly mask: Ip4;
  readonly broadcast: Ip4;
  readonly router: Ip4;
  readonly first: Ip4;
  readonly last: Ip4;
}

/** The subnet's own pool. */
export const LOCAL = 0;

export interface Place {
  /** Number of the pool. */
  readonly pool: number;
  /** What the client knows us by, option 54: our address, or what its relay wants (RFC 5107). */
  readonly serverId: Ip4;
  /** Came straight from the client, by its port. */
  readonly direct: boolean;
}

/** Addresses that are nobody's are left out of each pool; `also`: of the subnet's own. */
export const poolsOf = (pools: readonly PoolSettings[], also: readonly Ip4[]): Pool[] =>
  pools.map((pool, number) => ({
    ...pool,
    excluded: [pool.network, pool.broadcast, pool.router, ...(number === LOCAL ? also : [])],
  }));

/** Where a message belongs; undefined: its relay serves a network that we know nothing of. */
export function placeOf(
  message: DhcpMessage,
  origin: Origin,
  address: Ip4,
  poolOf: (ip: Ip4) => number,
): Place | undefined {
  if (message.giaddr !== UNSPECIFIED) return relayed(message, address, poolOf);
  if (origin.destination === address) {
    const pool = poolOf(message.ciaddr === UNSPECIFIED ? origin.source : message.ciaddr);
    if (pool > LOCAL) return { pool, serverId: address, direct: false };
  }
  return { pool: LOCAL, serverId: address, direct: true };
}

function relayed(message: DhcpMessage, address: Ip4, poolOf: (ip: Ip4) => number): Place | undefined {
  const added = message.options.get(Code.RelayAgent);
  const link = added === undefined ? undefined : relayAddress(added, LINK_SELECTION);
  const pool = poolOf(link ?? message.giaddr);
  if (pool < 0) return undefined;
  const override = added === undefined ? undefined : relayAddress(added, SERVER_ID_OVERRIDE);
  return { pool, serverId: override ?? address, direct: false };
}
