/** Port forwards in the control plane: what is refused, who has a name, and that host and gateway are told the same. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ip } from '../fixtures/packets.ts';
import { type Forward, readConfig } from '../src/config.ts';
import { OperatorError } from '../src/errors.ts';
import {
  Forwarding,
  type ForwardingParts,
  type LeaseChange,
  type NamedLease,
  nameOf,
} from '../src/forwarding.ts';
import type { NatForward } from '../src/gateway/nat.ts';
import { parseForwards } from '../src/settings/forward.ts';
import { Refusal } from '../src/settings/schema.ts';

interface Bench {
  readonly forwarding: Forwarding;
  readonly leases: NamedLease[];
  readonly warnings: string[];
  readonly told: { host: readonly string[]; gateway: readonly NatForward[] };
}

function bench(forward = '', parts: Partial<ForwardingParts> = {}): Bench {
  const config = readConfig({
    subnet: '192.168.100.0/24',
    taps: 'tap0',
    ...(forward === '' ? {} : { forward }),
  });
  const leases: NamedLease[] = [];
  const warnings: string[] = [];
  const told: Bench['told'] = { host: [], gateway: [] };
  const forwarding = new Forwarding({
    config,
    leases: () => leases,
    gateway: forwards => {
      told.gateway = forwards;
    },
    host: async (forwards: readonly Forward[]) => {
      told.host = forwards.map(nameOf);
    },
    taken: () => undefined,
    warn: sentence => void warnings.push(sentence),
    ...parts,
  });
  return { forwarding, leases, warnings, told };
}

async function refusal(act: () => Promise<void>): Promise<OperatorError> {
  try {
    await act();
  } catch (error) {
    assert.instance(error, OperatorError);
    return error as OperatorError;
  }
  throw new Error('accepted');
}

const bound = (address: string, hostname: string): NamedLease => ({ address, hostname, state: 'bound' });

/** A change of some lease whose guest is called so. */
const renamed = (hostname: string, address = '192.168.100.77'): LeaseChange[] => [
  { ip: ip(address), before: undefined, after: { hostname } },
];

test('what the configuration asks for is told to host and gateway', async () => {
  const { forwarding, told } = bench('8080:192.168.100.10:80,udp/53:192.168.100.11:5353');
  await forwarding.start();
  assert.equal(told.host, ['tcp/8080', 'udp/53']);
  assert.equal(told.gateway, [
    { protocol: 6, port: 8080, guest: ip('192.168.100.10'), guestPort: 80 },
    { protocol: 17, port: 53, guest: ip('192.168.100.11'), guestPort: 5353 },
  ]);
});

test('added and taken away at run time', async () => {
  const { forwarding, told } = bench('8080:192.168.100.10:80');
  await forwarding.start();
  await forwarding.add('tcp/22:192.168.100.11:22');
  assert.equal(told.host, ['tcp/8080', 'tcp/22']);
  await forwarding.remove('tcp/8080');
  assert.equal(told.host, ['tcp/22']);
  assert.equal(
    told.gateway.map(({ port }) => port),
    [22],
  );
});

for (const [text, why] of [
  ['nonsense', /^forward nonsense: expected PORT:GUEST:PORT, such as/],
  ['0:192.168.100.10:80', /names the port 0; expected ports from 1 to 65535/],
  ['8080:192.168.100.10:65536', /names the port 65536/],
  ['8080:10.0.0.1:80', /names 10.0.0.1, which is outside 192.168.100.0\/24; expected a guest's address/],
  ['8080:192.168.100.1:80', /which is the gateway/],
  ['8080:192.168.100.254:80', /which is the NAT address/],
  ['8080:192.168.100.300:80', /expected PORT:GUEST:PORT/],
  ['8080:-vm:80', /names the guest "-vm"/],
  ['sctp/1:192.168.100.10:1', /expected PORT:GUEST:PORT/],
  ['80:192.168.100.10:80', /tcp\/80: is there already/],
] as const)
  test(`refused: ${text}`, async () => {
    const { forwarding, told } = bench('80:192.168.100.10:80');
    await forwarding.start();
    const error = await refusal(() => forwarding.add(text));
    assert.match(error.message, why);
    assert.is(error.exitCode, 2);
    assert.equal(told.host, ['tcp/80'], 'nothing has changed');
  });

test('one list with a port twice is refused', () => {
  const said = parseForwards(['80:vm1:80', 'tcp/80:vm2:80']);
  assert.instance(said, Refusal);
  assert.is((said as Refusal).why, 'forwards tcp/80 twice; expected each port once');
});

test('a port that the host itself uses is refused at the start and later', async () => {
  const taken = ({ port }: Forward): string | undefined => (port === 22 ? 'tcp/22 is taken' : undefined);
  const first = bench('22:192.168.100.10:22', { taken });
  assert.match((await refusal(async () => first.forwarding.check())).message, /^forward tcp\/22 is taken$/);
  assert.equal(first.told.host, []);
  const later = bench('', { taken });
  await later.forwarding.start();
  const error = await refusal(() => later.forwarding.add('22:192.168.100.10:22'));
  assert.is(error.exitCode, 3);
});

test('what is not there can’t be taken away', async () => {
  const { forwarding } = bench();
  await forwarding.start();
  assert.match((await refusal(() => forwarding.remove('tcp/1'))).message, /tcp\/1: there is none/);
});

test('a name is followed from lease to lease', async () => {
  const { forwarding, leases, told } = bench('80:vm1:80');
  await forwarding.start();
  assert.equal(told.gateway, []);
  assert.equal(forwarding.list(), [{ protocol: 'tcp', port: 80, guest: 'vm1', guestPort: 80 }]);
  leases.push(bound('192.168.100.10', 'VM1'));
  forwarding.leasesChanged(renamed('vm1'));
  assert.is(told.gateway[0]?.guest, ip('192.168.100.10'));
  leases.splice(0, 1, bound('192.168.100.20', 'vm1'));
  forwarding.leasesChanged(renamed('vm1'));
  assert.is(told.gateway[0]?.guest, ip('192.168.100.20'));
  assert.is(forwarding.list()[0]?.address, '192.168.100.20');
});

test('a guest that takes a name that another has gets nothing of its', async () => {
  const { forwarding, leases, told, warnings } = bench('80:vm1:80');
  leases.push(bound('192.168.100.10', 'vm1'));
  await forwarding.start();
  leases.push(bound('192.168.100.9', 'vm1'));
  forwarding.leasesChanged(renamed('vm1'));
  assert.is(told.gateway[0]?.guest, ip('192.168.100.10'));
  leases.splice(0, 1, bound('192.168.100.8', 'vm1'));
  forwarding.leasesChanged(renamed('vm1'));
  assert.equal(told.gateway, [], 'two of them, and neither had it');
  assert.match(warnings.join(), /2 guests call themselves vm1/);
});

test('a reserved name is the reservation’s, whoever calls itself so, and whether its guest is there or not', async () => {
  const { dhcp, ...config } = readConfig({
    subnet: '192.168.100.0/24',
    taps: 'tap0',
    host: ['VM1,tap0,192.168.100.50'],
    forward: '80:Vm1:80',
  });
  const { forwarding, leases, told } = bench('', { config: { ...config, dhcp } });
  leases.push(bound('192.168.100.10', 'vm1'));
  await forwarding.start();
  assert.is(told.gateway[0]?.guest, ip('192.168.100.50'));
  assert.is(forwarding.list()[0]?.address, '192.168.100.50');
});

test('leases are looked through for changes that concern a named guest alone', async () => {
  let looked = 0;
  const leases = [bound('192.168.100.10', 'vm1')];
  const all = () => {
    looked++;
    return leases;
  };
  const { forwarding, told } = bench('80:vm1:80', { leases: all });
  await forwarding.start();
  assert.is(looked, 1);
  for (let i = 0; i < 100; i++) forwarding.leasesChanged(renamed('vm2'));
  assert.is(looked, 1);
  leases.splice(0);
  forwarding.leasesChanged(renamed('', '192.168.100.10')); // its address is another's
  assert.is(looked, 2);
  assert.equal(told.gateway, []);
});

test('changes that come together are made one after the other, and a failed one changes nothing', async () => {
  let failing = false;
  const made: string[] = [];
  const { forwarding, told } = bench('', {
    host: async forwards => {
      await new Promise(resolve => setImmediate(resolve));
      if (failing) throw new Error('nft: no');
      made.push(forwards.map(nameOf).join(' '));
    },
  });
  await forwarding.start();
  await Promise.all([forwarding.add('1:192.168.100.10:1'), forwarding.add('2:192.168.100.10:2')]);
  assert.equal(made, ['tcp/1', 'tcp/1 tcp/2']);
  failing = true;
  await forwarding.remove('tcp/1').then(
    () => assert.unreachable(),
    () => undefined,
  );
  assert.is(told.gateway.length, 2);
  assert.is(forwarding.list().length, 2);
});

test.run();
