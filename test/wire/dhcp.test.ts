/** The DHCP codec: by hand, by property, and against the npm package `dhcp` on input that it reads rightly. */
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip, message } from '../../fixtures/dhcp.ts';
import type { Ip4 } from '../../src/wire/address.ts';
import { Code, type DhcpMessage, emit, Fault, MessageType, parse } from '../../src/wire/dhcp.ts';

const SEED = 2131;
const OPTIONS = 240;
const bytesOf = (m: DhcpMessage): Uint8Array => emit(m, 1472).slice();
/** A DISCOVER whose options field holds exactly `options`, padded. */
function withOptions(...options: number[]): Uint8Array {
  const bytes = bytesOf(message(MessageType.Discover));
  bytes.fill(0, OPTIONS);
  bytes.set(options, OPTIONS);
  return bytes;
}
const fault = (bytes: Uint8Array): string => {
  const parsed = parse(bytes);
  return typeof parsed === 'number' ? Fault[parsed]! : 'none';
};
const good = (bytes: Uint8Array): DhcpMessage => {
  const parsed = parse(bytes);
  if (typeof parsed === 'number') throw new Error(Fault[parsed]);
  return parsed;
};

const byteArray = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength, size: 'max' });
/** Codes whose length is free, so any value is right. */
const freeCode = fc
  .integer({ min: 1, max: 254 })
  .filter(code => ![50, 51, 52, 53, 54, 57, Code.RelayAgent].includes(code));
const address = fc.integer({ min: -0x80000000, max: 0x7fffffff }).map(value => value as Ip4);
const messageWith = (value: fc.Arbitrary<Uint8Array>, maxOptions: number): fc.Arbitrary<DhcpMessage> =>
  fc.record({
    op: fc.constantFrom(1, 2),
    htype: fc.constant(1),
    hops: fc.integer({ min: 0, max: 16 }),
    xid: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
    secs: fc.integer({ min: 0, max: 0xffff }),
    flags: fc.integer({ min: 0, max: 0xffff }),
    ciaddr: address,
    yiaddr: address,
    siaddr: address,
    giaddr: address,
    chaddr: byteArray(6, 6).map(octets =>
      Uint8Array.from(octets, (octet, i) => (i === 0 ? (octet & 0xfe) | 2 : octet)),
    ),
    type: fc.integer({ min: 1, max: 8 }),
    options: fc
      .array(fc.tuple(freeCode, value), { maxLength: maxOptions, size: 'max' })
      .map(entries => new Map(entries)),
  });

test('emit, then parse, gives the same message, long options too', () => {
  fc.assert(
    fc.property(messageWith(byteArray(0, 600), 12), sent =>
      assert.equal(good(emit(sent, 65_000)), { ...sent }),
    ),
    { seed: SEED, numRuns: 500 },
  );
});

test('emit fills a used buffer’s every byte: two emissions are equal, at least 300 bytes, never above the limit', () => {
  fc.assert(
    fc.property(messageWith(byteArray(0, 300), 12), fc.integer({ min: 300, max: 1472 }), (sent, limit) => {
      const bytes = emit(sent, limit);
      assert.ok(bytes.length >= 300 && bytes.length <= limit);
      const back = good(bytes);
      for (const [code, value] of back.options) assert.equal(value, sent.options.get(code));
      const lost = [...sent.options.keys()].filter(code => !back.options.has(code));
      // What is left out did not fit: the message is nearly full, or the option is larger than any one place.
      for (const code of lost) assert.ok(bytes.length + sent.options.get(code)!.length + 8 > 300);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test('overload: what does not fit goes to file and sname, and comes back', () => {
  const options = new Map([224, 225, 226, 227].map(code => [code, new Uint8Array(60).fill(code)] as const));
  options.set(Code.RelayAgent, Uint8Array.of(1, 2, 3, 4));
  const bytes = emit(message(MessageType.Ack, { options }), 340);
  assert.ok(bytes.length <= 340);
  const overload = bytes.indexOf(Code.Overload, OPTIONS);
  assert.equal([...bytes.subarray(overload, overload + 3)], [Code.Overload, 1, 3]);
  const back = good(bytes).options;
  assert.is(back.size, 5);
  for (const [code, value] of options) assert.equal(back.get(code), value);
});

test('parse: pads, a missing end, an option in pieces over all three fields', () => {
  assert.is(fault(withOptions(0, 0, 53, 1, 1, 0, 0, 255)), 'none');
  assert.is(fault(withOptions(53, 1, 1).subarray(0, OPTIONS + 3)), 'none');
  const bytes = withOptions(53, 1, 1, 224, 1, 1, 52, 1, 3, 224, 1, 2, 255, 224, 1, 99);
  bytes.set([224, 1, 3, 255], 108);
  bytes.set([0, 224, 1, 4, 255], 44);
  assert.equal([...good(bytes).options.get(224)!], [1, 2, 3, 4]);
});

test('parse: each fault has its name', () => {
  const sound = bytesOf(message(MessageType.Discover));
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = sound.slice();
    bytes[at] = value;
    return bytes;
  };
  assert.is(fault(sound), 'none');
  assert.is(fault(sound.subarray(0, 239)), 'Truncated');
  assert.is(fault(new Uint8Array(0)), 'Truncated');
  assert.is(fault(changed(236, 0)), 'BadCookie');
  assert.is(fault(changed(2, 17)), 'BadHardware');
  assert.is(fault(changed(2, 5)), 'BadHardware');
  assert.is(fault(changed(28, 3)), 'BadHardware', 'a group address');
  assert.is(fault(withOptions(53, 1, 0, 255)), 'NoType');
  assert.is(fault(withOptions(53, 1, 9, 255)), 'NoType');
  assert.is(fault(withOptions(255)), 'NoType');
  assert.is(fault(withOptions(53, 2, 1, 1, 255)), 'OptionLength');
  assert.is(fault(withOptions(53, 1, 1, 50, 3, 1, 2, 3, 255)), 'OptionLength');
  assert.is(fault(withOptions(53, 1, 1, 52, 1, 4, 255)), 'BadOverload');
  assert.is(fault(withOptions(53, 1, 1, 61, 255, 1, 2)), 'OptionTruncated');
  assert.is(fault(withOptions(53, 1, 1, 61).subarray(0, OPTIONS + 4)), 'OptionTruncated');
  const overlong = withOptions(53, 1, 1, 52, 1, 1, 255);
  overlong.set([224, 127], 108);
  assert.is(fault(overlong), 'OptionTruncated', 'an option that leaves the file field');
});

test('parse never throws, whatever the bytes', () => {
  fc.assert(
    fc.property(byteArray(0, 600), bytes => {
      if (bytes.length >= OPTIONS) bytes.set([0x63, 0x82, 0x53, 0x63], 236);
      parse(bytes);
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

// The package, with every code as raw bytes: its own types lose information, see its table.
interface Package {
  parse(bytes: Buffer): Record<string, unknown> & { options: Record<string, number[]> };
  format(data: unknown): { readonly _data: Buffer; readonly _w: number };
}
const require = createRequire(import.meta.url);
const table = require('dhcp/lib/options.js') as { addOption(code: number, entry: object): void };
const oracle = require('dhcp/lib/protocol.js') as Package;
for (let code = 1; code < 255; code++) table.addOption(code, { name: `raw ${code}`, type: 'UInt8s' });

const dotted = (value: number): string => [24, 16, 8, 0].map(shift => (value >>> shift) & 255).join('.');
const dashed = (chaddr: Uint8Array): string =>
  Buffer.from(chaddr).toString('hex').toUpperCase().match(/../g)!.join('-');
const plain = (m: DhcpMessage) => ({
  op: m.op,
  htype: m.htype,
  hlen: 6,
  hops: m.hops,
  xid: m.xid >>> 0,
  secs: m.secs,
  flags: m.flags,
  ciaddr: dotted(m.ciaddr),
  yiaddr: dotted(m.yiaddr),
  siaddr: dotted(m.siaddr),
  giaddr: dotted(m.giaddr),
  chaddr: dashed(m.chaddr),
  sname: '',
  file: '',
});
const rawOptions = (m: DhcpMessage): Record<string, number[]> =>
  Object.fromEntries([[53, [m.type]], ...[...m.options].map(([code, value]) => [code, [...value]])]);

test('against the package: it reads what we emit', () => {
  fc.assert(
    fc.property(messageWith(byteArray(0, 255), 5), sent => {
      const seen = oracle.parse(Buffer.from(bytesOf({ ...sent })));
      const { magicCookie, options, ...fields } = seen;
      assert.is(magicCookie, 0x63825363);
      assert.equal(fields, plain(sent));
      assert.equal(options, rawOptions(sent));
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test('against the package: we read what it formats', () => {
  fc.assert(
    fc.property(messageWith(byteArray(0, 200), 5), sent => {
      const made = oracle.format({ ...plain(sent), options: rawOptions(sent) });
      assert.equal(good(made._data.subarray(0, made._w)), {
        ...sent,
        options: new Map([...sent.options].sort(([a], [b]) => a - b)),
      });
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test('the four-byte options read back as addresses', () => {
  const requested = ip('192.168.100.200');
  const parsed = good(bytesOf(message(MessageType.Request, { requested })));
  assert.equal([...parsed.options.get(Code.RequestedAddress)!], [192, 168, 100, 200]);
});

test.run();
