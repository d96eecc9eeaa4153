/**
 * systemd-resolved: it asks the gateway for the names of guests and of their addresses, by the uplink, and for nothing else.
 * What it is told of an interface goes with the interface, so a kill leaves nothing; where it does not run the operator is
 * told what to set up by hand.
 */
import { createConnection } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { formatIp4 } from '../wire/address.ts';
import { reverseZones } from '../wire/reverse.ts';
import { type Change, type ResolvedChange, resolvedWords } from './changes.ts';
import { findTool, run } from './run.ts';

/** Asked by its socket: resolvectl would have the bus start it. Its files in /run outlive it. */
const SOCKET = '/run/systemd/resolve/io.systemd.Resolve';
const ASK_MS = 500;
/** It hears of a new interface from the kernel, and may not have yet. */
const [TRIES, PAUSE_MS] = [10, 100];

/** Does it run, and is there the tool to tell it of an interface? */
export function resolvedRuns(): Promise<boolean> {
  if (findTool('resolvectl') === undefined) return Promise.resolve(false);
  return new Promise(resolve => {
    const connection = createConnection(SOCKET);
    const end = (runs: boolean): void => {
      connection.destroy();
      resolve(runs);
    };
    connection.setTimeout(ASK_MS, () => end(false));
    connection.on('connect', () => end(true));
    connection.on('error', () => end(false));
  });
}

type Served = Pick<Config, 'name' | 'subnet' | 'uplink' | 'dns'>;

/** What it is to be told; nothing where names are not served, or the host has no address on the uplink. */
export function splitDns({ name, subnet, uplink, dns }: Served): ResolvedChange[] {
  if (dns === undefined || uplink.kind !== 'tun') return [];
  const domains = [dns.domain, ...reverseZones(subnet.network, subnet.prefix)].map(zone => `~${zone}`);
  return [{ kind: 'resolved', interface: name, server: formatIp4(subnet.gateway), domains }];
}

/** What to do by hand where it does not run, as one sentence; undefined: there is nothing to do. */
export function byHand(config: Served, runs: boolean): string | undefined {
  const [change] = splitDns(config);
  if (change === undefined || runs) return undefined;
  const domain = change.domains[0]?.slice(1);
  return `this host does not find guests by name, as systemd-resolved does not run; give dnsmasq server=/${domain}/${change.server}, or make "nameserver ${change.server}" the first in /etc/resolv.conf`;
}

const isResolved = (change: Change): change is ResolvedChange => change.kind === 'resolved';

/** Nobody needs it but the host's own programs: a failure is told by `warn`, and the rest goes on. */
export async function addToResolved(
  changes: readonly Change[],
  warn: (sentence: string) => void,
): Promise<void> {
  for (const change of changes.filter(isResolved))
    try {
      for (const words of resolvedWords(change)) await insist(words);
    } catch (error) {
      warn(`this host does not ask for guests' names: ${(error as Error).message}`);
    }
}

async function insist(words: readonly string[]): Promise<void> {
  for (let tries = 1; ; tries++)
    try {
      await run('resolvectl', words);
      return;
    } catch (error) {
      if (tries >= TRIES || !/unknown|no such|not known|does not exist/i.test((error as Error).message))
        throw error;
      await pause(PAUSE_MS);
    }
}

/** Nothing is left to take back where the interface has gone, or the service. */
export async function removeFromResolved(changes: readonly Change[]): Promise<void> {
  for (const { interface: link } of changes.filter(isResolved))
    if (await resolvedRuns()) await run('resolvectl', ['revert', link]).catch(() => undefined);
}
