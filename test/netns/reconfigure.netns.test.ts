// timeout: 60 s
/** A file applied to a running switch, by vswitchctl and by SIGHUP: what differs changes, and nothing else notices. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { DnsView, EgressView, ForwardView, LeaseView, PortView } from '../../src/control/views.ts';
import { lineFrom, until } from '../../src/lab.ts';
import { ctl, plugIn, type Stage, SUBNET, stageTests } from './stage.ts';

const inStage = stageTests('rc', import.meta.url);
const COMMON = `subnet = "${SUBNET}"\nuplink = "tun"\nfirewall = "none"\n`;

const said = (act: Promise<string>): Promise<string> => act.catch(String);
const names = async ({ lab }: Stage): Promise<string[]> =>
  (await lab.ask<PortView[]>('ports')).map(port => port.name).filter(name => name !== 'vsw0');

inStage(
  'a file is shown, compared, applied, refused and read again by SIGHUP; no ping is lost',
  async stage => {
    const { lab, host, red, blue } = stage;
    const path = join(lab.folder, 'vsw0.toml');
    const write = (text: string): void => writeFileSync(path, `${COMMON}${text}\n`);
    write('taps = ["tap0", "tap1"]\nforward = ["8080:192.168.100.10:80"]');
    const child = await lab.startSwitch(host, '--config', path);
    await plugIn(stage, 'tap0', red);
    await plugIn(stage, 'tap1', blue);
    await lab.lease(red, 'tap0');
    const b = await lab.lease(blue, 'tap1');
    assert.match(await ctl(stage, 'config'), /port = \[ "tap:tap0", "tap:tap1" \]/);
    assert.match(await ctl(stage, 'config', 'diff', path), /nothing differs/);
    const pings = lab.spawn(red, 'ping', '-q', '-i', '0.002', '-c', '1500', '-W', '1', b);
    const pinged = lineFrom(pings, /1500 packets transmitted, 1500 received/, 20_000);
    const socket = join(lab.folder, 'vm1.sock');
    write(
      `taps = ["tap0", "tap1", "tap2"]\nport = ["stream:${socket}"]\nforward = ["8081:192.168.100.10:80"]`,
    );
    assert.match(
      await said(ctl(stage, 'config', 'diff', path)),
      /\+ port = tap:tap2[\s\S]*\+ forward = tcp\/8081/,
    );
    await ctl(stage, 'config', 'apply', path);
    assert.equal(await names(stage), ['tap0', 'tap1', 'tap2', 'vm1']);
    assert.equal(
      (await lab.ask<ForwardView[]>('forwards')).map(({ port }) => port),
      [8081],
    );
    write('taps = ["tap0", "tap1"]\nmtuu = 1500');
    assert.match(await said(ctl(stage, 'config', 'apply', path)), /vsw0\.toml:5:1: unknown key "mtuu"/);
    assert.match(await said(ctl(stage, 'config', 'check', path)), /vsw0\.toml:5:1: unknown key "mtuu"/);
    write('taps = ["tap0", "tap1"]\nmtu = 1400');
    assert.match(
      await said(ctl(stage, 'config', 'apply', path)),
      /mtu can't be changed while the switch runs/,
    );
    assert.equal(await names(stage), ['tap0', 'tap1', 'tap2', 'vm1']);
    // A port whose path is somebody else's: the tap that goes before it comes back.
    write(`taps = ["tap0", "tap1"]\nport = ["stream:${lab.folder}/vsw0.sock,name=vm2"]`);
    assert.match(await said(ctl(stage, 'config', 'apply', path)), /vsw0\.sock/);
    assert.equal((await names(stage)).sort(), ['tap0', 'tap1', 'tap2', 'vm1']);
    assert.equal(
      (await lab.ask<ForwardView[]>('forwards')).map(({ port }) => port),
      [8081],
    );
    const kept = (await lab.ask<LeaseView[]>('leases')).map(({ address }) => address).sort();
    write(
      'taps = ["tap0", "tap1"]\nhost = ["db,02:00:00:00:00:77,192.168.100.77"]\ndns-record = ["nas=192.168.100.5"]\nlease-time = "2h"',
    );
    assert.match(await ctl(stage, 'config', 'check', path), /right/);
    // Another rule, about a port that was not there at the start: it is counted, and the guest is refused.
    const before = readFileSync(path, 'utf8');
    write(
      `taps = ["tap0", "tap1"]\nport = ["stream:${socket}"]\negress-rule = ["vm1 deny any", "tap0 deny 9.9.9.9"]`,
    );
    await ctl(stage, 'config', 'apply', path);
    await said(lab.inside(red, 'ping', '-c', '1', '-W', '1', '9.9.9.9'));
    const { rules } = await lab.ask<EgressView>('egress');
    assert.equal(rules, [
      { rule: 'vm1 deny any', hits: 0 },
      { rule: 'tap0 deny 9.9.9.9', hits: 1 },
    ]);
    writeFileSync(path, before);
    process.kill(child.pid as number, 'SIGHUP');
    await until('the file is applied', 5_000, async () => (await names(stage)).length === 2);
    await pinged;
    assert.equal(await lab.ask<ForwardView[]>('forwards'), []);
    const leases = await lab.ask<LeaseView[]>('leases');
    assert.equal(leases.map(({ address }) => address).sort(), kept);
    await lab.ip(red, 'link', 'set', 'tap0', 'address', '02:00:00:00:00:77');
    assert.is(await lab.lease(red, 'tap0'), '192.168.100.77');
    const db = (await lab.ask<LeaseView[]>('leases')).find(({ address }) => address === '192.168.100.77');
    assert.ok(Math.abs((db?.expires ?? 0) - Date.now() / 1000 - 7_200) < 60);
    const { names: known } = await lab.ask<DnsView>('dns');
    assert.ok(known.some(({ name, origin }) => name.startsWith('nas') && origin === 'record'));
    assert.is(child.exitCode, null);
  },
);

test.run();
