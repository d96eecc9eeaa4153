/** From what has changed in the table of leases to what has happened, in the words of bus.ts. */

import { type Change, type LeaseRecord, LeaseState } from '../service/dhcp/leases.ts';
import { formatIp4 } from '../wire/address.ts';
import type { LeaseEvent } from './bus.ts';

export const leaseEvent = (event: LeaseEvent['event'], record: LeaseRecord): LeaseEvent => ({
  event,
  address: formatIp4(record.ip),
  mac: record.mac,
  client: record.key,
  hostname: record.hostname,
  port: record.port,
  expires: record.expiresS,
});

/** What a change means; undefined: nothing that anybody did not know (the end of a lease is told of by itself). */
export function eventOf({ before, after, conflict }: Change, nowS: number): LeaseEvent | undefined {
  const ran = before?.state === LeaseState.Bound && before.expiresS > nowS ? before : undefined;
  switch (after?.state) {
    case LeaseState.Bound:
      return leaseEvent(ran?.key === after.key ? 'lease-renewed' : 'lease-bound', after);
    case LeaseState.Declined: {
      if (conflict === true) return leaseEvent('lease-conflict', after);
      const { key = '', hostname = '' } = before ?? {};
      return leaseEvent('lease-declined', { ...after, key, hostname });
    }
    case LeaseState.Released:
      return ran && leaseEvent('lease-released', after);
    default:
      return ran && leaseEvent('lease-released', { ...ran, expiresS: nowS }); // it has another address now
  }
}

/** The address of the only guest that has a lease on a port; empty: there is none, or several. */
export function onlyGuest(
  leases: readonly { address: string; state: string; port?: string }[],
  port: string,
): string {
  const [only, ...others] = leases.filter(lease => lease.port === port && lease.state === 'bound');
  return others.length === 0 ? (only?.address ?? '') : '';
}
