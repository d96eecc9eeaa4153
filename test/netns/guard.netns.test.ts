// timeout: 120 s
/** `--guard strict` with real guests: who has an address by lease or reservation speaks, and whoever takes another's is not heard. */
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { parseIp4 } from '../../src/wire/address.ts';
import { heardFrom } from './beside.ts';
import { arpFrame, StreamGuest } from './guest.ts';
import { GATEWAY, plugIn, portOf, type Stage, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('gu', import.meta.url);
const VSWITCHCTL = join(projectRoot(), 'bin', 'vswitchctl');
const [TAKEN, RESERVED, MAC] = ['192.168.100.77', '192.168.100.50', '02:00:00:00:00:50'];

const pings = ({ lab }: Stage, netns: string, address: string): Promise<boolean> =>
  lab.inside(netns, 'ping', '-q', '-c', '1', '-W', '1', address).then(
    () => true,
    () => false,
  );

inStage('a lease lets a guest speak; an address, a MAC or a gateway that it makes up do not', async stage => {
  const { lab, host, red, blue } = stage;
  await lab.startSwitch(host, ...TAPS, '--guard', 'strict', '--uplink', 'none', '--firewall', 'none');
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  await lab.ip(red, 'addr', 'add', `${TAKEN}/24`, 'dev', 'tap0');
  assert.not(await pings(stage, red, GATEWAY), 'an address of its own choice');
  await lab.ip(red, 'addr', 'flush', 'dev', 'tap0');
  const [redIp, blueIp] = [await lab.lease(red, 'tap0'), await lab.lease(blue, 'tap1')];
  assert.ok(await pings(stage, red, GATEWAY));
  assert.ok(await pings(stage, red, blueIp));
  assert.ok(await pings(stage, blue, redIp));
  // red takes blue's address beside its own
  await lab.ip(red, 'addr', 'add', `${blueIp}/32`, 'dev', 'tap0');
  await lab.inside(red, 'arping', '-U', '-c', '2', '-I', 'tap0', blueIp).catch(() => undefined);
  await lab.inside(red, 'ping', '-c', '1', '-W', '1', '-I', blueIp, GATEWAY).catch(() => undefined);
  assert.ok(await pings(stage, blue, GATEWAY), 'blue keeps its address');
  await lab.ip(red, 'addr', 'del', `${blueIp}/32`, 'dev', 'tap0');
  // red says that it is the gateway
  await lab.ip(red, 'addr', 'add', `${GATEWAY}/32`, 'dev', 'tap0');
  await lab.inside(red, 'arping', '-U', '-c', '2', '-I', 'tap0', GATEWAY).catch(() => undefined);
  await lab.ip(red, 'addr', 'del', `${GATEWAY}/32`, 'dev', 'tap0');
  assert.ok(await pings(stage, blue, GATEWAY));
  const { drops } = await portOf(lab, 'tap0');
  assert.ok((drops.GuardAddress ?? 0) >= 4, JSON.stringify(drops));
  assert.ok((drops.GuardGateway ?? 0) >= 2, JSON.stringify(drops));
  // another MAC on the same port
  await lab.ip(red, 'link', 'set', 'tap0', 'address', MAC);
  assert.not(await pings(stage, red, GATEWAY));
  await lab.lease(red, 'tap0');
  assert.ok(await pings(stage, red, GATEWAY));
});

/** A frame from each of so many made-up addresses. */
const makesUp = ({ lab }: Stage, netns: string, count: number, to = 'bcast'): Promise<unknown> =>
  lab.inside(netns, 'mausezahn', 'tap0', '-q', '-c', String(count), '-a', 'rand', '-b', to, '88:b5 00:01');

inStage('a port has as many MAC addresses as it may, and its guest is heard all the same', async stage => {
  const { lab, host, red, blue } = stage;
  await lab.startSwitch(host, ...TAPS, '--uplink', 'none', '--firewall', 'none', '--port-macs', '3');
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  const blueIp = await lab.lease(blue, 'tap1');
  await lab.lease(red, 'tap0');
  await makesUp(stage, red, 1_000);
  const dropped = (await portOf(lab, 'tap0')).drops.MacLimit ?? 0;
  assert.ok(dropped >= 990 && dropped <= 1_000, `${dropped} dropped`);
  const { macs } = await lab.ask<{ macs: number }>('status');
  assert.ok(macs <= 6, `${macs} addresses`);
  assert.ok(await pings(stage, red, blueIp));
});

inStage('what a port floods is limited, and what it says to one guest is not', async stage => {
  const { lab, host, red, blue } = stage;
  const limits = ['--storm-limit', 'broadcast=50,unknown=50,macs=20'];
  await lab.startSwitch(host, ...TAPS, '--uplink', 'none', '--firewall', 'none', ...limits);
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  const blueIp = await lab.lease(blue, 'tap1');
  await lab.lease(red, 'tap0');
  const before = (await portOf(lab, 'tap1')).txFrames;
  const start = performance.now();
  await lab.inside(red, 'mausezahn', 'tap0', '-q', '-c', '2000', '-b', 'bcast', '88:b5 00:01');
  const [{ drops }, after] = [await portOf(lab, 'tap0'), await portOf(lab, 'tap1')];
  assert.ok((drops.BroadcastLimit ?? 0) >= 500, JSON.stringify(drops));
  const most = 50 + ((performance.now() - start) * 50) / 1_000 + 10; // and what the switch says of itself
  assert.ok(after.txFrames - before <= most, `${after.txFrames - before} frames of ${most}`);
  assert.ok(await pings(stage, blue, GATEWAY));
  await until('it may ask again', 3_000, () => pings(stage, red, blueIp));
  await makesUp(stage, red, 1_000, MAC);
  assert.ok(((await portOf(lab, 'tap0')).drops.LearnLimit ?? 0) >= 500);
  await until('it is heard again', 3_000, () => pings(stage, red, blueIp));
});

inStage(
  'one address too many sets the port down, where that is asked for, till it is set up again',
  async stage => {
    const { lab, host, red, blue } = stage;
    await lab.startSwitch(
      host,
      ...TAPS,
      '--uplink',
      'none',
      '--firewall',
      'none',
      '--port-macs',
      '3,shutdown',
    );
    await plugIn(stage, 'tap0', red);
    await plugIn(stage, 'tap1', blue);
    await lab.lease(red, 'tap0');
    await lab.lease(blue, 'tap1');
    const isUp = async (): Promise<boolean> => (await portOf(lab, 'tap0')).up;
    await makesUp(stage, red, 10);
    await until('the port is down', 3_000, async () => !(await isUp()));
    assert.not(await pings(stage, red, GATEWAY));
    assert.ok(await pings(stage, blue, GATEWAY), 'the other port is as it was');
    await lab.inside(host, VSWITCHCTL, '--run-dir', lab.folder, 'port', 'set', 'tap0', 'up');
    await until('the port is up again', 3_000, isUp);
    assert.ok(await pings(stage, red, GATEWAY));
    await setTimeout(500); // it is looked at several times a second
    assert.ok(await isUp(), 'what was counted before does not set it down again');
  },
);

inStage(
  'of several guests on a socket, one with an address too many takes its port down, said once',
  async stage => {
    const { lab, host } = stage;
    const path = join(lab.folder, 'vm.sock');
    const options = ['--uplink', 'none', '--firewall', 'none', '--port-macs', '2,shutdown'];
    const child = await lab.startSwitch(
      host,
      ...['--subnet', '192.168.100.0/24', '--port', `stream:${path},name=vm,guests=2`, ...options],
    );
    const heard = heardFrom(child);
    const first = await StreamGuest.connect(path, 1);
    assert.ok(await first.resolves(GATEWAY, '192.168.100.10'));
    const second = await StreamGuest.connect(path, 2);
    assert.ok(await second.resolves(GATEWAY, '192.168.100.11'));
    for (let lo = 3; lo < 100 && !second.closed; lo++) {
      second.send(arpFrame(lo, parseIp4('192.168.100.12')!, parseIp4(GATEWAY)!));
      await setTimeout(20);
    }
    await until('both are sent away', 3_000, async () => first.closed && second.closed);
    assert.not((await portOf(lab, 'vm')).up);
    const said = heard();
    assert.is(said.match(/set down, as vm\.2 sent from more than 2 MAC addresses/g)?.length, 1, said);
    assert.not.match(said, /not set down/);
  },
);

inStage('leases are known after a kill, and a reservation without a lease', async stage => {
  const { lab, host, red, blue } = stage;
  const options = [
    ...TAPS,
    '--guard',
    'strict',
    '--host',
    `fixed,${MAC},${RESERVED}`,
    '--uplink',
    'none',
    '--firewall',
    'none',
  ];
  await lab.startSwitch(host, ...options);
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  await lab.lease(red, 'tap0');
  await lab.ip(blue, 'link', 'set', 'tap1', 'address', MAC);
  await lab.ip(blue, 'addr', 'add', `${RESERVED}/24`, 'dev', 'tap1');
  assert.ok(await pings(stage, blue, GATEWAY), 'by hand, as it is reserved');
  const { pid } = await lab.ask<{ pid: number }>('status');
  process.kill(pid, 'SIGKILL');
  await lab.startSwitch(host, ...options);
  assert.ok(await pings(stage, red, GATEWAY), 'it need not ask again');
  assert.ok(await pings(stage, blue, GATEWAY));
});

test.run();
