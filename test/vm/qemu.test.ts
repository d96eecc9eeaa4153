// timeout: 280 s
/** QEMU, unmodified: guests on taps of the host's own namespace, with the command line that people use with a bridge. */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LeaseView, StatusView } from '../../src/control/views.ts';
import { ended, lineFrom, until } from '../../src/lab.ts';
import { addOutside, OUTSIDE, portOf, type Stage, stageTests, TAPS } from '../netns/stage.ts';
import { buildImage, type GuestOptions, type Image, startGuest } from './guest.ts';

const BOOT_MS = 60_000;
const FIRST: GuestOptions = { tap: 'tap0', mac: '02:4c:40:5b:f7:3c' };
const SECOND: GuestOptions = { tap: 'tap1', mac: '02:4c:40:5b:f7:3d' };

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-vm-'));
let image: Image;

test.before(async () => {
  image = await buildImage(folder);
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

const inStage = stageTests('vm', import.meta.url);

const guest = ({ lab, host }: Stage, options: GuestOptions): ChildProcess =>
  startGuest(lab, host, image, options);
const says = (child: ChildProcess, what: RegExp): Promise<void> => lineFrom(child, what, BOOT_MS);

async function addressOf({ lab }: Stage, { mac }: GuestOptions): Promise<string> {
  const lease = (await lab.ask<LeaseView[]>('leases')).find(candidate => candidate.mac === mac);
  if (lease === undefined) throw new Error(`${mac} has no lease`);
  return lease.address;
}

inStage(
  'two guests get leases, reach the gateway, each other and the outside; the host reaches them',
  async stage => {
    const { lab, host } = stage;
    const out = await addOutside(stage);
    const serve = `require('node:http').createServer((q, r) => r.end(Buffer.alloc(1000000))).listen(80, '${OUTSIDE}', () => console.log('up'))`;
    await lineFrom(lab.spawn(out, process.execPath, '-e', serve), /up/, 5_000);
    await lab.startSwitch(host, ...TAPS);
    const first = guest(stage, FIRST);
    await says(first, /GUEST gateway answers/);
    const address = await addressOf(stage, FIRST);
    assert.ok((await portOf(lab, 'tap0')).up);
    const second = guest(stage, { ...SECOND, orders: `peer=${address} fetch=http://${OUTSIDE}/` });
    await Promise.all(
      [/lease 192\.168\.100\./, /peer answers/, /fetched 1000000/].map(what => says(second, what)),
    );
    await lab.ping(host, address);
    await lab.ping(host, await addressOf(stage, SECOND));
  },
);

inStage('a guest killed and started again has its address; the switch stays up', async stage => {
  const { lab, host } = stage;
  await lab.startSwitch(host, ...TAPS);
  const { pid } = await lab.ask<StatusView>('status');
  const first = guest(stage, FIRST);
  await says(first, /GUEST done/);
  const address = await addressOf(stage, FIRST);
  await ended(first, 'SIGKILL', 1_000);
  await until('tap0 is down', 3_000, async () => !(await portOf(lab, 'tap0')).up);
  await says(guest(stage, FIRST), /GUEST gateway answers/);
  assert.ok((await portOf(lab, 'tap0')).up);
  assert.is(await addressOf(stage, FIRST), address);
  assert.is((await lab.ask<StatusView>('status')).pid, pid);
});

inStage('cloud-init data by the serial number that people give QEMU, and by 169.254.169.254', async stage => {
  const { lab, host } = stage;
  const seed = join(lab.folder, 'seed');
  mkdirSync(join(seed, FIRST.mac), { recursive: true });
  writeFileSync(join(seed, FIRST.mac, 'user-data'), '#cloud-config\n# @hostname@ @address@ @mac@\n');
  await lab.startSwitch(host, ...TAPS, '--cloud-init', seed);
  const smbios = 'type=1,serial=ds=nocloud;s=http://192.168.100.1:8000/';
  const first = guest(stage, { ...FIRST, smbios });
  const page = (name: string, content: string): RegExp => new RegExp(`GUEST seed http://${name}: ${content}`);
  const data = `#cloud-config\\|# tap0 192\\.168\\.100\\.\\d+ ${FIRST.mac}\\|`;
  const metadata = 'instance-id: i-[0-9a-f]{17}\\|local-hostname: tap0\\.vsw\\.internal\\|';
  await Promise.all([
    says(first, page('192\\.168\\.100\\.1:8000/meta-data', metadata)),
    says(first, page('192\\.168\\.100\\.1:8000/user-data', data)),
    says(first, page('169\\.254\\.169\\.254/meta-data', metadata)),
    says(first, page('169\\.254\\.169\\.254/user-data', data)),
  ]);
});

for (const flags of [[], ['vnet_hdr']]) {
  inStage(
    `a guest that was there before the switch, on a tap made by hand ${flags.join()}`.trimEnd(),
    async stage => {
      const { lab, host } = stage;
      await lab.ip(host, 'tuntap', 'add', 'dev', 'tap0', 'mode', 'tap', ...flags);
      await lab.ip(host, 'link', 'set', 'tap0', 'up');
      const first = guest(stage, FIRST);
      const leased = says(first, /GUEST gateway answers/);
      await until('QEMU holds tap0', 5_000, async () =>
        /LOWER_UP/.test(await lab.ip(host, 'link', 'show', 'tap0')),
      );
      const child = await lab.startSwitch(host, ...TAPS);
      await leased;
      await lab.ping(host, await addressOf(stage, FIRST));
      assert.is(await ended(child, 'SIGTERM', 3_000), 0);
      const links = await lab.ip(host, '-br', 'link');
      assert.match(links, /^tap0 /m);
      assert.not.match(links, /^(tap1|vsw0) /m);
      assert.is(first.exitCode, null);
    },
  );
}

test.run();
