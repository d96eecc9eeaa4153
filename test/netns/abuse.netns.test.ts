// timeout: 120 s
// coverage: none
/**
 * One guest does its worst, or a reader of the API, and two others talk meanwhile: they lose next to nothing, the switch's memory
 * stays, and whoever comes anew gets an address at once.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { arpFrame, ethernetFrame, ip, mac, packet, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { type Lab, lineFrom, until } from '../../src/lab.ts';
import { loadNative } from '../../src/port/native.ts';
import * as arp from '../../src/wire/arp.ts';
import * as tcp from '../../src/wire/tcp.ts';
import { VhostGuest } from '../port/vhost/guest.ts';
import { random } from '../random.ts';
import {
  GATEWAY,
  gatewayMacOf,
  OUTSIDE,
  plugIn,
  portOf,
  rssOf,
  type Stage,
  stageTests,
  startBareNat,
} from './stage.ts';

const native = loadNative();
const inStage = stageTests('ab', import.meta.url);
const ABUSER = '192.168.100.66';
const GATEWAY_MAC = mac('ff:ff:ff:ff:ff:ff'); // whoever it is: what is for all is for the gateway too
const OWN = mac('02:66:00:00:00:66');
/** Each abuse in full, while the others talk for ten seconds; a tenth of that otherwise. */
const WHOLE = process.env.VSWITCHD_ABUSE === 'whole';
/** Frames of one abuse, and of a write. */
const FRAMES = WHOLE ? 200_000 : 12_000;
const BURST = 200;
/** What one direction of the others' TCP asks for; it gets that with nobody else, too. */
const MBIT = 100;
const PINGS = WHOLE ? 1_000 : 100;
/** Where the abuser takes a core, too: of one second's TCP a stall of the machine of 0.15 s would be a sixth. */
const MANY_PINGS = WHOLE ? 1_000 : 200;
/** Of which so many may be lost. */
const LOSS = 0.001;
/** Root may ping so fast. */
const PING_S = 0.01;
const MEGABYTE = 1 << 20;
/** Of the process, while one abuse goes on: what is not collected yet. A heap that leaks what comes would have more by far. */
const GROWTH_MIB = 48;

const below = random(7);

/** Frames that an abuse is made of, one after the other. */
type Abuse = () => Uint8Array;

const fromAbuser = (bytes: Uint8Array, to = GATEWAY_MAC): Uint8Array => ethernetFrame(OWN, to, 0x0800, bytes);
const anybody = (): string => `198.18.${below(256)}.${below(256)}`;

const FLOODS: Readonly<Record<string, (gateway: typeof OWN) => Abuse>> = {
  'sources that nobody has': () => () => {
    const source = mac(
      `02:${Array.from({ length: 5 }, () => below(256).toString(16).padStart(2, '0')).join(':')}`,
    );
    return ethernetFrame(source, mac('02:00:00:00:99:99'), 0x88b5, new Uint8Array(46));
  },
  'questions for everybody’s MAC': () => () => {
    const sender = mac(`02:66:${[0, 0, 0, 0].map(() => below(256).toString(16).padStart(2, '0')).join(':')}`);
    const targetIp = ip(`192.168.100.${1 + below(254)}`);
    return arpFrame({ operation: arp.REQUEST, sender, senderIp: ip(ABUSER), targetIp }); // another's would be a lie: guard.netns
  },
  'first fragments': gateway => () =>
    fromAbuser(
      packet(
        { source: ip(ABUSER), destination: ip(anybody()), fragment: 0x2000 },
        17,
        new Uint8Array(64).fill(below(256)),
      ),
      gateway,
    ),
  'SYNs through the NAT': gateway => () =>
    fromAbuser(
      tcpPacket(
        { source: ip(ABUSER), destination: ip(OUTSIDE) },
        { from: 1 + below(65_535), to: 1 + below(65_535) },
        tcp.SYN,
      ),
      gateway,
    ),
  'questions for names': gateway => () => {
    const name = `a${below(1_000_000)}`;
    const question = Buffer.concat([
      Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.length]),
      Buffer.from(name),
      Buffer.from([0, 0, 1, 0, 1]),
    ]);
    return fromAbuser(
      udpPacket(
        { source: ip(ABUSER), destination: ip(GATEWAY) },
        { from: 1024 + below(60_000), to: 53 },
        question,
      ),
      gateway,
    );
  },
};

/** Writes frames, many a write, as the switch takes them. */
async function flood(socket: Socket, abuse: Abuse): Promise<void> {
  for (let sent = 0; sent < FRAMES; sent += BURST) {
    const parts: Uint8Array[] = [];
    for (let i = 0; i < BURST; i++) {
      const frame = abuse();
      const length = Buffer.alloc(4);
      length.writeUInt32BE(frame.length);
      parts.push(length, frame);
    }
    if (!socket.write(Buffer.concat(parts))) await new Promise(resolve => socket.once('drain', resolve));
    await sleep(1); // the others share the cores with us
  }
}

interface Fared {
  readonly pings: number;
  readonly lost: number;
  readonly mbit: number;
}

/** Red and blue talk for as long as the pings take. */
async function talk({ lab, red, blue }: Stage, address: string, pings = PINGS): Promise<Fared> {
  const seconds = Math.ceil(pings * PING_S);
  const server = lab.spawn(blue, 'iperf3', '-s', '-1', '--forceflush');
  await lineFrom(server, /listening/, 5_000);
  const [pinged, sent] = await Promise.all([
    lab.inside(red, 'ping', '-q', '-i', String(PING_S), '-c', String(pings), '-W', '1', address),
    lab.inside(red, 'iperf3', '-c', address, '-t', String(seconds), '-b', `${MBIT}M`, '-J'),
  ]);
  const [, received] = /(\d+) received/.exec(pinged) ?? [];
  const said = JSON.parse(sent) as { end: { sum_received: { bits_per_second: number } } };
  return { pings, lost: pings - Number(received), mbit: said.end.sum_received.bits_per_second / 1e6 };
}

interface World {
  readonly stage: Stage;
  readonly blueAddress: string;
  readonly path: string;
  /** Of two ports by vhost-user. */
  readonly ringPaths: readonly [string, string];
  readonly gateway: typeof OWN;
  readonly pid: number;
}

async function start(stage: Stage): Promise<World> {
  const { lab, blue, red } = stage;
  const path = join(lab.folder, 'vm.sock');
  const ringPaths = [join(lab.folder, 'v1.sock'), join(lab.folder, 'v2.sock')] as const;
  const ports = [`stream:${path}`, ...ringPaths.map(each => `vhost-user:${each}`)];
  const taps = ['--taps', 'tap2,tap3,tap4,tap5,tap6'];
  await startBareNat(stage, ...taps, ...ports.flatMap(port => ['--port', port]));
  await plugIn(stage, 'tap1', blue);
  const blueAddress = await lab.lease(blue, 'tap1');
  await lab.inside(red, 'ping', '-c', '1', '-W', '2', GATEWAY);
  const gateway = await gatewayMacOf(stage, red);
  const { pid } = await lab.ask<{ pid: number }>('status');
  return { stage, blueAddress, path, ringPaths, gateway: mac(gateway), pid };
}

const dial = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.once('error', reject);
  });

/** A guest that was not there before asks for an address; how long that took, ms. */
async function newcomer(lab: Lab, stage: Stage, number: number): Promise<number> {
  const netns = await lab.netns(`new${number}`);
  await plugIn(stage, `tap${1 + number}`, netns);
  const began = performance.now();
  await lab.lease(netns, `tap${1 + number}`);
  return performance.now() - began;
}

/** What came of it, in words; throws where the others lost by it. */
function check(what: string, { pings, lost, mbit }: Fared, alone: Fared): string {
  const said = `${what}: ${lost} of ${pings} pings lost, ${mbit.toFixed(0)} of ${alone.mbit.toFixed(0)} Mbit/s`;
  assert.ok(lost <= pings * LOSS && mbit >= 0.9 * alone.mbit, said);
  return said;
}

inStage('floods of a guest cost the others nothing', async stage => {
  const { lab } = stage;
  const { blueAddress, path, gateway, pid } = await start(stage);
  const alone = await talk(stage, blueAddress);
  check('alone', alone, { pings: PINGS, lost: 0, mbit: MBIT });
  const socket = await dial(path);
  socket.resume();
  let number = 0;
  for (const [what, made] of Object.entries(FLOODS)) {
    const abuse = made(gateway);
    await flood(socket, abuse); // tables are full from here on, but the cache of names, which may grow to 16 MiB
    const before = rssOf(pid);
    const flooding = flood(socket, abuse);
    const [fared, ms] = await Promise.all([talk(stage, blueAddress), newcomer(lab, stage, ++number)]);
    await flooding;
    const grown = (rssOf(pid) - before) / MEGABYTE;
    const said = `${check(what, fared, alone)}, lease ${ms.toFixed(0)} ms, ${grown.toFixed(1)} MiB`;
    assert.ok(ms < 2_000 && grown < GROWTH_MIB, said);
    console.log(said);
  }
  socket.destroy();
});

inStage(
  'of mausezahn’s 200,000 frames, each from another address, nobody else notices anything',
  async stage => {
    const { lab } = stage;
    const { blueAddress, pid } = await start(stage);
    const abuser = await lab.netns('abuser');
    await plugIn(stage, 'tap5', abuser);
    const words = ['tap5', '-q', '-c', '200000', '-a', 'rand', '-b', 'bcast', '88:b5 00:01'];
    const flooded = async (): Promise<void> => {
      const [code] = await once(lab.spawn(abuser, 'mausezahn', ...words), 'exit');
      assert.is(code, 0);
    };
    const alone = await talk(stage, blueAddress);
    await flooded(); // tables are full from here on
    const before = rssOf(pid);
    const arrived = (await portOf(lab, 'tap5')).rxFrames;
    const [fared, ms] = await Promise.all([
      talk(stage, blueAddress, MANY_PINGS),
      newcomer(lab, stage, 1),
      flooded(),
    ]);
    assert.ok((await portOf(lab, 'tap5')).rxFrames - arrived > 20_000, 'the flood went in');
    const grown = (rssOf(pid) - before) / MEGABYTE;
    const said = `${check('mausezahn', fared, alone)}, lease ${ms.toFixed(0)} ms, ${grown.toFixed(1)} MiB`;
    assert.ok(ms < 2_000 && grown < GROWTH_MIB, said);
    console.log(said);
  },
);

inStage('garbage on a stream, again and again, and readers of the API that never read', async stage => {
  const { lab } = stage;
  const { blueAddress, path, gateway, pid } = await start(stage);
  const alone = await talk(stage, blueAddress);
  const readers: Socket[] = [];
  for (const resource of [
    'events',
    'capture?port=all',
    'events',
    'capture?port=all',
    'openapi.json',
    'flows',
  ]) {
    const reader = await dial(join(lab.folder, 'vsw0.sock'));
    reader.pause();
    reader.on('error', () => undefined);
    reader.write(`GET /v1/${resource} HTTP/1.1\r\nHost: x\r\n\r\n`);
    readers.push(reader);
  }
  const garbage = async (): Promise<number> => {
    let cut = 0;
    const until = Date.now() + 1_200;
    while (Date.now() < until) {
      const socket = await dial(path);
      socket.on('error', () => undefined);
      const gone = new Promise<void>(resolve => socket.once('close', () => resolve()));
      socket.resume();
      socket.write(Buffer.from(Array.from({ length: 512 }, () => 128 + below(128))));
      await gone; // cut off by the switch, for no frame is so long
      cut++;
    }
    return cut;
  };
  const socket = await dial(path);
  socket.resume();
  const abuse = FLOODS['sources that nobody has']!(gateway);
  // All that may wait for the readers does: large frames in the captures' rings, and events.
  await Promise.all([talk(stage, blueAddress), flood(socket, abuse), garbage()]);
  const before = rssOf(pid);
  const [fared, cut, ms] = await Promise.all([talk(stage, blueAddress), garbage(), newcomer(lab, stage, 1)]);
  const said = `${check('garbage', fared, alone)}, lease ${ms.toFixed(0)} ms, ${cut} connections cut off`;
  assert.ok(cut > 10 && ms < 2_000, said);
  console.log(said);
  const [again] = await Promise.all([talk(stage, blueAddress), flood(socket, abuse)]);
  const grown = (rssOf(pid) - before) / MEGABYTE;
  const unread = `${check('events that nobody reads', again, alone)}, ${grown.toFixed(1)} MiB`;
  assert.ok(grown < GROWTH_MIB, unread);
  console.log(unread);
  assert.ok(readers.some(reader => !reader.destroyed));
  for (const reader of readers) reader.destroy();
  socket.destroy();
  await until('the API answers', 3_000, async () => (await lab.ask<{ pid: number }>('status')).pid === pid);
});

/** A front end's connection; others may stand in line. */
async function plug(path: string): Promise<number> {
  for (;;)
    try {
      return native.connectUnix(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await sleep(1);
    }
}

/** A guest whose ring is always full of frames from whoever, till it is told to stop; how many the switch has taken. */
async function neverRest(path: string, isOver: () => boolean): Promise<number> {
  const guest = new VhostGuest({}, await plug(path));
  guest.start(() => undefined);
  const [, ring] = guest.queues as [unknown, VhostGuest['queues'][number]];
  for (let i = 0; i < ring.size; i++) {
    const source = mac(`02:77:00:00:00:${i.toString(16).padStart(2, '0')}`);
    guest.send(ethernetFrame(source, mac('02:00:00:00:99:99'), 0x88b5, new Uint8Array(46)));
  }
  let taken = 0;
  for (let seen = 0; !isOver(); await turn()) {
    const used = ring.usedIndex;
    taken += (used - seen) & 0xffff;
    seen = used;
    ring.offered = (used + ring.size) & 0xffff; // every head again
    Atomics.store(ring.available, 1, ring.offered);
    native.eventSignal(ring.kick);
  }
  guest.close();
  return taken;
}

/** Front ends one after the other, with rings that are none: loops, lengths and addresses from nowhere, more heads than there are. */
async function breakRings(path: string, isOver: () => boolean): Promise<number> {
  let sessions = 0;
  for (; !isOver(); sessions++, await turn()) {
    const guest = new VhostGuest({ regions: [[0, 8 << 20]] }, await plug(path));
    guest.start(() => undefined);
    for (let i = 0; i < 500; i++) {
      const queue = guest.queues[below(2)] as VhostGuest['queues'][number];
      queue.describe(below(queue.size), below(2 ** 24), below(2 ** 25), below(8), below(queue.size));
      queue.offer(below(queue.size + (i > 400 ? 4 : 0)));
      if (i % 50 === 0) native.eventSignal(queue.kick);
    }
    await sleep(2);
    guest.close();
  }
  return sessions;
}

inStage('a ring that never rests, and front ends without end whose rings are none', async stage => {
  const { lab } = stage;
  const { blueAddress, ringPaths, pid } = await start(stage);
  const alone = await talk(stage, blueAddress);
  let over = false;
  const measured = async (): Promise<readonly [fared: Fared, ms: number, grown: number]> => {
    await talk(stage, blueAddress);
    const before = rssOf(pid);
    const [fared, ms] = await Promise.all([talk(stage, blueAddress, MANY_PINGS), newcomer(lab, stage, 1)]);
    return [fared, ms, (rssOf(pid) - before) / MEGABYTE];
  };
  const [[fared, ms, grown], taken, sessions] = await Promise.all([
    measured().finally(() => {
      over = true;
    }),
    neverRest(ringPaths[0], () => over),
    breakRings(ringPaths[1], () => over),
  ]);
  const said = `${check('rings', fared, alone)}, lease ${ms.toFixed(0)} ms, ${grown.toFixed(1)} MiB; ${taken} frames taken, ${sessions} front ends`;
  assert.ok(taken > FRAMES && sessions > 20 && ms < 2_000 && grown < GROWTH_MIB, said);
  console.log(said);
});

/** Tells of its memory, each time as of eight regions, and reads what it is answered. */
async function tell(guest: VhostGuest, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    guest.sayMemory();
    for (let answered = false; !answered; await turn())
      try {
        guest.answer();
        answered = true;
      } catch {
        // not yet
      }
  }
}

inStage('a front end that tells of its memory again and again leaves nothing behind', async stage => {
  const { ringPaths, pid } = await start(stage);
  const regions = Array.from({ length: 8 }, (_, i) => [i << 24, i === 0 ? 1 << 20 : 4096] as const);
  const guest = new VhostGuest({ regions }, await plug(ringPaths[0]));
  guest.start(() => undefined);
  await tell(guest, 3_000);
  const before = rssOf(pid);
  await tell(guest, 10_000);
  const grown = (rssOf(pid) - before) / MEGABYTE;
  guest.close();
  assert.ok(grown < 8, `${grown.toFixed(1)} MiB for 80,000 regions`); // 16 where none is freed
});

test.run();
