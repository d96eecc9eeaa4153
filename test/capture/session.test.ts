/** Records becoming a file for a reader: one that is slow, ports by the hundred, ports that become others, counts. */
import type { ServerResponse } from 'node:http';
import { PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compile } from '../../src/capture/filter.ts';
import { Session } from '../../src/capture/session.ts';
import * as ring from '../../src/dataplane/capturering.ts';
import { OperatorError } from '../../src/errors.ts';
import { findTool } from '../../src/host/run.ts';
import { PcapngCounts } from '../../src/wire/pcapngcounts.ts';
import { readCapture, type SeenFile } from '../wire/pcapngread.ts';

const NOW = 1_700_000_000_000;

function stage(ports: readonly number[], filter = '', ringBytes = 1 << 16) {
  const memory = ring.captureMemory(ringBytes);
  const names = new Map<number, string>();
  const response = new PassThrough();
  const nameOf = (index: number): string => names.get(index) ?? `p${index}`;
  const parts = { memory, nameOf, snapLength: 262_144, filter, application: 'test', epochMs: NOW };
  const session = new Session({ ...parts, response: response as unknown as ServerResponse }, ports);
  const producer = new ring.CaptureRing(memory);
  /** Frames as the data plane gives them, forwarded to port 9. */
  const give = (port: number, count: number, bytes = 64): void => {
    for (let i = 0; i < count; i++) {
      const at = producer.reserve(bytes, port);
      if (at < 0) continue;
      const { words, doubles } = producer;
      words.fill(0, (at >> 2) + 1, (at >> 2) + 20);
      words[(at >> 2) + ring.PORT] = port;
      words[(at >> 2) + ring.OTHER] = 9;
      words[(at >> 2) + ring.KEPT] = words[(at >> 2) + ring.LENGTH] = bytes;
      words[(at >> 2) + ring.LOST] = producer.lost[port] as number;
      doubles[((at >> 2) + ring.TIME) >> 1] = 500.25;
    }
    producer.commit();
  };
  const chunks: Buffer[] = [];
  const read = async (): Promise<SeenFile> => {
    for (let more = true; more; ) {
      const chunk = response.read() as Buffer | null;
      if (chunk !== null) chunks.push(chunk);
      await turn();
      more = chunk !== null || response.readableLength > 0;
    }
    return readCapture(Buffer.concat(chunks));
  };
  return { session, producer, give, read, names, response, bytes: () => Buffer.concat(chunks) };
}

const SOON = Number.POSITIVE_INFINITY;

test('session: frames with comments and times, and counts', async () => {
  const { session, give, read, bytes } = stage([1]);
  give(1, 2);
  assert.not(session.pump(SOON));
  session.report(NOW + 1_000);
  session.report(NOW + 2_000); // nothing new to tell
  const { packets, interfaces, counts } = await read();
  assert.equal(interfaces, ['p1']);
  assert.equal(
    packets.map(({ comment, way, length, lost }) => [comment, way, length, lost]),
    [
      ['in p1: forwarded to p9', 1, 64, 0],
      ['in p1: forwarded to p9', 1, 64, 0],
    ],
  );
  assert.ok(Math.abs((packets[0]?.seconds ?? 0) - (NOW + 500.25) / 1_000) < 1e-5);
  assert.equal([...counts], [[0, { received: 2, dropped: 0 }]]);
  const counted = new PcapngCounts();
  assert.is(counted.take(bytes()), bytes().length);
  assert.equal([counted.packets, counted.lost], [2, 0]);
});

test('session: as many ports as there may be, with a long filter', async () => {
  const ports = Array.from({ length: 255 }, (_, index) => index);
  const { session, give, read } = stage(ports, `udp port ${'1 or port '.repeat(800)}2`);
  give(254, 1);
  await read();
  session.pump(SOON);
  const { interfaces, packets } = await read();
  assert.is(interfaces.length, 255);
  assert.is(packets[0]?.interfaceId, 254);
});

test('session: what a reader does not read stays in the ring, and is lost there; the file says how many', async () => {
  const { session, give, read, producer } = stage([3], '', 1 << 21);
  for (let round = 0; round < 100; round++) {
    give(3, 40, 1_500);
    session.pump(SOON);
    session.report(NOW);
  }
  const lost = producer.lost[3] as number;
  assert.ok(lost > 500, `${lost}`);
  await read();
  session.pump(SOON);
  await read();
  give(3, 1);
  session.pump(SOON);
  session.report(NOW);
  const { packets, counts } = await read();
  assert.equal(counts.get(0), { received: 4_001, dropped: lost });
  assert.is(packets.length, 4_001 - lost);
  // Told where it was: before the next frame that there was room for.
  assert.is(
    packets.reduce((sum, packet) => sum + packet.lost, 0),
    lost,
  );
  assert.ok((packets.at(-1)?.lost ?? 0) > 0);
});

test('session: it stops at its time and says that there is more', () => {
  const { session, give } = stage([0]);
  give(0, 300);
  assert.ok(session.pump(performance.now() - 1));
  assert.not(session.pump(SOON));
});

test('session: a port that becomes another is another interface, with counts of its own', async () => {
  const { session, give, read, names } = stage([0], '', 4_096);
  give(0, 50);
  session.pump(SOON);
  names.set(0, 'other');
  give(0, 2);
  session.pump(SOON);
  session.report(NOW);
  const { interfaces, packets, counts } = await read();
  assert.equal(interfaces, ['p0', 'other']);
  assert.equal(counts.get(1), { received: 2, dropped: 0 });
  assert.is(packets.at(-1)?.interfaceId, 1);
});

test('session: its end has all that there was, and the counts', async () => {
  const { session, give, read, response } = stage([0]);
  give(0, 5);
  session.end(NOW);
  const { packets, counts } = await read();
  assert.equal([packets.length, counts.get(0)?.received], [5, 5]);
  assert.ok(response.writableEnded);
});

test('counts: blocks in pieces, and what is no block', () => {
  const { session, give, bytes, read } = stage([0]);
  give(0, 3);
  session.end(NOW);
  return read().then(() => {
    const counts = new PcapngCounts();
    let rest = Buffer.alloc(0);
    for (const byte of bytes()) {
      rest = Buffer.concat([rest, Buffer.of(byte)]);
      rest = rest.subarray(counts.take(rest));
    }
    assert.equal([counts.packets, counts.lost, rest.length], [3, 0, 0]);
    assert.throws(() => counts.take(new Uint8Array(8)), /a block of 0 bytes/);
  });
});

test('filter: nothing, a program, tcpdump’s own words, no tcpdump', async () => {
  assert.is(await compile('  '), undefined);
  assert.is(((await compile('arp')) as Int32Array).length, 16);
  const refused = async (expression: string): Promise<OperatorError> => {
    const error = await compile(expression).catch((cause: unknown) => cause);
    assert.instance(error, OperatorError);
    return error as OperatorError;
  };
  assert.is(
    (await refused('arp (')).message,
    `--filter "arp (": can't parse filter expression: syntax error`,
  );
  assert.match((await refused('x'.repeat(9_000))).message, /has 9000 characters; expected at most 8192/);
  assert.match((await refused('ifindex 1')).message, /only a socket of the kernel knows/);
  const { PATH } = process.env;
  process.env.PATH = '/nowhere';
  if (findTool('tcpdump') === undefined)
    assert.is((await refused('arp')).message, 'tcpdump is not installed; apt-get install tcpdump');
  process.env.PATH = PATH;
});

test.run();
