/** What the namespace tests stand on: a lab whose host runs the switch, with a world outside, and snapshots of the host. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import type { PortView } from '../../src/control/views.ts';
import { Lab, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { conforms } from '../conforms.ts';
import { enterNamespace } from '../port/namespace.ts';

export const SUBNET = '192.168.100.0/24';
export const GATEWAY = '192.168.100.1';
export const OUTSIDE = '203.0.113.2';
export const NAT_ADDRESS = '192.168.100.254';
export const TAPS = ['--subnet', SUBNET, '--taps', 'tap0,tap1'] as const;

export interface Stage {
  readonly lab: Lab;
  readonly host: string;
  readonly red: string;
  readonly blue: string;
}

/** Whatever a test asks the switch, the answer must be as documented. */
class StageLab extends Lab {
  override async ask<T>(resource: string, name?: string): Promise<T> {
    const answer = await super.ask<T>(resource, name);
    conforms(resource, answer);
    return answer;
  }
}

/** Three namespaces: the host of the switch, and two guests'. */
async function newStage(purpose: string): Promise<Stage> {
  const lab = new StageLab(purpose);
  return { lab, host: await lab.netns('host'), red: await lab.netns('red'), blue: await lab.netns('blue') };
}

/** Tests of a file (`url`) in a namespace of its own; each has a stage, struck afterwards whatever happened. */
export function stageTests(purpose: string, url: string) {
  enterNamespace(url);
  return (name: string, act: (stage: Stage) => Promise<void>): void =>
    void test(name, async () => {
      const stage = await newStage(purpose);
      try {
        await act(stage);
      } finally {
        await stage.lab.strike();
      }
    });
}

/** A server's namespace behind the host, with no route to the guests' subnet. */
export async function addOutside({ lab, host }: Stage): Promise<string> {
  const out = await lab.netns('out');
  await lab.cable([host, 'eth0', '203.0.113.1/24'], [out, 'eth0', `${OUTSIDE}/24`]);
  return out;
}

/**
 * A switch whose NAT is the only one: the host forwards and does not masquerade, and the outside knows the way back to the
 * NAT address. So what the outside sees is what the switch does, with a guest in red. Returns the outside's namespace.
 */
export async function startBareNat(stage: Stage, ...options: string[]): Promise<string> {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await lab.inside(host, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  await lab.ip(out, 'route', 'add', `${NAT_ADDRESS}/32`, 'via', '203.0.113.1');
  await lab.startSwitch(host, ...TAPS, '--firewall', 'none', ...options);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  return out;
}

/** Moves a tap into a guest's namespace, maybe renamed, sets it up and waits till the switch serves it there. */
export async function plugIn({ lab, host }: Stage, tap: string, netns: string, name = tap): Promise<number> {
  await lab.ip(host, 'link', 'set', tap, 'netns', netns, 'name', name);
  const ms = await served(lab, tap, 'tap');
  await lab.ip(netns, 'link', 'set', name, 'up');
  return ms;
}

/** Waits till a port is served at an end (`tap`: device, `packet`: interface); how long it took, ms. */
export const served = (lab: Lab, tap: string, kind: string): Promise<number> =>
  until(`${tap} is served as ${kind}`, 5_000, async () => (await portOf(lab, tap)).kind === kind);

export async function portOf(lab: Lab, name: string): Promise<PortView> {
  const port = (await lab.ask<PortView[]>('ports')).find(candidate => candidate.name === name);
  if (port === undefined) throw new Error(`there is no port ${name}`);
  return port;
}

/** Memory of a process that is in RAM, bytes. */
export const rssOf = (pid: number): number =>
  1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** What vswitchctl says on the host of the running switch. */
/** The gateway's MAC as a guest has learnt it. */
export async function gatewayMacOf({ lab }: Stage, guest: string): Promise<string> {
  const [, mac] = /lladdr (\S+)/.exec(await lab.ip(guest, 'neigh', 'show', GATEWAY)) ?? [];
  if (mac === undefined) throw new Error(`${guest} does not know ${GATEWAY}`);
  return mac;
}

/** Waits for a process's end that is nobody's child here. */
export const goneWithin = (pid: number, ms: number): Promise<number> =>
  until(`process ${pid} has ended`, ms, async () => !existsSync(`/proc/${pid}`));

export const ctl = ({ lab, host }: Stage, ...words: string[]): Promise<string> =>
  lab.inside(host, join(projectRoot(), 'bin', 'vswitchctl'), '--run-dir', lab.folder, ...words);

/** All that a switch may change on its host, as text. */
export async function snapshot({ lab, host }: Stage): Promise<string> {
  const parts = await Promise.all([
    lab.inside(host, 'nft', 'list', 'ruleset'),
    lab.inside(host, 'sysctl', '-n', 'net.ipv4.ip_forward'),
    lab.inside(host, 'sh', '-c', 'grep -s . /proc/sys/net/ipv6/conf/*/disable_ipv6; true'),
    lab.ip(host, '-br', 'link'),
    lab.ip(host, '-br', 'addr'),
    lab.ip(host, 'route'),
  ]);
  return parts.join('\n--\n');
}
