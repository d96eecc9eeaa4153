// timeout: 120 s
/** Beside other firewalls: guests get through them, they can still be read and loaded again, and all of it is undone. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { addOutside, GATEWAY, OUTSIDE, plugIn, type Stage, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('fw', import.meta.url);

/** A host's own rules, with what iptables-nft writes in its own way. */
const IPTABLES = [
  ['-P', 'FORWARD', 'DROP'],
  ['-P', 'INPUT', 'DROP'],
  ['-A', 'INPUT', '-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED', '-j', 'ACCEPT'],
  [
    '-A',
    'FORWARD',
    '-m',
    'conntrack',
    '--ctstate',
    'INVALID',
    '-m',
    'comment',
    '--comment',
    'mine',
    '-j',
    'DROP',
  ],
  [...'-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu'.split(' ')],
];

async function addIptables({ lab, host }: Stage): Promise<void> {
  for (const words of IPTABLES) await lab.inside(host, 'iptables', ...words);
}

/** What iptables-save says, without its remarks and counters. */
const saved = async ({ lab, host }: Stage): Promise<string> =>
  (await lab.inside(host, 'iptables-save')).replace(/^#.*\n/gm, '').replace(/\[\d+:\d+\]/g, '');

const ruleset = ({ lab, host }: Stage): Promise<string> => lab.inside(host, 'nft', 'list', 'ruleset');

const stop = async (child: ChildProcess): Promise<void> => assert.is(await ended(child, 'SIGTERM', 3_000), 0);

inStage(
  'guests get out where the host drops what it forwards, and reach it where it drops its input',
  async stage => {
    const { lab, host, red } = stage;
    await addOutside(stage);
    await addIptables(stage);
    const before = await ruleset(stage);
    const child = await lab.startSwitch(host, ...TAPS);
    await plugIn(stage, 'tap0', red);
    await lab.lease(red, 'tap0');
    await lab.ping(red, OUTSIDE);
    const hello = `require('node:net').createServer(c => c.end('hello')).listen(7000, () => console.log('listening'))`;
    await lineFrom(lab.spawn(host, process.execPath, '-e', hello), /listening/, 5_000);
    const fetch = `const c = require('node:net').connect(7000, '${GATEWAY}'); c.on('data', d => console.log(String(d)));
    setTimeout(() => process.exit(1), 3000).unref();`;
    assert.match(await lab.inside(red, process.execPath, '-e', fetch), /hello/);
    await stop(child);
    assert.is(await ruleset(stage), before);
  },
);

inStage(
  'iptables can list and save its tables while the switch runs; only what filters has our rules',
  async stage => {
    const { lab, host } = stage;
    await addIptables(stage);
    const before = await saved(stage);
    await lab.startSwitch(host, ...TAPS);
    const ours = [
      '-A INPUT -i vsw0 -p tcp -m comment --comment "vswitchd:vsw0" -j ACCEPT',
      '-A INPUT -i vsw0 -p udp -m comment --comment "vswitchd:vsw0" -j ACCEPT',
      '-A INPUT -i vsw0 -p icmp -m comment --comment "vswitchd:vsw0" -j ACCEPT',
      '-A FORWARD -i vsw0 -m comment --comment "vswitchd:vsw0" -j ACCEPT',
      '-A FORWARD -o vsw0 -m comment --comment "vswitchd:vsw0" -j ACCEPT',
    ];
    const lines = (await saved(stage)).split('\n');
    assert.equal(lines.filter(line => line.includes('vsw')).sort(), [...ours].sort());
    assert.is(lines.filter(line => !line.includes('vsw')).join('\n'), before);
    assert.match(await lab.inside(host, 'iptables', '-S'), /^-A FORWARD -i vsw0 /m);
  },
);

inStage(
  'rules that iptables-restore has loaded again meanwhile are undone as well, and nobody else’s',
  async stage => {
    const { lab, host } = stage;
    await addIptables(stage);
    const mine = [
      '-A',
      'FORWARD',
      '-i',
      'vsw0',
      '-p',
      'tcp',
      '-m',
      'comment',
      '--comment',
      'mine',
      '-j',
      'ACCEPT',
    ];
    await lab.inside(host, 'iptables', ...mine);
    const before = await saved(stage);
    const child = await lab.startSwitch(host, ...TAPS);
    await lab.inside(host, 'sh', '-c', 'iptables-save | iptables-restore');
    await stop(child);
    assert.is(await saved(stage), before);
  },
);

inStage('an address outside can’t reach a guest past the NAT, whatever the host forwards', async stage => {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  const address = await lab.lease(red, 'tap0');
  await lab.ip(out, 'route', 'add', '192.168.100.0/24', 'via', '203.0.113.1');
  await lab.ping(red, OUTSIDE);
  await fails(() => lab.ping(out, address, 1));
});

inStage(
  'without nft rules taps are shielded by tc, beside the filters that the user has there',
  async stage => {
    const { lab, host } = stage;
    await lab.ip(host, 'tuntap', 'add', 'dev', 'tap0', 'mode', 'tap');
    for (const state of ['up', 'down']) await lab.ip(host, 'link', 'set', 'tap0', state); // its own qdisc stays
    await lab.inside(host, 'tc', 'qdisc', 'add', 'dev', 'tap0', 'clsact');
    const mine = 'filter add dev tap0 ingress pref 7 protocol arp u32 match u32 0 0'.split(' ');
    await lab.inside(host, 'tc', ...mine);
    const shown = async (): Promise<string[]> => [
      await lab.inside(host, 'tc', 'qdisc', 'show'),
      await lab.inside(host, 'tc', 'filter', 'show', 'dev', 'tap0', 'ingress'),
    ];
    const before = await shown();
    const child = await lab.startSwitch(host, ...TAPS, '--firewall', 'none');
    assert.is(await hostAnswers(stage, 'tap0'), 'silence');
    const [, first] = (await lab.inside(host, 'tc', 'filter', 'show', 'dev', 'tap0', 'ingress')).split(
      'filter ',
    );
    assert.match(first ?? '', /pref 1 bpf/);
    assert.is(await hostAnswers(stage, 'tap1'), 'silence');
    assert.is(await ruleset(stage), '');
    await until(
      'the switch has its taps',
      3_000,
      async () => (await lab.ask<unknown[]>('ports')).length === 3,
    );
    await stop(child);
    assert.equal(await shown(), before);
  },
);

inStage('the host answers no ARP on a shielded tap, behind the back of the switch', async stage => {
  const { lab, host } = stage;
  await lab.ip(host, 'tuntap', 'add', 'dev', 'bare0', 'mode', 'tap');
  await lab.ip(host, 'link', 'set', 'bare0', 'up');
  await lab.startSwitch(host, ...TAPS);
  assert.is(await hostAnswers(stage, 'bare0'), 'answered');
  assert.is(await hostAnswers(stage, 'tap0'), 'silence');
});

/** Asks by ARP, from the guest's end of a tap, for an address that the host has and the switch does not answer for. */
async function hostAnswers({ lab, host }: Stage, tap: string): Promise<string> {
  await lab.ip(host, 'addr', 'replace', '198.51.100.1/32', 'dev', 'lo');
  const script = `
    const { loadNative } = await import('${join(projectRoot(), 'dist/src/port/native.js')}');
    const { readSync, writeSync } = await import('node:fs');
    const { fd } = loadNative().openTun({ name: '${tap}', mode: 'tap', netns: -1, mustExist: true, ifindex: 0 });
    const source = '020000000001';
    const sender = source + '0a0a0a0a', target = '000000000000' + 'c6336401';
    const frame = Buffer.from('00'.repeat(10) + 'ff'.repeat(6) + source + '0806' + '0001080006040001' + sender + target, 'hex');
    const got = Buffer.alloc(2048);
    for (let tries = 0; tries < 20; tries++) {
      writeSync(fd, frame);
      await new Promise(resolve => setTimeout(resolve, 25));
      for (;;) {
        let bytes = 0;
        try { bytes = readSync(fd, got); } catch { break; }
        const isReply = got.toString('hex', 22, 24) === '0806' && got[31] === 2;
        if (isReply) { console.log('answered'); process.exit(); }
      }
    }
    console.log('silence');`;
  return (await lab.inside(host, process.execPath, '--input-type=module', '-e', script)).trim();
}

async function fails(act: () => Promise<unknown>): Promise<void> {
  await act().then(
    () => assert.unreachable('it should have failed'),
    () => undefined,
  );
}

test.run();
