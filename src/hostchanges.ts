/** The host, made what the plan says: what a killed instance has left is undone as far as nobody wants it, and all of it at the end. */
import { writeFileSync } from 'node:fs';
import type { Config } from './config.ts';
import type { Endings } from './endings.ts';
import { OperatorError } from './errors.ts';
import { make } from './host/apply.ts';
import type { Backend } from './host/backend.ts';
import type { Change } from './host/changes.ts';
import { ZoneKeeper } from './host/firewalld.ts';
import type { Journal } from './host/journal.ts';
import type { Locks } from './host/locks.ts';
import { FORWARDING, type Present, plan } from './host/plan.ts';
import { byHand } from './host/resolved.ts';
import type { Shields } from './host/shield.ts';
import { undo, undoStale } from './host/undo.ts';
import type { Log } from './log.ts';

export interface HostParts {
  readonly config: Config;
  readonly journal: Journal;
  readonly present: Present;
  readonly shields: Shields;
  readonly locks: Locks;
  readonly endings: Endings;
  readonly log: Log;
}

export async function changeHost(parts: HostParts): Promise<void> {
  const { config, journal, present, shields, locks, endings, log } = parts;
  const { name, uplink } = config;
  sayFirewall(config, present.backend, log);
  const changes: readonly Change[] = plan(config, present);
  const undone = await undoStale(journal, [...changes, ...(await tapsLeft(config, journal, shields))]);
  if (undone > 0) log.info(`undid ${undone} changes that a killed instance had left`);
  journal.record(changes);
  // All that is in the journal, but for the taps and links, which the follower sees to when it has come so far.
  endings.addPorts(async () => {
    await locks.needNoMore();
    await undo(
      journal,
      journal.changes.filter(change => change.kind !== 'tap' && change.kind !== 'link'),
    );
  });
  if (uplink.kind === 'tun') await locks.need(FORWARDING, present.sysctl(FORWARDING) ?? '1', name);
  await make(changes, sentence => log.warn(sentence));
  const hint = byHand(config, present.resolved);
  if (hint !== undefined) log.info(hint);
  // IPv6 on the uplink would let the host talk to what no guest sees; the setting goes with the interface.
  if (uplink.kind === 'tun') writeIfPresent(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1');
  const zone = changes.find(change => change.kind === 'zone');
  if (zone === undefined) return;
  const keeper = new ZoneKeeper(zone, text => log.warn(text));
  endings.add(() => keeper.stop());
}

function sayFirewall(
  { firewall, hostAccess, lan, uplink }: Config,
  { name, reason, nat }: Backend,
  log: Log,
): void {
  log.info(`firewall: ${name}, for ${reason}`);
  if (nat !== 'none' || firewall === 'none' || uplink.kind !== 'tun') return;
  const lacks = 'neither nft nor iptables is installed';
  if (lan !== undefined)
    throw new OperatorError(`--lan ${lan}: ${lacks}; apt-get install nftables`, { code: 'MissingTool' });
  if (hostAccess !== 'all')
    throw new OperatorError(`--host-access ${hostAccess}: ${lacks}; apt-get install nftables`, {
      code: 'MissingTool',
    });
  log.warn(`${lacks}, so guests can reach the host but not the outside; apt-get install nftables`);
}

/** What a killed instance has left of taps that are wanted again: a guest may hold them. */
async function tapsLeft({ taps }: Config, journal: Journal, shields: Shields): Promise<Change[]> {
  const names = taps.map(tap => tap.name);
  const left = journal.changes.filter(
    change =>
      (change.kind === 'tap' && names.includes(change.name)) ||
      (change.kind === 'link' && names.includes(change.interface)),
  );
  const raised = await Promise.all(names.map(name => shields.changesFor(name)));
  return [...left, ...raised.flat()];
}

function writeIfPresent(path: string, value: string): void {
  try {
    writeFileSync(path, value);
  } catch {
    // this kernel has no IPv6
  }
}
