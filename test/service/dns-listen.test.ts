/**
 * DNS by TCP and UDP at the host's address, over loopback: framing, questions in a row, limits and who is served. And the
 * service for guests, frame by frame.
 */
import { createSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { A, A_MAC, B_MAC, GATEWAY, GATEWAY_MAC } from '../../fixtures/arp.ts';
import { udpPacket } from '../../fixtures/packets.ts';
import { to, udp, up, WORLD } from '../../fixtures/routed.ts';
import { own } from '../../fixtures/router.ts';
import { DnsListener } from '../../src/service/dns/listen.ts';
import { type Answering, DnsService, isDns } from '../../src/service/dns/service.ts';

type Done = (response: Uint8Array | undefined) => void;

/** Answers with the query itself; what begins with 0xff waits, 0xfe is no question. */
class Echo implements Answering {
  readonly waiting: Done[] = [];
  readonly clients: number[] = [];
  resolve(query: Uint8Array, _overTcp: boolean, done: Done, client: number): void {
    this.clients.push(client);
    const copy = query.slice();
    if (copy[0] === 0xff) this.waiting.push(() => done(copy));
    else done(copy[0] === 0xfe ? undefined : copy);
  }
}

async function withListener(
  act: (parts: { listener: DnsListener; echo: Echo; port: number; told: string[] }) => Promise<void>,
  idleMs = 10_000,
  client: (address: string) => number | undefined = () => 5,
): Promise<void> {
  const echo = new Echo();
  const told: string[] = [];
  const answered = (address: string): void => void told.push(address);
  const listener = new DnsListener({
    address: '127.0.0.1',
    resolver: echo,
    port: 0,
    idleMs,
    client,
    answered,
  });
  await listener.listen();
  try {
    await act({ listener, echo, port: listener.port, told });
  } finally {
    await listener.close();
  }
}

const framed = (...messages: readonly Uint8Array[]): Buffer =>
  Buffer.concat(
    messages.flatMap(message => [Buffer.from([message.length >> 8, message.length & 255]), message]),
  );

const query = (id: number): Buffer =>
  Buffer.concat([
    Buffer.from([id]),
    dnsPacket.encode({ id: 1, questions: [{ name: 'a.example', type: 'A' }] }),
  ]);

/** Reads till it has `bytes`, or the other end closes. */
const read = (socket: Socket, bytes: number): Promise<Buffer> =>
  new Promise(resolve => {
    let got = Buffer.alloc(0);
    const end = (): void => resolve(got);
    socket.on('data', chunk => {
      got = Buffer.concat([got, chunk]);
      if (got.length >= bytes) end();
    });
    socket.on('close', end);
    socket.on('error', () => undefined);
  });

const open = (port: number, localAddress = '127.0.0.1'): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress }, () => resolve(socket));
    socket.on('error', reject);
  });

test('questions are answered however they are cut, many in a row, and after the asker’s end', () =>
  withListener(async ({ listener, port, told, echo }) => {
    const socket = await open(port);
    const bytes = framed(...Array.from({ length: 100 }, (_, i) => query(i)));
    for (let at = 0; at < bytes.length; at += 700) {
      socket.write(bytes.subarray(at, at + 700));
      await new Promise(resolve => setImmediate(resolve));
    }
    socket.end();
    assert.equal(await read(socket, bytes.length), bytes);
    assert.is(listener.counters.queries, 100);
    assert.is(told.length, 100);
    assert.equal(new Set(echo.clients), new Set([5]));
  }));

test('answers come in the order in which they are found; those that come late too', () =>
  withListener(async ({ port, echo }) => {
    const socket = await open(port);
    const [late, soon] = [query(0xff), query(1)];
    const first = read(socket, soon.length + 2);
    socket.write(framed(late, soon));
    socket.end();
    assert.equal(await first, framed(soon));
    const second = read(socket, late.length + 2);
    echo.waiting[0]?.(undefined);
    assert.equal(await second, framed(late));
  }));

test('no more questions are read while many wait', () =>
  withListener(async ({ port, echo }) => {
    const socket = await open(port);
    socket.write(framed(...Array.from({ length: 50 }, () => query(0xff))));
    await new Promise(resolve => setTimeout(resolve, 100));
    assert.is(echo.waiting.length, 32);
    const all = read(socket, 50 * (query(1).length + 2));
    while (echo.waiting.length > 0) {
      echo.waiting.shift()?.(undefined);
      await new Promise(resolve => setTimeout(resolve, 2));
    }
    assert.is((await all).length, 50 * (query(1).length + 2));
  }));

test('what is no question, too long or silent is closed', () =>
  withListener(async ({ listener, port }) => {
    for (const bytes of [framed(query(0xfe)), Buffer.from([0xff, 0xff, 1, 2]), Buffer.from([0, 40, 1])]) {
      const socket = await open(port);
      socket.write(bytes);
      assert.is((await read(socket, 1)).length, 0);
    }
    assert.is(listener.counters.broken, 1);
  }, 200));

test('a slow reader is closed', () =>
  withListener(async ({ listener, port }) => {
    const socket = await open(port);
    socket.pause();
    const message = Buffer.alloc(4_000, 1);
    const closed = new Promise(resolve => socket.on('close', resolve));
    for (let i = 0; i < 2_000 && listener.counters.slow === 0; i++) {
      socket.write(framed(message));
      await new Promise(resolve => setImmediate(resolve));
    }
    assert.is(listener.counters.slow, 1);
    socket.resume();
    await closed;
  }));

test('a guest with many addresses, that keeps all its connections: another is answered all the same', () =>
  withListener(async ({ listener, port, echo }) => {
    const sockets = [];
    for (let i = 0; i < 128; i++) {
      const socket = await open(port, `127.0.1.${1 + (i >> 3)}`);
      sockets.push(socket);
      socket.write(framed(query(i === 0 ? 0xff : 1))); // nobody answers the first
      if (i > 0) await read(socket, query(1).length + 2);
    }
    const other = await open(port, '127.0.2.1');
    other.write(framed(query(2)));
    assert.is((await read(other, query(2).length + 2)).length, query(2).length + 2);
    assert.equal([listener.counters.tooMany, listener.counters.ended], [0, 1]);
    echo.waiting.shift()?.(undefined);
    assert.is(
      (await read(sockets[0]!, query(1).length + 2)).length,
      query(1).length + 2,
      'who waits is left',
    );
    const quietest = sockets[1]!;
    if (!quietest.closed) await new Promise(resolve => quietest.on('close', resolve));
    for (const socket of [...sockets, other]) socket.destroy();
  }));

test('few connections of one, and none of strangers', async () => {
  await withListener(async ({ listener, port }) => {
    const sockets = [];
    for (let i = 0; i < 10; i++) sockets.push(await open(port));
    await Promise.all(sockets.slice(8).map(socket => read(socket, 1)));
    assert.is(listener.counters.tooMany, 2);
    for (const socket of sockets) socket.destroy();
  });
  await withListener(
    async ({ listener, port, echo }) => {
      assert.is((await read(await open(port), 1)).length, 0);
      const socket = createSocket('udp4');
      await new Promise(resolve => socket.send(query(1), port, '127.0.0.1', resolve));
      await new Promise(resolve => setTimeout(resolve, 50));
      socket.close();
      assert.is(listener.counters.strangers, 2);
      assert.is(echo.clients.length, 0);
    },
    10_000,
    () => undefined,
  );
});

test('by UDP too; and an address that is taken is refused', () =>
  withListener(async ({ port }) => {
    const socket = createSocket('udp4');
    const answer = new Promise<Buffer>(resolve => socket.once('message', resolve));
    socket.send(query(3), port, '127.0.0.1');
    assert.equal(await answer, query(3));
    socket.close();
    const options = {
      address: '127.0.0.1',
      resolver: new Echo(),
      port,
      client: () => 1,
      answered: () => undefined,
    };
    const second = new DnsListener(options);
    const refused = await second.listen().then(
      () => '',
      (error: NodeJS.ErrnoException) => error.code,
    );
    assert.is(refused, 'EADDRINUSE');
    await second.close();
  }));

test('a guest’s frame is answered to its own MAC, address and port, where it came from', () => {
  const sent: [Uint8Array, number][] = [];
  const resolver = new Echo();
  const service = new DnsService({
    gateway: GATEWAY,
    gatewayMac: GATEWAY_MAC,
    resolver,
    send: (frame, egress) => sent.push([frame, egress]) < 3,
  });
  const asked = up(A_MAC, udp(A, 4000, GATEWAY, 53, query(1)));
  assert.ok(isDns(asked));
  service.handle(asked, 3);
  assert.equal(sent, [[to(A_MAC, own(udp(GATEWAY, 53, A, 4000, query(1)))), 3]]);
  assert.equal(resolver.clients, [3]);
  service.handle(up(B_MAC, udp(A, 4000, GATEWAY, 53, query(0xfe))), 4);
  service.handle(up(A_MAC, udp(A, 4000, WORLD, 53, query(1))), 3); // not to us
  service.handle(asked.subarray(0, 50), 3);
  service.handle(asked, 3);
  service.handle(asked, 3);
  assert.equal(service.counters, { queries: 4, answers: 2, silent: 1, unsent: 1, broken: 2 });
  assert.not(isDns(up(A_MAC, udp(A, 4000, GATEWAY, 67, query(1)))));
  const options = Uint8Array.of(1, 1, 1, 0);
  assert.ok(
    isDns(up(A_MAC, udpPacket({ source: A, destination: GATEWAY, options }, { from: 1, to: 53 }, 'x'))),
  );
});

test('fuzz: no frame throws', () => {
  const service = new DnsService({
    ...{ gateway: GATEWAY, gatewayMac: GATEWAY_MAC, resolver: new Echo(), send: () => true },
  });
  const asked = up(A_MAC, udp(A, 4000, GATEWAY, 53, query(1)));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80, size: 'max' }), fc.nat(asked.length), (bytes, at) => {
      const mixed = Uint8Array.from(asked);
      mixed.set(bytes.subarray(0, mixed.length - at), at);
      for (const frame of [bytes, mixed, mixed.subarray(0, at)]) if (isDns(frame)) service.handle(frame, 1);
    }),
    { numRuns: 2_000 },
  );
});

test.run();
