/** The facts, read from the host. Whatever can't be read is left out: the doctor says what it knows. */
import { closeSync, openSync, statfsSync } from 'node:fs';
import { legacyTables } from '../iptables.ts';
import { Journal, journalPath } from '../journal.ts';
import { readRoutes } from '../links.ts';
import { holderOf, holdersOf } from '../locks.ts';
import { ruleset } from '../nft.ts';
import { FORWARDING } from '../plan.ts';
import { findTool, run } from '../run.ts';
import { readSysctl } from '../sysctl.ts';
import type { Facts, Link, Subject } from './facts.ts';

/** Tools of others may be slow to say that their service does not run. */
const TOOL_MS = 5_000;

export interface Asked {
  readonly subject: Subject;
  readonly running: boolean;
  readonly resolvers: number;
  /** What the running switch says of its leases. */
  readonly unwritten: string | undefined;
  readonly silent: readonly string[];
}

export async function readFacts({ subject, running, resolvers, unwritten, silent }: Asked): Promise<Facts> {
  const root = process.geteuid?.() === 0;
  const missing = ['ip', 'nft'].filter(tool => findTool(tool) === undefined);
  const usesNft = root && !missing.includes('nft');
  const journal = readJournal(subject);
  const [links, routes, rules, natFault, holder, subnets, taps, networkManager, networkd, legacyForward] =
    await Promise.all([
      readLinks().catch(() => []),
      readRoutes().catch(() => []),
      usesNft ? ruleset().catch(() => []) : [],
      usesNft && !running ? checkNat() : undefined,
      holderOf(subject.name),
      holdersOf('subnet'),
      holdersOf('tap'),
      readNetworkManager(),
      readNetworkd(),
      readLegacyForward(),
    ]);
  const keys = [
    FORWARDING,
    'net/bridge/bridge-nf-call-iptables',
    ...['all', ...links.map(link => link.name)].map(name => `net/ipv4/conf/${name}/rp_filter`),
    ...journal.flatMap(change => (change.kind === 'sysctl' ? [change.key] : [])),
  ];
  return {
    ...{ subject, running, holder, root, missing, natFault, legacyForward, links, routes, journal },
    ...{ subnets, taps, networkManager, networkd, resolvers, silent },
    ruleset: rules,
    tunFault: tunFault(),
    unwritten: running ? unwritten : roomFault(subject.stateDir),
    settings: readSettings(keys),
  };
}

function readJournal(subject: Subject): Facts['journal'] {
  try {
    return new Journal(journalPath(subject)).changes;
  } catch {
    return []; // not ours to read; a start says more of what is wrong with it
  }
}

interface ShownLink {
  readonly ifname: string;
  readonly master?: string;
  readonly ifalias?: string;
  readonly linkinfo?: { readonly info_kind?: string };
}

async function readLinks(): Promise<Link[]> {
  const shown = JSON.parse((await run('ip', ['-j', '-d', 'link', 'show'])) || '[]') as ShownLink[];
  return shown.map(({ ifname, master, ifalias, linkinfo }) => ({
    name: ifname,
    ...(master === undefined ? {} : { master }),
    ...(ifalias === undefined ? {} : { alias: ifalias }),
    ...(linkinfo?.info_kind === undefined ? {} : { kind: linkinfo.info_kind }),
  }));
}

/** What the switch's own table asks of the kernel, only checked: nothing is there afterwards. */
const NAT_LIKE_OURS = `table inet vswitchd_check {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 192.0.2.1 masquerade
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
  }
}
`;

function checkNat(): Promise<string | undefined> {
  return run('nft', ['-c', '-f', '-'], { input: NAT_LIKE_OURS }).then(
    () => undefined,
    (error: Error) => /Error: ([^/]+)/.exec(error.message)?.[1]?.trim() ?? error.message,
  );
}

function tunFault(): string | undefined {
  try {
    closeSync(openSync('/dev/net/tun', 'r+'));
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

/** What a database of leases takes at the start, and some. */
const ROOM_BYTES = 65_536;

/** Of a switch that does not run: is there room for its leases? */
function roomFault(stateDir: string): string | undefined {
  try {
    const { bavail, bsize, files, ffree } = statfsSync(stateDir);
    const full = bavail * bsize < ROOM_BYTES || (files > 0 && ffree === 0);
    return full ? `no room is left in ${stateDir}` : undefined;
  } catch {
    return undefined; // a start makes it
  }
}

/** A tool's answer by lines; none where it is missing, or its service does not run. */
async function linesOf(tool: string, ...words: string[]): Promise<string[]> {
  if (findTool(tool) === undefined) return [];
  const said = await run(tool, words, { timeoutMs: TOOL_MS }).catch(() => '');
  return said.split('\n').filter(line => line !== '');
}

/** Lines of `tap0:connected`. */
async function readNetworkManager(): Promise<Facts['networkManager']> {
  const lines = await linesOf('nmcli', '-t', '-f', 'DEVICE,STATE', 'dev');
  return Object.fromEntries(lines.map(line => line.split(':').slice(0, 2)));
}

/** Lines of `3 tap0 ether degraded configuring`. */
async function readNetworkd(): Promise<Facts['networkd']> {
  const lines = await linesOf('networkctl', '--no-legend', '--no-pager', 'list');
  return Object.fromEntries(
    lines.flatMap(line => {
      const [, name, , , setup] = line.trim().split(/\s+/);
      return name === undefined || setup === undefined ? [] : [[name, setup]];
    }),
  );
}

/** Asked only where the kernel has such a table: the question itself would make one. */
const readLegacyForward = async (): Promise<string[]> =>
  legacyTables().includes('filter') ? linesOf('iptables-legacy', '-S', 'FORWARD') : [];

const readSettings = (keys: readonly string[]): Facts['settings'] =>
  Object.fromEntries(
    keys.flatMap(key => {
      const value = readSysctl(key);
      return value === undefined ? [] : [[key, value]];
    }),
  );
