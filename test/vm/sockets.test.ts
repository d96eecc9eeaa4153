// timeout: 120 s
/** Guests whose network is a socket: vhost-user, a stream by either of QEMU's names, datagrams. Each gets its lease, and reaches the gateway and another; all are there at once after a restart, and again after the switch was killed. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lineFrom } from '../../src/lab.ts';
import { StreamGuest } from '../netns/guest.ts';
import { ctl, goneWithin, portOf, SUBNET, stageTests } from '../netns/stage.ts';
import { buildImage, type GuestOptions, startGuest } from './guest.ts';

const BOOT_MS = 80_000;
/** For all that a guest's monitor does every second. */
const BACK_MS = 6_000;
/** Of a guest that has noticed nothing, emulated, on a busy machine. */
const AT_ONCE_MS = 1_000;

/** Connects to a path and runs the rest with that as file 3, as `-netdev socket` has it of those who start QEMU. */
const CONNECT =
  '$^F = 3; my $s = IO::Socket::UNIX->new(Peer => shift) or die "$!"; fileno($s) == 3 or die; exec @ARGV';

const inStage = stageTests('vs', import.meta.url);

inStage(
  'vhost-user, stream, socket and dgram: QEMU gets a lease by each, and guests of all kinds reach each other',
  async stage => {
    const { lab, host } = stage;
    const at = (name: string): string => join(lab.folder, name);
    const memory = 'memory-backend-memfd,id=mem,size=192M,share=on';
    const guests: (Omit<GuestOptions, 'network'> & { address: string; peer: string; network: string[] })[] = [
      {
        address: '192.168.100.11',
        peer: '192.168.100.12',
        mac: '02:00:00:00:01:01',
        // Emulated, QEMU 7.2 does not survive MSI-X beside vhost-user.
        device: 'virtio-net-pci,vectors=0',
        network: [
          '-object',
          memory,
          '-numa',
          'node,memdev=mem',
          '-chardev',
          `socket,id=c0,path=${at('v.sock')},reconnect=1`,
        ].concat('-netdev', 'vhost-user,id=net0,chardev=c0'),
      },
      {
        address: '192.168.100.14',
        peer: '192.168.100.11',
        mac: '02:00:00:00:01:04',
        device: 'virtio-net-pci,vectors=0',
        network: [
          '-object',
          memory,
          '-numa',
          'node,memdev=mem',
          '-chardev',
          `socket,id=c0,path=${at('c.sock')},server=on,wait=off`,
        ].concat('-netdev', 'vhost-user,id=net0,chardev=c0'),
      },
      {
        address: '192.168.100.12',
        peer: '192.168.100.13',
        mac: '02:00:00:00:01:02',
        network: ['-netdev', `stream,id=net0,server=off,addr.type=unix,addr.path=${at('t.sock')}`],
      },
      {
        address: '192.168.100.15',
        peer: '192.168.100.12',
        mac: '02:00:00:00:01:05',
        by: ['perl', '-MIO::Socket::UNIX', '-e', CONNECT, at('s.sock')],
        network: ['-netdev', 'socket,id=net0,fd=3'],
      },
      {
        address: '192.168.100.13',
        peer: '192.168.100.11',
        mac: '02:00:00:00:01:03',
        network: [
          '-netdev',
          `dgram,id=net0,local.type=unix,local.path=${at('g.sock')},remote.type=unix,remote.path=${at('d.sock')}`,
        ],
      },
    ];
    const image = await buildImage(lab.folder);
    const options = [
      ...['--subnet', SUBNET, '--uplink', 'none', '--firewall', 'none'],
      ...[
        '--port',
        `vhost-user:${at('v.sock')}`,
        '--port',
        `vhost-user:${at('c.sock')},mode=client`,
        '--port',
        `stream:${at('probe.sock')}`,
        '--port',
        `stream:${at('t.sock')}`,
        '--port',
        `stream:${at('s.sock')}`,
        '--port',
        `dgram:${at('d.sock')}`,
      ],
      ...guests.flatMap(({ mac, address }, i) => ['--host', `vm${i},${mac},${address}`]),
    ];
    const first = await lab.startSwitch(host, ...options);
    const told = await Promise.all(
      guests.map(async ({ peer, ...guest }) => {
        const child = startGuest(lab, host, image, { ...guest, orders: `peer=${peer}` });
        let said = '';
        child.stdout?.on('data', chunk => {
          said += chunk;
        });
        await lineFrom(child, /GUEST done/, BOOT_MS);
        return said;
      }),
    );
    told.forEach((said, i) => {
      const { address } = guests[i]!;
      assert.match(said, `GUEST lease ${address}`);
      assert.match(said, 'GUEST gateway answers');
    });
    // The first to be up pings somebody who may not be there yet; the last finds all of them.
    assert.ok(
      told.some(said => said.includes('GUEST peer answers')),
      told.join(),
    );
    for (const name of ['v', 'c', 't', 's', 'd']) assert.ok((await portOf(lab, name)).up, name);

    const before = await StreamGuest.connect(at('probe.sock'), 9);
    const gone = new Promise(resolve => first.once('exit', resolve));
    await ctl(stage, 'restart');
    await gone;
    for (const { address } of guests)
      assert.ok(await before.resolves(address, '192.168.100.50', AT_ONCE_MS), `${address} after a restart`);
    before.end();
    const { pid } = await lab.ask<{ pid: number }>('status');
    process.kill(pid, 'SIGKILL');
    await goneWithin(pid, BACK_MS);
    await lab.startSwitch(host, ...options);
    const probe = await StreamGuest.connect(at('probe.sock'), 9);
    // QEMU's stream has no way back before 8.0, its socket none at all; the others return without the guest's doing.
    for (const { address } of guests.filter(
      ({ by, network }) => by === undefined && !network.join().includes('stream'),
    )) {
      let answered = false;
      const until = Date.now() + BACK_MS;
      while (!answered && Date.now() < until) answered = await probe.resolves(address, '192.168.100.50', 500);
      assert.ok(answered, `${address} is back`);
    }
    probe.end();
  },
);

test.run();
