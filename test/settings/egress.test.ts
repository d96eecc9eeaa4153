/** Egress rules as text: what each word may be, and one sentence for each mistake. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip, mac } from '../../fixtures/packets.ts';
import { type EgressRule, readConfig } from '../../src/config.ts';
import { OperatorError } from '../../src/errors.ts';
import { parseEgressRules } from '../../src/settings/egress.ts';
import { Refusal } from '../../src/settings/schema.ts';
import type { Ip4 } from '../../src/wire/address.ts';

const BASE = { subnet: '192.168.100.0/24', taps: 'tap0,tap1' };
const ANYBODY = { kind: 'any' } as const;
const ANY_SERVICE = { protocol: 'any', firstPort: 0, lastPort: 65_535 } as const;
const EVERYWHERE = { kind: 'network', network: 0, mask: 0 } as const;

function rule(text: string): Omit<EgressRule, 'text'> {
  const rules = parseEgressRules([text]);
  if (rules instanceof Refusal) throw new Error(rules.why);
  const { text: written, ...rest } = rules[0] as EgressRule;
  assert.is(written, text.trim());
  return rest;
}

function refusal(rules: string | readonly string[], more: Record<string, unknown> = {}): string {
  try {
    readConfig({ ...BASE, 'egress-rule': rules, ...more });
  } catch (error) {
    assert.instance(error, OperatorError);
    assert.is((error as OperatorError).exitCode, 2);
    return (error as OperatorError).message;
  }
  return 'accepted';
}

const network = (address: string, prefix: number) => ({
  kind: 'network' as const,
  network: ip(address),
  mask: (prefix === 0 ? 0 : -1 << (32 - prefix)) as Ip4,
});

test('targets', () => {
  const deny = { allow: false, guest: ANYBODY, ...ANY_SERVICE };
  assert.equal(rule('deny any'), { ...deny, target: EVERYWHERE });
  assert.equal(rule('deny 0.0.0.0/0'), { ...deny, target: EVERYWHERE });
  assert.equal(rule('deny 10.0.0.0/8'), { ...deny, target: network('10.0.0.0', 8) });
  assert.equal(rule('deny 10.1.2.3'), { ...deny, target: network('10.1.2.3', 32) });
  assert.equal(rule('deny 10.1.2.3/32'), { ...deny, target: network('10.1.2.3', 32) });
  assert.equal(rule('deny encrypted-dns'), { ...deny, target: { kind: 'encrypted-dns' } });
  const domain = (name: string, below: boolean) => ({ ...deny, target: { kind: 'domain', name, below } });
  assert.equal(rule('deny example.com'), domain('example.com', false));
  assert.equal(rule('deny Example.COM.'), domain('example.com', false));
  assert.equal(rule('deny .example.com'), domain('example.com', true));
  assert.equal(rule('deny *.example.com'), domain('example.com', true));
  assert.equal(rule('deny registry.'), domain('registry', false));
  assert.equal(rule('deny *.test'), domain('test', true));
});

test('protocols and ports', () => {
  const any = { allow: true, guest: ANYBODY, target: EVERYWHERE };
  assert.equal(rule('allow icmp any'), { ...any, ...ANY_SERVICE, protocol: 'icmp' });
  assert.equal(rule('allow udp any'), { ...any, ...ANY_SERVICE, protocol: 'udp' });
  assert.equal(rule('allow tcp/443 any'), { ...any, protocol: 'tcp', firstPort: 443, lastPort: 443 });
  assert.equal(rule('allow udp/1-65535 any'), { ...any, protocol: 'udp', firstPort: 1, lastPort: 65_535 });
});

test('guests', () => {
  const deny = { allow: false, ...ANY_SERVICE, target: EVERYWHERE };
  assert.equal(rule('tap0 deny any'), { ...deny, guest: { kind: 'tap', name: 'tap0' } });
  assert.equal(rule('192.168.100.10 deny any'), { ...deny, guest: network('192.168.100.10', 32) });
  assert.equal(rule('192.168.100.16/28 deny any'), { ...deny, guest: network('192.168.100.16', 28) });
  const guest = { kind: 'mac', mac: mac('02:4c:40:5b:f7:3c') };
  assert.equal(rule('02:4C:40:5b:f7:3c deny any'), { ...deny, guest });
  assert.equal(rule('  tap0   deny \t any '), { ...deny, guest: { kind: 'tap', name: 'tap0' } });
});

const TARGET = 'expected any, a network, an address, a domain or encrypted-dns';
const SERVICE = 'expected tcp, udp or icmp';

/** A rule, and how it is refused. */
const BAD: readonly [string, string][] = [
  ['', 'expected [GUEST] allow|deny'],
  ['reject any', 'expected [GUEST] allow|deny'],
  ['tap0 any', 'expected [GUEST] allow|deny'],
  ['DENY any', 'expected [GUEST] allow|deny'],
  ['a b deny any', 'expected [GUEST] allow|deny'],
  ['deny tcp 25 any', 'expected [GUEST] allow|deny'],
  ['deny', `has no target in "deny"; ${TARGET}`],
  ['tap0 allow', `has no target in "tap0 allow"; ${TARGET}`],
  ['deny tcp/25', `has no target in "deny tcp/25"; ${TARGET}`],
  ['deny icmp', `has no target in "deny icmp"; ${TARGET}`],
  ['deny sctp any', `names the protocol "sctp"; ${SERVICE}`],
  ['deny icmp/8 any', `names the protocol "icmp/8"; ${SERVICE}`],
  ['deny tcp/ any', `names the protocol "tcp/"; ${SERVICE}`],
  ['deny tcp/http any', `names the protocol "tcp/http"; ${SERVICE}`],
  ['deny tcp/1-2-3 any', `names the protocol "tcp/1-2-3"; ${SERVICE}`],
  ['deny tcp/0 any', 'names the ports tcp/0; expected ports from 1 to 65535'],
  ['deny tcp/65536 any', 'names the ports tcp/65536; expected ports from 1 to 65535'],
  ['deny udp/9-8 any', 'names the ports udp/9-8; expected ports from 1 to 65535, the lower one of two first'],
  ['deny 10.0.0.256', `names the network "10.0.0.256"; ${TARGET}`],
  ['deny 10.0.0.0/33', `names the network "10.0.0.0/33"; ${TARGET}`],
  ['deny 10.0.0.0/08', `names the network "10.0.0.0/08"; ${TARGET}`],
  ['deny 10.0.0.0/', `names the network "10.0.0.0/"; ${TARGET}`],
  ['deny 10.0.0', `names the network "10.0.0"; ${TARGET}`],
  ['deny 10.0.0.1/8', 'names the network 10.0.0.1/8 with host bits set; expected 10.0.0.0/8'],
  ['deny all', `names the target "all"; ${TARGET} (a name without a dot ends with one)`],
  ['deny *', 'names the target "*"; expected'],
  ['deny .', 'names the target "."; expected a DNS name'],
  ['deny *.', 'names the target "*."; expected a DNS name'],
  ['deny a..b', 'names the target "a..b"; expected a DNS name'],
  ['deny a.*.b', 'names the target "a.*.b"; expected a DNS name'],
  ['deny -a.b', 'names the target "-a.b"; expected a DNS name'],
  [`deny ${'a'.repeat(64)}.b`, `names the target "${'a'.repeat(64)}.b"; expected a DNS name`],
  ['deny fd00::/8', `names the target "fd00::/8"; ${TARGET}`],
  ['deny tcp/853 encrypted-dns', 'names tcp/853 before encrypted-dns, which has ports of its own; expected'],
  ['a/b deny any', 'names the guest "a/b"; expected a tap, an address, a network or a MAC address'],
  ['10.0.0.300 deny any', 'names the network "10.0.0.300"; expected a tap, an address'],
  [
    '192.168.100.10/28 deny any',
    'names the network 192.168.100.10/28 with host bits set; expected 192.168.100.0/28',
  ],
  ['tap7 deny any', 'names the guest tap7; expected one of the ports, an address in 192.168.100.0/24'],
  ['10.0.0.1 deny any', 'names the guests 10.0.0.1, outside 192.168.100.0/24; expected'],
  ['192.168.0.0/16 deny any', 'names the guests 192.168.0.0/16, outside 192.168.100.0/24; expected'],
  ['0.0.0.0/0 deny any', 'names the guests 0.0.0.0/0, outside 192.168.100.0/24; expected'],
  ['192.168.100.1 deny any', 'names 192.168.100.1, which is the gateway; expected'],
  ['192.168.100.254 deny any', 'names 192.168.100.254, which is the NAT address; expected'],
  [
    'deny 192.168.100.9',
    'names the target 192.168.100.9, which is in 192.168.100.0/24; expected one outside',
  ],
  ['deny 192.168.100.0/25', 'names the target 192.168.100.0/25, which is in 192.168.100.0/24; expected'],
];

test('bad rules get one sentence each', () => {
  for (const [text, why] of BAD) {
    const begins = `--egress-rule ${/^\S+$/.test(text) ? text : JSON.stringify(text)}: ${why}`;
    const message = refusal(text);
    assert.ok(message.startsWith(begins), `\n  got  ${message}\n  want ${begins}`);
    assert.not.match(message, /\n/);
    assert.match(message, /expected/);
  }
});

test('what is refused in one of several names it; there are at most 256; none beside an isolated network', () => {
  assert.match(refusal('deny any,deny 10.0.0.1/8'), '10.0.0.1/8 with host bits');
  assert.match(refusal(Array(257).fill('deny any')), 'has 257 rules; expected at most 256');
  assert.is(refusal(Array(256).fill('deny any')), 'accepted');
  assert.match(refusal('deny any', { uplink: 'none' }), 'is given beside uplink none; expected');
  assert.match(refusal([]), 'accepted');
  assert.match(refusal('deny any', { egress: 'some' }), '--egress some: expected all, internet-only or none');
});

test('any text gives rules or a refusal that says what is expected', () => {
  const words = fc.constantFrom(
    'allow',
    'deny',
    'any',
    'tcp/1-2',
    '10.0.0.0/8',
    '*.a.b',
    'tap0',
    '',
    '-',
    '/',
  );
  const texts = fc.oneof(
    fc.string(),
    fc.array(words).map(each => each.join(' ')),
  );
  fc.assert(
    fc.property(texts, text => {
      const rules = parseEgressRules([text]);
      if (rules instanceof Refusal) assert.match(rules.why, /expected/);
      else assert.is(rules.length, 1);
    }),
    { seed: 1, numRuns: 5_000 },
  );
});

test.run();
