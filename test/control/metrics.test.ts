/** The figures for Prometheus. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ApiFigures, Figures } from '../../src/control/figures.ts';
import { metricsText } from '../../src/control/metrics.ts';
import type { PortView, Views } from '../../src/control/views.ts';
import { projectRoot } from '../../src/port/native.ts';
import { readExposition } from './exposition.ts';

const PORT: PortView = {
  ...{ name: 'vm"1\\', kind: 'stream', up: true },
  ...{ rxFrames: 3, rxBytes: 180, txFrames: 2, txBytes: 120, drops: { QueueFull: 7 } },
};

const VIEWS = {
  status: () => ({
    name: 'vsw0',
    version: '1',
    uptimeS: 5,
    macs: 2,
    maxMacs: 100,
    unlearnt: 0,
    uplink: 'tun',
    uplinkPort: PORT.name,
  }),
  ports: () => [PORT],
  egress: () => ({ otherwise: 'all', rules: [{ rule: 'deny any', hits: 4 }], allowed: 1, denied: 0 }),
  dhcp: () => null,
  dns: () => null,
} as unknown as Views;

const FIGURES: Figures = {
  loop: {
    ...{ rounds: 9, busyS: 0.5, waitS: 1.5 },
    batches: { bounds: [1, 2], counts: [4, 0, 3], sum: 40 },
    latencies: { bounds: [0.000001, 0.5], counts: [1, 2, 0], sum: 0.0000003 },
  },
  flows: {
    most: 100,
    counts: [{ protocol: 'tcp', state: 'established', count: 2 }],
    opened: 7,
    refused: { 'table-full': 1, 'guest-full': 0, 'no-port': 0 },
  },
};
const API: ApiFigures = { requests: [{ method: 'GET', code: 200, count: 3 }], readers: 1 };

const DHCP = {
  ...{ received: { discover: 1 }, sent: { offer: 1 }, ignored: { busy: 0 } },
  pool: { size: 10, free: 8, bound: 2, offered: 0, quarantined: 0 },
};
const DNS = {
  ...{ queries: { queries: 5, cached: 2 }, cache: { entries: 1 }, waiting: 0 },
  upstreams: [{ address: '9.9.9.9', alive: true }],
};
const textOf = (views: object): string =>
  metricsText({ ...VIEWS, ...views } as unknown as Views, FIGURES, API);
/** With all services. */
const FULL = textOf({ dhcp: () => DHCP, dns: () => DNS });

test('the text is of the format, whatever the services', () => {
  const families = readExposition(FULL);
  assert.is(families.get('vswitchd_port_drops_total')?.samples.size, 1);
  assert.is(families.get('process_start_time_seconds')?.samples.size, 1);
  assert.ok(readExposition(textOf({})).size < families.size);
});

test('what is not of the format is seen as such', () => {
  const head = '# HELP a_total b\n# TYPE a_total counter\n';
  const histogram = '# HELP h b\n# TYPE h histogram\n';
  for (const text of [
    `${head}a_total 1`,
    `${head}a_total 1\na_total 2\n`,
    `${head}a_total -1\n`,
    `${head}a_total{b="\\x"} 1\n`,
    `${head}a_total{b="1",b="2"} 1\n`,
    `${head}b_total 1\n`,
    `${head}a_total undefined\n`,
    `${head}${head}`,
    'a_total 1\n',
    '# HELP a b\n# TYPE a counter\n',
    '# TYPE a_total counter\n',
    `${histogram}h_bucket{le="1"} 1\nh_sum 1\nh_count 1\n`,
    `${histogram}h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n`,
    `${histogram}h_bucket{le="+Inf"} 1\nh_sum 1\nh_count 2\n`,
  ])
    assert.throws(() => readExposition(text), undefined, text);
});

test('a histogram adds up; the worker, flows and the API are told of', () => {
  for (const line of [
    'vswitchd_batch_frames_bucket{le="2"} 4',
    'vswitchd_batch_frames_bucket{le="+Inf"} 7',
    'vswitchd_batch_frames_sum 40',
    'vswitchd_dataplane_latency_seconds_bucket{le="0.000001"} 1',
    'vswitchd_dataplane_latency_seconds_count 3',
    'vswitchd_loop_busy_seconds_total 0.5',
    'vswitchd_flows{protocol="tcp",state="established"} 2',
    'vswitchd_flows_refused_total{reason="table-full"} 1',
    'vswitchd_api_requests_total{method="GET",code="200"} 3',
    'vswitchd_event_stream_readers 1',
    'vswitchd_uplink_up{port="vm\\"1\\\\",uplink="tun"} 1',
  ])
    assert.ok(FULL.includes(`\n${line}\n`), line);
});

test('ports, drops and rules carry their labels, escaped', () => {
  const text = FULL;
  const named = 'port="vm\\"1\\\\"';
  assert.ok(text.includes(`vswitchd_port_receive_frames_total{${named}} 3\n`));
  assert.ok(text.includes(`vswitchd_port_drops_total{${named},reason="QueueFull"} 7\n`));
  assert.ok(text.includes('vswitchd_egress_rule_packets_total{number="1",rule="deny any"} 4\n'));
});

test('questions are counted once, and apart from what became of them', () => {
  assert.ok(FULL.includes('vswitchd_dns_queries_total 5\n'));
  assert.equal(FULL.match(/^vswitchd_dns_outcomes_total.*/gm), [
    'vswitchd_dns_outcomes_total{outcome="cached"} 2',
  ]);
});

test('names, of which there may be as many as leases, are not listed for it', () => {
  const listed = (): never => assert.unreachable() as never;
  const dns = { queries: {}, cache: { entries: 1 }, waiting: 0, upstreams: [] };
  const lazily = (view: object): object => Object.defineProperty({ ...view }, 'names', { get: listed });
  textOf({ egress: () => lazily(VIEWS.egress()), dns: () => lazily(dns) });
});

test('a service that is off has no figures', () => {
  assert.not(/vswitchd_d(hcp|ns)_/.test(textOf({})));
});

/** Every name that Prometheus knows a series by. */
function seriesNames(): Set<string> {
  const names = new Set<string>();
  for (const { name, kind } of readExposition(FULL).values())
    for (const suffix of kind === 'histogram' ? ['_bucket', '_sum', '_count'] : [''])
      names.add(`${name}${suffix}`);
  return names;
}

for (const path of ['docs/grafana/vswitchd.json', 'docs/alerts.yml'])
  test(`${path} asks for figures that there are`, () => {
    const known = seriesNames();
    const asked = new Set(
      readFileSync(join(projectRoot(), path), 'utf8').match(
        /\b(?:vswitchd|process|nodejs)_[a-z_]*[a-z]\b/g,
      ) ?? [],
    );
    assert.ok(asked.size > 8, `${asked.size} names`);
    assert.equal(
      [...asked].filter(name => !known.has(name)),
      [],
    );
  });

test('the dashboard is one that Grafana imports: panels with numbers, places and queries of their own', () => {
  const dashboard = JSON.parse(readFileSync(join(projectRoot(), 'docs/grafana/vswitchd.json'), 'utf8'));
  const ids = dashboard.panels.map(({ id }: { id: number }) => id);
  assert.is(new Set(ids).size, ids.length);
  for (const { title, type, gridPos, targets } of dashboard.panels) {
    assert.ok(gridPos.x + gridPos.w <= 24 && gridPos.h > 0, title);
    if (type !== 'row')
      assert.ok(
        targets.every(({ expr }: { expr?: string }) => expr),
        title,
      );
  }
});

test.run();
