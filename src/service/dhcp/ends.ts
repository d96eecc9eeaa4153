/** How an address comes to an end with a client: given back by it, taken with its port, or found in use by somebody else. */
import type { Ip4 } from '../../wire/address.ts';
import { type Change, type Lease, type LeaseRecord, LeaseState, type LeaseTable } from './leases.ts';

/** Ends a lease before its time; the record is kept for the day the client returns. */
export function release(table: LeaseTable, lease: Lease, nowS: number): Change {
  table.endOffer(lease);
  const expiresS = Math.min(lease.record.expiresS, nowS);
  return table.set(lease.record.ip, { ...lease.record, state: LeaseState.Released, expiresS });
}

/** The guest behind a port is gone, and with it the leases that were last seen there. */
export function releasePort(table: LeaseTable, port: string, nowS: number): Change[] {
  const bound = [...table.all()].filter(
    ({ record }) => record.port === port && record.state === LeaseState.Bound && record.expiresS > nowS,
  );
  return bound.map(lease => release(table, lease, nowS));
}

/** Is the address held for this client, and not more than that? */
export function isOffered(table: LeaseTable, ip: Ip4, key: string): boolean {
  const record = table.byIp(ip)?.record;
  return record?.key === key && record.state === LeaseState.Offered;
}

/** An address that was only offered is in use by somebody else: nobody gets it for a time. */
export function quarantine(
  table: LeaseTable,
  ip: Ip4,
  user: Pick<LeaseRecord, 'mac' | 'port'>,
  untilS: number,
): Change {
  table.set(ip, undefined); // the offer, which is not on disk
  const record = { ...user, ip, state: LeaseState.Declined, key: '', hostname: '', expiresS: untilS };
  return { ...table.set(ip, record), conflict: true };
}
