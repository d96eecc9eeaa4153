/** What the DNS service is to be, of all that the operator has given: its domain, whom it asks, and its own records. */
import type { Subnet, UplinkConfig } from '../config.ts';
import type { DnsRecord } from '../service/dns/records.ts';
import { isLocalhost } from '../service/dns/special.ts';
import type { WrittenRecord } from '../settings/dnsrecord.ts';
import { isLoopback } from '../settings/network.ts';
import type { Ip4 } from '../wire/address.ts';
import { reverseOf } from '../wire/reverse.ts';
import type { GivenSettings } from './given.ts';

export interface DnsConfig {
  /** Guests' names are in it; in lower case. */
  readonly domain: string;
  /** Whom to ask for the rest: the host's own resolvers as they are at the time, or these; none: nobody is asked. */
  readonly upstreams: readonly Ip4[] | 'host';
  readonly records: readonly DnsRecord[];
}

/** RFC 6762 appendix G and ICANN's decision of 2024: internal is for private use, so no name of the internet is shadowed. */
const DEFAULT_DOMAIN = 'vsw.internal';

/** Undefined: there is no service. */
export function dnsOf(given: GivenSettings, uplink: UplinkConfig, subnet: Subnet): DnsConfig | undefined {
  const off = given.value('no-dns') === true || given.value('host-access') === 'none';
  if ((off || uplink.kind === 'bridge') && given.value('dns')?.some(isLoopback) === true)
    given.refuse('dns', "names an address of the host's loopback, which no guest reaches; expected others");
  if (off || uplink.kind === 'bridge') {
    if (given.value('dns-record') !== undefined)
      given.refuse(
        'dns-record',
        `is given beside ${off ? 'no-dns' : 'uplink bridge, where we have no address'}; expected one of the two`,
      );
    return undefined;
  }
  const domain = (given.value('domain') ?? DEFAULT_DOMAIN).toLowerCase();
  if (isLocalhost(domain) || /(^|\.)(in-addr|ip6)\.arpa$/.test(domain))
    given.refuse('domain', `is special; expected a name of your own, such as ${DEFAULT_DOMAIN}`);
  const upstreams = given.value('dns') ?? (uplink.kind === 'none' ? [] : 'host');
  if (upstreams !== 'host' && upstreams.includes(subnet.gateway))
    given.refuse('dns', 'names the gateway, where the service itself is; expected other resolvers');
  return { domain, upstreams, records: recordsOf(given, domain) };
}

function recordsOf(given: GivenSettings, domain: string): readonly DnsRecord[] {
  const records = (given.value('dns-record') ?? []).map(record => whole(record, domain));
  const names = new Set(records.map(record => record.name));
  for (const [item, { name, type, data }] of records.entries()) {
    if (type !== 'CNAME') continue;
    if (name === domain || records.filter(other => other.name === name).length > 1)
      given.refuse('dns-record', `has other records beside the alias ${name}; expected it to be alone`, item);
    if (!names.has(data) && !data.endsWith(`.${domain}`))
      given.refuse(
        'dns-record',
        `has the alias ${name} of ${data}, which is asked for elsewhere; expected a name of ${domain} or of another record`,
        item,
      );
  }
  return records;
}

/** A record with its names in full. */
function whole(record: WrittenRecord, domain: string): DnsRecord {
  const full = (name: string): string => {
    if (name === '@') return domain;
    if (name.endsWith('.')) return name.slice(0, -1);
    return name.split('.').every(label => label.startsWith('_')) || !name.includes('.')
      ? `${name}.${domain}`
      : name;
  };
  const name = full(record.name);
  switch (record.type) {
    case 'A':
    case 'AAAA':
    case 'TXT':
      return { ...record, name };
    case 'CNAME':
      return { name, type: record.type, data: full(record.data) };
    case 'PTR': {
      const isAddress = record.name.includes(':') || /^[\d.]+$/.test(record.name);
      return { name: isAddress ? reverseOf(record.name) : name, type: record.type, data: full(record.data) };
    }
    case 'MX':
      return {
        name,
        type: record.type,
        data: { preference: record.numbers[0], exchange: full(record.data) },
      };
    case 'SRV': {
      const [priority, weight, port] = record.numbers;
      return { name, type: record.type, data: { priority, weight, port, target: full(record.data) } };
    }
  }
}
