/** Figures of a running switch, by TCP and on its socket: of the format, and of what was done. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { type ReadFamily, readExposition } from '../control/exposition.ts';
import { addOutside, OUTSIDE, plugIn, type Stage, stageTests, TAPS } from './stage.ts';

const stageTest = stageTests('met', import.meta.url);
const ADDRESS = '127.0.0.1:9560';
const PINGS = 5;

const ASK = `fetch(process.argv[1]).then(r => r.text()).then(text => process.stdout.write(text))`;

async function figures({ lab, host }: Stage): Promise<(name: string, labels?: string) => number> {
  const text = await lab.inside(host, process.execPath, '-e', ASK, `http://${ADDRESS}/metrics`);
  const families: Map<string, ReadFamily> = readExposition(text);
  return (name, labels = '') => {
    const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
    return family?.samples.get(`${name}${labels}`) ?? Number.NaN;
  };
}

stageTest('a ping to the outside shows in frames, flows, batches, latency and the loop', async stage => {
  const { lab, host, red } = stage;
  await addOutside(stage);
  await lab.startSwitch(host, ...TAPS, '--metrics', ADDRESS);
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  const before = await figures(stage);
  await lab.ping(red, OUTSIDE, PINGS);
  let after = before;
  const rise = (name: string, labels?: string): number => after(name, labels) - before(name, labels);
  const received = (port: string): number => rise('vswitchd_port_receive_frames_total', `{port="${port}"}`);
  let all = 0;
  // The round before a sleep is counted when that ends, a second later at the most; so it is all since the start that agrees,
  // not what came between two looks.
  await until('each frame is in a batch, and has a latency', 5_000, async () => {
    after = await figures(stage);
    all = received('tap0') + received('tap1') + received('vsw0');
    const ever = ['tap0', 'tap1', 'vsw0']
      .map(port => after('vswitchd_port_receive_frames_total', `{port="${port}"}`))
      .reduce((sum, frames) => sum + frames);
    const counted = after('vswitchd_dataplane_latency_seconds_count');
    return all >= 2 * PINGS && after('vswitchd_batch_frames_sum') === ever && counted === ever;
  });
  assert.ok(received('tap0') >= PINGS);
  const latencyS = rise('vswitchd_dataplane_latency_seconds_sum') / all;
  assert.ok(latencyS > 1e-6 && latencyS < 0.1, `${latencyS} s`);
  const [busyS, waitS] = [rise('vswitchd_loop_busy_seconds_total'), rise('vswitchd_loop_wait_seconds_total')];
  const tookS = rise('vswitchd_uptime_seconds');
  assert.ok(Math.abs(busyS + waitS - tookS) < 1.5, `${busyS} + ${waitS} of ${tookS} s`);
  assert.ok(busyS > 0 && busyS < waitS, `${busyS} s busy, ${waitS} s waiting`);
  assert.is(after('vswitchd_flows', '{protocol="icmp",state="-"}'), 1);
  assert.ok(rise('vswitchd_flows_opened_total') >= 1);
  assert.is(after('vswitchd_uplink_up', '{port="vsw0",uplink="tun"}'), 1);
});

stageTest('an address that another program has is refused, and nothing of the switch stays', async stage => {
  const { lab, host } = stage;
  await lab.startSwitch(host, ...TAPS, '--metrics', ADDRESS);
  const other = [
    ...['--name', 'vsw1', '--subnet', '192.168.101.0/24', '--taps', 'tap7', '--uplink', 'none'],
    ...['--state-dir', join(lab.folder, 'other'), '--run-dir', lab.folder, '--metrics', ADDRESS],
  ];
  const program = join(projectRoot(), 'bin', 'vswitchd');
  const { status, stderr } = spawnSync('ip', ['netns', 'exec', host, program, ...other], {
    encoding: 'utf8',
  });
  assert.is(status, 3);
  assert.match(stderr, /--metrics 127\.0\.0\.1:9560: is in use already; expected a port that is free/);
  assert.not.match(await lab.ip(host, 'link'), /tap7/);
});

test.run();
