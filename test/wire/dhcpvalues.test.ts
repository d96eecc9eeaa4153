/** Option values with a form of their own: routes, search lists, the client's name, relays' addresses; by hand and by property. */
import { decode } from 'dns-packet';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip } from '../../fixtures/packets.ts';
import type { Ip4 } from '../../src/wire/address.ts';
import {
  emitClientName,
  emitName,
  emitRoutes,
  emitSearchList,
  FQDN,
  hasDefaultRoute,
  LINK_SELECTION,
  parseClientName,
  relayAddress,
  SERVER_ID_OVERRIDE,
} from '../../src/wire/dhcpvalues.ts';

const SEED = 4702;
const text = (value: string): number[] => [...Buffer.from(value)];
const name = fc
  .array(fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/), { minLength: 1, maxLength: 5 })
  .map(labels => labels.join('.'));

test('routes: as many octets as the prefix needs (RFC 3442)', () => {
  const router = ip('10.0.0.1');
  const bytes = (network: string, prefix: number) => [
    ...emitRoutes([{ network: ip(network), prefix, router }]),
  ];
  assert.equal(bytes('0.0.0.0', 0), [0, 10, 0, 0, 1]);
  assert.equal(bytes('10.0.0.0', 8), [8, 10, 10, 0, 0, 1]);
  assert.equal(bytes('10.17.0.0', 16), [16, 10, 17, 10, 0, 0, 1]);
  assert.equal(bytes('10.27.129.0', 24), [24, 10, 27, 129, 10, 0, 0, 1]);
  assert.equal(bytes('10.198.122.47', 32), [32, 10, 198, 122, 47, 10, 0, 0, 1]);
});

test('routes: a default one is found wherever it stands, and no octet is taken for one', () => {
  const route = fc.record({
    network: fc.integer().map(value => value as Ip4),
    prefix: fc.integer({ min: 0, max: 32 }),
    router: fc.constant(0 as Ip4),
  });
  fc.assert(
    fc.property(fc.array(route, { maxLength: 6 }), routes => {
      assert.is(
        hasDefaultRoute(emitRoutes(routes)),
        routes.some(({ prefix }) => prefix === 0),
      );
    }),
    { seed: SEED },
  );
});

/** Reads names one after the other as a resolver would, the value standing where a message's names stand. */
function read(value: Uint8Array, at: number): { name: string; next: number } {
  const labels: string[] = [];
  let next = -1;
  for (;;) {
    const length = value[at]!;
    if (length === 0) return { name: labels.join('.'), next: next < 0 ? at + 1 : next };
    if (length >= 0xc0) {
      if (next < 0) next = at + 2;
      const target = ((length & 0x3f) << 8) | value[at + 1]!;
      assert.ok(target < at, 'pointers go backwards');
      at = target;
      continue;
    }
    labels.push(Buffer.from(value.subarray(at + 1, at + 1 + length)).toString());
    at += 1 + length;
  }
}

test('search lists: what was written before is pointed to, and all of it is read again', () => {
  fc.assert(
    fc.property(fc.array(name, { minLength: 1, maxLength: 12 }), names => {
      const value = emitSearchList(names);
      const found: string[] = [];
      for (let at = 0; at < value.length; ) {
        const { name: one, next } = read(value, at);
        found.push(one);
        at = next;
      }
      assert.equal(found, names);
      const plain = names.reduce((sum, each) => sum + each.length + 2, 0);
      assert.ok(value.length <= plain);
    }),
    { seed: SEED },
  );
  const same = emitSearchList(['a.example.com', 'b.example.com', 'example.com']);
  assert.is(same.length, 15 + 4 + 2);
});

test('names as another library reads them', () => {
  fc.assert(
    fc.property(name, one => {
      const header = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
      const message = Buffer.from([...header, ...emitName(one, true), 0, 1, 0, 1]);
      assert.is(decode(message).questions?.[0]?.name, one);
    }),
    { seed: SEED },
  );
});

test('option 81: wire format, text, partial names, and what is broken', () => {
  const label = (flags: number, bytes: number[]) =>
    parseClientName(Uint8Array.from([flags, 0, 0, ...bytes]))?.label;
  const { S, E, N } = FQDN;
  assert.is(label(E, [3, ...text('Web'), 2, ...text('vm'), 0]), 'Web');
  assert.is(label(E, [3, ...text('web')]), 'web', 'a partial name ends where the option does');
  assert.is(label(E, [0]), '');
  assert.is(label(E, []), '');
  assert.is(label(S, text('web.vm.test')), 'web');
  assert.is(label(S, [...text('web'), 0]), 'web');
  assert.is(label(0xf0 | E, [3, ...text('web'), 0]), 'web', 'other flags are ignored');
  for (const bytes of [
    [3, 1],
    [64, ...text('x'.repeat(64))],
    [0xc0, 0],
    [1, 97, 0, 1, 98],
    [0, 0],
  ])
    assert.is(label(E, bytes), undefined, bytes.join());
  assert.is(label(E | S | N, [3, ...text('web')]), undefined);
  assert.is(label(S, text('x'.repeat(256))), undefined);
  assert.is(parseClientName(Uint8Array.of(1, 0)), undefined);
});

test('option 81: what is answered is read again; any bytes are read or refused', () => {
  fc.assert(
    fc.property(name, fc.boolean(), fc.boolean(), (one, wire, complete) => {
      const flags = (wire ? FQDN.E : 0) | FQDN.S;
      const value = emitClientName(flags, one, complete);
      assert.equal([...value.subarray(0, 3)], [flags, 255, 255]);
      assert.equal(parseClientName(value), { flags, label: one.split('.')[0] });
    }),
    { seed: SEED },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), value => {
      const said = parseClientName(value);
      assert.ok(said === undefined || said.label.length <= 255);
    }),
    { seed: SEED, numRuns: 5_000 },
  );
});

test('sub-options of relays: found behind others, refused when broken', () => {
  const value = Uint8Array.of(1, 2, 5, 4, LINK_SELECTION, 4, 10, 5, 0, 0, SERVER_ID_OVERRIDE, 4, 10, 5, 0, 1);
  assert.is(relayAddress(value, LINK_SELECTION), ip('10.5.0.0'));
  assert.is(relayAddress(value, SERVER_ID_OVERRIDE), ip('10.5.0.1'));
  assert.is(relayAddress(value, 2), undefined);
  for (const broken of [[5], [5, 4], [5, 4, 1, 2, 3], [5, 3, 1, 2, 3], [5, 5, 1, 2, 3, 4, 5]])
    assert.is(relayAddress(Uint8Array.from(broken), LINK_SELECTION), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), bytes => {
      relayAddress(bytes, LINK_SELECTION);
    }),
    { seed: SEED, numRuns: 5_000 },
  );
});

test.run();
