/** Ways from a guest to a server outside: the switch's NAT, the kernel's, slirp4netns and pasta. */
import { type Lab, until } from '../../src/lab.ts';

export interface Gateways {
  readonly host: string;
  readonly outside: string;
}

/** A guest behind a gateway. */
export interface Guest {
  readonly name: string;
  readonly netns: string;
}

export const SERVER = '203.0.113.2';

export async function makeOutside(lab: Lab): Promise<Gateways> {
  const [host, outside] = [await lab.netns('gw'), await lab.netns('out')];
  await lab.cable([host, 'lan0', '203.0.113.1/24'], [outside, 'eth0', `${SERVER}/24`]);
  await lab.ip(host, 'route', 'add', 'default', 'via', SERVER);
  return { host, outside };
}

export async function ourGuest(lab: Lab, { host }: Gateways): Promise<Guest> {
  const netns = await lab.netns('guest');
  const where = ['--name', 'vsw2', '--subnet', '192.168.102.0/24'];
  await lab.startSwitch(host, ...where, '--taps', `tap0@${netns}`);
  await lab.ip(netns, 'link', 'set', 'tap0', 'up');
  await lab.lease(netns, 'tap0');
  return { name: 'vswitchd', netns };
}

export async function kernelGuest(lab: Lab, { host }: Gateways): Promise<Guest> {
  const netns = await lab.netns('routed');
  await lab.cable([host, 'routed', '10.77.0.1/24'], [netns, 'eth0', '10.77.0.2/24']);
  await lab.ip(netns, 'route', 'add', 'default', 'via', '10.77.0.1');
  const rule = ['POSTROUTING', '-o', 'lan0', '-s', '10.77.0.0/24', '-j', 'MASQUERADE'];
  await lab.inside(host, 'iptables', '-t', 'nat', '-A', ...rule);
  await lab.inside(host, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  return { name: 'kernel routing', netns };
}

export async function slirpGuest(lab: Lab, { host }: Gateways): Promise<Guest> {
  const netns = await lab.netns('slirp');
  const options = ['--configure', '--mtu=65520', '--disable-host-loopback', '--netns-type=path'];
  lab.spawn(host, 'slirp4netns', ...options, `/run/netns/${netns}`, 'tap0');
  return ready(lab, { name: 'slirp4netns', netns });
}

/** Its own addresses: what it takes from the host's makes the server the gateway, which stands for the host. */
export async function pastaGuest(lab: Lab, { host }: Gateways): Promise<Guest> {
  const netns = await lab.netns('pasta');
  const addresses = ['--address', '10.77.4.2', '--netmask', '24', '--gateway', '10.77.4.1'];
  const options = ['--foreground', '--config-net', '--mtu', '65520', '--runas', '0', '--quiet'];
  lab.spawn(host, 'pasta', ...options, ...addresses, '--netns', `/run/netns/${netns}`);
  return ready(lab, { name: 'pasta', netns });
}

async function ready(lab: Lab, guest: Guest): Promise<Guest> {
  await until(`${guest.name} has set up its guest`, 5_000, async () =>
    (await lab.ip(guest.netns, 'route')).includes('default'),
  );
  return guest;
}
