/** What the table of leases looks like to people and programs: each lease in words, and how full the pool is. */
import type { DhcpView, LeaseView } from '../../control/views.ts';
import { formatIp4 } from '../../wire/address.ts';
import { type Lease, LeaseState, type LeaseTable } from './leases.ts';

/** How full it is, in addresses. */
export type PoolUse = DhcpView['pool'];

/** Every lease that is or was, without offers that ran out. */
export function leaseViews(table: LeaseTable, nowS: number): LeaseView[] {
  const views: LeaseView[] = [];
  for (const lease of table.all()) {
    const view = viewOf(lease, nowS);
    if (view !== undefined) views.push(view);
  }
  return views;
}

/**
 * The running lease of a machine on a port. A guest can have this asked as often as it likes, so of the others, of which there
 * may be many, nothing is made.
 */
export function leaseOf(table: LeaseTable, mac: string, port: string, nowS: number): LeaseView | undefined {
  for (const lease of table.all()) {
    const { record } = lease;
    if (record.mac !== mac || record.port !== port) continue;
    if (record.state === LeaseState.Bound && record.expiresS > nowS) return viewOf(lease, nowS);
  }
  return undefined;
}

function viewOf(lease: Lease, nowS: number): LeaseView | undefined {
  const state = stateOf(lease, nowS);
  if (state === undefined) return undefined;
  const { ip, mac, key, hostname, port } = lease.record;
  return {
    address: formatIp4(ip),
    mac,
    client: key,
    ...(hostname === '' ? {} : { hostname }),
    state,
    ...(port === '' ? {} : { port }),
    expires: state === 'offered' ? lease.offeredUntilS : lease.record.expiresS,
  };
}

export function poolUse(table: LeaseTable, nowS: number): PoolUse {
  const count = { bound: 0, offered: 0, declined: 0 };
  for (const lease of table.all()) {
    if (!table.inPool(lease.record.ip)) continue;
    const state = stateOf(lease, nowS);
    if (state === 'bound' || state === 'offered' || state === 'declined') count[state]++;
  }
  const { bound, offered, declined: quarantined } = count;
  const size = table.capacity;
  return { size, free: size - bound - offered - quarantined, bound, offered, quarantined };
}

/** What to call a record's state; undefined when there is nothing left of it to show. */
function stateOf(lease: Lease, nowS: number): LeaseView['state'] | undefined {
  const { state, expiresS } = lease.record;
  if (state === LeaseState.Bound) return expiresS > nowS ? 'bound' : 'expired';
  if (state === LeaseState.Released) return 'released';
  if (state === LeaseState.Declined) return expiresS > nowS ? 'declined' : undefined;
  return lease.offeredUntilS > nowS ? 'offered' : undefined;
}
