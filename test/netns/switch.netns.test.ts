// timeout: 120 s
/** The main job in namespaces: taps followed, guests, host and outside reached. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FlowView, LeaseView, StatusView } from '../../src/control/views.ts';
import { lineFrom, until } from '../../src/lab.ts';
import { addOutside, ctl, GATEWAY, OUTSIDE, plugIn, portOf, served, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('sw', import.meta.url);

inStage('a moved tap is served within a second, renamed or not, and its guest gets a lease', async stage => {
  const { lab, host, red, blue } = stage;
  await lab.startSwitch(host, ...TAPS);
  assert.ok((await plugIn(stage, 'tap0', red)) < 1_000);
  assert.ok((await plugIn(stage, 'tap1', blue, 'eth0')) < 1_000);
  const [a, b] = [await lab.lease(red, 'tap0'), await lab.lease(blue, 'eth0')];
  assert.match(a, /^192\.168\.100\./);
  assert.is.not(a, b);
  await lab.ping(red, GATEWAY);
  await lab.ping(red, b);
  await lab.ping(host, a);
  await lab.ping(host, b);
  const leases = await lab.ask<LeaseView[]>('leases');
  assert.equal(
    leases.map(lease => [lease.address, lease.port]).sort(),
    [
      [a, 'tap0'],
      [b, 'tap1'],
    ].sort(),
  );
});

inStage('moved back and out again, the port follows, and the other does not notice', async stage => {
  const { lab, host, red, blue } = stage;
  await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  const b = await lab.lease(blue, 'tap1');
  const pings = lab.spawn(blue, 'ping', '-i', '0.05', '-c', '60', '-W', '1', GATEWAY);
  const pinged = lineFrom(pings, / 0% packet loss/, 15_000);
  await lab.ip(red, 'link', 'set', 'tap0', 'netns', host);
  await served(lab, 'tap0', 'packet');
  await plugIn(stage, 'tap0', red, 'eth7');
  const a = await lab.lease(red, 'eth7');
  await pinged;
  await lab.ping(red, b);
  assert.is.not(a, b);
});

inStage(
  'a namespace deleted takes its port down and no other; a new tap of the name is joined',
  async stage => {
    const { lab, host, red, blue } = stage;
    await lab.startSwitch(host, ...TAPS);
    await plugIn(stage, 'tap0', red);
    await plugIn(stage, 'tap1', blue);
    await lab.lease(blue, 'tap1');
    await lab.inside(host, 'ip', 'netns', 'delete', red);
    await until('tap0 is down', 5_000, async () => !(await portOf(lab, 'tap0')).up);
    await lab.ping(blue, GATEWAY);
    await lab.ip(host, 'tuntap', 'add', 'dev', 'tap0', 'mode', 'tap');
    await served(lab, 'tap0', 'packet');
  },
);

inStage('tap@NETNS serves the tap there from the start, made or found', async ({ lab, host, red, blue }) => {
  await lab.ip(blue, 'tuntap', 'add', 'dev', 'tap1', 'mode', 'tap', 'vnet_hdr');
  await lab.startSwitch(host, '--subnet', '192.168.100.0/24', '--taps', `tap0@${red},tap1@${blue}`);
  await lab.ip(red, 'link', 'set', 'tap0', 'up');
  await lab.ip(blue, 'link', 'set', 'tap1', 'up');
  const a = await lab.lease(red, 'tap0');
  await lab.lease(blue, 'tap1');
  await lab.ping(blue, a);
});

inStage('outside: UDP, TCP and echo through the NAT, and their errors come back', async stage => {
  const { lab, host, red } = stage;
  const out = await addOutside(stage);
  await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  await lab.ping(red, OUTSIDE);
  const serve = `const d = require('node:dgram').createSocket('udp4');
    d.on('message', (m, r) => d.send('echo ' + m, r.port, r.address)); d.bind(7000, '${OUTSIDE}');
    require('node:net').createServer(c => c.pipe(c)).listen(7000, '${OUTSIDE}', () => console.log('listening'));`;
  await lineFrom(lab.spawn(out, process.execPath, '-e', serve), /listening/, 5_000);
  const udp = `const d = require('node:dgram').createSocket('udp4'); d.connect(+process.argv[1], '${OUTSIDE}', () => d.send('hello'));
    d.on('message', m => { console.log(String(m)); d.close(); }); d.on('error', e => { console.log(e.code); d.close(); });
    setTimeout(() => process.exit(1), 3000).unref();`;
  assert.match(await lab.inside(red, process.execPath, '-e', udp, '7000'), /echo hello/);
  assert.match(await lab.inside(red, process.execPath, '-e', udp, '7001'), /ECONNREFUSED/);
  const tcp = `const c = require('node:net').connect(+process.argv[1], '${OUTSIDE}', () => c.end('x'.repeat(300000)));
    let n = 0; c.on('data', d => n += d.length); c.on('end', () => console.log(n)); c.on('error', e => console.log(e.code));`;
  assert.match(await lab.inside(red, process.execPath, '-e', tcp, '7000'), /^300000$/m);
  assert.match(await lab.inside(red, process.execPath, '-e', tcp, '7001'), /ECONNREFUSED/);
  const flows = await lab.ask<FlowView[]>('flows');
  assert.equal([...new Set(flows.map(flow => flow.protocol))].sort(), ['icmp', 'tcp', 'udp']);
});

inStage('a full MAC table is told, and frames pass all the same', async stage => {
  const { lab, host, red } = stage;
  await lab.startSwitch(host, ...TAPS, '--max-macs', '16');
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  for (let last = 16; last < 40; last++) {
    await lab.ip(red, 'link', 'set', 'tap0', 'address', `02:00:00:00:01:${last}`);
    await lab.inside(red, 'arping', '-c', '1', '-w', '1', '-I', 'tap0', GATEWAY);
  }
  const { macs, maxMacs, unlearnt } = await lab.ask<StatusView>('status');
  assert.equal([macs, maxMacs], [16, 16]);
  assert.ok(unlearnt >= 8, `${unlearnt}`);
  const screen = await ctl(stage);
  assert.match(screen, /MAC table 16\/16: \d+ frames came from addresses that it had no room for/);
});

inStage('traceroute shows the gateway as the first hop', async stage => {
  const { lab, host, red } = stage;
  await addOutside(stage);
  await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  const said = await lab.inside(red, 'traceroute', '-n', '-q', '1', '-w', '2', OUTSIDE);
  assert.match(said, /^ 1 {2}192\.168\.100\.1 /m);
  assert.match(said, /^ 2 {2}203\.0\.113\.2 /m);
});

inStage('the host does not see what guests send on their taps', async stage => {
  // A guest at the device end in the host's own namespace: the kernel must not answer for the host's addresses.
  const { lab, host, red } = stage;
  await addOutside(stage);
  await lab.startSwitch(host, ...TAPS);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  const rules = await lab.inside(host, 'nft', 'list', 'table', 'netdev', 'vswitchd_vsw0');
  assert.match(rules, /device "tap1"/);
  assert.match(rules, /policy drop/);
  assert.is((await lab.inside(host, 'sysctl', '-n', 'net.ipv6.conf.tap1.disable_ipv6')).trim(), '1');
});

test.run();
