/**
 * What the tests of real DHCP clients stand on: a guest's namespace with a tap that outlives the switch, the clients with
 * their own places for files, and an ear on the tap that says what was spoken as RFC 2131 calls it.
 */
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { LeaseView } from '../../src/control/views.ts';
import { type Lab, lineFrom, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { openDatagram } from '../../src/service/datagram.ts';
import { formatIp4, type Ip4 } from '../../src/wire/address.ts';
import { Code, type DhcpMessage, int32, MessageType, parse } from '../../src/wire/dhcp.ts';
import * as pcap from '../../src/wire/pcap.ts';
import { GATEWAY } from './stage.ts';

export interface Guest {
  readonly lab: Lab;
  readonly netns: string;
  readonly tap: string;
  readonly mac: string;
  /** Of this guest: leases, configuration, captures. */
  readonly folder: string;
}

/** A namespace with a tap of its own, made by hand: the switch leaves it as it is when it ends. `tap`: its number. */
export async function addGuest(lab: Lab, number: number): Promise<Guest> {
  const tap = `tap${number}`;
  const mac = `02:4c:40:5b:f7:${(0x10 + number).toString(16)}`;
  const netns = await lab.netns(`guest${number}`);
  await lab.ip(netns, 'tuntap', 'add', 'dev', tap, 'mode', 'tap');
  await lab.ip(netns, 'link', 'set', tap, 'address', mac, 'up');
  const folder = join(lab.folder, `guest${number}`);
  mkdirSync(folder);
  return { lab, netns, tap, mac, folder };
}

/** The option for these guests' taps. */
export const tapsOf = (guests: readonly Guest[]): string[] => [
  '--taps',
  guests.map(({ tap, netns }) => `${tap}@${netns}`).join(','),
];

export const leaseOf = async ({ lab, mac }: Guest): Promise<LeaseView | undefined> =>
  (await lab.ask<LeaseView[]>('leases')).find(lease => lease.mac === mac);

export const stateOf = async (lab: Lab, address: string): Promise<string | undefined> =>
  (await lab.ask<LeaseView[]>('leases')).find(lease => lease.address === address)?.state;

/** Waits till the interface has an address. */
export async function addressed({ lab, netns, tap }: Guest, timeoutMs = 8_000): Promise<string> {
  let address = '';
  await until(`${tap} has an address`, timeoutMs, async () => {
    address = await lab.address(netns, tap).catch(() => '');
    return address !== '';
  });
  return address;
}

/** The same of dhclient, which writes its lease down only after that: before, it has nothing to come back with. */
export async function remembered(guest: Guest): Promise<string> {
  const address = await addressed(guest);
  const leases = join(guest.folder, 'leases');
  await until(`dhclient remembers ${address}`, 8_000, async () =>
    readFileSync(leases, 'utf8').includes(address),
  );
  return address;
}

/**
 * Waits till the guest has noticed that nobody serves its tap. The kernel tells of changes of the carrier once a second at
 * the most: a switch that comes back sooner is not noticed at all.
 */
export async function unplugged({ lab, netns, tap }: Guest): Promise<void> {
  await until(`${tap} is down`, 5_000, async () =>
    / state DOWN /.test(await lab.ip(netns, 'link', 'show', tap)),
  );
}

/** udhcpc in the foreground. */
export function udhcpc(guest: Guest, ...words: string[]): ChildProcess {
  const script = join(projectRoot(), 'tools', 'udhcpc-script.sh');
  const { lab, netns, tap } = guest;
  return lab.spawn(netns, 'udhcpc', '-f', '-i', tap, '-t', '5', '-T', '1', '-s', script, ...words);
}

/** dhclient in the foreground; with a script of our own, as the packaged one writes the host's resolv.conf. */
export function dhclient(guest: Guest, settings: readonly string[] = []): ChildProcess {
  return guest.lab.spawn(guest.netns, 'dhclient', '-d', ...dhclientWords(guest, settings), guest.tap);
}

/** Settings are lines of dhclient.conf. */
function dhclientWords({ folder }: Guest, settings: readonly string[]): string[] {
  const file = (name: string): string => join(folder, name);
  writeFileSync(
    file('script'),
    `#!/bin/sh
case "$reason" in
BOUND|RENEW|REBIND|REBOOT)
  ip addr replace "$new_ip_address/$new_subnet_mask" dev "$interface"
  [ -z "$new_routers" ] || ip route replace default via "$new_routers" dev "$interface" ;;
RELEASE|EXPIRE|FAIL|PREINIT) ip -4 addr flush dev "$interface" ;;
esac
`,
    { mode: 0o755 },
  );
  const lines = ['initial-interval 1', 'backoff-cutoff 2', 'reboot 3', ...settings];
  writeFileSync(file('conf'), lines.map(line => `${line};\n`).join(''));
  return ['-4', '-sf', file('script'), '-lf', file('leases'), '-pf', file('pid'), '-cf', file('conf')];
}

/** dhcpcd in the foreground. It keeps files under /run and /var/lib: the first is a mount of its own, the second the guest's. */
export function dhcpcd(guest: Guest, settings: readonly string[] = [], ...words: string[]): ChildProcess {
  const { lab, netns, tap, folder } = guest;
  return lab.spawn(netns, ...dhcpcdWords(folder, settings), 'dhcpcd', '-B', ...words, tap);
}

/** What comes before `dhcpcd` or a call to the running one. */
export function dhcpcdWords(folder: string, settings: readonly string[] = []): string[] {
  for (const name of ['run', 'db']) mkdirSync(join(folder, name), { recursive: true });
  const lines = [
    'ipv4only',
    'nohook resolv.conf, hostname, timesyncd',
    'noipv4ll',
    'nodelay',
    'nodev',
    ...settings,
  ];
  writeFileSync(join(folder, 'dhcpcd.conf'), `${lines.join('\n')}\n`);
  // the path of its configuration is compiled in: so every call finds the same
  const script = `mount --bind ${folder}/run /run && mkdir -p /var/lib/dhcpcd && mount --bind ${folder}/db /var/lib/dhcpcd &&
    mount --bind ${folder}/dhcpcd.conf /etc/dhcpcd.conf && exec "$@"`;
  return ['unshare', '-m', 'sh', '-c', script, 'sh'];
}

/** What a guest sends to the server's own address is lost; broadcasts pass, as clients send these by packet sockets. */
export const loseUnicasts = ({ lab, netns }: Guest): Promise<string> =>
  lab.inside(
    netns,
    'nft',
    `add table ip lost; add chain ip lost out { type filter hook output priority 0; };
     add rule ip lost out ip daddr ${GATEWAY} udp dport 67 drop`,
  );

/** One DHCP message on a tap. */
export interface Heard {
  readonly seconds: number;
  readonly message: DhcpMessage;
  readonly source: string;
  readonly destination: string;
  /** `DISCOVER`, `REQUEST renewing`, `NAK` … */
  readonly what: string;
}

/** An ear on a guest's tap. */
export class Ear {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  /** All that was spoken so far. */
  heard(): Heard[] {
    if (!existsSync(this.#file)) return [];
    const bytes = readFileSync(this.#file);
    const frames = bytes.length < 24 ? [] : pcap.parse(bytes);
    return frames.flatMap(({ seconds, nanoseconds, data }) => {
      const datagram = openDatagram(data);
      const message = datagram === undefined ? undefined : parse(datagram.payload);
      if (datagram === undefined || message === undefined || typeof message === 'number') return [];
      const { source, destination } = datagram;
      return [
        {
          seconds: seconds + nanoseconds / 1e9,
          message,
          source: formatIp4(source),
          destination: formatIp4(destination),
          what: nameOf(message, destination),
        },
      ];
    });
  }

  /** The same as names alone, each once in a row: a client on a busy machine may ask twice. */
  said(): string[] {
    return this.heard()
      .map(({ what }) => what)
      .filter((what, index, all) => what !== all[index - 1]);
  }

  /** Waits till the conversation is this. */
  async expect(conversation: readonly string[], timeoutMs = 8_000): Promise<void> {
    const wanted = conversation.join(', ');
    await until('', timeoutMs, async () => this.said().join(', ') === wanted).catch(() => undefined);
    assert.equal(this.said(), conversation);
  }

  /** Waits till something was spoken. */
  async until(what: string, timeoutMs: number, count = 1): Promise<void> {
    try {
      await until(
        what,
        timeoutMs,
        async () => this.heard().filter(each => each.what === what).length >= count,
      );
    } catch (error) {
      throw new Error(`${(error as Error).message}; heard: ${this.said().join(', ')}`);
    }
  }
}

const BROADCAST = -1 as Ip4;

/** RFC 2131 §4.3.2 tells the four kinds of requests apart. */
function nameOf(message: DhcpMessage, destination: Ip4): string {
  const type = (MessageType[message.type] as string).toUpperCase();
  if (message.type !== MessageType.Request) return type;
  if (message.options.has(Code.ServerId)) return `${type} selecting`;
  if (message.ciaddr === 0) return `${type} init-reboot`;
  return `${type} ${destination === BROADCAST ? 'rebinding' : 'renewing'}`;
}

/** Listens to DHCP on an interface from now on. */
export async function listen({ lab, netns, tap, folder }: Guest, name = 'dhcp'): Promise<Ear> {
  const file = join(folder, `${name}.pcap`);
  const words = [
    '-n',
    '-U',
    '--immediate-mode',
    '-Z',
    'root',
    '-i',
    tap,
    '-w',
    file,
    'udp port 67 or udp port 68',
  ];
  await lineFrom(lab.spawn(netns, 'tcpdump', ...words), /listening on/, 5_000);
  return new Ear(file);
}

/** An address in an option of a message. */
export function addressIn({ options }: DhcpMessage, code: number): string | undefined {
  const value = options.get(code);
  return value === undefined ? undefined : formatIp4(int32(value) as Ip4);
}
