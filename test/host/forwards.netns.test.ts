// timeout: 180 s
// coverage: none
/**
 * The host's ports, passed on by real rules: this namespace is the host, a cable stands for the uplink, and what holds the
 * NAT address at its other end answers each caller with the address that it is seen by.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Config, type Forward, readConfig } from '../../src/config.ts';
import { make, readPresent } from '../../src/host/apply.ts';
import { HostForwards } from '../../src/host/forwards.ts';
import { Journal } from '../../src/host/journal.ts';
import { plan } from '../../src/host/plan.ts';
import { portFault } from '../../src/host/sockets.ts';
import { undo } from '../../src/host/undo.ts';
import { lineFrom } from '../../src/lab.ts';
import { addNamespace, enterNamespace, sh } from '../port/namespace.ts';

enterNamespace(import.meta.url);

const ANSWER = `
  const { createServer } = require('node:net');
  const { createSocket } = require('node:dgram');
  createServer(c => c.end(c.remoteAddress.replace('::ffff:', ''))).listen(8080);
  createServer(c => c.end('direct')).listen(9090);
  const udp = createSocket('udp4');
  udp.on('message', (_, peer) => udp.send(peer.address, peer.port, peer.address));
  udp.bind(53, () => console.log('listening'));`;

const children: ChildProcess[] = [];

function spawnIn(netns: string | undefined, script: string): ChildProcess {
  const where = netns === undefined ? [] : ['ip', 'netns', 'exec', netns];
  const [command = '', ...words] = [...where, process.execPath, '-e', script];
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  return child;
}

function cable(name: string, netns: string, here: string, there: string): void {
  addNamespace(netns);
  sh(`ip link add ${name} type veth peer eth0 netns ${netns}
    ip addr add ${here} dev ${name}; ip link set ${name} up
    ip -n ${netns} addr add ${there} dev eth0; ip -n ${netns} link set eth0 up`);
}

test.before(async () => {
  cable('vsw0', 'guest', '192.168.100.1/24', '192.168.100.254/24');
  cable('eth0', 'near', '203.0.113.1/24', '203.0.113.2/24');
  cable('eth1', 'far', '203.0.114.1/24', '203.0.114.2/24');
  sh(`ip -n guest addr add 192.168.100.10/24 dev eth0; ip -n guest route add default via 192.168.100.1
    ip -n near route add 192.168.100.0/24 via 203.0.113.1`);
  await lineFrom(spawnIn('guest', ANSWER), /listening/, 10_000);
  await lineFrom(
    spawnIn(
      undefined,
      `require('node:net').createServer(c => c.end('loopback')).listen(5000, '127.0.0.1', () => console.log('listening'))`,
    ),
    /listening/,
    10_000,
  );
});

test.after(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** What a caller hears from a port; empty when nothing answers. */
function call(netns: string | undefined, kind: 'tcp' | 'udp', to: string, from?: string): string {
  const where = netns === undefined ? '' : `ip netns exec ${netns}`;
  const script = `
    const [to, port] = '${to}'.split(':');
    const options = { host: to, port, ${from === undefined ? '' : `localAddress: '${from}'`} };
    setTimeout(() => process.exit(), 1500);
    if ('${kind}' === 'tcp') require('node:net').connect(options).on('error', () => process.exit())
      .on('data', d => { console.log(String(d)); process.exit(); });
    else {
      const s = require('node:dgram').createSocket('udp4');
      s.on('message', d => { console.log(String(d)); process.exit(); });
      s.send('?', port, to);
    }`;
  return sh(`${where} ${process.execPath} -e "${script}"`).trim();
}

const ruleset = (): string =>
  sh('nft list ruleset; iptables-legacy-save').replace(
    /counter packets \d+ bytes \d+|\[\d+:\d+\]|^#.*\n/gm,
    '',
  );

const setting = (name: string): string => sh(`cat /proc/sys/net/ipv4/conf/vsw0/${name}`).trim();

/** A counter of ICMP at the guest's side. */
function snmp(name: string): string | undefined {
  const lines = sh('ip netns exec guest cat /proc/net/snmp')
    .split('\n')
    .filter(line => line.startsWith('Icmp:'));
  const at = lines[0]!.split(' ').indexOf(name);
  return lines[1]!.split(' ')[at];
}

const WEB: Forward = { protocol: 'tcp', port: 8080, guest: 'vm1', guestPort: 80 };
const NAMES: Forward = { protocol: 'udp', port: 53, guest: 'vm1', guestPort: 53 };

/** Calls `act` while the plan for a backend is in force, and holds that nothing of it is left. */
async function inForce(
  options: Record<string, string>,
  act: (forwards: HostForwards, config: Config) => Promise<void>,
): Promise<void> {
  const config = readConfig({ subnet: '192.168.100.0/24', taps: 'tap0', ...options });
  const journal = new Journal(join(mkdtempSync(join(tmpdir(), 'forwards-')), 'journal'));
  const before = ruleset();
  const present = await readPresent(config, []);
  const changes = plan(config, present);
  journal.record(changes);
  await make(changes);
  try {
    const forwards = new HostForwards(config, present, journal);
    await act(forwards, config);
  } finally {
    await undo(journal, journal.changes);
  }
  assert.is(ruleset(), before);
}

/** The same with `iptables` standing for the legacy variant. */
async function withLegacy(act: () => Promise<void>): Promise<void> {
  sh(`cp -a /etc/alternatives /mnt/alternatives; mount --bind /mnt/alternatives /etc/alternatives
    for tool in iptables iptables-save iptables-restore; do
      ln -sfn /usr/sbin/$(echo $tool | sed s/iptables/iptables-legacy/) /etc/alternatives/$tool; done
    for table in filter nat mangle; do iptables-legacy -t $table -S >/dev/null; done`);
  try {
    await act();
  } finally {
    sh('umount /etc/alternatives; rm -r /mnt/alternatives');
  }
}

async function reaches(options: Record<string, string>): Promise<void> {
  await inForce(options, async forwards => {
    await forwards.hold([WEB, NAMES]);
    const held = ruleset();
    assert.is(call('near', 'tcp', '203.0.113.1:8080'), '203.0.113.2', 'from outside');
    assert.is(call('near', 'udp', '203.0.113.1:53'), '203.0.113.2', 'from outside, UDP');
    assert.is(call(undefined, 'tcp', '127.0.0.1:8080'), '192.168.100.1', 'from the loopback');
    assert.is(call(undefined, 'udp', '127.0.0.1:53'), '192.168.100.1', 'from the loopback, UDP');
    assert.is(
      call(undefined, 'tcp', '203.0.113.1:8080'),
      '203.0.113.1',
      'from the host, by its outer address',
    );
    assert.is(call('guest', 'tcp', '203.0.113.1:8080', '192.168.100.254'), '192.168.100.1', 'hairpinned');
    assert.is(
      call('guest', 'tcp', '192.168.100.1:8080', '192.168.100.10'),
      '192.168.100.1',
      'a guest by the gateway',
    );
    assert.is(call('near', 'tcp', '192.168.100.254:9090'), '', 'past the NAT');
    assert.is(call('near', 'tcp', '203.0.113.1:9090'), '', 'a port that is not passed on');
    assert.is(snmp('InRedirects'), '0');
    assert.is(setting('route_localnet'), '1');
    assert.is(loopbackFromGuest(), '');
    await forwards.hold([WEB, NAMES]);
    assert.is(ruleset(), held);
    await forwards.hold([NAMES]);
    assert.is(call('near', 'tcp', '203.0.113.1:8080'), '', 'not passed on any more');
    assert.is(call('near', 'udp', '203.0.113.1:53'), '203.0.113.2');
    await Promise.all([forwards.hold([WEB]), forwards.hold([])]);
    assert.is(call('near', 'udp', '203.0.113.1:53'), '');
    assert.is(setting('route_localnet'), '0');
  });
}

/** What listens for the host alone, asked for by a guest that routes the loopback's addresses to it. */
function loopbackFromGuest(): string {
  sh(`ip -n guest addr del 127.0.0.1/8 dev lo; ip -n guest route add 127.0.0.0/8 via 192.168.100.1
    echo 1 | ip netns exec guest tee /proc/sys/net/ipv4/conf/eth0/route_localnet`);
  try {
    return call('guest', 'tcp', '127.0.0.1:5000', '192.168.100.254');
  } finally {
    sh(`ip -n guest route del 127.0.0.0/8; ip -n guest addr add 127.0.0.1/8 dev lo
      echo 0 | ip netns exec guest tee /proc/sys/net/ipv4/conf/eth0/route_localnet`);
  }
}

test('by nft: from outside, the loopback, a guest; and nobody else', () => reaches({ firewall: 'nft' }));

test('by iptables made of nftables', () => reaches({ firewall: 'iptables' }));

test('by iptables of the legacy kind', () => withLegacy(() => reaches({ firewall: 'iptables' })));

test('the same where others drop what is forwarded and what comes in', async () => {
  sh('iptables-nft -P FORWARD DROP; iptables-nft -P INPUT DROP; iptables-nft -A INPUT -i lo -j ACCEPT');
  try {
    await reaches({ firewall: 'nft' });
    await reaches({ firewall: 'iptables' });
  } finally {
    sh('iptables-nft -P FORWARD ACCEPT; iptables-nft -P INPUT ACCEPT; iptables-nft -F INPUT');
  }
});

for (const firewall of ['nft', 'iptables']) {
  test(`pinned to an interface, ${firewall} passes ports on from there alone`, async () => {
    await inForce({ firewall, lan: 'eth0' }, async forwards => {
      await forwards.hold([WEB]);
      assert.is(call('near', 'tcp', '203.0.113.1:8080'), '203.0.113.2');
      assert.is(call('far', 'tcp', '203.0.114.1:8080'), '');
      assert.is(call('guest', 'tcp', '203.0.113.1:8080', '192.168.100.254'), '192.168.100.1');
      assert.is(call(undefined, 'tcp', '127.0.0.1:8080'), '192.168.100.1');
    });
  });
}

test('a port that a program of the host waits at is told; others are free', () => {
  assert.is(
    portFault({ protocol: 'tcp', port: 5000 }),
    'tcp/5000 is taken on this host, by a socket at 127.0.0.1; expected a port that no program waits at',
  );
  assert.is(portFault({ protocol: 'udp', port: 5000 }), undefined);
  assert.is(portFault({ protocol: 'tcp', port: 5001 }), undefined);
});

test.run();
