// timeout: 180 s
/** The way out: it follows the host's routes as they change, or is pinned; and segments fit the path, both ways. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { plugIn, type Stage, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('la', import.meta.url);

/** An address that both providers know the way to. */
const FAR = '198.51.100.9';
/** The host's own addresses on its two ways out. */
const CABLE = '203.0.113.1';
const RADIO = '203.0.114.1';

/** Says who calls, as it is seen here. */
const SEEN = `require('node:net').createServer(c => c.end(c.remoteAddress.replace('::ffff:', ''))).listen(7000, () => console.log('listening'))`;

/** A host with two ways out, `cable` and `radio`, to one server; the default routes are the test's. */
async function addWays({ lab, host }: Stage): Promise<string> {
  const out = await lab.netns('out');
  await lab.cable([host, 'cable', `${CABLE}/24`], [out, 'cable', '203.0.113.2/24']);
  await lab.cable([host, 'radio', `${RADIO}/24`], [out, 'radio', '203.0.114.2/24']);
  await lab.ip(out, 'addr', 'add', `${FAR}/32`, 'dev', 'lo');
  await lineFrom(lab.spawn(out, process.execPath, '-e', SEEN), /listening/, 10_000);
  return out;
}

async function addGuest(stage: Stage, ...options: string[]): Promise<void> {
  await stage.lab.startSwitch(stage.host, ...TAPS, ...options);
  await plugIn(stage, 'tap0', stage.red);
  await stage.lab.lease(stage.red, 'tap0');
}

/** The address that the server sees when the guest calls; empty when it does not get there. */
async function seenAs({ lab, red }: Stage): Promise<string> {
  const call = `require('node:net').connect(7000, '${FAR}').on('data', d => console.log(String(d))).on('error', () => undefined);
    setTimeout(() => process.exit(), 2000).unref();`;
  return (await lab.inside(red, process.execPath, '-e', call)).trim();
}

const via = (way: 'cable' | 'radio'): string[] => [
  'via',
  way === 'cable' ? '203.0.113.2' : '203.0.114.2',
  'dev',
  way,
];

for (const firewall of ['nft', 'iptables']) {
  inStage(
    `${firewall}: the way out follows the default route, and so does what is under way`,
    async stage => {
      const { lab, host, red } = stage;
      await addWays(stage);
      await lab.ip(host, 'route', 'add', 'default', ...via('cable'));
      await addGuest(stage, '--firewall', firewall);
      assert.is(await seenAs(stage), CABLE);
      const ping = lab.spawn(red, 'ping', '-i', '0.2', FAR);
      let answers = 0;
      ping.stdout?.on('data', chunk => {
        answers += String(chunk).split('icmp_seq').length - 1;
      });
      await until('the first answers', 5_000, async () => answers > 2);
      await lab.ip(host, 'route', 'replace', 'default', ...via('radio'));
      await lab.ip(host, 'link', 'set', 'cable', 'down');
      const before = answers;
      await until('answers by the other way', 5_000, async () => answers > before + 2);
      await ended(ping, 'SIGTERM', 1_000);
      assert.is(await seenAs(stage), RADIO);
    },
  );
}

inStage('of two default routes the better one is taken, and the other when it goes', async stage => {
  const { lab, host } = stage;
  await addWays(stage);
  await lab.ip(host, 'route', 'add', 'default', ...via('cable'), 'metric', '100');
  await lab.ip(host, 'route', 'add', 'default', ...via('radio'), 'metric', '600');
  await addGuest(stage);
  assert.is(await seenAs(stage), CABLE);
  await lab.ip(host, 'link', 'set', 'cable', 'down');
  assert.is(await seenAs(stage), RADIO);
  await lab.ip(host, 'link', 'set', 'cable', 'up');
  await lab.ip(host, 'route', 'add', 'default', ...via('cable'), 'metric', '100');
  assert.is(await seenAs(stage), CABLE);
});

inStage('a rule of the host’s sends the guests by a table of their own', async stage => {
  const { lab, host } = stage;
  await addWays(stage);
  await lab.ip(host, 'route', 'add', 'default', ...via('cable'));
  await lab.ip(host, 'route', 'add', 'default', ...via('radio'), 'table', '77');
  await addGuest(stage);
  assert.is(await seenAs(stage), CABLE);
  await lab.ip(host, 'rule', 'add', 'iif', 'vsw0', 'lookup', '77');
  assert.is(await seenAs(stage), RADIO);
});

for (const firewall of ['nft', 'iptables']) {
  inStage(`--lan with ${firewall}: guests get out by that interface or not at all`, async stage => {
    const { lab, host, red } = stage;
    const out = await addWays(stage);
    await lab.ip(out, 'route', 'add', '192.168.100.0/24', 'via', RADIO); // who gets out unturned is answered
    await lab.ip(host, 'route', 'add', 'default', ...via('cable'));
    await addGuest(stage, '--lan', 'cable', '--firewall', firewall);
    assert.is(await seenAs(stage), CABLE);
    await lab.ip(host, 'route', 'replace', 'default', ...via('radio'));
    assert.is(await seenAs(stage), '');
    await lab.ping(red, '192.168.100.1', 1);
    await lab.ip(host, 'route', 'replace', 'default', ...via('cable'));
    assert.is(await seenAs(stage), CABLE);
  });
}

inStage('--lan with an interface that is not there is refused, and says which are', async stage => {
  const { lab, host } = stage;
  await addWays(stage);
  for (const more of [[], ['--dry-run']]) {
    const child = lab.spawnSwitch(host, ...TAPS, '--lan', 'eth9', ...more);
    let said = '';
    child.stderr?.on('data', chunk => {
      said += chunk;
    });
    assert.is(await new Promise(resolve => child.once('close', resolve)), 2);
    assert.match(
      said,
      /^vswitchd: --lan eth9: there is no such interface; expected one of [^\n]*cable[^\n]*\n$/,
    );
  }
});

inStage('a port of --forward that a program of the host waits at is refused', async stage => {
  const { lab, host } = stage;
  const wait = `require('node:net').createServer().listen(8080, '127.0.0.1', () => console.log('listening'))`;
  await lineFrom(lab.spawn(host, process.execPath, '-e', wait), /listening/, 10_000);
  const child = lab.spawnSwitch(host, ...TAPS, '--forward', '8081:vm1:80,8080:vm1:80');
  let said = '';
  child.stderr?.on('data', chunk => {
    said += chunk;
  });
  assert.is(await new Promise(resolve => child.once('close', resolve)), 3);
  assert.match(
    said,
    /^vswitchd: forward tcp\/8080 is taken on this host, by a socket at 127\.0\.0\.1; expected/,
  );
  assert.is(await lab.inside(host, 'nft', 'list', 'ruleset'), '');
});

inStage(
  '--forward: a caller outside comes to the uplink, by the NAT address; --dry-run says how',
  async stage => {
    const { lab, host } = stage;
    const out = await addWays(stage);
    const options = [...TAPS, '--forward', '8080:192.168.100.10:80'];
    const plan = await lab.inside(host, join(projectRoot(), 'bin', 'vswitchd'), ...options, '--dry-run');
    assert.match(plan, /^# the firewall: nft, for /);
    assert.match(plan, /add element inet vswitchd_vsw0 forwards \{ tcp \. 8080 \}/);
    await lab.startSwitch(host, ...options);
    const heard = lab.spawn(host, 'tcpdump', '-nl', '-i', 'vsw0', 'tcp', 'port', '8080');
    await lineFrom(heard, /listening on/, 10_000);
    const come = lineFrom(heard, /IP 203\.0\.113\.2\.\d+ > 192\.168\.100\.254\.8080: Flags \[S\]/, 10_000);
    lab.spawn(
      out,
      process.execPath,
      '-e',
      `require('node:net').connect(8080, '${CABLE}').on('error', () => undefined)`,
    );
    await come;
  },
);

for (const firewall of ['nft', 'iptables']) {
  inStage(`${firewall}: segments fit a narrower path than the guest’s, both ways`, async stage => {
    const { lab, host, red } = stage;
    const out = await addWays(stage);
    await lab.ip(host, 'link', 'set', 'cable', 'mtu', '1400');
    await lab.ip(host, 'route', 'add', 'default', ...via('cable'));
    await addGuest(stage, '--firewall', firewall);
    const syn = 'tcp[tcpflags] & tcp-syn != 0';
    const heard = [
      lab.spawn(out, 'tcpdump', '-nl', '-i', 'cable', `dst port 7000 and ${syn}`),
      lab.spawn(red, 'tcpdump', '-nl', '-i', 'tap0', `src port 7000 and ${syn}`),
    ];
    await Promise.all(heard.map(child => lineFrom(child, /listening on/, 10_000)));
    const fits = heard.map(child => lineFrom(child, /mss 1360/, 10_000));
    assert.is(await seenAs(stage), CABLE);
    await Promise.all(fits);
  });
}

test.run();
