/** What is fuzzed under guidance: all that reads bytes or text from outside, each by itself; the whole pipeline and rings in wholetargets.ts. */
import * as assert from 'uvu/assert';
import { cases as dhcpCases } from '../../fixtures/dhcp-cases.ts';
import { readConfig } from '../../src/config.ts';
import { bodyFor, find, ROUTES } from '../../src/control/routes.ts';
import { Batch } from '../../src/dataplane/batch.ts';
import { OperatorError } from '../../src/errors.ts';
import { loadNative } from '../../src/port/native.ts';
import { GONE } from '../../src/port/port.ts';
import { StreamPort } from '../../src/port/stream.ts';
import { readReply } from '../../src/service/dns/reply.ts';
import * as dhcp from '../../src/wire/dhcp.ts';
import { readAnswer, readName, readQuestion } from '../../src/wire/dns.ts';
import { readQuery } from '../../src/wire/dnsquery.ts';
import { CaptureReader } from '../../src/wire/pcapngread.ts';
import { hostThat } from '../port/host.ts';
import { a, answer, cname, query } from '../service/dns-world.ts';
import type { Target } from './engine.ts';
import { pipeline, vhost } from './wholetargets.ts';

const text = (input: Uint8Array): string => Buffer.from(input).toString('utf8');
const bytes = (...lines: string[]): Uint8Array[] => lines.map(line => Buffer.from(line));

/** May only be refused by a sentence. */
function refused(act: () => unknown): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    assert.ok(error.message.length > 0 && !error.message.includes('\n'), JSON.stringify(error.message));
  }
}

const dnsQuery = query('a.test', 'A');

const dns: Target = {
  name: 'dns',
  code: /src\/(wire\/dns|service\/dns\/reply)/,
  seeds: () => [
    dnsQuery,
    query('www.example.com', 'AAAA'),
    answer(dnsQuery, [cname('a.test', 'b.test', 9), a('b.test', '10.0.0.1', 9)]),
  ],
  words: [
    Uint8Array.of(0xc0, 12),
    Uint8Array.of(0, 41),
    Uint8Array.of(0, 5, 0, 1),
    Uint8Array.of(0, 28, 0, 1),
  ],
  run(input) {
    const question = readQuestion(input);
    if (question !== undefined) assert.ok(question.end <= input.length);
    const name = readName(input, Math.min(12, input.length));
    if (name !== undefined) assert.ok(name.end <= input.length);
    readAnswer(input);
    readQuery(input);
    if (question !== undefined) readReply(input, question);
  },
};

const dhcpTarget: Target = {
  name: 'dhcp',
  code: /src\/wire\/dhcp/,
  seeds: () => dhcpCases().flatMap(({ inputs }) => inputs.map(({ frame }) => frame.subarray(42))),
  words: [
    Uint8Array.of(99, 130, 83, 99),
    Uint8Array.of(52, 1, 3),
    Uint8Array.of(53, 1, 1),
    Uint8Array.of(82, 4, 1, 2),
  ],
  run(input) {
    const message = dhcp.parse(input);
    if (typeof message === 'number') return;
    const again = dhcp.parse(dhcp.emit(message, 1_500));
    assert.type(again, 'object', 'what was read can be written and read again');
  },
};

const captures: Target = {
  name: 'captures',
  code: /src\/wire\/pcap/,
  seeds: () => [
    Buffer.from('d4c3b2a1020004000000000000000000ffff000001000000', 'hex'),
    Buffer.from('0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000', 'hex'),
  ],
  words: [
    Buffer.from('0a0d0d0a', 'hex'),
    Buffer.from('06000000', 'hex'),
    Buffer.from('01000000', 'hex'),
    Buffer.from('4d3c2b1a', 'hex'),
  ],
  run(input) {
    let at = 0;
    const source = (window: Uint8Array, place: number): number => {
      const piece = input.subarray(at, at + Math.min(7, window.length - place));
      window.set(piece, place);
      at += piece.length;
      return piece.length;
    };
    try {
      const reader = new CaptureReader(source);
      for (let frame = reader.next(), count = 0; frame !== undefined; frame = reader.next())
        assert.ok(count++ <= input.length, 'it ends');
    } catch (error) {
      assert.match((error as Error).message, /expected/);
    }
  },
};

const config: Target = {
  name: 'config',
  code: /src\/(config|settings|options)/,
  seeds: () =>
    bytes(
      'subnet = "192.168.100.0/24"\ntaps = ["tap0"]\nhost = ["vm1,02:00:00:00:00:01,192.168.100.9"]\n',
      'subnet = "10.0.0.0/8"\nport = ["stream:/r/a.sock,guests=2", "pcap:/t/a.pcapng,mode=record"]\ndhcp-option = ["tag:a,ntp-server=10.0.0.1"]\n',
      'forward = ["8080:192.168.100.10:80"]\negress-rule = ["tap0 allow tcp/443 *.debian.org"]\ndns-record = ["nas=10.0.0.9"]\n',
    ),
  words: [
    'subnet',
    'taps',
    'port',
    'host',
    'pool',
    'boot',
    'dns',
    'lan',
    'guard',
    ' = "',
    '"]',
    '["',
    '\n',
    ',',
    '/24',
    '=',
    'tag:',
    'id:',
    '@',
    '*.',
  ],
  run: input => refused(() => readConfig({}, { name: 'f.toml', text: text(input), format: 'toml' })),
};

const PATHS = ROUTES.map(({ method, path }) => `${method} ${path.replace(/\{[^}]+\}/g, 'x')}`);

const api: Target = {
  name: 'api',
  code: /src\/control\/(routes|schemas)/,
  seeds: () => [
    ...bytes(...PATHS),
    ...bytes('POST /v1/ports\n{"port": "tap:tap1"}', 'PATCH /v1/ports/x\n{"up": true}'),
  ],
  words: [
    '{',
    '}',
    '"port"',
    '"up"',
    'true',
    'null',
    '[',
    ']',
    '/',
    '%2f',
    '..',
    '"forward"',
    '"text"',
    '\\u0000',
    '1e999',
  ],
  run(input) {
    const [head = '', ...body] = text(input).split('\n');
    const [method = '', path = ''] = head.split(' ');
    refused(() => {
      const found = find(method, path);
      if ('route' in found) bodyFor(found.route, body.join('\n'));
    });
  },
};

const native = loadNative();

const stream: Target = {
  name: 'stream',
  code: /src\/port\/stream/,
  seeds: () => [
    Uint8Array.of(0, 0, 0, 14, ...new Uint8Array(14)),
    Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1, 7),
    Uint8Array.of(0xff, 0xff, 0xff, 0xff),
  ],
  words: [
    Uint8Array.of(0, 0, 0, 60),
    Uint8Array.of(0, 1, 0, 21),
    Uint8Array.of(0, 1, 0, 22),
    Uint8Array.of(0x80, 0, 0, 0),
  ],
  run(input) {
    const [own, peer] = native.socketPair() as [number, number];
    try {
      const port = new StreamPort('s', own, 1_500, hostThat());
      const batch = new Batch(1 << 22);
      const half = input.length >> 1;
      let frames = 0;
      for (const [from, to] of [
        [0, half],
        [half, input.length],
      ] as const) {
        native.sendBytes(peer, input, from, to);
        for (let got = 1; got > 0; frames += Math.max(got, 0)) {
          batch.reset(0);
          got = port.receive(batch, 0);
          if (got === GONE) return void assert.ok(port.fault !== undefined);
        }
      }
      assert.ok(frames * 4 <= input.length);
    } finally {
      native.close(own);
      native.close(peer);
    }
  },
};

export const TARGETS: readonly Target[] = [dns, dhcpTarget, captures, config, api, stream, pipeline, vhost];
