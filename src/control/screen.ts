/** The switch's tables as text, for `vswitchctl` and the demo's last screen. */
import { table } from './table.ts';
import type {
  DnsView,
  EgressView,
  FlowView,
  ForwardView,
  LeaseView,
  MacView,
  PortView,
  StatusView,
} from './views.ts';

export const statusText = (status: StatusView): string =>
  `${status.name}  ${status.subnet}  gateway ${status.gateway}  ${status.portsUp}/${status.ports} ports up  ` +
  `up ${duration(status.uptimeS)}  pid ${status.pid}  vswitchd ${status.version}${fullText(status)}`;

const fullText = ({ macs, maxMacs, unlearnt }: StatusView): string =>
  unlearnt === 0
    ? ''
    : `\nMAC table ${macs}/${maxMacs}: ${unlearnt} frames came from addresses that it had no room for; --max-macs makes more`;

export const portsText = (ports: readonly PortView[]): string =>
  table(
    ['PORT', 'STATE', 'KIND', 'NETNS', 'RX FRAMES', 'RX BYTES', 'TX FRAMES', 'TX BYTES', 'DROPS'],
    ports.map(port => [
      port.name,
      port.up ? 'up' : 'down',
      port.kind,
      port.netns ?? '-',
      port.rxFrames,
      port.rxBytes,
      port.txFrames,
      port.txBytes,
      dropsText(port.drops),
    ]),
  );

export const macsText = (macs: readonly MacView[]): string =>
  table(
    ['MAC', 'PORT', 'VLAN', 'AGE'],
    macs.map(entry => [entry.mac, entry.port, entry.vlan === 0 ? '-' : entry.vlan, duration(entry.ageS)]),
  );

export const leasesText = (leases: readonly LeaseView[], nowS = Date.now() / 1000): string =>
  table(
    ['ADDRESS', 'MAC', 'HOST NAME', 'PORT', 'STATE', 'ENDS IN'],
    leases.map(lease => [
      lease.address,
      lease.mac,
      lease.hostname ?? '-',
      lease.port ?? '-',
      lease.state,
      lease.expires > nowS ? duration(lease.expires - nowS) : '-',
    ]),
  );

export const flowsText = (flows: readonly FlowView[]): string =>
  table(
    ['PROTOCOL', 'INSIDE', 'EXTERNAL', 'REMOTE', 'STATE', 'IDLE'],
    flows.map(flow => [
      flow.protocol,
      flow.inside,
      flow.external,
      flow.remote,
      flow.state,
      duration(flow.idleS),
    ]),
  );

export const forwardsText = (forwards: readonly ForwardView[]): string =>
  table(
    ['HOST PORT', 'GUEST', 'GUEST PORT', 'ADDRESS'],
    forwards.map(forward => [
      `${forward.protocol}/${forward.port}`,
      forward.guest,
      forward.guestPort,
      forward.address ?? 'nobody has that name',
    ]),
  );

export const egressText = ({ otherwise, rules, allowed, denied, names }: EgressView): string =>
  [
    table(
      ['RULE', 'PACKETS'],
      [
        ...rules.map(({ rule, hits }) => [rule, hits] as const),
        ...(otherwise === 'none' ? [] : [[`otherwise ${otherwise}: allowed`, allowed] as const]),
        ...(otherwise === 'all' ? [] : [[`otherwise ${otherwise}: denied`, denied] as const]),
      ],
    ),
    ...(names.length === 0 ? [] : [namesText(names)]),
  ].join('\n\n');

const namesText = (names: EgressView['names']): string =>
  table(
    ['GUEST', 'NAME', 'ADDRESS', 'ENDS IN'],
    names.map(({ guest, name, address, endsInS }) => [guest, name, address, duration(endsInS)]),
  );

export function dnsText(view: DnsView | null): string {
  if (view === null) return 'names are not served (--no-dns, or a part of a LAN)';
  const { domain, upstreams, names, cache, queries, waiting } = view;
  const counted = Object.entries(queries).filter(([, count]) => count > 0);
  return [
    `domain ${domain}  ${counted.map(([what, count]) => `${what} ${count}`).join('  ')}  waiting ${waiting}  cache ${cache.entries}`,
    table(
      ['UPSTREAM', 'STATE', 'TIME', 'QUESTIONS', 'FAILURES'],
      upstreams.map(({ address, alive, rttMs, queries: asked, failures }) => [
        address,
        alive ? 'up' : 'silent',
        rttMs === undefined ? '-' : `${rttMs.toFixed(1)} ms`,
        asked,
        failures,
      ]),
    ),
    table(
      ['NAME', 'ADDRESS', 'FROM'],
      names.map(({ name, address, origin }) => [name, address, origin]),
    ),
  ].join('\n\n');
}

const dropsText = (drops: PortView['drops']): string => {
  const entries = Object.entries(drops);
  return entries.length === 0 ? '-' : entries.map(([reason, count]) => `${reason} ${count}`).join(', ');
};

/** Seconds as `42s`, `3m10s`, `2h05m`. */
export function duration(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (value: number): string => String(value).padStart(2, '0');
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
}
