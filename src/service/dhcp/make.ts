/** The DHCP server and what it tells clients, from the settings of the service: at its start, and whenever they change. */
import type { LeaseRecord } from './leases.ts';
import { OptionPolicy } from './options.ts';
import { DhcpServer } from './server.ts';
import type { DhcpServiceOptions } from './service.ts';

const OFFER_TIME_S = 60;
export const QUARANTINE_S = 600;
const MAX_OFFERS = 4_096;
const MAX_RECORDS = 65_536;

/** `records`: what is known of leases. */
export function makeServer(
  settings: DhcpServiceOptions,
  records: readonly LeaseRecord[],
): { readonly policy: OptionPolicy; readonly server: DhcpServer } {
  const { network, mask, broadcast, gateway, natAddress, first, last, leaseTimeS, mtu } = settings;
  const { hosts = [], options = [], tags = [], boots = [] } = settings;
  const subnet = { network, mask, broadcast, router: gateway, first, last };
  const pools = [subnet, ...(settings.pools ?? [])];
  const policy = new OptionPolicy({ address: gateway, pools, hosts, options, tags, boots });
  const server = new DhcpServer(
    {
      address: gateway,
      pools,
      hosts,
      excluded: [natAddress],
      policy,
      leaseTimeS,
      mtu,
      offerTimeS: settings.offerTimeS ?? OFFER_TIME_S,
      quarantineS: settings.quarantineS ?? QUARANTINE_S,
      maxOffers: settings.maxOffers ?? MAX_OFFERS,
      maxRecords: settings.maxRecords ?? MAX_RECORDS,
      ports: settings.ports ?? (() => []),
      warn: sentence => settings.log('warn', sentence),
    },
    records,
  );
  return { policy, server };
}
