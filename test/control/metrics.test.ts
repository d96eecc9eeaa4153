/** The figures for Prometheus. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { metricsText } from '../../src/control/metrics.ts';
import type { PortView, Views } from '../../src/control/views.ts';

const PORT: PortView = {
  ...{ name: 'vm"1\\', kind: 'stream', up: true },
  ...{ rxFrames: 3, rxBytes: 180, txFrames: 2, txBytes: 120, drops: { QueueFull: 7 } },
};

const VIEWS = {
  status: () => ({ name: 'vsw0', version: '1', uptimeS: 5, macs: 2, maxMacs: 100, unlearnt: 0 }),
  ports: () => [PORT],
  egress: () => ({ otherwise: 'all', rules: [{ rule: 'deny any', hits: 4 }], allowed: 1, denied: 0 }),
  dhcp: () => null,
  dns: () => null,
} as unknown as Views;

test('every family says what it is before its samples, and every line is one of the format', () => {
  const lines = metricsText(VIEWS).split('\n');
  assert.is(lines.pop(), '');
  const told = new Set<string>();
  for (const line of lines) {
    const [, name] = /^# TYPE (\w+) (?:counter|gauge)$/.exec(line) ?? [];
    if (name !== undefined) told.add(name);
    else if (!line.startsWith('# HELP '))
      assert.ok(told.has(/^(vswitchd_\w+)(?:\{.*\})? [\d.]+$/.exec(line)?.[1] ?? ''), line);
  }
  for (const name of told) assert.is(name.endsWith('_total'), lines.includes(`# TYPE ${name} counter`));
});

test('ports, drops and rules carry their labels, escaped', () => {
  const text = metricsText(VIEWS);
  const named = 'port="vm\\"1\\\\"';
  assert.ok(text.includes(`vswitchd_port_receive_frames_total{${named}} 3\n`));
  assert.ok(text.includes(`vswitchd_port_drops_total{${named},reason="QueueFull"} 7\n`));
  assert.ok(text.includes('vswitchd_egress_rule_packets_total{number="1",rule="deny any"} 4\n'));
});

test('questions are counted once, and apart from what became of them', () => {
  const dns = { queries: { queries: 5, cached: 2 }, cache: { entries: 1 }, waiting: 0, upstreams: [] };
  const text = metricsText({ ...VIEWS, dns: () => dns } as unknown as Views);
  assert.ok(text.includes('vswitchd_dns_queries_total 5\n'));
  assert.equal(text.match(/^vswitchd_dns_outcomes_total.*/gm), [
    'vswitchd_dns_outcomes_total{outcome="cached"} 2',
  ]);
});

test('names, of which there may be as many as leases, are not listed for it', () => {
  const listed = (): never => assert.unreachable() as never;
  const dns = { queries: {}, cache: { entries: 1 }, waiting: 0, upstreams: [] };
  const lazily = (view: object): object => Object.defineProperty({ ...view }, 'names', { get: listed });
  metricsText({
    ...VIEWS,
    egress: () => lazily(VIEWS.egress()),
    dns: () => lazily(dns),
  } as unknown as Views);
});

test('a service that is off has no figures', () => {
  assert.not(/vswitchd_d(hcp|ns)_/.test(metricsText(VIEWS)));
});

test.run();
