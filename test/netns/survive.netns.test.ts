// timeout: 120 s
// coverage: none
/** What goes through a switch while it is killed and started again, or gives all to another process. */

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LeaseView, MacView } from '../../src/control/views.ts';
import { lineFrom } from '../../src/lab.ts';
import { StreamGuest } from './guest.ts';
import {
  ctl,
  GATEWAY,
  gatewayMacOf,
  goneWithin,
  OUTSIDE,
  plugIn,
  type Stage,
  stageTests,
  startBareNat,
  TAPS,
} from './stage.ts';

const inStage = stageTests('sv', import.meta.url);
/** Both guests' own: so one of them has another port outside, which nothing but a table knows. */
const PORT = 5_555;
const EVERY_MS = 20;
/** 80 ms by itself; three tests that run at once have two cores. */
const SILENT_MS = 2_000;

const ECHO = `require('node:net').createServer(c => c.pipe(c)).listen(7, '${OUTSIDE}', () => console.log('ready'));`;

/** Sends a number every few ms over one connection and says how many came back in order, and the longest silence, ms, when told to end. */
const TALK = `
  const c = require('node:net').connect({ host: '${OUTSIDE}', port: 7, localPort: ${PORT} });
  c.setNoDelay(true);
  let sent = 0, got = 0, rest = '', last = Date.now(), silence = 0;
  c.on('error', e => { console.log('broken ' + e.code); process.exit(1); });
  c.on('data', d => {
    const lines = (rest + d).split('\\n'); rest = lines.pop();
    for (const line of lines) { if (Number(line) !== got) console.log('order'); if (++got === 10) console.log('talking'); }
    silence = Math.max(silence, Date.now() - last); last = Date.now();
  });
  const timer = setInterval(() => c.write(sent++ + '\\n'), ${EVERY_MS});
  process.stdin.resume().on('end', () => {
    clearInterval(timer);
    const wait = setInterval(() => { if (got === sent) { console.log(JSON.stringify({ sent, silence })); process.exit(0); } }, 20);
    setTimeout(() => { clearInterval(wait); console.log('lost ' + (sent - got)); process.exit(1); }, 20000);
  });`;

interface Talk {
  readonly sent: number;
  /** ms */
  readonly silence: number;
}

/** Starts a conversation of a guest; resolves when it is under way, with how to end it and hear of it. */
async function talk({ lab }: Stage, netns: string): Promise<() => Promise<Talk>> {
  const child = lab.spawnTalking(netns, process.execPath, '-e', TALK);
  let said = '';
  child.stdout?.on('data', chunk => (said += String(chunk)));
  const ended = new Promise(resolve => child.once('exit', resolve));
  await lineFrom(child, /talking/, 10_000);
  return async () => {
    child.stdin?.on('error', () => undefined); // it may have ended before
    child.stdin?.end();
    await ended;
    assert.match(said, /\{/, said);
    return JSON.parse(said.trim().split('\n').at(-1)!) as Talk;
  };
}

/** Red answers no ARP from now on, and asks nothing: who knows its MAC, knew it before. */
async function answersNoQuestion(stage: Stage): Promise<void> {
  const { lab, red } = stage;
  const mac = await gatewayMacOf(stage, red);
  await lab.ip(red, 'neigh', 'replace', GATEWAY, 'lladdr', mac, 'dev', 'tap0', 'nud', 'permanent');
  await lab.inside(red, 'sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=8');
}

async function startTwo(stage: Stage, ...options: string[]): Promise<Array<() => Promise<Talk>>> {
  const { lab, red, blue } = stage;
  const out = await startBareNat(stage, ...options);
  await plugIn(stage, 'tap1', blue);
  await lab.lease(blue, 'tap1');
  await lineFrom(lab.spawn(out, process.execPath, '-e', ECHO), /ready/, 10_000);
  return [await talk(stage, red), await talk(stage, blue)];
}

inStage('killed and started again: connections that were open a second before go on', async stage => {
  const { lab, host } = stage;
  const talks = await startTwo(stage);
  await new Promise(resolve => setTimeout(resolve, 1_200)); // the file is at most a second old
  const { pid } = await lab.ask<{ pid: number }>('status');
  process.kill(pid, 'SIGKILL');
  await lab.startSwitch(host, ...TAPS, '--firewall', 'none');
  for (const end of talks) {
    const { sent, silence } = await end();
    assert.ok(sent > 50, `${sent}`);
    assert.ok(silence > 0);
  }
});

inStage('vswitchctl restart: no connection, lease or byte is lost, and silence is short', async stage => {
  const { lab, host } = stage;
  const path = join(lab.folder, 'vm.sock');
  const talks = await startTwo(stage, '--port', `stream:${path}`);
  const guest = await StreamGuest.connect(path, 7);
  assert.ok(await guest.resolves('192.168.100.1', '192.168.100.70', 3_000));
  const before = await lab.ask<{ pid: number }>('status');
  const leases = await lab.ask<LeaseView[]>('leases');
  const macs = await lab.ask<MacView[]>('macs');
  const { address = '' } = leases.find(({ port }) => port === 'tap0') ?? {};
  await answersNoQuestion(stage);
  for (let round = 0; round < 2; round++) {
    await new Promise(resolve => setTimeout(resolve, 200));
    assert.match(await ctl(stage, 'restart'), /^restarted: pid \d+ goes on$/m);
  }
  assert.match(
    await lab.inside(host, 'ping', '-c', '1', '-W', '2', address),
    ' 1 received',
    'its MAC is known',
  );
  const after = await lab.ask<{ pid: number }>('status');
  assert.is.not(after.pid, before.pid);
  assert.ok(await guest.resolves('192.168.100.1', '192.168.100.70', 3_000), 'over the same connection');
  assert.equal(
    (await lab.ask<LeaseView[]>('leases')).map(({ address, mac }) => [address, mac]),
    leases.map(({ address, mac }) => [address, mac]),
  );
  const known = (await lab.ask<MacView[]>('macs')).map(({ mac, port }) => `${mac} ${port}`);
  for (const { mac, port } of macs) assert.ok(known.includes(`${mac} ${port}`), mac);
  for (const end of talks) {
    const { sent, silence } = await end();
    assert.ok(sent > 50, `${sent}`);
    assert.ok(silence < SILENT_MS, `silent for ${silence} ms`);
  }
  guest.end();
  process.kill(after.pid, 'SIGTERM');
  await goneWithin(after.pid, 8_000);
  assert.not.match(await lab.ip(host, '-br', 'link'), /vsw0|tap\d/, 'the host is as it was');
});

inStage(
  'a new process that can not start costs nothing, and one that is on its way is waited for',
  async stage => {
    const { lab, host } = stage;
    const file = join(lab.folder, 'switch.toml');
    const [good, bad] = ['subnet = "192.168.100.0/24"\nuplink = "none"\nfirewall = "none"\n', 'subnet = 7\n'];
    writeFileSync(file, good);
    const vm = join(lab.folder, 'vm.sock');
    await lab.startSwitch(host, '--config', file, '--port', `stream:${vm}`);
    const guest = await StreamGuest.connect(vm, 7);
    const reaches = (): Promise<boolean> => guest.resolves('192.168.100.1', '192.168.100.70', 3_000);
    assert.ok(await reaches());
    const { pid } = await lab.ask<{ pid: number }>('status');
    writeFileSync(file, bad);
    await assertRefused(ctl(stage, 'restart'), /the new process can't take over: .*; this one goes on/);
    assert.is((await lab.ask<{ pid: number }>('status')).pid, pid);
    assert.ok(await reaches());
    const second = await StreamGuest.connect(vm, 8);
    assert.ok(await second.resolves('192.168.100.1', '192.168.100.71', 3_000), 'others are let in again');
    writeFileSync(file, good);
    const two = await Promise.allSettled([ctl(stage, 'restart'), ctl(stage, 'restart')]);
    assert.equal(two.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    assert.ok(await reaches());
    assert.ok(await second.resolves('192.168.100.1', '192.168.100.71', 3_000));
    const after = await lab.ask<{ pid: number }>('status');
    guest.end();
    second.end();
    process.kill(after.pid, 'SIGTERM');
    await goneWithin(after.pid, 8_000);
    assert.not(existsSync(vm), 'the path is free again');
  },
);

async function assertRefused(asked: Promise<string>, why: RegExp): Promise<void> {
  const said = await asked.then(
    answer => answer,
    (error: Error) => error.message,
  );
  assert.match(said, why);
}

test.run();
