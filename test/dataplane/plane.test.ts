/** The handle on the data plane's thread, beside whatever else the control thread does. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { projectRoot } from '../../src/port/native.ts';

const module = (name: string): string => JSON.stringify(join(projectRoot(), 'dist/src', name));

/** The thread starts, and takes files of its own, while the control thread starts tools. */
const CODE = `(async () => {
  const { Plane } = await import(${module('dataplane/plane.js')});
  const { readReplayConfig } = await import(${module('config.js')});
  const { gatewaySettings } = await import(${module('identity.js')});
  const { run } = await import(${module('host/run.js')});
  const gateway = gatewaySettings(readReplayConfig({}));
  for (let round = 0; round < 12; round++) {
    const plane = new Plane({ maxMacs: 16, ageingS: 300, uplink: -1, seed: 0, gateway });
    for (let wave = 0; wave < 4; wave++) await Promise.all(Array.from({ length: 15 }, () => run('true', [])));
    plane.flush(0);
    await plane.stop();
  }
  console.log('all ended');
})();`;

test('a tool that is started while the data plane starts is heard of again', () => {
  const { stdout, stderr, signal } = spawnSync(process.execPath, ['-e', CODE], {
    encoding: 'utf8',
    timeout: 30_000,
    killSignal: 'SIGKILL',
  });
  assert.is(signal, null, 'it waits for ever');
  assert.is(stdout.trim(), 'all ended', stderr);
});

test.run();
