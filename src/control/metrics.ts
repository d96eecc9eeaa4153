/** The switch's figures as Prometheus reads them: the text exposition format, version 0.0.4. */
import type { DhcpView, DnsView, EgressView, PortView, StatusView, Views } from './views.ts';

export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: number];

interface Family {
  /** Without `vswitchd_`. */
  readonly name: string;
  readonly kind: 'counter' | 'gauge';
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** All families, one after the other; those of a service that is off are left out. */
export function metricsText(views: Pick<Views, 'status' | 'ports' | 'dhcp' | 'dns' | 'egress'>): string {
  const [dhcp, dns] = [views.dhcp(), views.dns()];
  return [
    ...statusFamilies(views.status()),
    ...portFamilies(views.ports()),
    ...egressFamilies(views.egress()),
    ...(dhcp === null ? [] : dhcpFamilies(dhcp)),
    ...(dns === null ? [] : dnsFamilies(dns)),
  ]
    .map(familyText)
    .join('');
}

const statusFamilies = (status: StatusView): Family[] => [
  gauge('info', 'What runs: always 1.', [[{ name: status.name, version: status.version }, 1]]),
  gauge('uptime_seconds', 'Since the switch started.', one(status.uptimeS)),
  gauge('fdb_entries', 'MAC addresses learnt.', one(status.macs)),
  gauge('fdb_max_entries', 'MAC addresses that may be learnt.', one(status.maxMacs)),
  counter(
    'fdb_unlearnt_total',
    'Frames whose source was not learnt, as the table was full.',
    one(status.unlearnt),
  ),
  gauge(
    'leases_unwritten',
    "1 while leases can't be written, so that no address is acknowledged.",
    one(status.leasesUnwritten === undefined ? 0 : 1),
  ),
];

const TRAFFIC = [
  ['port_receive_frames_total', 'Frames from the guest.', 'rxFrames'],
  ['port_receive_bytes_total', 'Bytes of frames from the guest.', 'rxBytes'],
  ['port_transmit_frames_total', 'Frames to the guest.', 'txFrames'],
  ['port_transmit_bytes_total', 'Bytes of frames to the guest.', 'txBytes'],
] as const;

/** By name alone: a port's kind comes and goes with its guest, and would begin a series anew. */
const portFamilies = (ports: readonly PortView[]): Family[] => [
  gauge(
    'port_up',
    '1 while the port has a carrier and is not set down.',
    ports.map(({ name, up }): Sample => [{ port: name }, Number(up)]),
  ),
  ...TRAFFIC.map(([name, help, field]) =>
    counter(
      name,
      help,
      ports.map((port): Sample => [{ port: port.name }, port[field]]),
    ),
  ),
  counter(
    'port_drops_total',
    'Frames not delivered, by reason.',
    ports.flatMap(({ name, drops }) =>
      Object.entries(drops).map(([reason, count]): Sample => [{ port: name, reason }, count]),
    ),
  ),
];

const egressFamilies = ({ allowed, denied, rules }: EgressView): Family[] => [
  counter('egress_allowed_total', 'Packets that opened a flow by no rule.', one(allowed)),
  counter('egress_denied_total', 'Packets denied by no rule.', one(denied)),
  counter(
    'egress_rule_packets_total',
    'Packets that a rule allowed a flow or denied.',
    rules.map(({ rule, hits }, index): Sample => [{ number: String(index + 1), rule }, hits]),
  ),
];

const dhcpFamilies = ({ pool, received, sent, ignored }: DhcpView): Family[] => [
  gauge('dhcp_addresses', 'Addresses of the pools, by state.', by('state', pool)),
  counter('dhcp_received_total', 'DHCP messages from clients.', by('type', received)),
  counter('dhcp_sent_total', 'DHCP messages to clients.', by('type', sent)),
  counter('dhcp_ignored_total', 'DHCP messages without an answer, by reason.', by('reason', ignored)),
];

const dnsFamilies = ({
  queries: { queries = 0, ...outcomes },
  cache,
  waiting,
  upstreams,
}: DnsView): Family[] => [
  counter('dns_queries_total', 'Questions.', one(queries)),
  counter('dns_outcomes_total', 'What became of questions.', by('outcome', outcomes)),
  gauge('dns_cache_entries', 'Answers kept.', one(cache.entries)),
  gauge('dns_waiting', 'Questions that wait for an upstream.', one(waiting)),
  gauge(
    'dns_upstream_up',
    '1 while the upstream answers.',
    upstreams.map(({ address, alive }): Sample => [{ address }, Number(alive)]),
  ),
];

const familyOf =
  (kind: Family['kind']) =>
  (name: string, help: string, samples: readonly Sample[]): Family => ({ name, kind, help, samples });

const gauge = familyOf('gauge');
const counter = familyOf('counter');

const one = (value: number): Sample[] => [[{}, value]];

const by = (label: string, counts: Readonly<Record<string, number>>): Sample[] =>
  Object.entries(counts).map(([key, count]) => [{ [label]: key }, count]);

const familyText = ({ name, kind, help, samples }: Family): string =>
  [
    `# HELP vswitchd_${name} ${help}`,
    `# TYPE vswitchd_${name} ${kind}`,
    ...samples.map(([labels, value]) => `vswitchd_${name}${labelsText(labels)} ${value}`),
    '',
  ].join('\n');

function labelsText(labels: Labels): string {
  const words = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return words.length === 0 ? '' : `{${words.join(',')}}`;
}

const escaped = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
