/** `vswitchctl doctor`: which switch is asked about, what is wrong with its host, and what is done about it. */

import type { Given } from './config/given.ts';
import { type Config, readReplayConfig, type TapConfig, type UplinkConfig } from './config.ts';
import { ask } from './control/client.ts';
import type { Diagnosis } from './control/diagnosis.ts';
import type { DnsView, PortView, StatusView } from './control/views.ts';
import { OperatorError } from './errors.ts';
import { examine, mend } from './host/doctor/doctor.ts';
import { type Finding, isOurs } from './host/doctor/finding.ts';
import { readFacts } from './host/doctor/read.ts';
import { hostUpstreams } from './service/dns/upstreams.ts';
import { hostResolvers } from './service/resolvers.ts';
import { parseUplink } from './settings/uplink.ts';
import { formatIp4 } from './wire/address.ts';

/** Looks at the host; with `fix` does what is ours to do and looks again. */
export async function diagnose(given: Given, file: string | undefined, fix: boolean): Promise<Diagnosis> {
  const config = readReplayConfig(given, file);
  const found = await findingsOf(config);
  const mended = fix ? await mend(found) : [];
  const left = mended.length > 0 ? await findingsOf(config) : found;
  return { mended, findings: left.map(viewOf) };
}

async function findingsOf(config: Config): Promise<Finding[]> {
  const running = await runningSwitch(config);
  const subject = running?.subject ?? config;
  const resolvers =
    subject.dns === undefined ? hostResolvers().length : (running?.upstreams.length ?? ownResolvers(config));
  const silent = running?.upstreams.filter(({ alive }) => !alive).map(({ address }) => address) ?? [];
  const said = { resolvers, silent, unwritten: running?.unwritten };
  return examine(await readFacts({ subject, running: running !== undefined, ...said }));
}

/** How many name servers the host has for itself. */
const ownResolvers = ({ subnet }: Config): number =>
  hostUpstreams({ own: [formatIp4(subnet.gateway)], nowMs: () => 0, log: () => undefined })().length;

interface RunningSwitch {
  readonly subject: Config;
  /** Whom its DNS service asks. */
  readonly upstreams: DnsView['upstreams'];
  /** Why it can't write leases. */
  readonly unwritten: string | undefined;
}

/** What a switch of this name says of itself; undefined when none answers. */
async function runningSwitch(config: Config): Promise<RunningSwitch | undefined> {
  const socket = `${config.runDir}/${config.name}.sock`;
  try {
    const status = await ask<StatusView>(socket, 'status');
    const ports = await ask<PortView[]>(socket, 'ports');
    const uplink = parseUplink(status.uplink) as UplinkConfig;
    const subnet =
      uplink.kind === 'bridge' ? config.subnet : readReplayConfig({ subnet: status.subnet }).subnet;
    const taps = ports.filter(port => port.name !== status.uplinkPort).map(tapOf);
    const dns = await ask<DnsView | null>(socket, 'dns');
    const subject = { ...config, subnet, uplink, taps, dns: dns === null ? undefined : config.dns };
    return { subject, upstreams: dns?.upstreams ?? [], unwritten: status.leasesUnwritten };
  } catch (error) {
    if (error instanceof OperatorError && error.code === 'NotRunning') return undefined;
    throw error;
  }
}

const END_OF: Readonly<Record<string, TapConfig['end']>> = { tap: 'device', packet: 'interface' };

const tapOf = ({ name, kind, netns }: PortView): TapConfig => ({
  name,
  end: END_OF[kind] ?? 'auto',
  ...(netns === undefined ? {} : { netns }),
});

const viewOf = (finding: Finding): Diagnosis['findings'][number] => ({
  id: finding.id,
  severity: finding.severity,
  what: finding.what,
  fix: finding.fix.map(step => step.text),
  ...(finding.lasting === undefined ? {} : { lasting: finding.lasting }),
  ours: isOurs(finding),
});
