/** A host whose firewall drops what is forwarded and what comes in, and a switch on it that is killed, started and stopped. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { StatusView } from '../../src/control/views.ts';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { rulesText, sameText, useVariant, withoutTools, zonesText } from './managers.ts';
import { addOutside, GATEWAY, OUTSIDE, plugIn, type Stage, TAPS } from './stage.ts';

const vswitchd = join(projectRoot(), 'bin', 'vswitchd');
const SERVE = `require('node:net').createServer(c => c.end('hello')).listen(7000, () => console.log('listening'))`;

/** What a host drops, by one variant of iptables, with what Docker has of it. */
export const dropAll = (tool: string): string => `
  ${tool} -P FORWARD DROP; ${tool} -P INPUT DROP
  ${tool} -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  ${tool} -N DOCKER-USER; ${tool} -A DOCKER-USER -j RETURN
  ${tool} -N DOCKER-ISOLATION-STAGE-1; ${tool} -A DOCKER-ISOLATION-STAGE-1 -j RETURN
  ${tool} -A FORWARD -j DOCKER-USER; ${tool} -A FORWARD -j DOCKER-ISOLATION-STAGE-1
  ${tool} -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  ${tool} -t nat -N DOCKER; ${tool} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
  ${tool} -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`;

export interface Host {
  readonly name: string;
  readonly options: readonly string[];
  /** What the log says of the choice. */
  readonly says: RegExp;
  readonly variant?: string;
  readonly firewalld?: true;
  /** It ends by a kill and `--undo`, not by itself. */
  readonly undone?: true;
  /** A tool that is not installed. */
  readonly without?: 'nft';
  readonly prepare: (stage: Stage) => Promise<unknown>;
  readonly clear?: (stage: Stage) => Promise<unknown>;
}

export const script =
  (text: string) =>
  ({ lab, host }: Stage): Promise<string> =>
    lab.inside(host, 'sh', '-ec', text);

/** Makes the tables of iptables-nft that hosts have none of, and that can't be taken away without nft. */
export const TABLES =
  'for table in nat mangle; do iptables-nft -t $table -N x; iptables-nft -t $table -X x; done';

export function heardFrom(child: ChildProcess): () => string {
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', chunk => {
      said += chunk;
    });
  return () => said;
}

async function kill({ lab }: Stage, child: ChildProcess): Promise<void> {
  const { pid } = await lab.ask<StatusView>('status');
  const gone = new Promise(resolve => child.once('exit', resolve));
  process.kill(pid, 'SIGKILL');
  await gone;
}

/** What a namespace hears from a port that answers `hello`. */
const hello = ({ lab }: Stage, netns: string, address: string): Promise<string> =>
  lab.inside(
    netns,
    process.execPath,
    '-e',
    `require('node:net').connect(7000, '${address}').on('data', d => console.log(String(d))).on('error', () => undefined);
     setTimeout(() => process.exit(), 4000).unref();`,
  );

async function startSwitch({ lab, host }: Stage, { options, says }: Host): Promise<ChildProcess> {
  const child = lab.spawnSwitch(host, ...TAPS, ...options);
  const heard = heardFrom(child);
  await lineFrom(child, /ready/, 30_000);
  assert.match(heard(), says);
  return child;
}

async function guestGetsThrough(stage: Stage): Promise<void> {
  const { lab, red } = stage;
  await lab.ping(red, OUTSIDE);
  await lab.ping(red, GATEWAY);
  assert.match(await hello(stage, red, OUTSIDE), /hello/);
  assert.match(await hello(stage, red, GATEWAY), /hello/);
}

/** Guests get through and nobody outside gets in; killed, started and ended, the switch leaves all as it was. */
export async function leavesNothing(stage: Stage, each: Host): Promise<void> {
  const out = await addOutside(stage);
  useVariant(each.variant ?? 'nft');
  try {
    await each.prepare(stage);
    await withoutTools(each.without === undefined ? [] : [each.without], () =>
      comesAndGoes(stage, each, out),
    );
  } finally {
    await each.clear?.(stage);
    useVariant('nft');
  }
}

async function comesAndGoes(stage: Stage, each: Host, out: string): Promise<void> {
  const { lab, host, red } = stage;
  const text = async (): Promise<string> =>
    (await rulesText(stage, each.without)) + (each.firewalld === undefined ? '' : await zonesText(stage));
  const before = await text();
  const first = await startSwitch(stage, each);
  const running = await text();
  assert.is.not(running, before);
  await plugIn(stage, 'tap0', red);
  const address = await lab.lease(red, 'tap0');
  for (const netns of [host, out])
    await lineFrom(lab.spawn(netns, process.execPath, '-e', SERVE), /listening/, 10_000);
  await guestGetsThrough(stage);
  await nobodyGetsIn(stage, out, [address, '192.168.100.254']);
  await kill(stage, first);
  const second = await startSwitch(stage, each);
  await until('the tap is served again', 10_000, () => answers(lab.ping(red, GATEWAY, 1)));
  await guestGetsThrough(stage);
  sameText(shieldless(await text()), shieldless(running), 'started again');
  if (each.undone === true) {
    await kill(stage, second);
    assert.match(await lab.inside(host, vswitchd, '--undo', '--state-dir', lab.folder), /undid/);
  } else assert.is(await ended(second, 'SIGTERM', 20_000), 0);
  sameText(await text(), before, 'ended');
}

async function nobodyGetsIn({ lab }: Stage, out: string, addresses: readonly string[]): Promise<void> {
  await lab.ip(out, 'route', 'add', '192.168.100.0/24', 'via', '203.0.113.1');
  for (const address of addresses)
    assert.not(await answers(lab.ping(out, address, 1)), `${address} is reached from outside`);
}

const answers = (ping: Promise<string>): Promise<boolean> =>
  ping.then(
    () => true,
    () => false,
  );

/** Without the netdev table, whose chains follow the taps. */
const shieldless = (text: string): string => text.replace(/^table netdev [\s\S]*?^}\n/gm, '');
