/** The real systemd-resolved, unpacked and not installed, private to a test: a bus, /run and files of its own. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lineFrom, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { sh } from '../port/namespace.ts';
import type { Stage } from './stage.ts';

const UNPACKED = join(projectRoot(), 'node_modules/.cache/vswitchd-test');
const LIBRARIES = ['usr/lib/x86_64-linux-gnu', 'lib/systemd', 'usr/lib/systemd']
  .map(at => join(UNPACKED, at))
  .join(':');
const BUS = '/mnt/bus';
/** Of the service, which gives up being root. */
const USER = 'systemd-resolve:x:991:991::/:/usr/sbin/nologin';

const BUS_CONFIGURATION = `<busconfig><type>system</type><listen>unix:path=${BUS}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/><allow user="*"/></policy></busconfig>`;

/** Call it in the test's own mount namespace, before the first stage: `resolvectl` is there then, and nothing behind it. */
export function makeResolvedPrivate(): void {
  if (!existsSync(join(UNPACKED, 'usr/bin/resolvectl')))
    throw new Error('systemd-resolved is not unpacked: node tools/setup.mjs test');
  sh('mount -t tmpfs tmpfs /run; mkdir -p /run/netns /run/systemd; chmod 755 /mnt');
  for (const [file, line] of [
    ['passwd', USER],
    ['group', 'systemd-resolve:x:991:'],
  ] as const)
    sh(
      `cp /etc/${file} /mnt/${file}; grep -q ^systemd-resolve: /mnt/${file} || echo '${line}' >>/mnt/${file}; mount --bind /mnt/${file} /etc/${file}`,
    );
  sh('mkdir -p /etc/systemd /mnt/systemd && mount --bind /mnt/systemd /etc/systemd');
  mkdirSync('/mnt/bin');
  const tool = `#!/bin/sh\nLD_LIBRARY_PATH=${LIBRARIES} exec ${UNPACKED}/usr/bin/resolvectl "$@"\n`;
  writeFileSync('/mnt/bin/resolvectl', tool, { mode: 0o755 });
  process.env.PATH = `/mnt/bin:${process.env.PATH}`;
  process.env.DBUS_SYSTEM_BUS_ADDRESS = `unix:path=${BUS}`;
}

/** The file that says whom to ask, for everybody in the test. */
export function setResolvConf(...servers: readonly string[]): void {
  writeFileSync('/mnt/resolv.conf', servers.map(server => `nameserver ${server}\n`).join(''));
  sh('mountpoint -q /etc/resolv.conf || mount --bind /mnt/resolv.conf /etc/resolv.conf');
}

/** Starts it in the host's namespace, with a server to ask; it ends with the stage. */
export async function startResolved({ lab, host }: Stage, server: string): Promise<void> {
  writeFileSync('/mnt/bus.conf', BUS_CONFIGURATION);
  const settings = `[Resolve]\nDNS=${server}\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\n`;
  writeFileSync('/etc/systemd/resolved.conf', settings);
  sh(`rm -f ${BUS}`);
  const bus = lab.spawn(host, 'dbus-daemon', '--config-file=/mnt/bus.conf', '--nofork', '--print-address');
  await lineFrom(bus, /unix:path/, 10_000);
  sh(`chmod 777 ${BUS}`);
  const words = ['env', `LD_LIBRARY_PATH=${LIBRARIES}`, `${UNPACKED}/lib/systemd/systemd-resolved`];
  const service = lab.spawn(host, ...words);
  service.stdout?.resume();
  service.stderr?.resume();
  await until('systemd-resolved is running', 20_000, () =>
    lab.inside(host, 'resolvectl', 'status').then(
      () => true,
      () => false,
    ),
  );
}
