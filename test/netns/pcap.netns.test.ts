// timeout: 90 s
// coverage: none
/** Ports that are capture files: what real programs say is read by tcpdump, a capture is played to a guest, a disk runs full. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { tell } from '../../src/control/client.ts';
import { until } from '../../src/lab.ts';
import { emit, parse } from '../../src/wire/pcap.ts';
import { CaptureReader } from '../../src/wire/pcapngread.ts';
import { StreamGuest } from './guest.ts';
import { GATEWAY, plugIn, portOf, type Stage, SUBNET, stageTests, TAPS } from './stage.ts';

const stageTest = stageTests('pcap', import.meta.url);
const NONE = ['--subnet', SUBNET, '--uplink', 'none', '--firewall', 'none'] as const;

const tcpdump = (path: string, most = 10_000): string =>
  execFileSync('tcpdump', ['-nne', '-c', String(most), '-r', path], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });

const countOf = (text: string, wanted: RegExp): number =>
  text.split('\n').filter(line => wanted.test(line)).length;

/** The guest's frames as they stand in a test's capture: told apart by their sequence number. */
const sequenceOf = (frame: Uint8Array): number => Buffer.from(frame).readUInt32BE(20);

function numbered(number: number, bytes: number): Uint8Array {
  const frame = Buffer.alloc(bytes, 0x55);
  Buffer.from('ffffffffffff02420000aa01', 'hex').copy(frame);
  frame.writeUInt16BE(0x88b5, 12); // for experiments, IEEE 802
  frame.writeUInt32BE(number, 20);
  return frame;
}

/** Numbered broadcasts in a capture, so many milliseconds apart. */
function writeNumbered(path: string, count: number, apartMs: number, bytes = 60): void {
  const frames = Array.from({ length: count }, (_, number) => ({
    seconds: 1_700_000_000 + Math.floor((number * apartMs) / 1000),
    nanoseconds: Math.round(((number * apartMs) % 1000) * 1e6),
    data: numbered(number, bytes),
  }));
  writeFileSync(path, emit(frames));
}

/** The numbers of the frames that stand in a file, which may end within a block: it is tried to write it on. */
function wholeFrames(path: string): number[] {
  const bytes = readFileSync(path);
  let at = 0;
  const reader = new CaptureReader((window, place) => {
    const got = bytes.copy(window, place, at);
    at += got;
    return got;
  });
  const numbers: number[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next())
    numbers.push(sequenceOf(frame.data));
  return numbers;
}

const socketOf = ({ lab }: Stage): string => join(lab.folder, 'vsw0.sock');
const add = (stage: Stage, port: string): Promise<unknown> =>
  tell(socketOf(stage), 'POST', 'ports', { port });
const remove = (stage: Stage, name: string): Promise<unknown> =>
  tell(socketOf(stage), 'DELETE', `ports/${name}`);
const set = (stage: Stage, name: string, up: boolean): Promise<unknown> =>
  tell(socketOf(stage), 'PATCH', `ports/${name}`, { up });

const dropsOf = async (stage: Stage, name: string): Promise<Readonly<Record<string, number>>> =>
  (await portOf(stage.lab, name)).drops;

stageTest(
  'a DHCP exchange and pings are recorded, whoever they are between, each frame once',
  async stage => {
    const { lab, host, red, blue } = stage;
    const path = join(lab.folder, 'all.pcapng');
    const child = await lab.startSwitch(
      host,
      ...TAPS,
      '--firewall',
      'none',
      '--port',
      `pcap:${path},mode=record`,
    );
    await plugIn(stage, 'tap0', red);
    await plugIn(stage, 'tap1', blue);
    await lab.lease(red, 'tap0');
    await lab.lease(blue, 'tap1');
    const address = await lab.address(blue, 'tap1');
    await lab.ping(red, address, 2);
    await lab.ping(red, GATEWAY, 2);
    child.kill('SIGTERM');
    await until(
      'the switch is gone',
      5_000,
      async () => child.exitCode !== null || child.signalCode !== null,
    );
    assert.is(statSync(path).mode & 0o777, 0o600);
    const text = tcpdump(path);
    for (const kind of ['Request from', 'Reply, length'])
      assert.ok(countOf(text, new RegExp(`BOOTP/DHCP, ${kind}`)) >= 4, text);
    const echoes = (from: string, kind: string): number =>
      countOf(text, new RegExp(`${kind.startsWith('reply') ? `${from} > ` : `> ${from}: `}.*echo ${kind}`));
    for (const who of [address, GATEWAY])
      for (const kind of ['request', 'reply']) assert.is(echoes(who, kind), 2, `${kind} ${who}\n${text}`);
  },
);

stageTest(
  'a capture is played to a guest: every frame, in order, at its pace; then the port is down',
  async stage => {
    const { lab, host } = stage;
    const path = join(lab.folder, 'vm.sock');
    const file = join(lab.folder, 'in.pcap');
    await lab.startSwitch(host, ...NONE, '--port', `stream:${path}`);
    const guest = await StreamGuest.connect(path, 1);
    assert.ok(await guest.resolves(GATEWAY, '192.168.100.10'));
    const heard = (): number[] =>
      guest.received.filter(frame => frame.readUInt16BE(12) === 0x88b5).map(sequenceOf);
    for (const [speed, wantedMs] of [
      ['1', 600],
      ['3', 200],
      ['max', 0],
    ] as const) {
      writeNumbered(file, 61, 10);
      guest.received.length = 0;
      const began = performance.now();
      await add(stage, `pcap:${file},mode=replay,speed=${speed}`);
      await until('all frames', 10_000, async () => heard().length >= 61);
      const tookMs = performance.now() - began;
      assert.ok(tookMs >= wantedMs * 0.95 && tookMs < wantedMs + 3_000, `${speed}: ${tookMs} ms`);
      await until('the port is down', 10_000, async () => !(await portOf(lab, 'in')).up);
      assert.equal(
        heard(),
        Array.from({ length: 61 }, (_, number) => number),
      );
      assert.is((await portOf(lab, 'in')).rxFrames, 61);
      if (speed !== 'max') {
        await remove(stage, 'in');
        continue;
      }
      await set(stage, 'in', false);
      await set(stage, 'in', true);
      await until('all frames once more', 10_000, async () => heard().length === 122);
    }
  },
);

stageTest('a capture that is no good is refused, or ends the port with a sentence', async stage => {
  const { lab, host } = stage;
  const log: string[] = [];
  const child = await lab.startSwitch(host, ...NONE, '--port', `stream:${join(lab.folder, 'vm.sock')}`);
  for (const out of [child.stdout, child.stderr]) out?.on('data', chunk => log.push(String(chunk)));
  const file = join(lab.folder, 'in.pcap');
  const tried = (text: string): Promise<string> =>
    add(stage, text).then(
      () => 'added',
      error => (error as Error).message,
    );
  writeFileSync(file, 'nothing of the kind');
  assert.match(await tried(`pcap:${file},mode=replay`), /at byte 0: expected the magic number/);
  assert.match(await tried(`pcap:${file},mode=record`), /no pcapng capture; expected a new file/);
  assert.is(readFileSync(file, 'utf8'), 'nothing of the kind');
  assert.match(await tried(`pcap:${join(lab.folder, 'none')},mode=replay`), /ENOENT/);
  assert.match(await tried(`pcap:${lab.folder},mode=replay`), /no regular file/);
  const other = join(lab.folder, 'other.pcapng');
  assert.is(await tried(`pcap:${other},mode=record`), 'added');
  assert.match(
    await tried(`pcap:${other},mode=record,name=twice`),
    /other records it; expected a file of its own/,
  );
  writeNumbered(file, 10, 1);
  truncateSync(file, statSync(file).size - 20);
  assert.is(await tried(`pcap:${file},mode=replay`), 'added');
  const at = 24 + 9 * 76;
  await until('the end is told', 10_000, async () =>
    log.join('').includes(`within what begins at byte ${at}`),
  );
  assert.match(log.join(''), /in: down, .*has been played, 9 frames/);
});

stageTest(
  'a disk that is full costs the recording frames, which are counted, and nothing else',
  async stage => {
    const { lab, host } = stage;
    const path = join(lab.folder, 'vm.sock');
    const disk = join(lab.folder, 'disk');
    const file = join(lab.folder, 'in.pcap');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', disk]);
    const log: string[] = [];
    try {
      const record = `pcap:${disk}/all.pcapng,mode=record`;
      const child = await lab.startSwitch(host, ...NONE, '--port', `stream:${path}`, '--port', record);
      for (const out of [child.stdout, child.stderr]) out?.on('data', chunk => log.push(String(chunk)));
      const guest = await StreamGuest.connect(path, 1);
      writeNumbered(file, 8_000, 0, 1_500); // 12 MB: more than the disk and what waits for it
      await add(stage, `pcap:${file},mode=replay,speed=max`);
      await until('it is played', 10_000, async () => !(await portOf(lab, 'in')).up);
      assert.ok(
        ((await dropsOf(stage, 'all')).TxFull ?? 0) > 500,
        JSON.stringify(await dropsOf(stage, 'all')),
      );
      assert.ok(await guest.resolves(GATEWAY, '192.168.100.10'), 'the switch works on');
      await until('it is told', 10_000, async () => log.join('').includes('ENOSPC'));
      assert.is(countOf(log.join(''), /can't be written \(ENOSPC\)/), 1, log.join(''));
      const kept = wholeFrames(`${disk}/all.pcapng`);
      assert.ok(kept.length > 300, 'what was written before is whole');
      assert.equal(
        kept,
        kept.map((_, number) => number),
      );
      execFileSync('mount', ['-o', 'remount,size=64m', disk]);
      await until('it is written again', 10_000, async () => log.join('').includes('is written again'));
      await remove(stage, 'all');
      const after = parse(readFileSync(`${disk}/all.pcapng`)).map(frame => sequenceOf(frame.data));
      assert.ok(after.length > kept.length);
    } finally {
      execFileSync('umount', ['-l', disk]);
    }
  },
);

stageTest(
  'files go round by size, each whole by itself, and a recording goes on behind an older one',
  async stage => {
    const { lab, host } = stage;
    const file = join(lab.folder, 'in.pcap');
    const all = join(lab.folder, 'all.pcapng');
    const child = await lab.startSwitch(
      host,
      ...NONE,
      '--port',
      `pcap:${all},mode=record,limit=256K,files=3,snaplen=200`,
    );
    writeNumbered(file, 4_000, 0, 1_400);
    await add(stage, `pcap:${file},mode=replay,speed=max`);
    await until('it is played', 10_000, async () => !(await portOf(lab, 'in')).up);
    await remove(stage, 'all');
    const found = [`${all}.2`, `${all}.1`, all].flatMap(path => {
      assert.ok(statSync(path).size <= 256 * 1_024);
      assert.ok(countOf(tcpdump(path), /0x88b5/) > 0);
      return parse(readFileSync(path));
    });
    assert.not(existsSync(`${all}.3`));
    const numbers = found.map(frame => sequenceOf(frame.data));
    assert.equal(
      numbers,
      numbers.map((_, index) => 4_000 - numbers.length + index),
    );
    assert.ok(found.every(frame => frame.data.length === 200 && frame.originalLength === 1_400));
    const before = readFileSync(all);
    await add(stage, `pcap:${all},mode=record,files=3`);
    await until('it has begun', 10_000, async () => statSync(all).size > 0);
    assert.ok(before.equals(readFileSync(`${all}.1`)));
    await add(stage, `pcap:${file},mode=replay,speed=max,name=again`);
    await until('it is being written', 10_000, async () => statSync(all).size > 1_000_000);
    child.kill('SIGKILL');
    await until('it is gone', 10_000, async () => child.signalCode !== null);
    assert.is(countOf(tcpdump(all, 100), /0x88b5/), 100, 'what was written is there after a kill');
  },
);

test.run();
