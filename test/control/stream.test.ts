/** The event stream over its socket: lines for those who read, a bounded loss for one who does not, a bounded number. */
import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Api } from '../../src/control/api.ts';
import { follow } from '../../src/control/client.ts';
import { eventText } from '../../src/control/happened.ts';
import { EventStreams } from '../../src/control/stream.ts';
import type { Actions, EventView, Views } from '../../src/control/views.ts';
import { OperatorError } from '../../src/errors.ts';
import { until } from '../../src/lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-stream-'));
test.after(() => rmSync(folder, { recursive: true }));

/** An API with a bus of its own; `listeners` are those that the bus has. */
async function bench(name: string, limits?: { readers: number; bytes: number }) {
  const listeners = new Set<(event: EventView) => void>();
  const path = join(folder, `${name}.sock`);
  const api = new Api(
    path,
    {} as Views,
    {} as Actions,
    listener => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    limits,
  );
  await api.listen();
  let number = 0;
  const emit = (more: Record<string, string | number> = {}): void => {
    const event: EventView = { time: 1, event: 'test', number: number++, ...more };
    for (const listener of listeners) listener(event);
  };
  return { api, path, listeners, emit };
}

/** A reader that does nothing with what it gets, till it is told to. */
const open = (path: string): Promise<{ asked: ClientRequest; response: IncomingMessage }> =>
  new Promise((resolve, reject) => {
    const asked = request({ socketPath: path, path: '/v1/events' }, response => resolve({ asked, response }));
    asked.on('error', reject);
    asked.end();
  });

const linesOf = (text: string): EventView[] =>
  text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as EventView);

test('who reads gets each event as a line, till the switch ends', async () => {
  const { api, path, emit, listeners } = await bench('lines');
  const heard: string[] = [];
  const ended = follow(path, 'events', text => heard.push(text));
  await until('it listens', 2_000, async () => listeners.size === 1);
  emit({ name: 'a\nb' });
  emit();
  await until('both came', 2_000, async () => heard.length === 2);
  assert.equal(JSON.parse(heard[0] as string), { time: 1, event: 'test', number: 0, name: 'a\nb' });
  await api.close();
  await ended;
});

test('the type is NDJSON, and only GET is taken', async () => {
  const { api, path, listeners } = await bench('type');
  const { asked, response } = await open(path);
  assert.is(response.headers['content-type'], 'application/x-ndjson');
  asked.destroy();
  await until('it has left', 2_000, async () => listeners.size === 0);
  const status = await new Promise(resolve => {
    request({ socketPath: path, path: '/v1/events', method: 'POST' }, answer => {
      answer.resume();
      resolve(answer.statusCode);
    }).end();
  });
  assert.is(status, 405);
  await api.close();
});

test('who does not read loses events, and is told how many; others lose none, and memory is bounded', async () => {
  const EVENTS = 20_000;
  const { api, path, emit, listeners } = await bench('slow', { readers: 2, bytes: 65_536 });
  const { response } = await open(path);
  const quick: EventView[] = [];
  const ended = follow(path, 'events', text => quick.push(JSON.parse(text) as EventView));
  await until('both listen', 2_000, async () => listeners.size === 1);
  await new Promise(resolve => setTimeout(resolve, 50));
  const before = process.memoryUsage().heapUsed;
  for (let n = 0; n < EVENTS; n++) {
    emit({ padding: 'x'.repeat(100) });
    if (n % 50 === 0) await new Promise(resolve => setImmediate(resolve));
  }
  await until('the quick one has all', 10_000, async () => quick.length === EVENTS);
  assert.ok(process.memoryUsage().heapUsed - before < 64e6);
  let text = '';
  response.on('data', chunk => {
    text += chunk;
  });
  await until('it is told', 5_000, async () => text.includes('"lost"'));
  emit();
  await until('it goes on', 5_000, async () => text.includes(`"number":${EVENTS}`));
  let next = 0;
  let most = 0;
  for (const { event, count, number } of linesOf(text)) {
    if (event === 'lost') {
      next += Number(count);
      most = Math.max(most, Number(count));
    } else assert.is(number, next++, 'each hole has its line, in its place');
  }
  assert.is(next, EVENTS + 1);
  assert.ok(most > 1_000);
  await api.close();
  await ended;
});

test('after a loss nothing is written till the reader has read all, and then the loss first', () => {
  const written: EventView[] = [];
  const socket = Object.assign(new EventEmitter(), {
    writableLength: 0,
    write: (line: string) => written.push(JSON.parse(line) as EventView),
    writeHead: () => undefined,
    flushHeaders: () => undefined,
  });
  let tell: (event: EventView) => void = () => undefined;
  const streams = new EventStreams(
    listener => {
      tell = listener;
      return () => undefined;
    },
    { readers: 1, bytes: 1_000 },
  );
  streams.open(socket as unknown as ServerResponse);
  for (const [number, waiting] of [0, 990, 500, 0].entries()) {
    socket.writableLength = waiting;
    tell({ time: 1, event: 'test', number });
  }
  socket.emit('drain');
  socket.emit('drain');
  tell({ time: 1, event: 'test', number: 4 });
  assert.equal(
    written.map(({ event, number, count }) => [event, number ?? count]),
    [
      ['test', 0],
      ['lost', 3],
      ['test', 4],
    ],
  );
});

test('one reader too many is refused with a sentence; a place that was left is free', async () => {
  const { api, path, listeners } = await bench('many', { readers: 2, bytes: 1_000 });
  const first = await open(path);
  await open(path);
  const refused = await follow(path, 'events', () => undefined).then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.instance(refused, OperatorError);
  assert.match(String(refused), /there are 2 readers already/);
  assert.is(listeners.size, 1);
  first.asked.destroy();
  await until('there is room', 2_000, async () => (await open(path)).response.statusCode === 200);
  await api.close();
});

test('nobody at the socket: one sentence', async () => {
  const said = await follow(join(folder, 'none.sock'), 'events', () => undefined).catch(String);
  assert.match(String(said), /no switch answers at/);
});

test('events for people: what is known, in a line', () => {
  const time = new Date(2027, 0, 15, 9, 5, 3, 7).getTime();
  const lease = {
    address: '10.0.0.10',
    mac: '02:00:00:00:00:01',
    client: 'id:01',
    hostname: '',
    port: 'tap0',
  };
  assert.is(
    eventText({ time, event: 'lease-bound', ...lease, expires: time / 1000 + 43_200 }),
    '09:05:03.007  lease-bound     10.0.0.10  02:00:00:00:00:01  tap0  ends in 12h00m',
  );
  assert.is(eventText({ time, event: 'lease-expired', ...lease, expires: 5 }).includes('ends'), false);
  assert.is(eventText({ time, event: 'port-up', port: 'tap0' }), '09:05:03.007  port-up         tap0');
  assert.is(eventText({ time, event: 'lost', count: 7 }), '09:05:03.007  lost            count 7');
  const moved = { mac: '02:00:00:00:00:01', vlan: 0, port: 'tap1', from: 'tap0' };
  assert.is(
    eventText({ time, event: 'mac-moved', ...moved }),
    '09:05:03.007  mac-moved       02:00:00:00:00:01  tap1  from tap0',
  );
  assert.match(eventText({ time, event: 'mac-moved', ...moved, vlan: 5 }), /01 {2}vlan 5 {2}tap1 /);
});

test.run();
