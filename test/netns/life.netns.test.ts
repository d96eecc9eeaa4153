// timeout: 240 s
// coverage: none
/** What happens around a lease on real guests: addresses set by hand, events, hooks, ports that go, and a full disk. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip, message, SERVER } from '../../fixtures/dhcp.ts';
import type { Diagnosis } from '../../src/control/diagnosis.ts';
import type { DhcpView, EventView, LeaseView, StatusView } from '../../src/control/views.ts';
import { ended, until } from '../../src/lab.ts';
import { projectRoot } from '../../src/port/native.ts';
import { Code, emit, MessageType } from '../../src/wire/dhcp.ts';
import * as ethernet from '../../src/wire/ethernet.ts';
import { sh } from '../port/namespace.ts';
import { stateOf } from './dhcp.ts';
import { StreamGuest } from './guest.ts';
import { ctl, GATEWAY, OUTSIDE, plugIn, portOf, type Stage, served, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('li', import.meta.url);
const vswitchctl = join(projectRoot(), 'bin', 'vswitchctl');
const TEN = '192.168.100.10';
const ELEVEN = '192.168.100.11';

/** All that a program says, as it comes. */
function listen(stage: Stage, ...words: string[]): { readonly text: string } {
  const heard = { text: '' };
  const child = stage.lab.spawn(stage.host, vswitchctl, '--run-dir', stage.lab.folder, ...words);
  child.stdout?.on('data', (chunk: Buffer) => {
    heard.text += chunk.toString();
  });
  return heard;
}

/** Gives a lease back, by its client's id: udhcpc takes the address away before its own last words have left. */
async function release({ lab }: Stage, netns: string, address: string): Promise<void> {
  const { client } = (await lab.ask<LeaseView[]>('leases')).find(
    lease => lease.address === address,
  ) as LeaseView;
  const id = Buffer.from(client.replace(/^id:/, ''), 'hex');
  const said = { ciaddr: ip(address), server: SERVER, options: new Map([[Code.ClientId as number, id]]) };
  const payload = Buffer.from(emit(message(MessageType.Release, said), 548)).toString('hex');
  const program = `const s = require('node:dgram').createSocket('udp4');
    s.bind(68, '${address}', () => s.send(Buffer.from('${payload}', 'hex'), 67, '${GATEWAY}', () => s.close()));`;
  await lab.inside(netns, process.execPath, '-e', program);
}

const linesOf = (text: string): string[] => text.split('\n').filter(line => line !== '');

inStage('an address that a guest has set by hand and never spoken from is not given away', async stage => {
  const { lab, host, red, blue } = stage;
  const child = await lab.startSwitch(host, ...TAPS, '--uplink', 'none');
  let log = '';
  child.stdout?.on('data', chunk => {
    log += chunk;
  });
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  await lab.ip(red, 'addr', 'add', `${TEN}/24`, 'dev', 'tap0');
  const start = performance.now();
  assert.is(await lab.lease(blue, 'tap1'), ELEVEN);
  const ms = performance.now() - start;
  assert.ok(ms < 1_000, `${ms} ms`);
  assert.is(await stateOf(stage.lab, TEN), 'declined');
  const mac = JSON.parse(await lab.ip(red, '-j', 'link', 'show', 'tap0'))[0].address as string;
  assert.match(log, new RegExp(`${TEN} is in use by ${mac} on tap0`));
  const { probes, pool, received } = JSON.parse(await ctl(stage, '--json', 'dhcp')) as DhcpView;
  assert.equal([probes.sent, probes.conflicts, probes.free], [2, 1, 1]);
  assert.equal([pool.bound, pool.quarantined, pool.size], [1, 1, 244]);
  assert.is(received.Discover, 1);
  assert.match(
    await ctl(stage, 'dhcp'),
    /^pool: 244 size, .*\n.*1 conflicts.*\n\n +MESSAGE +RECEIVED +SENT\n/,
  );
  assert.match(await ctl(stage, 'leases'), new RegExp(`${TEN} +${mac} .*declined`));
  const again = performance.now();
  assert.is(await lab.lease(blue, 'tap1'), ELEVEN, 'known: not asked for');
  assert.ok(performance.now() - again < 1_000);
  assert.is((await lab.ask<DhcpView>('dhcp')).probes.sent, 2);
  await lab.ip(blue, 'addr', 'flush', 'dev', 'tap1');
});

inStage('events and the hook tell of a lease, in order; the hook outlives none of them', async stage => {
  const { lab, host, red, blue } = stage;
  const told = join(lab.folder, 'told');
  const hook = join(lab.folder, 'on lease');
  writeFileSync(
    hook,
    `#!/bin/sh\necho "$# $*|$VSWITCHD_EVENT $VSWITCHD_PORT $VSWITCHD_NAME $VSWITCHD_DOMAIN" >> '${told}'\n` +
      `test "$1" != released || { echo no more >&2; exit 7; }\n`,
    { mode: 0o755 },
  );
  const child = await lab.startSwitch(host, ...TAPS, '--lease-hook', hook, '--lease-time', '10');
  let log = '';
  child.stdout?.on('data', chunk => {
    log += chunk;
  });
  const json = listen(stage, '--json', 'events');
  const people = listen(stage, 'events');
  while (json.text === '' || people.text === '') {
    await plugIn(stage, 'tap1', blue);
    await lab.ip(blue, 'link', 'set', 'tap1', 'netns', host);
    await served(lab, 'tap1', 'packet');
  }
  await plugIn(stage, 'tap0', red);
  const lease = (): Promise<string> => lab.lease(red, 'tap0', '-x', 'hostname:vm1');
  await lease();
  await sleep(1_000); // a lease that ends in the same second is the same lease
  await lease();
  await until('the lease has ended', 15_000, async () => json.text.includes('lease-expired'));
  await lease();
  await release(stage, red, TEN);
  await until('it is released', 5_000, async () => json.text.includes('lease-released'));
  const events = linesOf(json.text).map(line => JSON.parse(line) as EventView);
  const leases = events.filter(({ event }) => event.startsWith('lease-'));
  assert.equal(
    leases.map(({ event }) => event),
    ['lease-bound', 'lease-renewed', 'lease-expired', 'lease-bound', 'lease-released'],
  );
  const mac = JSON.parse(await lab.ip(red, '-j', 'link', 'show', 'tap0'))[0].address as string;
  const { time, client, expires, ...first } = leases[0] as EventView;
  assert.equal(first, { event: 'lease-bound', address: TEN, mac, hostname: 'vm1', port: 'tap0' });
  assert.ok(Math.abs(time - Date.now()) < 60_000 && Math.abs(Number(expires) * 1000 - time) < 20_000);
  assert.match(String(client), /^id:01|^hw:1:/);
  const expired = leases[2] as EventView;
  assert.ok(
    expired.time >= Number(expired.expires) * 1000 && expired.time < Number(expired.expires) * 1000 + 2_500,
  );
  assert.ok(events.some(({ event, port }) => event === 'port-up' && port === 'tap0'));
  assert.match(
    people.text,
    new RegExp(`\\d\\d:\\d\\d:\\d\\d\\.\\d{3}  lease-bound     ${TEN}  ${mac}  vm1  tap0  ends in \\d+s\n`),
  );
  await until('the hook was told', 5_000, async () => linesOf(readFileSync(told, 'utf8')).length === 5);
  assert.equal(
    linesOf(readFileSync(told, 'utf8')),
    ['bound', 'renewed', 'expired', 'bound', 'released'].map(
      event => `4 ${event} ${TEN} ${mac} vm1|${event} tap0 vsw0 vsw.internal`,
    ),
  );
  await until('its failure was told', 3_000, async () => log.includes('released'));
  assert.match(log, /--lease-hook .* released 192\.168\.100\.10: ended with code 7: no more/);
  assert.equal((await lab.ask<DhcpView>('dhcp')).hook, { run: 5, failed: 1, lost: 0, waiting: 0 });
  assert.is(await ended(child, 'SIGTERM', 8_000), 0);
});

inStage('events of the data plane: a move, a flood of MACs, a burst of drops, a flow limit', async stage => {
  const { lab, host, red, blue } = stage;
  const path = join(lab.folder, 'vm.sock');
  await lab.startSwitch(host, ...TAPS, '--port', `stream:${path}`, '--max-guest-flows', '9');
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  const address = await lab.lease(red, 'tap0');
  await lab.lease(blue, 'tap1');
  const mac = JSON.parse(await lab.ip(red, '-j', 'link', 'show', 'tap0'))[0].address as string;
  const json = listen(stage, '--json', 'events');
  const events = (): EventView[] => linesOf(json.text).map(line => JSON.parse(line) as EventView);
  const of = (event: string, port: string): EventView[] =>
    events().filter(one => one.event === event && one.port === port);
  let guest = await StreamGuest.connect(path, 1);
  await until('somebody reads', 5_000, async () => {
    guest.end();
    // While the switch has not seen that, the next would be vm.2.
    await until('it has gone', 5_000, async () => !(await portOf(lab, 'vm')).up);
    guest = await StreamGuest.connect(path, 1);
    return json.text !== '';
  });
  const send = (from: number, hi: number): void => {
    const frame = new Uint8Array(60);
    ethernet.setHeader(new DataView(frame.buffer), 0, 0xffff, -1, hi, from, 0x88b5);
    guest.send(frame);
  };
  const told = new Set(of('mac-learnt', 'vm').map(one => one.mac)).size;

  const pinged = lab.inside(blue, 'ping', '-c', '10', '-i', '0.2', '-W', '2', address);
  const start = performance.now();
  for (let sent = 0; sent < 4_000; sent++) {
    send(0x1000 + sent, 0x0242);
    if (sent % 40 === 39) await sleep(20);
  }
  assert.match(await pinged, / 0% packet loss/);
  const held = (): number =>
    events()
      .filter(({ event }) => event === 'macs-held-back')
      .reduce((sum, { count }) => sum + Number(count), 0);
  await until(
    'all are told of or counted',
    5_000,
    async () => of('mac-learnt', 'vm').length - told + held() >= 4_000,
  );
  const seconds = Math.ceil((performance.now() - start) / 1_000) + 1;
  const learnt = of('mac-learnt', 'vm').length;
  assert.ok(learnt >= 50 && learnt <= 50 * seconds, `${learnt} events in ${seconds} s`);

  for (let sent = 0; sent < 300; sent++) send(sent, 0x0342);
  await lab.inside(
    red,
    process.execPath,
    '-e',
    `for (let i = 0; i < 30; i++) { const s = require('node:dgram').createSocket('udp4'); s.send('x', 9, '${OUTSIDE}', () => s.close()); }`,
  );
  await lab.ip(blue, 'link', 'set', 'tap1', 'address', mac);
  await lab.inside(blue, 'ping', '-c', '1', '-W', '1', GATEWAY).catch(() => undefined);
  await until('all three are told of', 6_000, async () =>
    [
      ['drop-burst', 'vm'],
      ['flow-limit', 'tap0'],
      ['mac-moved', 'tap1'],
    ].every(([event = '', port = '']) => of(event, port).length > 0),
  );
  const bare = ({ time: _, ...rest }: EventView) => rest;
  const { count: dropped, ...burst } = bare(of('drop-burst', 'vm')[0] as EventView);
  assert.equal(burst, { event: 'drop-burst', port: 'vm', reason: 'SourceIsGroup' });
  assert.ok(Number(dropped) >= 100 && Number(dropped) <= 300, `${dropped}`);
  const { count: refused, ...limit } = bare(of('flow-limit', 'tap0')[0] as EventView);
  assert.equal(limit, { event: 'flow-limit', reason: 'guest-full', port: 'tap0', address });
  assert.ok(Number(refused) >= 1 && Number(refused) <= 30, `${refused}`);
  const moved = of('mac-moved', 'tap1')[0] as EventView;
  assert.equal(bare(moved), { event: 'mac-moved', mac, vlan: 0, port: 'tap1', from: 'tap0' });
  guest.end();
});

inStage(
  'a hook that is not there, no file or no program: one sentence, code 2, nothing changed',
  async stage => {
    const { lab, host } = stage;
    writeFileSync(join(lab.folder, 'text'), '');
    for (const [path, why] of [
      [join(lab.folder, 'none'), 'is not there'],
      [lab.folder, 'is no file'],
      [join(lab.folder, 'text'), "can't be executed"],
    ] as const) {
      const child = lab.spawnSwitch(host, ...TAPS, '--lease-hook', path);
      let said = '';
      child.stderr?.on('data', chunk => {
        said += chunk;
      });
      const code = await new Promise(resolve => child.once('close', resolve));
      assert.equal([code, said], [2, `vswitchd: --lease-hook ${path}: ${why}; expected a program\n`]);
    }
    assert.not.ok(existsSync(join(lab.folder, 'vsw0.journal')));
  },
);

for (const [what, options, state] of [
  ['--release-on-detach: a port that stays down frees its leases', ['--release-on-detach'], 'released'],
  ['without --release-on-detach a lease outlives its port', [], 'bound'],
] as const)
  inStage(what, async stage => {
    const { lab, host, red, blue } = stage;
    const child = await lab.startSwitch(host, ...TAPS, ...options);
    await plugIn(stage, 'tap0', red);
    await plugIn(stage, 'tap1', blue);
    const mine = await lab.lease(red, 'tap0');
    const others = await lab.lease(blue, 'tap1');
    await lab.ip(red, 'link', 'delete', 'tap0');
    const start = performance.now();
    const released = until(
      'it is released',
      5_000,
      async () => (await stateOf(stage.lab, mine)) === 'released',
    );
    const after = await released.then(
      () => performance.now() - start,
      () => Number.NaN,
    );
    assert.is(await stateOf(stage.lab, mine), state);
    if (state === 'released') assert.ok(after > 2_800, `${after} ms`);
    assert.is(await stateOf(stage.lab, others), 'bound');
    assert.is(await ended(child, 'SIGTERM', 8_000), 0);
  });

inStage(
  'a full disk: offers, but no ACK; one line, a finding; and all is well when there is room',
  async stage => {
    const { lab, host, red } = stage;
    sh(`mount -t tmpfs -o size=1m tmpfs ${lab.folder}`);
    try {
      const child = await lab.startSwitch(host, ...TAPS, '--dns', '9.9.9.9');
      let log = '';
      child.stdout?.on('data', chunk => {
        log += chunk;
      });
      await plugIn(stage, 'tap0', red);
      const filler = join(lab.folder, 'filler');
      sh(`dd if=/dev/zero of=${filler} bs=4k 2>/dev/null || true`);
      const script = join(projectRoot(), 'tools', 'udhcpc-script.sh');
      const udhcpc = ['udhcpc', '-i', 'tap0', '-n', '-q', '-f', '-t', '3', '-T', '1', '-s', script];
      const refused = await lab.inside(red, ...udhcpc).then(
        () => 'leased',
        () => 'no lease',
      );
      assert.is(refused, 'no lease');
      const dhcp = await lab.ask<DhcpView>('dhcp');
      assert.ok((dhcp.sent.Offer ?? 0) >= 1);
      assert.ok((dhcp.received.Request ?? 0) >= 2);
      assert.is(dhcp.sent.Ack, 0);
      assert.is(dhcp.ignored.NotStored, dhcp.received.Request);
      assert.match(dhcp.unwritten ?? '', /full/);
      assert.match((await lab.ask<StatusView>('status')).leasesUnwritten ?? '', /full/);
      assert.match(await ctl(stage, 'status'), /\nleases can't be written, so no address is acknowledged: /);
      assert.is(log.split('leases could not be written').length, 2, 'one line');
      const doctor = lab.spawn(
        host,
        vswitchctl,
        '--run-dir',
        lab.folder,
        '--json',
        'doctor',
        '--state-dir',
        lab.folder,
        '--dns',
        '9.9.9.9',
      );
      let said = '';
      doctor.stdout?.on('data', chunk => {
        said += chunk;
      });
      const code = await new Promise(resolve => doctor.once('close', resolve));
      const { findings } = JSON.parse(said) as Diagnosis;
      const found = findings.filter(({ id }) => id === 'leases-unwritten');
      assert.equal([code, found.map(({ severity }) => severity)], [1, ['error']]);
      rmSync(filler);
      assert.is(await lab.lease(red, 'tap0'), TEN);
      assert.match(log, /leases are written again/);
      assert.is((await lab.ask<StatusView>('status')).leasesUnwritten, undefined);
      assert.is(await ended(child, 'SIGTERM', 8_000), 0);
    } finally {
      sh(`umount -l ${lab.folder}`);
    }
  },
);

test.run();
