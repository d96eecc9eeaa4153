/**
 * A passt that somebody else has started, as a port: it listens as for QEMU, and the switch connects as QEMU would. It is the way
 * out for the one address that it is told, and answers ARP for any other; the guest routes by one that nobody has.
 */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { addOutside, OUTSIDE, plugIn, portOf, SUBNET, stageTests } from './stage.ts';

const PATIENCE_MS = 5_000;
const GUEST = '192.168.100.10';
/** Whom passt stands for. */
const ROUTER = '192.168.100.77';
const SERVE = `require('node:net').createServer(c => c.end('hello')).listen(7000, process.argv[1], () => console.log('listening'))`;
const FETCH = `require('node:net').connect(7000, process.argv[1], function () { this.pipe(process.stdout) })`;

const stageTest = stageTests('sp', import.meta.url);

stageTest('passt as a stream port: ping and TCP go out through it; it ends and comes back', async stage => {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await lab.ip(host, 'route', 'add', 'default', 'via', OUTSIDE); // passt wants a way out to begin with
  await lab.inside(host, 'sysctl', '-qw', 'net.ipv4.ping_group_range=0 2147483647');
  await lineFrom(lab.spawn(out, process.execPath, '-e', SERVE, OUTSIDE), /listening/, PATIENCE_MS);
  const path = join(lab.folder, 'passt.sock');
  const words = ['--subnet', SUBNET, '--taps', 'tap0', '--uplink', 'none', '--firewall', 'none'];
  await lab.startSwitch(host, ...words, '--port', `stream:${path},mode=client,name=out`);
  await plugIn(stage, 'tap0', red);
  await lab.ip(red, 'addr', 'add', `${GUEST}/24`, 'dev', 'tap0');
  await lab.ip(red, 'route', 'add', 'default', 'via', ROUTER);
  for (let round = 0; round < 2; round++) {
    const own = ['--socket', path, '--address', GUEST, '--netmask', '24', '--gateway', ROUTER];
    const none = ['--no-dhcp', '--no-dhcpv6', '--no-ra', '--no-ndp', '--no-map-gw'];
    const passt = lab.spawn(host, 'passt', '--foreground', '--runas', '0', ...own, ...none);
    passt.stdout?.resume();
    passt.stderr?.resume();
    await until('the port is up', PATIENCE_MS, async () => (await portOf(lab, 'out')).up);
    await lab.ping(red, OUTSIDE, 1);
    assert.is(await lab.inside(red, process.execPath, '-e', FETCH, OUTSIDE), 'hello');
    await ended(passt, 'SIGKILL', PATIENCE_MS);
    await until('the port is down', PATIENCE_MS, async () => !(await portOf(lab, 'out')).up);
  }
});

test.run();
