/** DPDK's testpmd as the guest behind two vhost-user ports: nothing is lost, whoever ends comes back, and who connects to whom. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { pingPong, type Testpmd, virtioUser } from '../../bench/peers/testpmd.ts';
import type { PortView } from '../../src/control/views.ts';
import { ended, until } from '../../src/lab.ts';
import { ctl, type Stage, SUBNET, stageTests } from './stage.ts';

const PATIENCE_MS = 8_000;
/** Bursts of 32 frames that are under way each way: all of them fit one ring. */
const START = 'start tx_first 4';
const UNDER_WAY = 2 * 4 * 32;
const FLOW_MS = 300;
const LINK_MS = 300;

const stageTest = stageTests('pmd', import.meta.url);

const pathsIn = ({ lab }: Stage): string[] => ['a', 'b'].map(name => join(lab.folder, `${name}.sock`));

function startSwitch(stage: Stage, mode: 'server' | 'client'): Promise<ChildProcess> {
  const ports = pathsIn(stage).flatMap(path => ['--port', `vhost-user:${path},mode=${mode}`]);
  const none = ['--subnet', SUBNET, '--uplink', 'none', '--firewall', 'none'];
  return stage.lab.startSwitch(stage.host, ...none, ...ports);
}

const plug = (stage: Stage, ...more: string[]): Promise<Testpmd> =>
  pingPong(
    stage.lab,
    stage.host,
    pathsIn(stage).map((path, index) => virtioUser(index, path, ...more)),
    [64],
  );

const portsOf = ({ lab }: Stage): Promise<PortView[]> => lab.ask<PortView[]>('ports');

const are = (stage: Stage, up: boolean): Promise<number> =>
  until(`both ports are ${up ? 'up' : 'down'}`, PATIENCE_MS, async () =>
    (await portsOf(stage)).every(port => port.up === up),
  );

const sum = (ports: readonly PortView[], count: (port: PortView) => number): number =>
  ports.reduce((total, port) => total + count(port), 0);

/** Frames that are under way come back, each many times. */
async function goRound(pmd: Testpmd): Promise<void> {
  const before = await pmd.ports();
  await pause(FLOW_MS);
  const after = await pmd.ports();
  const received = after.received - before.received;
  assert.ok(received > 20 * UNDER_WAY, `${received} frames in ${FLOW_MS} ms`);
}

async function startRound(pmd: Testpmd): Promise<void> {
  await pmd.say(START);
  await goRound(pmd);
}

/** A guest on both ports, with frames under way. */
async function plugAndStart(stage: Stage, ...more: string[]): Promise<Testpmd> {
  const pmd = await plug(stage, ...more);
  await are(stage, true);
  await startRound(pmd);
  return pmd;
}

/** After its stop: what the switch has taken of it, when all of that is delivered and counted on both sides. */
async function settled(stage: Stage, pmd: Testpmd): Promise<number> {
  let taken = -1;
  await until('the switch has delivered all', PATIENCE_MS, async () => {
    const before = taken;
    taken = sum(await portsOf(stage), port => port.rxFrames);
    return taken === before;
  });
  // Those that stand in its rings it takes out, and forgets, before it starts anew.
  await pmd.say('start');
  await pmd.stop();
  return taken;
}

stageTest(
  'frames go both ways, and none is lost: sent, taken, delivered and received are one number',
  async stage => {
    await startSwitch(stage, 'server');
    const pmd = await plugAndStart(stage);
    assert.is((await pmd.stop()).dropped, 0);
    const taken = await settled(stage, pmd);
    const { received, sent } = await pmd.ports();
    const ports = await portsOf(stage);
    assert.equal(
      ports.map(port => port.drops),
      [{}, {}],
    );
    assert.is(taken, sent);
    assert.is(
      sum(ports, port => port.txFrames),
      sent,
    );
    assert.is(received, sent);
    for (const port of ports) assert.ok(port.rxFrames > 10 * UNDER_WAY, `${port.name}: ${port.rxFrames}`);
    await pmd.end();
    await are(stage, false);
  },
);

stageTest(
  'restarts under load: the guest notices none, and no frame that was under way is lost',
  async stage => {
    await startSwitch(stage, 'server');
    const pmd = await plugAndStart(stage);
    for (let round = 0; round < 3; round++) {
      assert.match(await ctl(stage, 'restart'), /^restarted: pid \d+ goes on$/m);
      await until('the new process serves both ports', PATIENCE_MS, async () => {
        const ports = await portsOf(stage).catch(() => []); // between the two nobody answers
        return ports.length === 2 && ports.every(port => port.up && port.rxFrames > 0);
      });
      await goRound(pmd); // without another start
    }
    assert.is((await pmd.stop()).dropped, 0);
    await settled(stage, pmd);
    const { received, sent } = await pmd.ports();
    assert.is(received, sent);
    await pmd.end();
    await are(stage, false);
  },
);

stageTest('a guest that is killed under load costs nobody anything, and comes back', async stage => {
  const child = await startSwitch(stage, 'server');
  const killed = await plugAndStart(stage);
  await ended(killed.child, 'SIGKILL', PATIENCE_MS);
  await are(stage, false);
  const pmd = await plugAndStart(stage);
  await pmd.end();
  assert.is(await ended(child, 'SIGTERM', PATIENCE_MS), 0);
});

stageTest(
  'mode=client: the switch connects to the guest; killed under load, the next goes on',
  async stage => {
    const child = await startSwitch(stage, 'client');
    await are(stage, false);
    const pmd = await plugAndStart(stage, 'server=1');
    await ended(child, 'SIGKILL', PATIENCE_MS);
    await pmd.stop();
    await startSwitch(stage, 'client');
    // A virtio-user device looks for its peer when it is asked for its link; asked without a break, it stumbles over its own steps.
    const linked = async (): Promise<boolean> => {
      await pause(LINK_MS);
      await pmd.say('show port summary all');
      return (await portsOf(stage)).every(port => port.up);
    };
    await until('both ports are up again', PATIENCE_MS, linked);
    await startRound(pmd);
    await pmd.end();
  },
);

test.run();
