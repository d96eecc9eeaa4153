/**
 * A guest small enough to boot under emulation in seconds: Debian's cloud kernel, busybox, and an init that takes a lease,
 * pings and fetches as the kernel's command line and the machine's serial number say, and tells of each on its console.
 */
import type { ChildProcess } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../src/host/run.ts';
import type { Lab } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';

/** In the order in which they need each other. */
const MODULES = [
  'drivers/virtio/virtio_ring.ko',
  'drivers/virtio/virtio.ko',
  'drivers/virtio/virtio_pci_legacy_dev.ko',
  'drivers/virtio/virtio_pci_modern_dev.ko',
  'drivers/virtio/virtio_pci.ko',
  'net/core/failover.ko',
  'drivers/net/net_failover.ko',
  'drivers/net/virtio_net.ko',
];

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in ${MODULES.map(path => path.replace(/^.*\//, '')).join(' ')}; do insmod /modules/$module; done
for word in $(cat /proc/cmdline); do case $word in peer=*|fetch=*|id=*) export "$word" ;; esac; done
ip link set lo up; ip link set eth0 up
udhcpc -i eth0 -n -q -f -t 20 -T 1 -s /lease \${id:+-x 0x3d:$id} && echo "GUEST lease $(cat /address)"
ping -c 2 -W 2 192.168.100.1 >/dev/null && echo "GUEST gateway answers"
[ -n "$peer" ] && ping -c 3 -W 2 $peer >/dev/null && echo "GUEST peer answers"
serial=$(cat /sys/class/dmi/id/product_serial 2>/dev/null)
case $serial in ds=nocloud*s=http*) for url in \${serial##*;s=} http://169.254.169.254/; do
  for name in meta-data user-data; do echo "GUEST seed $url$name: $(wget -q -O - $url$name | tr '\\n' '|')"; done; done ;; esac
[ -n "$fetch" ] && echo "GUEST fetched $(wget -q -O - $fetch | wc -c)"
echo "GUEST done"
while :; do sleep 1000; done
`;

const LEASE = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface; ip route add default via $router; echo $ip > /address
`;

export interface Image {
  readonly kernel: string;
  readonly initrd: string;
}

/** Where the set-up unpacks what guests boot. */
const FILES = join(projectRoot(), 'node_modules/.cache/vswitchd-guest');

/** Builds the initial RAM disk in a folder. Throws when the set-up for VM tests has not been made. */
export async function buildImage(folder: string): Promise<Image> {
  const kernel = readdirSync(join(FILES, 'boot')).find(name => name.startsWith('vmlinuz-'));
  if (kernel === undefined) throw new Error(`no kernel in ${FILES}/boot: node tools/setup.mjs vm`);
  const modules = join(FILES, 'lib/modules', kernel.replace('vmlinuz-', ''), 'kernel');
  const root = join(folder, 'root');
  for (const name of ['bin', 'dev', 'proc', 'sys', 'modules', 'tmp'])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync(join(FILES, 'bin/busybox'), join(root, 'bin/busybox'));
  symlinkSync('busybox', join(root, 'bin/sh'));
  for (const path of MODULES)
    copyFileSync(join(modules, path), join(root, 'modules', path.replace(/^.*\//, '')));
  writeFileSync(join(root, 'init'), INIT, { mode: 0o755 });
  writeFileSync(join(root, 'lease'), LEASE, { mode: 0o755 });
  const initrd = join(folder, 'initrd');
  await run('sh', ['-c', `cd "${root}" && find . | cpio --quiet -o -H newc > "${initrd}"`]);
  return { kernel: join(FILES, 'boot', kernel), initrd };
}

export interface GuestOptions {
  /** The tap that it opens, unless `network` says what else it is plugged into. */
  readonly tap?: string;
  /** QEMU's words for its network, instead of the usual ones; the back end is net0. */
  readonly network?: readonly string[];
  /** A command that runs QEMU, instead of QEMU alone. */
  readonly by?: readonly string[];
  /** Of the network device, beside its MAC. */
  readonly device?: string;
  readonly mac: string;
  /** `peer=ADDRESS` to ping, `fetch=URL`, `id=HEX`: the client id, option 61. */
  readonly orders?: string;
  /** As for QEMU's -smbios. */
  readonly smbios?: string;
}

/** Starts a guest with the command line that people use with a bridge, unchanged. */
export function startGuest(lab: Lab, netns: string, image: Image, options: GuestOptions): ChildProcess {
  const { tap, mac, orders = '', smbios, device = 'virtio-net', by = [] } = options;
  const { network = ['-netdev', `tap,id=net0,ifname=${tap},script=no,downscript=no`] } = options;
  return lab.spawn(
    netns,
    ...by,
    'qemu-system-x86_64',
    ...[
      '-accel',
      'tcg',
      '-m',
      '192',
      '-display',
      'none',
      '-monitor',
      'none',
      '-serial',
      'stdio',
      '-no-reboot',
    ],
    ...[
      '-kernel',
      image.kernel,
      '-initrd',
      image.initrd,
      '-append',
      `console=ttyS0 quiet panic=-1 ${orders}`,
    ],
    ...network,
    ...['-device', `${device},netdev=net0,mac=${mac}`],
    ...(smbios === undefined ? [] : ['-smbios', smbios]),
  );
}
