/**
 * Real firewall tools, each private to a test: ufw and firewalld with files, bus and run-time folder of their own in this
 * file's mount namespace, and both variants of iptables. What they say of themselves is text that a test compares.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import * as assert from 'uvu/assert';
import { lineFrom, until } from '../../src/lab.ts';
import { sh } from '../port/namespace.ts';
import type { Stage } from './stage.ts';

const BUS = '/mnt/bus';
const FOLDERS = ['/etc/ufw', '/etc/default', '/etc/firewalld', '/etc/alternatives'];

/** Call it in the test's own mount namespace, before the first stage. */
export function makeToolsPrivate(): void {
  sh('mount -t tmpfs tmpfs /run; mkdir -p /run/netns');
  for (const folder of FOLDERS) {
    const copy = `/mnt/private${folder}`;
    mkdirSync(dirname(copy), { recursive: true });
    sh(`cp -a ${folder} ${copy}; mount --bind ${copy} ${folder}`);
  }
  process.env.DBUS_SYSTEM_BUS_ADDRESS = `unix:path=${BUS}`;
}

/** Calls `act` while tools can't be run, as where they are not installed. */
export async function withoutTools(tools: readonly string[], act: () => Promise<void>): Promise<void> {
  sh('touch /mnt/nothing; chmod 644 /mnt/nothing');
  const paths = tools.map(tool => sh(`command -v ${tool}`).trim());
  for (const path of paths) sh(`mount --bind /mnt/nothing $(readlink -f ${path})`);
  try {
    await act();
  } finally {
    for (const path of paths) sh(`umount $(readlink -f ${path})`);
  }
}

/** Lets `iptables` stand for a variant: `nft` or `legacy`. */
export function useVariant(variant: string): void {
  for (const suffix of ['', '-save', '-restore'])
    sh(`ln -sfn /usr/sbin/iptables-${variant}${suffix} /etc/alternatives/iptables${suffix}`);
}

const UFW_FILES =
  'for file in /etc/ufw/*.rules /etc/ufw/ufw.conf /etc/default/ufw; do echo $file; cat $file; done';

/**
 * ufw with a rule of the host's own; it drops what comes in and what is forwarded. At the first deletion of any rule it
 * completes a chain of its own that it had left unfinished.
 */
export async function startUfw({ lab, host }: Stage): Promise<void> {
  const commands = [
    'ufw --force enable',
    'ufw allow 22/tcp comment mine',
    'ufw allow 23/tcp',
    'ufw delete allow 23/tcp',
  ];
  for (const command of commands) await lab.inside(host, ...command.split(' '));
}

export async function stopUfw({ lab, host }: Stage): Promise<void> {
  await lab.inside(host, 'ufw', 'delete', 'allow', '22/tcp');
  await lab.inside(host, 'ufw', 'disable');
}

const BUS_CONFIGURATION = `<busconfig><type>system</type><listen>unix:path=${BUS}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/><allow user="*"/></policy></busconfig>`;

/** firewalld on a bus of its own, both ended with the stage. */
export async function startFirewalld(stage: Stage): Promise<void> {
  const { lab, host } = stage;
  writeFileSync('/mnt/bus.conf', BUS_CONFIGURATION);
  sh(`rm -f ${BUS}`);
  const bus = lab.spawn(host, 'dbus-daemon', '--config-file=/mnt/bus.conf', '--nofork', '--print-address');
  await lineFrom(bus, /unix:path/, 10_000);
  lab.spawn(host, 'firewalld', '--nofork', '--nopid', '--log-target=console').stdout?.resume();
  await until('firewalld is running', 30_000, () =>
    lab.inside(host, 'firewall-cmd', '--state').then(
      said => said.includes('running'),
      () => false,
    ),
  );
}

/** What every tool here says of the host, but for one, without counters and remarks. */
export async function rulesText({ lab, host }: Stage, but?: 'nft'): Promise<string> {
  const commands = ['iptables-nft-save', 'iptables-legacy-save', UFW_FILES];
  if (but === undefined) commands.unshift('nft list ruleset');
  const parts = await Promise.all(commands.map(command => lab.inside(host, 'sh', '-c', command)));
  return parts
    .join('\n--\n')
    .replace(/^#.*\n/gm, '')
    .replace(/packets \d+ bytes \d+|\[\d+:\d+\]/g, '');
}

/** What firewalld says, and its files. */
export async function zonesText({ lab, host }: Stage): Promise<string> {
  const commands = [
    'firewall-cmd --list-all-zones',
    'firewall-cmd --list-all-policies',
    'firewall-cmd --permanent --list-all-zones',
    'find /etc/firewalld -type f | sort | xargs md5sum',
  ];
  const parts: string[] = [];
  for (const command of commands) parts.push(await lab.inside(host, 'sh', '-c', command));
  return parts.join('\n--\n');
}

/** Fails with the lines that one of two texts has and the other has not, for the whole is long. */
export function sameText(got: string, wanted: string, when: string): void {
  const without = (text: string, other: string): string[] => {
    const lines = new Set(other.split('\n'));
    return text.split('\n').filter(line => !lines.has(line));
  };
  assert.equal({ more: without(got, wanted), less: without(wanted, got) }, { more: [], less: [] }, when);
  assert.is(got, wanted, when);
}
