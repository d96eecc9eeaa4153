// timeout: 240 s
// coverage: none
/** A LAN as the uplink: guests have its addresses, the host's interface stays as it was, and may go down and come back. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { MacView, StatusView } from '../../src/control/views.ts';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { plugIn, portOf, type Stage, snapshot, stageTests } from './stage.ts';

const inStage = stageTests('br', import.meta.url);
const BRIDGE = ['--taps', 'tap0,tap1', '--uplink', 'bridge:eth0'] as const;
const HOST = '203.0.113.1';
const LAN = '203.0.113.2';
const PATIENCE_MS = 20_000;

/** The LAN behind the host's eth0, with a DHCP server of its own. */
async function addLan({ lab, host }: Stage): Promise<string> {
  const lan = await lab.netns('lan');
  await lab.cable([host, 'eth0', `${HOST}/24`], [lan, 'eth0', `${LAN}/24`]);
  const dhcp = ['--dhcp-range=203.0.113.50,203.0.113.60,255.255.255.0', `--dhcp-leasefile=${lab.folder}/lan`];
  const alone = [
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--port=0',
    '--no-ping',
    '--user=root',
    '--log-facility=-',
  ];
  await lineFrom(lab.spawn(lan, 'dnsmasq', ...alone, '--pid-file', ...dhcp), /DHCP, IP range/, PATIENCE_MS);
  return lan;
}

const isLanAddress = (address: string): boolean => /^203\.0\.113\.(5\d|60)$/.test(address);

/** What the kernel says of the host's eth0, in detail. */
const detailsOf = async ({ lab, host }: Stage): Promise<{ promiscuity: number; flags: string[] }> =>
  (
    JSON.parse(await lab.ip(host, '-d', '-j', 'link', 'show', 'eth0')) as {
      promiscuity: number;
      flags: string[];
    }[]
  )[0]!;

inStage("guests take the LAN's addresses and reach it; the host keeps its interface", async stage => {
  const { lab, host, red, blue } = stage;
  const lan = await addLan(stage);
  const before = await snapshot(stage);
  const child = await lab.startSwitch(host, ...BRIDGE);
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  const [a, b] = [await lab.lease(red, 'tap0'), await lab.lease(blue, 'tap1')];
  assert.ok(isLanAddress(a) && isLanAddress(b) && a !== b, `${a} ${b}`);
  await lab.ping(red, LAN);
  await lab.ping(red, b);
  await lab.ping(lan, a);
  // The host uses its interface as before, and guests do not reach it through it: nothing turns a frame round in there.
  await lab.ping(host, LAN);
  for (const [from, to] of [
    [red, HOST],
    [host, a],
  ] as const)
    assert.match(await lab.ping(from, to, 2).catch((error: Error) => error.message), /100% packet loss/);
  const macs = await lab.ask<MacView[]>('macs');
  // What the host itself sends by it is not seen.
  const own = (await lab.inside(host, 'cat', '/sys/class/net/eth0/address')).trim();
  assert.not(macs.some(entry => entry.mac === own));
  assert.equal([...new Set(macs.map(entry => entry.port))].sort(), ['eth0', 'tap0', 'tap1']);
  const { subnet, gateway } = await lab.ask<StatusView>('status');
  assert.equal([subnet, gateway], ['-', '-']);
  assert.is((await detailsOf(stage)).promiscuity, 1);
  const rules = await lab.inside(host, 'nft', 'list', 'ruleset');
  assert.is(rules.replace(/\s+/g, ' ').trim(), 'table netdev vswitchd_vsw0 { }');
  assert.is(await ended(child, 'SIGTERM', PATIENCE_MS), 0);
  assert.is((await detailsOf(stage)).promiscuity, 0);
  assert.is(await snapshot(stage), before);
});

inStage('TCP both ways, in large frames on the wire', async stage => {
  const { lab, host, red } = stage;
  const lan = await addLan(stage);
  await lab.startSwitch(host, ...BRIDGE);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  await lineFrom(lab.spawn(lan, 'iperf3', '-s', '--forceflush'), /listening/, PATIENCE_MS);
  const before = await portOf(lab, 'eth0');
  for (const direction of [[], ['-R']]) {
    let received: number | undefined;
    await until('the server is free for this direction', PATIENCE_MS, async () => {
      const said = await lab
        .inside(red, 'iperf3', '-c', LAN, '-n', '64M', '-J', ...direction)
        .catch(() => '{}');
      const { end } = JSON.parse(said) as { end?: { sum_received?: { bytes: number } } };
      received = end?.sum_received?.bytes;
      return received !== undefined;
    });
    // What is still on its way when the sender has sent all is not in iperf3's sum.
    assert.ok((received ?? 0) > 32 << 20, `${received}`);
  }
  const { rxFrames, rxBytes, txFrames, txBytes } = await portOf(lab, 'eth0');
  // Segments that the kernels leave whole are larger than any frame of the LAN, and answers smaller.
  const [rx, rxCount] = [rxBytes - before.rxBytes, rxFrames - before.rxFrames];
  const [tx, txCount] = [txBytes - before.txBytes, txFrames - before.txFrames];
  assert.ok(rx > 32 << 20 && rx / rxCount > 1_514, `${rx} bytes in ${rxCount} frames received`);
  assert.ok(tx > 32 << 20 && tx / txCount > 1_514, `${tx} bytes in ${txCount} frames sent`);
});

inStage('the interface goes down and comes back, vanishes and is made again', async stage => {
  const { lab, host, red } = stage;
  const lan = await addLan(stage);
  await lab.startSwitch(host, ...BRIDGE);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  await lab.ping(red, LAN);
  const isUp = async (): Promise<boolean> => (await portOf(lab, 'eth0')).up;
  await lab.ip(host, 'link', 'set', 'eth0', 'down');
  await until('eth0 is down', PATIENCE_MS, async () => !(await isUp()));
  await lab.ip(host, 'link', 'set', 'eth0', 'up');
  await until('eth0 is up', PATIENCE_MS, isUp);
  await lab.ping(red, LAN);
  await lab.ip(host, 'link', 'set', 'eth0', 'mtu', '1400');
  await lab.ping(red, LAN);
  await lab.ip(host, 'link', 'delete', 'eth0');
  await until('eth0 is gone', PATIENCE_MS, async () => (await portOf(lab, 'eth0')).kind === '-');
  await lab.cable([host, 'eth0', `${HOST}/24`], [lan, 'eth0', `${LAN}/24`]);
  await until('eth0 is back', PATIENCE_MS, isUp);
  await lab.ip(red, 'neigh', 'flush', 'dev', 'tap0'); // the other end is new as well
  await lab.ping(red, LAN);
});

inStage(
  'an interface that is not there, or no Ethernet one, is refused before anything is changed',
  async stage => {
    const { lab, host } = stage;
    const before = await snapshot(stage);
    for (const [name, why] of [
      ['eth7', 'there is no such interface'],
      ['lo', 'is no Ethernet interface'],
    ] as const) {
      const child = lab.spawnSwitch(host, '--taps', 'tap0', '--uplink', `bridge:${name}`);
      await lineFrom(child, new RegExp(`--uplink bridge:${name}: ${why}; expected`), PATIENCE_MS);
      assert.is(await ended(child, 'SIGTERM', PATIENCE_MS), 2);
    }
    assert.is(await snapshot(stage), before);
  },
);

test.run();
