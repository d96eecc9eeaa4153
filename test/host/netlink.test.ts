/** rtnetlink messages, read and written: the fields, what is skipped, and bytes that are cut off or wrong. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  aliasRequest,
  linkDump,
  linkEvents,
  linkRequest,
  nsidOf,
  nsidRequest,
  RTM_DELLINK,
  RTM_NEWLINK,
} from '../../src/host/netlink.ts';
import { attribute, LOWER_UP, linkMessage, message, nsidMessage, UP } from './rtnetlink.ts';

const joined = (...messages: Uint8Array[]): Uint8Array => Buffer.concat(messages);

test('a new link: index, name, alias, MTU, up and carrier', () => {
  const bytes = linkMessage({ ifindex: 7, name: 'tap0', alias: 'vswitchd:vsw0:tap0', mtu: 9000, flags: UP });
  assert.equal(linkEvents(bytes), [
    {
      type: RTM_NEWLINK,
      ifindex: 7,
      name: 'tap0',
      alias: 'vswitchd:vsw0:tap0',
      mtu: 9000,
      up: true,
      lowerUp: false,
    },
  ]);
  assert.is(linkEvents(linkMessage({ ifindex: 7, flags: UP | LOWER_UP }))[0]?.lowerUp, true);
});

test('a link that moves away says to which namespace and under which index; a deleted one does not', () => {
  const [moved, deleted] = linkEvents(
    joined(
      linkMessage({ type: RTM_DELLINK, ifindex: 7, name: 'tap0', nsid: 0, newIfindex: 3 }),
      linkMessage({ type: RTM_DELLINK, ifindex: 8, name: 'tap1' }),
    ),
  );
  assert.equal(moved?.movedTo, { nsid: 0, ifindex: 3 });
  assert.is(deleted?.type, RTM_DELLINK);
  assert.is(deleted?.movedTo, undefined);
});

test('other messages, and what a bridge says of its ports, are skipped; those behind them are read', () => {
  const done = message(3, new Uint8Array(4));
  const odd = message(99, new Uint8Array(5)); // padded: the next begins at a multiple of four
  const bytes = joined(odd, linkMessage({ ifindex: 2, family: 7 }), linkMessage({ ifindex: 3 }), done);
  assert.equal(
    linkEvents(bytes).map(event => event.ifindex),
    [3],
  );
});

test('an id of a namespace: none, another message, an attribute too short', () => {
  assert.is(nsidOf(nsidMessage(0)), 0);
  assert.is(nsidOf(nsidMessage(12)), 12);
  assert.is(nsidOf(nsidMessage(-1)), undefined);
  assert.is(nsidOf(linkMessage({ ifindex: 1 })), undefined);
  assert.is(
    nsidOf(message(88, Buffer.concat([Buffer.alloc(4), attribute(1, new Uint8Array(2))]))),
    undefined,
  );
});

test('requests: their length, type and flags, and what they ask for', () => {
  const head = (bytes: Uint8Array): number[] => {
    const mem = new DataView(bytes.buffer, bytes.byteOffset);
    return [mem.getUint32(0, true), mem.getUint16(4, true), mem.getUint16(6, true)];
  };
  assert.equal(head(linkDump()), [32, 18, 0x301]);
  assert.equal(head(linkRequest(5)), [32, 18, 1]);
  assert.is(Buffer.from(linkRequest(5)).readInt32LE(20), 5);
  assert.equal(head(nsidRequest(9)), [28, 90, 1]);
  assert.equal([...nsidRequest(9).subarray(20)], [8, 0, 3, 0, 9, 0, 0, 0]);
  // An RTM_SETLINK has the body of an RTM_NEWLINK: our own reader reads it.
  const renamed = Buffer.from(aliasRequest(6, 'vswitchd:v:t'));
  assert.equal(head(renamed), [renamed.length, 19, 1]);
  renamed.writeUInt16LE(RTM_NEWLINK, 4);
  assert.is(linkEvents(renamed)[0]?.ifindex, 6);
  assert.is(linkEvents(renamed)[0]?.alias, 'vswitchd:v:t');
});

test('property: what was emitted is read back, for any names and numbers', () => {
  const word = fc.stringMatching(/^[a-z0-9:._-]{1,15}$/);
  const index = fc.integer({ min: 1, max: 0x7fff_ffff });
  fc.assert(
    fc.property(
      word,
      word,
      index,
      fc.nat(65_535),
      fc.boolean(),
      fc.boolean(),
      (name, alias, ifindex, mtu, up, lowerUp) => {
        const flags = (up ? UP : 0) | (lowerUp ? LOWER_UP : 0);
        const [event] = linkEvents(linkMessage({ ifindex, name, alias, mtu, flags }));
        assert.equal(event, { type: RTM_NEWLINK, ifindex, name, alias, mtu, up, lowerUp });
      },
    ),
    { seed: 2 },
  );
});

test('property: cut off or changed anywhere, it is read without an exception', () => {
  const whole = joined(
    linkMessage({ ifindex: 7, name: 'tap0', alias: 'a', mtu: 1500 }),
    linkMessage({ type: RTM_DELLINK, ifindex: 7, name: 'tap0', nsid: 1, newIfindex: 3 }),
    nsidMessage(4),
  );
  const change = fc.tuple(fc.nat(whole.length - 1), fc.nat(255));
  let read = 0;
  fc.assert(
    fc.property(fc.nat(whole.length), fc.array(change, { maxLength: 8, size: 'max' }), (length, changes) => {
      const bytes = Uint8Array.from(whole);
      for (const [at, value] of changes) bytes[at] = value;
      const cut = bytes.slice(0, length); // its own buffer: a read past its end would throw
      nsidOf(cut);
      read += linkEvents(cut).length;
    }),
    { seed: 2, numRuns: 5_000 },
  );
  assert.ok(read > 1_000); // most were still messages
});

test.run();
