// timeout: 120 s
/**
 * The resolver with real sockets, on loopback, against servers that dns-packet speaks for: what they do wrong, and what
 * others try in their name.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { createServer, type Server, type Socket as TcpSocket } from 'node:net';
import dnsPacket from 'dns-packet';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SocketExchange } from '../../src/service/dns/exchange.ts';
import { Resolver } from '../../src/service/dns/resolver.ts';
import type { Upstream } from '../../src/service/dns/upstream.ts';
import { a, answer, cname, decode, extendedError, line, opt, query } from './dns-world.ts';

const TC = dnsPacket.TRUNCATED_RESPONSE;
const nameOf = (message: Uint8Array): string => (decode(message).questions?.[0]?.name ?? '').toLowerCase();

interface Behaviour {
  udp?(message: Buffer, from: RemoteInfo, socket: Socket): Uint8Array | undefined;
  /** What is written to the connection; undefined: nothing. */
  tcp?(message: Buffer, socket: TcpSocket): Uint8Array | undefined;
}

/** A server at one port by UDP and TCP, as many as it takes to find a port that is free for both. */
class Fake {
  connections = 0;
  readonly ports = new Set<number>();
  udpQueries = 0;
  tcpQueries = 0;
  readonly #open = new Set<TcpSocket>();
  readonly #udp: Socket;
  readonly #tcp: Server;
  readonly #address: string;

  private constructor(address: string, behaviour: Behaviour) {
    this.#address = address;
    this.#udp = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    this.#udp.setMaxListeners(0);
    this.#udp.on('message', (message, from) => {
      this.udpQueries++;
      this.ports.add(from.port);
      const reply = behaviour.udp?.(message, from, this.#udp);
      if (reply !== undefined) this.#udp.send(reply, from.port, from.address);
    });
    this.#tcp = createServer(socket => {
      this.connections++;
      this.#open.add(socket);
      socket.on('error', () => undefined);
      let pending = Buffer.alloc(0);
      socket.on('data', chunk => {
        pending = Buffer.concat([pending, chunk]);
        while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE()) {
          const message = pending.subarray(2, 2 + pending.readUInt16BE());
          pending = pending.subarray(2 + message.length);
          this.tcpQueries++;
          const reply = behaviour.tcp?.(message, socket);
          if (reply !== undefined) socket.write(framed(reply));
        }
      });
    });
  }

  static async start(behaviour: Behaviour, address = '127.0.0.1'): Promise<Fake> {
    const fake = new Fake(address, behaviour);
    fake.#tcp.listen(0, address);
    await once(fake.#tcp, 'listening');
    fake.#udp.bind(fake.upstream.port, address);
    await once(fake.#udp, 'listening');
    return fake;
  }

  get upstream(): Upstream {
    return { address: this.#address, port: (this.#tcp.address() as { port: number }).port };
  }

  stop(): void {
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#open) socket.destroy();
  }
}

const framed = (message: Uint8Array): Buffer => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
};

/** Sockets of this process. */
const files = (): number =>
  readdirSync('/proc/self/fd').filter(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // the one that the folder was read by
    }
  }).length;

/** Runs with a resolver over servers, and sees that nothing is left open. */
async function withServers(
  behaviours: readonly (Behaviour | Upstream)[],
  run: (bench: {
    resolver: Resolver;
    fakes: Fake[];
    ask: typeof askOf extends (r: Resolver) => infer A ? A : never;
  }) => Promise<void>,
): Promise<void> {
  const before = files();
  const fakes: Fake[] = [];
  const upstreams: Upstream[] = [];
  for (const behaviour of behaviours) {
    if ('address' in behaviour) {
      upstreams.push(behaviour);
      continue;
    }
    const fake = await Fake.start(behaviour);
    fakes.push(fake);
    upstreams.push(fake.upstream);
  }
  const resolver = new Resolver({
    local: { answer: () => undefined },
    upstreams: () => upstreams,
    exchange: new SocketExchange(),
    maxCacheBytes: 1 << 20,
    nowMs: () => performance.now(),
    log: () => undefined,
  });
  try {
    await run({ resolver, fakes, ask: askOf(resolver) });
  } finally {
    resolver.close();
    for (const fake of fakes) fake.stop();
  }
  for (let i = 0; i < 100 && files() > before; i++) await sleep(10);
  assert.is(files(), before, 'sockets are left open');
}

const sleep = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

const askOf =
  (resolver: Resolver) =>
  (message: Uint8Array, tcp = false): Promise<Uint8Array> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no answer in 15 s')), 15_000);
      resolver.resolve(message, tcp, response => {
        clearTimeout(timer);
        if (response === undefined) reject(new Error('no answer is due'));
        else resolve(response);
      });
    });

const good: Behaviour = {
  udp: message => answer(message, [a('x.test')]),
  tcp: message => answer(message, [a('x.test')]),
};

test('a port of its own for each question, by IPv4 and IPv6', async () => {
  await withServers([good], async ({ ask, fakes }) => {
    for (let i = 0; i < 50; i++)
      assert.is(line(await ask(query(`n${i}.test`))), 'NOERROR x.test A 300 192.0.2.1');
    assert.ok((fakes[0]?.ports.size ?? 0) > 45, `${fakes[0]?.ports.size} ports`);
  });
  const six = await Fake.start(good, '::1');
  await withServers([six.upstream], async ({ ask }) => {
    assert.is(line(await ask(query('x.test'))), 'NOERROR x.test A 300 192.0.2.1');
    assert.is(line(await ask(query('y.test'), true)), 'NOERROR x.test A 300 192.0.2.1');
  });
  six.stop();
});

test('datagrams from another port, with another id or case, are not seen', async () => {
  const stranger = createSocket('udp4');
  await new Promise<void>(resolve => stranger.bind(0, '127.0.0.1', resolve));
  const elsewhere = createSocket('udp4');
  await new Promise<void>(resolve => elsewhere.bind(0, '127.0.0.2', resolve));
  let forgeries = 0;
  const udp: Behaviour['udp'] = (message, from, socket) => {
    const forged = answer(message, [a('x.test', '203.0.113.1')]);
    for (const other of [stranger, elsewhere]) other.send(forged, from.port, from.address);
    for (const at of [0, 1, 13]) {
      const wrong = forged.slice();
      wrong[at] = (wrong[at] as number) ^ (at === 13 ? 0x21 : 1); // another letter, in another case
      socket.send(wrong, from.port, from.address);
    }
    forgeries += 5;
    setTimeout(() => socket.send(answer(message, [a('x.test')]), from.port, from.address), 30);
    return undefined;
  };
  await withServers([{ udp }], async ({ ask }) => {
    for (let i = 0; i < 5; i++)
      assert.is(line(await ask(query(`abc${i}.test`))), 'NOERROR x.test A 300 192.0.2.1');
    assert.ok(forgeries >= 25);
  });
  stranger.close();
  elsewhere.close();
});

test('cut short: by TCP, as long as it may be', async () => {
  const many = (message: Uint8Array, count: number): Uint8Array =>
    answer(
      message,
      Array.from({ length: count }, (_, i) => a('long.test', `10.0.${i >> 8}.${i & 255}`)),
    );
  const server: Behaviour = {
    udp: message => answer(message, [], { flags: TC }),
    tcp: message => many(message, 2_600),
  };
  await withServers([server], async ({ ask, fakes, resolver }) => {
    const cut = await ask(query('long.test', 'A', { additionals: [opt({ udpPayloadSize: 4096 })] }));
    assert.ok(decode(cut).flag_tc && cut.length <= 1_232 && cut.length > 1_200);
    const whole = await ask(query('long.test'), true);
    assert.ok(whole.length > 64_000, `${whole.length}`);
    assert.is(decode(whole).answers?.length, 2_600);
    assert.ok((fakes[0]?.udpQueries ?? 0) > 0 && (fakes[0]?.tcpQueries ?? 0) > 0);
    assert.is(resolver.counters.cached, 1);
  });
});

test('a chain of aliases is passed on whole', async () => {
  const chain = Array.from({ length: 12 }, (_, i) => cname(`c${i}.test`, `c${i + 1}.test`));
  await withServers([{ udp: message => answer(message, [...chain, a('c12.test')]) }], async ({ ask }) => {
    const asked = query('c0.test', 'A', { additionals: [opt()] });
    assert.is(decode(await ask(asked)).answers?.length, 13);
    assert.equal(decode(await ask(asked)).answers, decode(await ask(asked)).answers);
  });
});

test('a slow server is overtaken', async () => {
  let slow = false;
  const lateBy = (name: string, delayMs: () => number): Behaviour => ({
    udp: (message, from, socket) => {
      const reply = answer(message, [a(name)]);
      // nobody listens any more to what comes after the end
      const timer = setTimeout(() => socket.send(reply, from.port, from.address), delayMs());
      socket.on('close', () => clearTimeout(timer));
      return undefined;
    },
  });
  const [late, later] = [lateBy('late.test', () => (slow ? 3_500 : 0)), lateBy('x.test', () => 5)];
  await withServers([late, later], async ({ ask }) => {
    for (let i = 0; i < 20; i++) await ask(query(`n${i}.test`));
    slow = true;
    const begunMs = performance.now();
    assert.is(line(await ask(query('slow.test'))), 'NOERROR x.test A 300 192.0.2.1');
    const tookMs = performance.now() - begunMs;
    assert.ok(tookMs < 3_000, `${tookMs} ms`);
  });
});

test('closed ports are known at once; silence ends after five seconds', async () => {
  const closed = await Fake.start({});
  const { upstream } = closed;
  closed.stop();
  await withServers([upstream], async ({ ask, resolver }) => {
    const begunMs = performance.now();
    const response = await ask(query('x.test', 'A', { additionals: [opt()] }));
    assert.is(extendedError(response), '23 no DNS server of the host could answer');
    assert.ok(performance.now() - begunMs < 3_000);
    assert.is(resolver.view().upstreams[0]?.alive, false);
    assert.is(line(await ask(query('y.test'), true)), 'SERVFAIL');
  });
  await withServers([{}, {}], async ({ ask }) => {
    const begunMs = performance.now();
    const response = await ask(query('x.test', 'A', { additionals: [opt()] }));
    const tookMs = performance.now() - begunMs;
    assert.is(extendedError(response), '22 no DNS server of the host answered in time');
    assert.ok(tookMs > 4_900 && tookMs < 8_000, `${tookMs} ms`);
  });
});

test('addresses that nobody can send to fail at once', async () => {
  await withServers(
    [
      { address: 'fe80::1', port: 53 },
      { address: 'fe80::1%nowhere', port: 53 },
    ],
    async ({ ask }) => {
      const begunMs = performance.now();
      assert.is(line(await ask(query('x.test'))), 'SERVFAIL');
      assert.is(line(await ask(query('y.test'), true)), 'SERVFAIL');
      assert.ok(performance.now() - begunMs < 3_000);
    },
  );
});

test('by TCP: one connection, questions do not wait for one another, answers come in any order, in pieces', async () => {
  const held = new Map<string, Uint8Array>();
  const server: Behaviour = {
    tcp: (message, socket) => {
      held.set(nameOf(message), framed(answer(message, [a(nameOf(message))])));
      if (held.size < 10) return undefined;
      const bytes = Buffer.concat([...held.values()].reverse());
      const write = (from: number): void => {
        socket.write(bytes.subarray(from, from + 13));
        if (from + 13 < bytes.length) setTimeout(write, 1, from + 13);
      };
      write(0);
      held.clear();
      return undefined;
    },
  };
  await withServers([server], async ({ ask, fakes }) => {
    const names = Array.from({ length: 10 }, (_, i) => `n${i}.test`);
    const lines = await Promise.all(names.map(async name => line(await ask(query(name), true))));
    assert.equal(
      lines,
      names.map(name => `NOERROR ${name} A 300 192.0.2.1`),
    );
    assert.is(fakes[0]?.connections, 1);
  });
});

test('a server that closes its connections early is connected to again; one that always does is given up', async () => {
  let answered = 0;
  const hasty: Behaviour = {
    tcp: (message, socket) => {
      // every other question finds the connection closed
      if (answered++ % 2 === 1) {
        socket.destroy();
        return undefined;
      }
      return answer(message, [a(nameOf(message))]);
    },
  };
  await withServers([hasty], async ({ ask, fakes }) => {
    for (let i = 0; i < 6; i++)
      assert.is(line(await ask(query(`n${i}.test`), true)), `NOERROR n${i}.test A 300 192.0.2.1`);
    assert.ok((fakes[0]?.connections ?? 0) > 4);
    assert.is(fakes[0]?.udpQueries, 0, 'it is not given up');
  });
  const useless: Behaviour = {
    tcp: (_message, socket) => {
      socket.end(Buffer.from([0, 40, 1, 2]));
      return undefined;
    },
  };
  await withServers([useless, good], async ({ ask }) => {
    assert.is(line(await ask(query('x.test'), true)), 'NOERROR x.test A 300 192.0.2.1');
  });
});

test('a connection that is not used is closed', async () => {
  let closed = 0;
  const server: Behaviour = {
    tcp: (message, socket) => {
      socket.on('close', () => closed++);
      return answer(message, [a('x.test')]);
    },
  };
  await withServers([server], async ({ ask, fakes }) => {
    await ask(query('x.test'), true);
    await ask(query('y.test'), true);
    assert.is(fakes[0]?.connections, 1);
    for (let i = 0; i < 100 && closed < 2; i++) await sleep(100);
    assert.is(closed, 2, 'one connection, seen twice');
  });
});

test('200 questions at once, all answered, nothing left behind', async () => {
  await withServers([good, good], async ({ ask, resolver }) => {
    const all = Array.from({ length: 200 }, (_, i) => query(`n${i}.test`));
    const resolved = await Promise.all(
      all.map(
        (message, i) =>
          new Promise<string>(resolve =>
            resolver.resolve(message, false, response => resolve(line(response as Uint8Array)), i % 10),
          ),
      ),
    );
    for (const each of resolved) assert.is(each, 'NOERROR x.test A 300 192.0.2.1');
    assert.match(line(await ask(query('n0.test'))), /^NOERROR x.test A \d+ 192.0.2.1$/);
    assert.is(resolver.counters.cached, 1);
  });
});

test.run();
