/**
 * How virtual machine monitors are told of a port: the arguments of QEMU, Firecracker and cloud-hypervisor, for people to paste.
 * What one of them can't do with a port of that kind is said in its place.
 */

/** What a guest is plugged into. */
export type Plug =
  | { readonly kind: 'tap'; readonly name: string }
  | { readonly kind: 'stream'; readonly path: string; readonly mode: 'server' | 'client' }
  | { readonly kind: 'dgram'; readonly path: string; readonly peer: string | undefined }
  | {
      readonly kind: 'vhost-user';
      readonly path: string;
      readonly mode: 'server' | 'client';
      readonly queues: number;
    };

export const MONITORS = ['qemu', 'firecracker', 'cloud-hypervisor'] as const;
export type Monitor = (typeof MONITORS)[number];

/** Arguments, one after the other, or why there are none. */
export type Advice =
  | { readonly arguments: readonly string[]; readonly note?: string }
  | { readonly refused: string };

/** `memory`: of the guest, as QEMU's -m and cloud-hypervisor's --memory take it. */
export function adviceFor(monitor: Monitor, plug: Plug, mac: string, memory: string): Advice {
  if (monitor === 'qemu') return qemu(plug, mac, memory);
  return monitor === 'firecracker' ? firecracker(plug, mac) : cloudHypervisor(plug, mac, memory);
}

function qemu(plug: Plug, mac: string, memory: string): Advice {
  const device = (more = ''): string[] => ['-device', `virtio-net-pci,netdev=net0,mac=${mac}${more}`];
  switch (plug.kind) {
    case 'tap':
      return {
        arguments: [
          '-netdev',
          `tap,id=net0,ifname=${quoted(plug.name)},script=no,downscript=no`,
          ...device(),
        ],
      };
    case 'stream': {
      // The switch listens, or QEMU does.
      const server = plug.mode === 'server' ? 'off' : 'on';
      const netdev = `stream,id=net0,server=${server},addr.type=unix,addr.path=${quoted(plug.path)}`;
      return { arguments: ['-netdev', netdev, ...device()], note: 'QEMU 7.2 or later' };
    }
    case 'dgram': {
      const { path, peer = `${path}.guest` } = plug;
      const ends = `local.type=unix,local.path=${quoted(peer)},remote.type=unix,remote.path=${quoted(path)}`;
      return { arguments: ['-netdev', `dgram,id=net0,${ends}`, ...device()], note: 'QEMU 7.2 or later' };
    }
    case 'vhost-user': {
      const { path, mode, queues } = plug;
      const socket = `socket,id=chr0,path=${quoted(path)}${mode === 'server' ? '' : ',server=on,wait=off'}`;
      const pairs = queues > 1 ? `,queues=${queues}` : '';
      return {
        arguments: [
          ...['-m', memory, '-object', `memory-backend-memfd,id=mem0,size=${memory},share=on`],
          ...['-numa', 'node,memdev=mem0', '-chardev', socket],
          ...['-netdev', `vhost-user,id=net0,chardev=chr0${pairs}`],
          ...device(queues > 1 ? `,mq=on,vectors=${2 * queues + 2}` : ''),
        ],
        note: "the guest's memory is shared with the switch",
      };
    }
  }
}

function firecracker(plug: Plug, mac: string): Advice {
  if (plug.kind !== 'tap') return { refused: `Firecracker has taps alone, no ${plug.kind}` };
  const settings = { iface_id: 'eth0', guest_mac: mac, host_dev_name: plug.name };
  return {
    arguments: [JSON.stringify({ 'network-interfaces': [settings] })],
    note: 'in the file of --config-file',
  };
}

function cloudHypervisor(plug: Plug, mac: string, memory: string): Advice {
  switch (plug.kind) {
    case 'tap':
      return { arguments: ['--net', `tap=${plug.name},mac=${mac}`] };
    case 'vhost-user': {
      // In its words the server is who listens, too.
      const { path, mode, queues } = plug;
      const server = mode === 'server' ? '' : ',vhost_mode=server';
      return {
        arguments: [
          ...['--memory', `size=${memory},shared=on`],
          ...['--net', `vhost_user=true,socket=${path},num_queues=${2 * queues},mac=${mac}${server}`],
        ],
        note: "the guest's memory is shared with the switch",
      };
    }
    default:
      return { refused: `cloud-hypervisor has taps and vhost-user, no ${plug.kind}` };
  }
}

/** QEMU reads a comma within a value where there are two. */
const quoted = (text: string): string => text.replaceAll(',', ',,');

/** As a shell reads it back; as it is, where nothing in it means anything to one. */
export const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
