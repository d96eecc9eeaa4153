/** The switch's figures as Prometheus reads them. All labels have few values: no guest can make a series, but by its port. */
import { by, counter, type Family, gauge, histogram, one, type Sample, textOf } from './exposition.ts';
import type { ApiFigures, Figures, FlowFigures, LoopFigures } from './figures.ts';
import { processFamilies } from './process.ts';
import type { DhcpView, DnsView, EgressView, PortView, StatusView, Views } from './views.ts';

type Shown = Pick<Views, 'status' | 'ports' | 'dhcp' | 'dns' | 'egress'>;

/** All families, one after the other; those of a service that is off are left out. */
export function metricsText(views: Shown, figures: Figures, api: ApiFigures): string {
  const [status, ports, dhcp, dns] = [views.status(), views.ports(), views.dhcp(), views.dns()];
  const { flows } = figures;
  return textOf([
    ...statusFamilies(status),
    ...uplinkFamilies(status, ports),
    ...portFamilies(ports),
    ...loopFamilies(figures.loop),
    ...(flows === undefined ? [] : flowFamilies(flows)),
    ...egressFamilies(views.egress()),
    ...(dhcp === null ? [] : dhcpFamilies(dhcp)),
    ...(dns === null ? [] : dnsFamilies(dns)),
    ...apiFamilies(api),
    ...processFamilies(status.version),
  ]);
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

/** By the name of its port, which an isolated network has none of. */
function uplinkFamilies({ uplink, uplinkPort }: StatusView, ports: readonly PortView[]): Family[] {
  const port = ports.find(({ name }) => name === uplinkPort);
  if (port === undefined) return [];
  const samples: Sample[] = [[{ port: port.name, uplink }, Number(port.up)]];
  return [gauge('uplink_up', '1 while the way out has a carrier: of passt, while it is connected.', samples)];
}

const loopFamilies = ({ rounds, busyS, waitS, batches, latencies }: LoopFigures): Family[] => [
  counter('loop_rounds_total', "Rounds of the data plane's loop.", one(rounds)),
  counter('loop_busy_seconds_total', 'Time of rounds with frames, commands or timers.', one(busyS)),
  counter(
    'loop_wait_seconds_total',
    'Time asleep, and of rounds that looked for frames in vain. Occupancy: busy / (busy + wait).',
    one(waitS),
  ),
  histogram('batch_frames', 'Frames that a port gave at a time, where there were any.', batches),
  histogram(
    'dataplane_latency_seconds',
    'Upper bound, a sample a received frame, of the time from being read to being handed to its port: how long its round ' +
      'of the loop took. Time in queues before and after, and with the control thread, is not in it.',
    latencies,
  ),
];

const flowFamilies = ({ most, counts, opened, refused }: FlowFigures): Family[] => [
  gauge(
    'flows',
    'Sessions of the NAT, by protocol and state; some may have run out within the last seconds.',
    counts.map(({ protocol, state, count }): Sample => [{ protocol, state }, count]),
  ),
  gauge('flows_max', 'Sessions that there may be.', one(most)),
  counter('flows_opened_total', 'Sessions opened.', one(opened)),
  counter(
    'flows_refused_total',
    'Packets for which no session was opened, by reason.',
    by('reason', refused),
  ),
];

const apiFamilies = ({ requests, readers }: ApiFigures): Family[] => [
  counter(
    'api_requests_total',
    'Requests answered on the control socket.',
    requests.map(({ method, code, count }): Sample => [{ method, code: String(code) }, count]),
  ),
  gauge('event_stream_readers', 'Readers of the stream of events.', one(readers)),
];
