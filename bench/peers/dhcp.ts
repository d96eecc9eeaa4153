/**
 * Other DHCP servers to measure beside ours: Kea with its memory file, with and without threads, and dnsmasq. Each has a veth and
 * a subnet of its own, keeps leases on disk, and looks for nobody at an address before it offers it; nor does the switch behind a relay.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Lab, lineFrom } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';

/** A DHCP server as the namespace with perfdhcp sees it, which plays a relay: the answers go to its own address. */
export interface Server {
  readonly name: string;
  /** The interface on perfdhcp's side. */
  readonly tap: string;
  readonly gateway: string;
  readonly relay: string;
}

/**
 * How long each client waited from its DISCOVER to its ACK, from what `perfdhcp -x t` says: ms. It asks as soon as it has an
 * offer, so the first offer that came belongs to the first request that left, and so on.
 */
export function delaysMs(said: string): number[] {
  const [, offers = '', acks = ''] = said.split(/^\*\*\*Timestamps.*$/m);
  const times = (text: string): [number, number][] =>
    [...text.matchAll(/^sent \/ received: ([\d.]+) \/ ([\d.]+)$/gm)].map(match => [
      Number(match[1]) * 1000,
      Number(match[2]) * 1000,
    ]);
  const discovered = times(offers).sort(([, a], [, b]) => a - b);
  const acknowledged = times(acks).sort(([a], [b]) => a - b);
  return acknowledged.map(([, ack], i) => ack - (discovered[i]?.[0] ?? Number.NaN));
}

const START_MS = 5_000;
const KEA = join(projectRoot(), 'node_modules/.cache/vswitchd-peers/usr');

export async function dhcpPeers(lab: Lab, green: string): Promise<Server[]> {
  const servers: Server[] = [];
  for (const [index, [name, start]] of PEERS.entries()) {
    const net = `172.${22 + index}`;
    const server = { name, tap: `peer${index}`, gateway: `${net}.0.1`, relay: `${net}.255.250/16` };
    const own = `own${index}`;
    const host = await lab.netns(own);
    await lab.cable([host, own, `${server.gateway}/16`], [green, server.tap, server.relay]);
    await start(lab, host, own, net);
    servers.push(server);
  }
  return servers;
}

type Start = (lab: Lab, host: string, own: string, net: string) => Promise<void>;

const kea =
  (threads: boolean): Start =>
  async (lab, host, own, net) => {
    const file = (name: string): string => join(lab.folder, `${own}.${name}`);
    const config = {
      Dhcp4: {
        'interfaces-config': { interfaces: [own], 'dhcp-socket-type': 'udp' },
        'lease-database': { type: 'memfile', persist: true, name: file('csv') },
        'multi-threading': { 'enable-multi-threading': threads, 'thread-pool-size': 2 },
        'valid-lifetime': 43_200,
        subnet4: [{ subnet: `${net}.0.0/16`, pools: [{ pool: `${net}.0.10 - ${net}.255.200` }] }],
      },
    };
    writeFileSync(file('json'), JSON.stringify(config));
    const places = [`KEA_PIDFILE_DIR=${lab.folder}`, `KEA_LOCKFILE_DIR=${lab.folder}`];
    const library = `LD_LIBRARY_PATH=${join(KEA, 'lib/x86_64-linux-gnu')}`;
    const words = ['env', ...places, library, join(KEA, 'sbin/kea-dhcp4'), '-c', file('json')];
    const child = lab.spawn(host, ...words);
    await lineFrom(child, /DHCP4_STARTED/, START_MS);
    for (const stream of [child.stdout, child.stderr]) stream?.resume();
  };

const dnsmasq: Start = async (lab, host, own, net) => {
  const words = [
    '--conf-file=/dev/null',
    '--no-daemon',
    '--port=0',
    '--no-ping',
    '--quiet-dhcp',
    '--user=root',
  ];
  const range = ['-i', own, '--bind-interfaces', `--dhcp-range=${net}.0.10,${net}.255.200,255.255.0.0,12h`];
  const leases = [`--dhcp-leasefile=${join(lab.folder, `${own}.leases`)}`, '--dhcp-lease-max=65000'];
  const child = lab.spawn(host, 'dnsmasq', ...words, ...range, ...leases, '--dhcp-authoritative');
  await lineFrom(child, /started/, START_MS);
  for (const stream of [child.stdout, child.stderr]) stream?.resume();
};

const PEERS: readonly (readonly [string, Start])[] = [
  ['Kea', kea(false)],
  ['Kea with threads', kea(true)],
  ['dnsmasq', dnsmasq],
];
