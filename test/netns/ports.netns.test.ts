// timeout: 180 s
// coverage: none
/** Ports that are sockets, and ports that come and go while others work. */
import { spawnSync } from 'node:child_process';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PortView } from '../../src/control/views.ts';
import { ended, until } from '../../src/lab.ts';
import { loadNative, projectRoot } from '../../src/port/native.ts';
import { parseIp4, UNSPECIFIED } from '../../src/wire/address.ts';
import { arpFrame, isAnswer, listening, StreamGuest } from './guest.ts';
import { ctl, GATEWAY, plugIn, portOf, type Stage, SUBNET, stageTests, TAPS } from './stage.ts';

const native = loadNative();
const stageTest = stageTests('port', import.meta.url);

const NONE = ['--subnet', SUBNET, '--uplink', 'none', '--firewall', 'none'] as const;

const isUp = (stage: Stage, name: string): Promise<number> =>
  until(`${name} is up`, 3_000, async () => (await portOf(stage.lab, name)).up);

const names = async ({ lab }: Stage): Promise<string[]> =>
  (await lab.ask<PortView[]>('ports')).map(port => port.name);

/** Exit code and sentence of a command that is refused. */
function refused({ lab, host }: Stage, ...words: string[]): string {
  const program = join(projectRoot(), 'bin', 'vswitchctl');
  const all = ['netns', 'exec', host, program, '--run-dir', lab.folder, ...words];
  const { status, stderr } = spawnSync('ip', all, { encoding: 'utf8' });
  return `${status} ${stderr.trim()}`;
}

stageTest(
  'stream: several guests on one path, each a port of its own; they leave and return',
  async stage => {
    const { lab, host } = stage;
    const path = join(lab.folder, 'vm.sock');
    await lab.startSwitch(host, ...NONE, '--port', `stream:${path},name=vm,guests=2`);
    assert.is(statSync(path).mode & 0o777, 0o660);
    assert.is((await portOf(lab, 'vm')).up, false, 'listed, and down without a guest');
    const first = await StreamGuest.connect(path, 1);
    await isUp(stage, 'vm');
    const second = await StreamGuest.connect(path, 2);
    await until('vm.2 is there', 3_000, async () => (await names(stage)).includes('vm.2'));
    assert.ok(await first.resolves(GATEWAY, '192.168.100.10'));
    assert.ok(await second.resolves(GATEWAY, '192.168.100.11'));
    const third = await StreamGuest.connect(path, 3);
    await until('a third is sent away', 3_000, async () => third.closed);
    first.end();
    await until('vm is down', 3_000, async () => !(await portOf(lab, 'vm')).up);
    assert.ok(await second.resolves(GATEWAY, '192.168.100.11'), 'the other stays');
    second.end();
    await until('vm.2 is gone', 3_000, async () => !(await names(stage)).includes('vm.2'));
    for (let round = 0; round < 20; round++) {
      const again = await StreamGuest.connect(path, 4);
      assert.ok(await again.resolves(GATEWAY, '192.168.100.12'), `round ${round}`);
      again.end();
    }
  },
);

stageTest('stream: a length that can be none costs that connection alone, and says why', async stage => {
  const { lab, host } = stage;
  const path = join(lab.folder, 'vm.sock');
  const child = await lab.startSwitch(host, ...NONE, '--port', `stream:${path}`);
  let said = '';
  child.stderr?.on('data', chunk => {
    said += chunk;
  });
  child.stdout?.on('data', chunk => {
    said += chunk;
  });
  const good = await StreamGuest.connect(path, 1);
  const bad = await StreamGuest.connect(path, 2);
  await until('two guests', 3_000, async () => (await names(stage)).length === 2);
  bad.socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
  await until('it is cut off', 3_000, async () => bad.closed);
  assert.ok(await good.resolves(GATEWAY, '192.168.100.10'));
  await until('the reason is told', 2_000, async () => said.includes('4294967295'));
});

stageTest('stream: a client connects when somebody listens, and again', async stage => {
  const { lab, host } = stage;
  const path = join(lab.folder, 'monitor.sock');
  await lab.startSwitch(host, ...NONE, '--port', `stream:${path},mode=client,name=vm`);
  const server = await listening(path);
  for (let round = 0; round < 2; round++) {
    const guest = await server.next(7);
    await isUp(stage, 'vm');
    assert.ok(await guest.resolves(GATEWAY, '192.168.100.10'));
    guest.end();
  }
  server.close();
});

stageTest('dgram: the peer that was named, or whoever sends; one that is away comes back', async stage => {
  const { lab, host } = stage;
  const [ours, theirs] = [join(lab.folder, 'ours.sock'), join(lab.folder, 'theirs.sock')];
  const learnt = join(lab.folder, 'learnt.sock');
  await lab.startSwitch(
    host,
    ...NONE,
    '--port',
    `dgram:${ours},peer=${theirs},name=named`,
    '--port',
    `dgram:${learnt}`,
  );
  await asks(theirs, ours, 1);
  await isUp(stage, 'named');
  await asks(join(lab.folder, 'any.sock'), learnt, 2);
  await isUp(stage, 'learnt');
  await asks(join(lab.folder, 'other.sock'), learnt, 3);
  await asks(`${theirs}`, ours, 1);
});

/** A guest at `own` asks the switch at `to` for the gateway, gets its answer, and is gone. */
async function asks(own: string, to: string, lo: number): Promise<void> {
  const gateway = parseIp4(GATEWAY)!;
  const fd = native.bindDatagrams(own);
  try {
    const address = new Uint8Array(110);
    new DataView(address.buffer).setUint16(0, 1, true);
    const bytes = Int32Array.of(3 + Buffer.from(address.buffer).write(to, 2));
    const slab = new Uint8Array(2 * 65_728);
    const [offset, length] = [Int32Array.of(66, 0), Int32Array.of(0, 0)];
    const frame = arpFrame(lo, UNSPECIFIED, gateway);
    slab.set(frame, 66);
    length[0] = frame.length;
    const sent = native.sendDatagrams(
      fd,
      slab,
      offset,
      length,
      Int32Array.of(0),
      1,
      new Int32Array(1),
      address,
      bytes,
    );
    assert.is(sent, 1);
    await until('the gateway answers', 3_000, async () => {
      const got = native.receiveDatagrams(
        fd,
        slab,
        0,
        offset,
        length,
        0,
        1,
        new Uint8Array(110),
        new Int32Array(1),
      );
      return (
        got > 0 && isAnswer(slab.subarray(offset[0], (offset[0] as number) + (length[0] as number)), gateway)
      );
    });
  } finally {
    native.close(fd);
    spawnSync('rm', ['-f', own]);
  }
}

stageTest('ports come and go at run time, and two others lose nothing meanwhile', async stage => {
  const { lab, host, red, blue } = stage;
  const path = join(lab.folder, 'vm.sock');
  const switching = await lab.startSwitch(host, ...TAPS, '--firewall', 'none');
  await plugIn(stage, 'tap0', red);
  await plugIn(stage, 'tap1', blue);
  await lab.ip(red, 'addr', 'add', '192.168.100.10/24', 'dev', 'tap0');
  await lab.ip(blue, 'addr', 'add', '192.168.100.11/24', 'dev', 'tap1');
  await lab.ping(red, '192.168.100.11', 1);
  const before = await names(stage);
  const pings = lab.inside(red, 'ping', '-i', '0.002', '-c', '1500', '-q', '-W', '1', '192.168.100.11');
  for (let round = 0; round < 3; round++) {
    await ctl(stage, 'port', 'add', `stream:${path},name=vm`);
    const guest = await StreamGuest.connect(path, 9);
    assert.ok(await guest.resolves('192.168.100.11', '192.168.100.20'), 'it reaches the others');
    await ctl(stage, 'port', 'add', 'tap:tap7');
    assert.ok((await lab.ip(host, 'link', 'show', 'dev', 'tap7')).includes('tap7'));
    await ctl(stage, 'port', 'set', 'vm', 'down');
    await until('its connection is closed', 2_000, async () => guest.closed);
    assert.is((await portOf(lab, 'vm')).disabled, true);
    await ctl(stage, 'port', 'set', 'vm', 'up');
    const again = await StreamGuest.connect(path, 9);
    assert.ok(await again.resolves(GATEWAY, '192.168.100.20'));
    await ctl(stage, 'port', 'del', 'vm');
    await until('the guest is cut off', 2_000, async () => again.closed);
    assert.not.ok(existsSync(path));
    await ctl(stage, 'port', 'del', 'tap7');
    assert.not.ok((await lab.ip(host, 'link')).includes('tap7'));
    assert.equal(await names(stage), before);
  }
  assert.match(await pings, ' 0% packet loss');
  assert.is(await ended(switching, 'SIGTERM', 5_000), 0);
});

stageTest('a tap is set down and up, removed and added again under its name', async stage => {
  const { lab, host, red } = stage;
  await lab.startSwitch(host, ...TAPS, '--firewall', 'none', '--host', 'vm0,tap0,192.168.100.50');
  await plugIn(stage, 'tap0', red);
  assert.is(await lab.lease(red, 'tap0'), '192.168.100.50');
  await ctl(stage, 'port', 'set', 'tap0', 'down');
  assert.is((await portOf(lab, 'tap0')).up, false);
  await lab.ping(red, GATEWAY, 1).then(
    () => assert.unreachable('a port that is down takes no frame'),
    () => undefined,
  );
  await ctl(stage, 'port', 'set', 'tap0', 'up');
  await lab.ping(red, GATEWAY, 1);
  await ctl(stage, 'port', 'del', 'tap0');
  assert.not.ok((await lab.ip(red, 'link')).includes('tap0'), 'it was ours, so it is gone, wherever it was');
  await ctl(stage, 'port', 'add', 'tap:tap0');
  await plugIn(stage, 'tap0', red);
  assert.is(
    await lab.lease(red, 'tap0'),
    '192.168.100.50',
    'what was kept for the port is kept for it still',
  );
});

stageTest('what can not be had is refused whole, with the place and the reason', async stage => {
  const { lab, host } = stage;
  const path = join(lab.folder, 'vm.sock');
  const taken = createServer().listen(join(lab.folder, 'taken.sock'));
  writeFileSync(join(lab.folder, 'file'), 'mine');
  try {
    const child = await lab.startSwitch(host, ...NONE, '--port', `stream:${path},name=vm`);
    const before = JSON.stringify(await lab.ask('ports'));
    for (const [words, sentence] of [
      [['add', 'vm'], /^2 vswitchctl: port "vm": has no kind; expected KIND:WHERE/],
      [['add', 'wire:/x'], /^2 .*is of the kind "wire"; expected one of tap, stream, dgram, vhost-user/],
      [['add', 'stream:vm.sock'], /^2 .*has the path "vm\.sock"; expected one from the root on/],
      [['add', `stream:/${'x'.repeat(120)}`], /^2 .*has a path of 121 bytes; expected at most 107/],
      [
        ['add', 'stream:/x.sock,color=red'],
        /^2 .*has "color=red", which no stream port takes; expected name=, mode=, guests=/,
      ],
      [['add', `stream:${path}`], /^2 .*there is a port vm already/],
      [
        ['add', `stream:${path},name=other`],
        /^3 .*vm\.sock is in use; expected a path that nothing else has/,
      ],
      [['add', `dgram:${join(lab.folder, 'taken.sock')}`], /^3 .*taken\.sock is in use/],
      [['add', `stream:${join(lab.folder, 'file')}`], /^3 .*file is in use/],
      [
        ['add', `stream:${lab.folder}/none/x.sock`],
        /^2 .*can be made at .*\(ENOENT\); expected its folder to be there/,
      ],
      [['add', 'tap:tap0@nowhere'], /^\d .*nowhere/],
      [['del', 'vm9'], /^2 .*there is no port vm9; expected one of vm/],
      [['del', 'vsw0'], /^2 .*there is no port vsw0/],
      [['set', 'vm', 'sideways'], /^2 .*expected up or down/],
    ] as const)
      assert.match(refused(stage, 'port', ...words), sentence);
    assert.is(JSON.stringify(await lab.ask('ports')), before, 'nothing else has changed');
    assert.is(existsSync(join(lab.folder, 'file')), true, 'a file of somebody else stays');
    child.kill('SIGKILL');
    await new Promise(resolve => child.once('exit', resolve));
    await lab.startSwitch(host, ...NONE, '--port', `stream:${path},name=vm`); // what a killed one left is replaced
  } finally {
    taken.close();
  }
});

test.run();
