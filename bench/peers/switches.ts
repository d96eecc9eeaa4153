/** Other switches between red and blue: how each is started, as its manual says, with what makes it fast. */
import { join } from 'node:path';
import { type Lab, lineFrom, until } from '../../src/lab.ts';
import { address, cables, type Ends, type Way } from '../stage.ts';
import { compiled } from '../traffic.ts';

/** Two taps that a program has made on the host go to the ends. */
async function handOut(
  lab: Lab,
  { red, blue, host }: Ends,
  [first, second]: readonly [string, string],
): Promise<void> {
  const there = async (): Promise<boolean> => {
    const links = await lab.ip(host, '-br', 'link');
    return links.includes(first) && links.includes(second);
  };
  await until(`${first} and ${second} are there`, 3_000, there);
  await lab.ip(host, 'link', 'set', first, 'netns', red);
  await lab.ip(host, 'link', 'set', second, 'netns', blue);
}

export async function loopWay(lab: Lab, ends: Ends): Promise<Way> {
  await lineFrom(lab.spawn(ends.host, compiled(lab, 'loop'), 'loop0', 'loop1'), /ready/, 3_000);
  await handOut(lab, ends, ['loop0', 'loop1']);
  return address(lab, ends, { name: 'read and write', red: 'loop0', blue: 'loop1', target: '10.77.1.11' });
}

/** The daemons below end with their process namespace, however this program ends. */
const ALONE = ['unshare', '--pid', '--fork', '--kill-child', 'sh', '-c'];

/** VDE opens taps itself; its console ends it at the end of input, so it is a daemon. */
export async function vdeWay(lab: Lab, ends: Ends): Promise<Way> {
  const socket = join(lab.folder, 'vde');
  lab.spawn(ends.host, ...ALONE, `vde_switch -s ${socket} -t vde0 -t vde1 -d && exec sleep infinity`);
  await handOut(lab, ends, ['vde0', 'vde1']);
  return address(lab, ends, { name: 'VDE 2', red: 'vde0', blue: 'vde1', target: '10.77.2.11' });
}

/**
 * Open vSwitch without its kernel module: packet sockets on veths, one forwarding thread. It does not finish checksums, so the
 * ends must not leave them to it.
 */
export async function ovsWay(lab: Lab, ends: Ends): Promise<Way> {
  const { red, blue, host } = ends;
  await cables(lab, ends, 'ovs');
  for (const netns of [red, blue]) await lab.inside(netns, 'ethtool', '-K', 'ovs0', 'tx', 'off');
  const at = (file: string): string => join(lab.folder, file);
  const remote = `unix:${at('ovsdb.sock')}`;
  const control = ['ovs-vsctl', `--db=${remote}`, '--timeout=10'];
  await lab.inside(host, 'ovsdb-tool', 'create', at('ovs.db'), '/usr/share/openvswitch/vswitch.ovsschema');
  const environment = `OVS_RUNDIR=${lab.folder} OVS_LOGDIR=${lab.folder}`;
  const server = `ovsdb-server ${at('ovs.db')} --remote=p${remote}`;
  lab
    .spawn(host, ...ALONE, `export ${environment}; ${server} & exec ovs-vswitchd ${remote}`)
    .stderr?.resume();
  await until('ovsdb-server answers', 5_000, () =>
    lab.inside(host, ...control, '--no-wait', 'init').then(
      () => true,
      () => false,
    ),
  );
  await lab.inside(
    host,
    ...control,
    ...['add-br', 'ovs', '--', 'set', 'bridge', 'ovs', 'datapath_type=netdev'],
    ...['--', 'add-port', 'ovs', 'ovs-red', '--', 'add-port', 'ovs', 'ovs-blue'],
  );
  return address(lab, ends, { name: 'OVS user space', red: 'ovs0', blue: 'ovs0', target: '10.77.3.11' });
}
