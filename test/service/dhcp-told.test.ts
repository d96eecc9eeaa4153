/** What clients are told, and what they are called: patterns of tags, what is kept between messages, names that DNS can serve. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { clientMac, ip, message } from '../../fixtures/dhcp.ts';
import { labelOf, naming } from '../../src/service/dhcp/hostnames.ts';
import { OptionPolicy, type PolicySettings } from '../../src/service/dhcp/options.ts';
import { type Facts, type TagMatch, testOf } from '../../src/service/dhcp/tags.ts';
import { Code, MessageType } from '../../src/wire/dhcp.ts';
import { FQDN } from '../../src/wire/dhcpvalues.ts';

const SUBNET = {
  network: ip('192.168.100.0'),
  mask: ip('255.255.255.0'),
  broadcast: ip('192.168.100.255'),
  router: ip('192.168.100.1'),
  first: ip('192.168.100.10'),
  last: ip('192.168.100.20'),
};
const latin1 = (value: string): Uint8Array => Buffer.from(value, 'latin1');
const facts = (
  options: readonly (readonly [number, Uint8Array])[] = [],
  more: Partial<Facts> = {},
): Facts => ({
  message: message(MessageType.Discover, { options: new Map(options) }),
  mac: '52:54:00:12:34:56',
  port: 'tap0',
  pool: 0,
  host: undefined,
  ...more,
});
const matches = (match: TagMatch, of: Facts): boolean => testOf(match, [SUBNET.network])(of);

test('tags: patterns, numbers and names', () => {
  const mac = (pattern: string) => matches({ kind: 'mac', pattern }, facts());
  assert.ok(mac('52:54:00:*') && mac('52:54:00:12:34:56') && mac('*:56') && mac('*'));
  assert.ok(mac('52:54:00:12:34:5*') && !mac('52:54:00') && !mac('52.54:00:*'));
  assert.ok(
    matches({ kind: 'mac', pattern: 'AB:*' }, facts([], { mac: 'ab:00:00:00:00:00' })),
    'case is nothing',
  );
  const vendor = (value: string) => facts([[Code.VendorClass, latin1(value)]]);
  assert.ok(matches({ kind: 'vendor', pattern: 'PXEClient*' }, vendor('PXEClient:Arch:00000')));
  assert.not.ok(matches({ kind: 'vendor', pattern: 'PXEClient*' }, vendor('xPXEClient')));
  assert.ok(matches({ kind: 'vendor', pattern: 'a*z' }, vendor('a\n\0z')));
  assert.not.ok(matches({ kind: 'vendor', pattern: 'PXEClient*' }, facts()));
  const classes = (...bytes: number[]) => facts([[Code.UserClass, Uint8Array.from(bytes)]]);
  assert.ok(matches({ kind: 'user-class', pattern: 'iPXE' }, classes(...latin1('iPXE'))));
  assert.ok(matches({ kind: 'user-class', pattern: 'iPXE' }, classes(1, 65, 4, ...latin1('iPXE'))));
  assert.not.ok(matches({ kind: 'user-class', pattern: 'iPXE' }, classes(9, ...latin1('iPX'))));
  const arch = (...bytes: number[]) => facts([[Code.Architecture, Uint8Array.from(bytes)]]);
  assert.ok(matches({ kind: 'arch', types: [7, 9] }, arch(0, 0, 0, 9)));
  assert.not.ok(matches({ kind: 'arch', types: [7] }, arch(7, 0, 7)));
  assert.ok(matches({ kind: 'port', pattern: 'tap*' }, facts()));
  assert.not.ok(
    matches({ kind: 'port', pattern: '*' }, facts([], { port: '' })),
    'behind a relay there is none',
  );
  assert.ok(matches({ kind: 'pool', network: SUBNET.network }, facts()));
  assert.not.ok(matches({ kind: 'pool', network: SUBNET.network }, facts([], { pool: 1 })));
});

test('patterns mean what a regular expression would', () => {
  const letters = fc.constantFrom('a', 'b', '*');
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 7 }), fc.stringMatching(/^[ab]{0,9}$/), (glob, said) => {
      const wanted = new RegExp(`^${glob.join('').replaceAll('*', '.*')}$`).test(said);
      const is = matches(
        { kind: 'vendor', pattern: glob.join('') },
        facts([[Code.VendorClass, latin1(said)]]),
      );
      assert.is(is, wanted, `${glob.join('')} ${said}`);
    }),
    { seed: 7, numRuns: 4_000 },
  );
});

test('a pattern costs no more than the text is long, whatever a guest sends', () => {
  const started = performance.now();
  const test = testOf({ kind: 'vendor', pattern: '*a*a*a*b' }, []);
  assert.not.ok(test(facts([[Code.VendorClass, latin1('a'.repeat(1400))]])));
  assert.ok(performance.now() - started < 2_000); // it would take hours
});

const policy = (more: Partial<PolicySettings>): OptionPolicy =>
  new OptionPolicy({
    address: SUBNET.router,
    pools: [SUBNET],
    hosts: [],
    options: [],
    tags: [],
    boots: [],
    ...more,
  });

test('what is told is made once a combination, and anew when the network has changed', () => {
  const tagged = policy({
    tags: [
      { tag: 'a', match: { kind: 'vendor', pattern: 'a*' } },
      { tag: 'b', match: { kind: 'vendor', pattern: '*b' } },
      { tag: 'idle', match: { kind: 'vendor', pattern: '*' } },
    ],
    options: ['a', 'b'].map((tag, i) => ({
      scope: { kind: 'tag' as const, tag },
      code: 224 + i,
      value: Uint8Array.of(i),
      exact: true,
    })),
  });
  const as = (vendor: string) => tagged.told(facts([[Code.VendorClass, latin1(vendor)]]));
  assert.is(as('a1'), as('a2'));
  assert.is(as(''), tagged.told(facts()), 'a tag that nothing is given for makes no difference');
  assert.is.not(as('a'), as('b'));
  assert.equal([...as('ab').options.keys()].slice(-2), [224, 225]);
  const before = as('a');
  tagged.refresh({ mtu: 1400, dns: [ip('9.9.9.9')], domain: 'vm.test' });
  assert.is.not(as('a'), before);
  assert.equal([...as('a').options.get(Code.Mtu)!], [5, 120]);
});

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

test('names: one label, lower case, as DNS serves it', () => {
  for (const [said, is] of [
    ['Web1', 'web1'],
    ['web1.corp.example', 'web1'],
    ["John's iPhone", 'john-s-iphone'],
    ['my_vm', 'my-vm'],
    ['-x-', 'x'],
    ['web\0', 'web'],
    ['..', ''],
    ['\u001b[31m', '31m'],
    ['localhost', ''],
    ['LOCALHOST.localdomain', ''],
    ['WPAD.vsw.internal', ''],
    ['isatap', ''],
    ['gateway', ''],
    [`${'a'.repeat(62)}-b`, 'a'.repeat(62)],
    ['ünïcode', 'n-code'],
  ] as const)
    assert.is(labelOf(said), is, said);
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), said => {
      const label = labelOf(said);
      assert.ok(label === '' || LABEL.test(label), label);
      assert.is(labelOf(label), label);
    }),
    { seed: 1123, numRuns: 2_000 },
  );
});

const TAKEN = new Set(['db']);

test('names: another’s reserved one is not to be had', () => {
  const called = (name: string): string => {
    const options = new Map<number, Uint8Array>([[Code.HostName, latin1(name)]]);
    return naming(message(MessageType.Request, { options }), '', '', TAKEN).hostname;
  };
  assert.equal(['db', 'DB.example', 'db-', 'db1'].map(called), ['', '', '', 'db1']);
});

test('names: option 81 and 12 as a guest may send them, with and without a reservation', () => {
  const bytes = fc.uint8Array({ maxLength: 80 });
  const wire = fc
    .tuple(fc.integer({ min: 0, max: 15 }), fc.stringMatching(/^[a-z]{0,9}$/))
    .map(([flags, label]) =>
      Uint8Array.from([flags, 0, 0, ...(flags & FQDN.E ? [label.length] : []), ...latin1(label)]),
    );
  fc.assert(
    fc.property(
      fc.oneof(bytes, wire),
      fc.option(bytes, { nil: undefined }),
      fc.constantFrom('', 'vm1'),
      fc.constantFrom('', 'vm.test'),
      (fqdn, plain, reserved, domain) => {
        const options = new Map<number, Uint8Array>([[Code.ClientName, fqdn]]);
        if (plain !== undefined) options.set(Code.HostName, plain);
        const { hostname, answer } = naming(
          message(MessageType.Request, { options }),
          reserved,
          domain,
          TAKEN,
        );
        assert.ok(hostname === '' || LABEL.test(hostname));
        if (reserved !== '') assert.is(hostname, reserved);
        if (answer === undefined) return;
        const [flags = 0] = answer;
        const asked = fqdn[0]!;
        assert.is(flags >> 4, 0);
        assert.is(flags & FQDN.E, asked & FQDN.E);
        assert.is((flags & FQDN.S) !== 0, hostname !== '');
        assert.is((flags & FQDN.N) !== 0, hostname === '');
        assert.is((flags & FQDN.O) !== 0, (flags & FQDN.S) !== (asked & FQDN.S));
        if ((asked & FQDN.N) !== 0) assert.is(hostname, reserved);
      },
    ),
    { seed: 4702, numRuns: 4_000 },
  );
});

test('names: the client’s MAC is in no way a name', () => {
  const { hostname, answer } = naming(
    message(MessageType.Discover, { client: clientMac(3).lo }),
    '',
    'vm.test',
    TAKEN,
  );
  assert.is(hostname, '');
  assert.is(answer, undefined);
});

test.run();
