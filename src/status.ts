/** The API's views, read from the data plane's shared memory and the control plane's tables. */
import { monotonicMs, monotonicS } from './clock.ts';
import type { Config, EgressConfig } from './config.ts';
import type { DhcpView, EgressView, FlowView, Views } from './control/views.ts';
import { Counters } from './dataplane/counters.ts';
import { countEntries, listEntries } from './dataplane/fdb.ts';
import type { SharedMemory } from './dataplane/messages.ts';
import type { Life } from './events/life.ts';
import type { Forwarding } from './forwarding.ts';
import { type Flow, listFlows } from './gateway/flowmemory.ts';
import type { EgressPolicy } from './gateway/policy.ts';
import { stateName } from './gateway/tcpstate.ts';
import type { Naming } from './naming.ts';
import type { Ports } from './ports.ts';
import { type PortTable, uplinkName } from './porttable.ts';
import type { DhcpService } from './service/dhcp/service.ts';
import type { NameService } from './service/names/service.ts';
import { uplinkText } from './settings/uplink.ts';
import { VERSION } from './version.ts';
import { formatIp4, formatMac } from './wire/address.ts';
import * as ip4 from './wire/ipv4.ts';

/** The policy that the gateway has, and who knows the names in it; undefined: it has none. */
interface EgressParts {
  readonly config: EgressConfig;
  readonly policy: EgressPolicy;
  readonly names: NameService | undefined;
}

/** What is looked at; what may be undefined is not there. */
interface Seen {
  readonly ports: PortTable;
  readonly made: Pick<Ports, 'textOf'>;
  readonly dhcp: DhcpService | undefined;
  readonly naming: Naming | undefined;
  readonly forwarding: Forwarding;
  /** As it is by then. */
  egress(): EgressParts;
  readonly life: Life;
}

export function viewsOf(config: Config, memory: SharedMemory, seen: Seen): Views {
  const { ports, made, dhcp, naming, forwarding, egress, life } = seen;
  const counters = new Counters(memory.counters);
  const started = monotonicS();
  return {
    status: () => {
      const macs = countEntries(memory.fdb);
      return {
        name: config.name,
        version: VERSION,
        pid: process.pid,
        subnet: config.subnet.text,
        gateway: config.uplink.kind === 'bridge' ? '-' : formatIp4(config.subnet.gateway),
        uplink: uplinkText(config.uplink),
        ...(config.uplink.kind === 'none' ? {} : { uplinkPort: uplinkName(config) }),
        uptimeS: monotonicS() - started,
        ports: ports.entries.length,
        portsUp: ports.entries.filter(port => port.up).length,
        macs: macs.size,
        maxMacs: config.maxMacs,
        unlearnt: macs.unlearnt,
        ...(dhcp?.fault === undefined ? {} : { leasesUnwritten: dhcp.fault }),
      };
    },
    ports: () =>
      ports.entries.map(({ index, name, kind, netns, up, disabled }) => ({
        name,
        kind,
        ...optionally('netns', netns),
        up,
        ...optionally('made', made.textOf(name)),
        ...(disabled ? { disabled } : {}),
        rxFrames: counters.rxFrames[index] as number,
        rxBytes: counters.rxBytes[index] as number,
        txFrames: counters.txFrames[index] as number,
        txBytes: counters.txBytes[index] as number,
        drops: counters.dropsOf(index),
      })),
    macs: () =>
      listEntries(memory.fdb).map(entry => ({
        mac: formatMac(entry.hi, entry.lo),
        vlan: entry.vlan,
        port: ports.nameOf(entry.port),
        ageS: Math.max(0, monotonicS() - entry.seenS),
      })),
    leases: () => dhcp?.leases() ?? [],
    dhcp: () => (dhcp === undefined ? null : dhcpView(dhcp, life)),
    forwards: () => forwarding.list(),
    egress: () => egressView(egress()),
    dns: () => naming?.view() ?? null,
    flows: () => listFlows(memory.flows, monotonicS()).map(flow => flowView(flow, config)),
  };
}

/** A property, where there is a value. */
const optionally = <K extends string>(name: K, value: string | undefined): { [P in K]?: string } =>
  value === undefined ? {} : ({ [name]: value } as { [P in K]: string });

const dhcpView = (dhcp: DhcpService, { hook }: Life): DhcpView => ({
  ...dhcp.counters,
  pool: dhcp.pool(),
  probes: dhcp.probes,
  ...(hook === undefined ? {} : { hook }),
  ...(dhcp.fault === undefined ? {} : { unwritten: dhcp.fault }),
});

function egressView({ config: { rules, otherwise }, policy, names }: EgressParts): EgressView {
  const hits = new Float64Array(policy.hits);
  return {
    otherwise,
    rules: rules.map(({ text }, index) => ({ rule: text, hits: hits[index] as number })),
    allowed: hits[rules.length] as number,
    denied: hits[rules.length + 1] as number,
    /** Listed when it is asked for: there may be many, and figures need none. */
    get names() {
      return (names?.names(monotonicMs()) ?? []).map(({ guest, address, name, expiresS }) => ({
        guest: formatIp4(guest),
        name,
        address: formatIp4(address),
        endsInS: Math.max(0, expiresS - monotonicS()),
      }));
    },
    answers: names?.counters ?? {},
  };
}

const PROTOCOLS: Readonly<Record<number, string>> = {
  [ip4.ICMP]: 'icmp',
  [ip4.TCP]: 'tcp',
  [ip4.UDP]: 'udp',
};

const flowView = (flow: Flow, config: Config): FlowView => ({
  protocol: PROTOCOLS[flow.protocol] ?? String(flow.protocol),
  inside: `${formatIp4(flow.insideIp)}:${flow.insidePort}`,
  external: `${formatIp4(config.natAddress)}:${flow.externalPort}`,
  remote:
    flow.protocol === ip4.ICMP ? formatIp4(flow.remoteIp) : `${formatIp4(flow.remoteIp)}:${flow.remotePort}`,
  state: flow.protocol === ip4.TCP ? stateName(flow.tcpState) : '-',
  idleS: Math.max(0, monotonicS() - flow.seenS),
});
