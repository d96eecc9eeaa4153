// timeout: 180 s
/** The doctor on real hosts: each fault is made, found, mended where it is ours to mend, and not found again. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Diagnosis } from '../../src/control/diagnosis.ts';
import type { StatusView } from '../../src/control/views.ts';
import { ended, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { addOutside, OUTSIDE, plugIn, type Stage, SUBNET, snapshot, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('dr', import.meta.url);
const vswitchctl = join(projectRoot(), 'bin', 'vswitchctl');

interface Visit {
  readonly code: number | null;
  readonly diagnosis: Diagnosis;
  /** `forward-drop error`, … */
  readonly found: readonly string[];
}

/** Commands before `--` stand in front of vswitchctl: an `unshare`, an `env`. */
async function visit({ lab, host }: Stage, ...words: string[]): Promise<Visit> {
  const split = words.indexOf('--');
  const [front, options] = [words.slice(0, Math.max(0, split)), words.slice(split + 1)];
  const where = ['--run-dir', lab.folder, 'doctor', '--state-dir', lab.folder, '--json'];
  const child = lab.spawn(host, ...front, vswitchctl, ...where, ...options);
  let said = '';
  let complaint = '';
  child.stdout?.on('data', chunk => {
    said += chunk;
  });
  child.stderr?.on('data', chunk => {
    complaint += chunk;
  });
  const code = await new Promise<number | null>(resolve => child.once('close', resolve));
  assert.match(said, /^\{/, complaint);
  const diagnosis = JSON.parse(said) as Diagnosis;
  return { code, diagnosis, found: diagnosis.findings.map(({ id, severity }) => `${id} ${severity}`) };
}

/** Name servers given, for this machine's own may be of no use to a guest. */
const DESCRIBED = ['--dns', '9.9.9.9'] as const;

const look = (stage: Stage, ...words: string[]): Promise<Visit> =>
  visit(stage, ...(words.includes('--') ? [] : ['--']), ...words, ...DESCRIBED);

/** Finds it, mends it, and finds nothing the second time. */
async function mends(stage: Stage, ...found: string[]): Promise<void> {
  const first = await look(stage);
  assert.equal(first.found, found);
  assert.is(first.code, found.some(each => each.endsWith('error')) ? 1 : 0);
  const second = await look(stage, '--fix');
  assert.equal(
    second.diagnosis.mended.map(({ id, fault }) => `${id} ${fault}`),
    found.map(each => `${each.split(' ')[0]} undefined`),
  );
  assert.equal([second.found, second.code], [[], 0]);
}

/** A running switch with a guest that has a lease, and a world outside. */
async function running(stage: Stage): Promise<() => Promise<void>> {
  const { lab, host, red } = stage;
  await addOutside(stage);
  const child = await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  assert.equal((await look(stage)).found, []);
  return async () => assert.is(await ended(child, 'SIGTERM', 5_000), 0);
}

const getsOut = ({ lab, red }: Stage): Promise<boolean> =>
  lab.ping(red, OUTSIDE, 1).then(
    () => true,
    () => false,
  );

/** What Docker sets when it starts. */
async function startDocker({ lab, host }: Stage): Promise<void> {
  for (const line of [
    '-P FORWARD DROP',
    '-N DOCKER-USER',
    '-A DOCKER-USER -j RETURN',
    '-I FORWARD -j DOCKER-USER',
    '-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    '-A FORWARD -i docker0 ! -o docker0 -j ACCEPT',
  ])
    await lab.inside(host, 'iptables', ...line.split(' '));
}

inStage('nothing wrong: says so and exits with 0', async stage => {
  const { lab, host } = stage;
  assert.equal(await look(stage), { code: 0, diagnosis: { mended: [], findings: [] }, found: [] });
  const said = await lab.inside(host, vswitchctl, '--run-dir', lab.folder, 'doctor', ...DESCRIBED);
  assert.is(said.trim(), 'nothing wrong found');
});

inStage(
  'Docker started after the switch: its FORWARD DROP is found, mended, and left as it was',
  async stage => {
    const { lab, host } = stage;
    const stop = await running(stage);
    await startDocker(stage);
    const docker = await lab.inside(host, 'iptables-save');
    assert.not(await getsOut(stage));
    assert.match(
      (await look(stage)).diagnosis.findings[0]?.what ?? '',
      /ip filter FORWARD \(of Docker\) drops/,
    );
    await mends(stage, 'forward-drop error');
    assert.ok(await getsOut(stage));
    await stop();
    const saved = (text: string): string => text.replace(/^#.*\n/gm, '').replace(/\[\d+:\d+\]/g, '');
    assert.is(saved(await lab.inside(host, 'iptables-save')), saved(docker));
  },
);

inStage('Docker before the switch is a note, and nothing when it runs', async stage => {
  const { lab, host } = stage;
  await startDocker(stage);
  const { code, found, diagnosis } = await look(stage);
  assert.equal([code, found], [0, ['forward-drop note']]);
  assert.not(diagnosis.findings[0]?.ours);
  assert.equal((await look(stage, '--firewall', 'none')).found, ['forward-drop warning']);
  await lab.startSwitch(host, ...TAPS);
  assert.equal((await look(stage)).found, []);
});

inStage('an input chain that drops: guests reach no service of the host', async stage => {
  await running(stage);
  await stage.lab.inside(stage.host, 'iptables', '-P', 'INPUT', 'DROP');
  await mends(stage, 'input-drop warning');
});

inStage('a ruleset that was flushed, and forwarding switched off, are put back', async stage => {
  const { lab, host } = stage;
  const before = await snapshot(stage);
  const stop = await running(stage);
  const rules = await lab.inside(host, 'nft', 'list', 'ruleset');
  await lab.inside(host, 'nft', 'flush', 'ruleset');
  await lab.inside(host, 'sysctl', '-w', 'net.ipv4.ip_forward=0');
  assert.not(await getsOut(stage));
  await mends(stage, 'taken-away error', 'forwarding-off error');
  assert.ok(await getsOut(stage));
  assert.is(await lab.inside(host, 'nft', 'list', 'ruleset'), rules);
  await stop();
  await lab.ip(host, 'link', 'delete', 'eth0');
  assert.is(await snapshot(stage), before);
});

inStage('a route into the subnet, from a VPN or a LAN', async stage => {
  const { lab, host } = stage;
  await lab.ip(host, 'tuntap', 'add', 'dev', 'vpn0', 'mode', 'tun');
  await lab.ip(host, 'link', 'set', 'vpn0', 'up');
  const route = ['192.168.100.128/25', 'dev', 'vpn0'];
  await lab.ip(host, 'route', 'add', ...route);
  const stopped = await look(stage);
  assert.equal([stopped.code, stopped.found], [1, ['subnet-clash error']]);
  const [{ what, fix }] = stopped.diagnosis.findings as [Diagnosis['findings'][number]];
  assert.match(what, /192\.168\.100\.128\/25 on vpn0, a VPN: vswitchd refuses/);
  assert.equal(fix, ['vswitchd --name vsw0 --subnet 192.168.101.0/24 --taps tap0,tap1']);
  assert.equal((await look(stage, '--subnet', '10.1.0.0/24')).found, []);
  await lab.ip(host, 'route', 'delete', ...route);
  await lab.startSwitch(host, ...TAPS);
  await lab.ip(host, 'route', 'add', ...route);
  assert.equal((await look(stage, '--fix')).found, ['subnet-clash error']);
});

inStage('another switch has the subnet and the tap', async stage => {
  const { lab, host } = stage;
  await lab.startSwitch(host, '--subnet', '192.168.0.0/16', '--taps', 'tap1', '--name', 'vsw1');
  const { pid } = await lab.ask<StatusView>('status', 'vsw1');
  const { found, diagnosis } = await look(stage, '--taps', 'tap0,tap1');
  assert.equal(found, ['subnet-clash error', 'subnet-held error', 'tap-held error']);
  assert.match(diagnosis.findings[1]?.what ?? '', `vsw1 (pid ${pid})`);
  assert.equal(diagnosis.findings[2]?.fix, [`kill -TERM ${pid}`]);
});

inStage('strict rp_filter matters on a second way out alone', async stage => {
  const { lab, host } = stage;
  await addOutside(stage);
  await lab.ip(host, 'route', 'add', 'default', 'via', OUTSIDE);
  const strict = (name: string): Promise<string> =>
    lab.inside(host, 'sysctl', '-w', `net.ipv4.conf.${name}.rp_filter=1`);
  for (const name of ['all', 'eth0']) await strict(name);
  assert.equal((await look(stage)).found, []);
  const second = await lab.netns('second');
  await lab.cable([host, 'eth1', '198.51.100.1/24'], [second, 'eth0', '198.51.100.2/24']);
  await lab.ip(host, 'route', 'add', 'default', 'via', '198.51.100.2', 'metric', '200');
  await strict('eth1');
  const { found, diagnosis } = await look(stage);
  assert.equal(found, ['rp-filter warning']);
  // From behind the second way the host hears nothing, until what the doctor says is done.
  await lab.ip(second, 'addr', 'add', '192.0.2.7/32', 'dev', 'lo');
  const heard = async (): Promise<boolean> => {
    const arrivals = async (): Promise<string> =>
      /IcmpInEchos +(\d+)/.exec(await lab.inside(host, 'nstat', '-asz', 'IcmpInEchos'))?.[1] ?? '';
    const before = await arrivals();
    await lab.inside(second, 'ping', '-c', '1', '-W', '1', '-I', '192.0.2.7', '198.51.100.1').catch(() => '');
    return (await arrivals()) !== before;
  };
  assert.not(await heard());
  for (const line of diagnosis.findings[0]?.fix ?? []) await lab.inside(host, ...line.split(' '));
  await until('the host hears it', 10_000, heard);
  assert.equal((await look(stage)).found, []);
});

inStage(
  'a tap in a bridge: one that we made is taken out; by its other end it may join, if nobody filters',
  async stage => {
    const { lab, host } = stage;
    await lab.ip(host, 'link', 'add', 'br0', 'type', 'bridge');
    await lab.startSwitch(host, ...TAPS);
    await lab.ip(host, 'link', 'set', 'tap0', 'master', 'br0');
    await mends(stage, 'tap-in-bridge error');
    const joined = ['--subnet', '10.9.0.0/24', '--taps', 'join0:device', '--name', 'vsw1'];
    await lab.startSwitch(host, ...joined);
    await lab.ip(host, 'link', 'set', 'join0', 'master', 'br0');
    await lab.inside(host, 'iptables', '-P', 'FORWARD', 'DROP');
    const asked = async (): Promise<readonly string[]> => {
      const where = [
        '--run-dir',
        lab.folder,
        '--name',
        'vsw1',
        'doctor',
        '--state-dir',
        lab.folder,
        '--json',
      ];
      const said = await lab.inside(
        host,
        'sh',
        '-c',
        '"$@"; true',
        'sh',
        vswitchctl,
        ...where,
        ...DESCRIBED,
        '--fix',
      );
      return (JSON.parse(said) as Diagnosis).findings.map(({ id }) => id);
    };
    await lab.inside(host, 'sysctl', '-w', 'net.bridge.bridge-nf-call-iptables=1');
    assert.equal(await asked(), ['bridge-nf']);
    await lab.inside(host, 'sysctl', '-w', 'net.bridge.bridge-nf-call-iptables=0');
    assert.equal(await asked(), []);
  },
);

/** Runs what follows in a mount namespace where a line of shell has been carried out. */
const where = (line: string): string[] => ['unshare', '--mount', 'sh', '-c', `${line} && exec "$@"`, 'sh'];

inStage('no resolver, no nft, no /dev/net/tun', async stage => {
  const resolv = join(stage.lab.folder, 'resolv.conf');
  writeFileSync(resolv, 'nameserver 127.0.0.53\n'); // as good as any for the service, which is on the host
  const hidden = `mount --bind ${resolv} "$(readlink -f /etc/resolv.conf)"; mkdir -p /run/systemd/resolve && mount -t tmpfs tmpfs /run/systemd/resolve`;
  assert.equal((await visit(stage, ...where(hidden), '--')).found, []);
  writeFileSync(resolv, '');
  assert.equal((await visit(stage, ...where(hidden), '--')).found, ['no-resolver error']);
  const noNft = 'for nft in $(which -a nft); do mount --bind /dev/null $nft; done';
  assert.equal((await look(stage, ...where(noNft), '--')).found, ['missing-tool error']);
  const noTun = await look(stage, ...where('mount -t tmpfs tmpfs /dev/net'), '--', '--fix');
  assert.equal(noTun.found, ['no-tun error']);
  assert.ok(noTun.diagnosis.mended[0]?.fault !== undefined, 'there was nothing to load');
});

inStage('NetworkManager is told to leave what is ours alone', async stage => {
  const { lab, host } = stage;
  const folder = join(lab.folder, 'nm');
  mkdirSync(folder);
  writeFileSync(
    join(folder, 'states'),
    'eth0:connected\ntap0:disconnected\ntap1:unmanaged\nvsw0:connected\n',
  );
  const script = `#!/bin/sh\ncd ${folder}\n[ "$2" = set ] && sed -i "s/^$3:.*/$3:unmanaged/" states || cat states\n`;
  writeFileSync(join(folder, 'nmcli'), script, { mode: 0o755 });
  await lab.startSwitch(host, ...TAPS);
  const env = ['env', `PATH=${folder}:${process.env.PATH}`, '--'];
  const first = await look(stage, ...env);
  assert.equal([first.code, first.found], [0, ['networkmanager warning']]);
  assert.equal(first.diagnosis.findings[0]?.fix, [
    'nmcli dev set vsw0 managed no',
    'nmcli dev set tap0 managed no',
  ]);
  assert.match(first.diagnosis.findings[0]?.lasting?.[0] ?? '', /interface-name:tap0;interface-name:tap1/);
  assert.equal((await look(stage, ...env, '--fix')).found, []);
});

inStage('what a killed switch left, and an interface in the place of the uplink', async stage => {
  const { lab, host } = stage;
  await ended(await lab.startSwitch(host, ...TAPS), 'SIGKILL', 5_000);
  await lab.ip(host, 'tuntap', 'add', 'dev', 'vsw0', 'mode', 'tun');
  const { found, diagnosis } = await look(stage, '--subnet', SUBNET, '--fix');
  assert.equal(found, ['name-taken error', 'left-behind warning']);
  assert.equal(diagnosis.mended, []);
});

inStage('who is not root is told what was not looked at', async stage => {
  const user = ['setpriv', '--reuid', '65534', '--clear-groups', '--inh-caps=-all', '--'];
  assert.ok((await look(stage, ...user)).found.includes('not-root warning'));
});

test.run();
