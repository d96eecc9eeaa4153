/** The switch's tables as text, for `vswitchctl` and the demo's last screen. */
import { table } from './table.ts';
import type {
  CloudInitView,
  DhcpView,
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
  `up ${duration(status.uptimeS)}  pid ${status.pid}  vswitchd ${status.version}${fullText(status)}${unwrittenText(status)}`;

const unwrittenText = ({ leasesUnwritten }: StatusView): string =>
  leasesUnwritten === undefined
    ? ''
    : `\nleases can't be written, so no address is acknowledged: ${leasesUnwritten}`;

const fullText = ({ macs, maxMacs, unlearnt }: StatusView): string =>
  unlearnt === 0
    ? ''
    : `\nMAC table ${macs}/${maxMacs}: ${unlearnt} frames came from addresses that it had no room for; --max-macs makes more`;

export const portsText = (ports: readonly PortView[]): string =>
  table(
    ['PORT', 'STATE', 'KIND', 'NETNS', 'RX FRAMES', 'RX BYTES', 'TX FRAMES', 'TX BYTES', 'DROPS'],
    ports.map(port => [
      port.name,
      port.up ? 'up' : port.disabled === true ? 'set down' : 'down',
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

export function dhcpText(dhcp: DhcpView | null): string {
  if (dhcp === null) return 'no DHCP server runs';
  const { pool, probes, hook, unwritten, received, sent, ignored } = dhcp;
  const types = Object.keys(received).filter(type => (received[type] ?? 0) + (sent[type] ?? 0) > 0);
  const reasons = Object.entries(ignored).filter(([, count]) => count > 0);
  return [
    ...(unwritten === undefined ? [] : [`leases can't be written: ${unwritten}`]),
    `pool: ${countsText(pool)}`,
    `probes: ${countsText(probes)}`,
    ...(hook === undefined ? [] : [`hook: ${countsText(hook)}`]),
    '',
    table(
      ['MESSAGE', 'RECEIVED', 'SENT'],
      types.map(type => [type, received[type] ?? 0, sent[type] ?? 0]),
    ),
    '',
    table(['IGNORED', 'MESSAGES'], reasons),
  ].join('\n');
}

const countsText = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ');

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

export function cloudInitText(view: CloudInitView, nowS = Date.now() / 1000): string {
  const { port, mac, address, instanceId, hostname, password, phonedHome, documents } = view;
  const lines = [`${port}  ${mac}  ${address}  instance ${instanceId}  host name ${hostname}`];
  if (password !== undefined) lines.push(`one-time password: ${password}`);
  if (phonedHome !== undefined)
    lines.push(`phoned home ${duration(nowS - phonedHome.atS)} ago from ${phonedHome.address}`);
  for (const { name, from, status, content } of documents)
    lines.push('', `== ${name}: ${status === 200 ? from : `${status}, ${from}`}`, ...linesOf(content));
  return lines.join('\n');
}

/** Guests' documents hold what they will, and a terminal should not obey it. */
const linesOf = (content: string): string[] =>
  content === ''
    ? []
    : content
        .trimEnd()
        // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
        .replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '.')
        .split('\n');

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
