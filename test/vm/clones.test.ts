// timeout: 150 s
/** Two machines from one image: the same client id, as from the same /etc/machine-id, with a MAC each. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LeaseView } from '../../src/control/views.ts';
import { lineFrom } from '../../src/lab.ts';
import { stageTests, TAPS } from '../netns/stage.ts';
import { buildImage, startGuest } from './guest.ts';

const BOOT_MS = 60_000;
/** An IAID and a DUID, RFC 4361. */
const orders = 'id=ff51de9fdb00020000ab113f96fe0d43300b10';
const [FIRST, SECOND] = ['02:4c:40:5b:f7:3c', '02:4c:40:5b:f7:3d'] as const;

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-vm-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const inStage = stageTests('cn', import.meta.url);

inStage('clones get an address each, and one line warns of them', async ({ lab, host }) => {
  const image = await buildImage(folder);
  const vswitchd = await lab.startSwitch(host, ...TAPS);
  let told = '';
  vswitchd.stdout?.on('data', (chunk: Buffer) => (told += chunk.toString()));
  vswitchd.stderr?.on('data', (chunk: Buffer) => (told += chunk.toString()));
  await lineFrom(
    startGuest(lab, host, image, { tap: 'tap0', mac: FIRST, orders }),
    /GUEST gateway answers/,
    BOOT_MS,
  );
  const peer = await addressOf(FIRST);
  const second = startGuest(lab, host, image, { tap: 'tap1', mac: SECOND, orders: `${orders} peer=${peer}` });
  await lineFrom(second, /GUEST peer answers/, BOOT_MS);
  assert.is(await addressOf(FIRST), peer, 'the first keeps its address');
  assert.is.not(await addressOf(SECOND), peer);
  const warnings = told.match(/02:4c:40:5b:f7:3d on tap1 has the client id of 02:4c:40:5b:f7:3c on tap0/g);
  assert.is(warnings?.length, 1, told);

  async function addressOf(mac: string): Promise<string> {
    const lease = (await lab.ask<LeaseView[]>('leases')).find(
      each => each.mac === mac && each.state === 'bound',
    );
    if (lease === undefined) throw new Error(`${mac} has no lease`);
    return lease.address;
  }
});

test.run();
