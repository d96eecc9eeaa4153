// timeout: 120 s
/** Captures of a running switch: what they say of each frame, filters, and readers that do not keep up. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { readCapture, type SeenFile } from '../wire/pcapngread.ts';
import { GATEWAY, OUTSIDE, plugIn, type Stage, stageTests, startBareNat } from './stage.ts';

const inStage = stageTests('cap', import.meta.url);
const VSWITCHCTL = join(projectRoot(), 'bin', 'vswitchctl');

interface Running {
  /** What has been written by now. */
  read(): SeenFile;
  /** Ends vswitchctl by SIGINT; what it says. */
  stop(): Promise<string>;
}

/** vswitchctl capture, into a file, once it has begun. */
async function capture({ lab, host }: Stage, ...words: string[]): Promise<Running> {
  const path = join(lab.folder, `${words.join('-').replaceAll(/\W+/g, '-')}.pcapng`);
  const shell = 'exec "$0" --run-dir "$1" capture "${@:3}" >"$2"';
  const child = lab.spawn(host, 'bash', '-c', shell, VSWITCHCTL, lab.folder, path, ...words);
  let said = '';
  child.stderr?.on('data', chunk => {
    said += chunk;
  });
  const begun = async (): Promise<boolean> => {
    if (child.exitCode !== null) throw new Error(said);
    return readFileSync(path).length > 0;
  };
  await until('the file is there', 5_000, async () => begun().catch(() => false));
  return {
    read: () => readCapture(readFileSync(path)),
    stop: async () => {
      child.kill('SIGINT');
      await until('vswitchctl has ended', 3_000, async () => child.exitCode !== null);
      assert.is(child.exitCode, 0, said);
      return said;
    },
  };
}

/** Waits for a frame whose comment is such. */
const comment = (running: Running, wanted: RegExp): Promise<number> =>
  until(`a frame '${wanted.source}'`, 3_000, async () =>
    running.read().packets.some(packet => wanted.test(packet.comment)),
  ).catch(error => {
    throw new Error(
      `${error.message}; there are: ${running
        .read()
        .packets.map(each => each.comment)
        .join('\n')}`,
    );
  });

inStage('DHCP, ARP, echo, NAT, floods and drops: each frame says what has become of it', async stage => {
  const { lab, red, blue } = stage;
  await startBareNat(stage, '--egress-rule', 'deny 203.0.113.9');
  await plugIn(stage, 'tap1', blue);
  const all = await capture(stage, 'all');
  const one = await capture(stage, 'tap1', '--filter', 'udp port 67 or udp port 68');
  const b = await lab.lease(blue, 'tap1');
  await lab.ping(blue, GATEWAY, 1);
  await lab.ping(red, b, 1);
  await lab.ping(red, OUTSIDE, 1);
  await lab.inside(red, 'ping', '-c', '1', '-W', '1', '203.0.113.9').catch(() => '');
  await comment(all, /^in tap0: dropped: EgressDenied$/);
  await comment(all, /^in tap1: flooded to 1 port, answered by the gateway$/);
  await comment(all, /^in tap0: forwarded to vsw0, source NATed to 192\.168\.100\.254 id \d+$/);
  await comment(all, /^out vsw0: from tap0, source NATed from 192\.168\.100\.10 id \d+$/);
  await comment(all, /^in vsw0: forwarded to tap0, destination NATed to 192\.168\.100\.10 id \d+$/);
  const messages = ['in tap1: to the DHCP server', "out tap1: from the switch's services"];
  assert.equal(
    one.read().packets.map(packet => packet.comment),
    [...messages, ...messages],
  );
  assert.match(await all.stop(), /^vswitchctl: \d\d frames captured, 0 lost/);
  assert.match(await one.stop(), /^vswitchctl: 4 frames captured, 0 lost/);
});

test.run();
