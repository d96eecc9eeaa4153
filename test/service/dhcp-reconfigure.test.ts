/** A DHCP service that is told other settings while it runs: what clients have, and were offered, stays theirs. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { answerOf, clientFrame, GATEWAY_MAC, ip, SERVER } from '../../fixtures/dhcp.ts';
import { DhcpService, type DhcpServiceOptions } from '../../src/service/dhcp/service.ts';
import { MemoryStore } from '../../src/service/dhcp/store.ts';
import { MessageType } from '../../src/wire/dhcp.ts';

const { Discover, Offer, Request, Ack, Nak } = MessageType;
const NOW_MS = 1_800_000_000_000;
const SETTINGS = {
  network: ip('10.1.0.0'),
  mask: ip('255.255.0.0'),
  broadcast: ip('10.1.255.255'),
  gateway: SERVER,
  gatewayMac: GATEWAY_MAC,
  natAddress: ip('10.1.255.254'),
  mtu: 1500,
  first: ip('10.1.0.10'),
  last: ip('10.1.0.20'),
  leaseTimeS: 3_600,
  dns: [ip('10.1.0.1')],
  domain: '',
};

type Answer = ReturnType<typeof answerOf>['message'];

function bench() {
  const answers: Answer[] = [];
  const options: DhcpServiceOptions = {
    ...SETTINGS,
    store: new MemoryStore(),
    send: frame => void answers.push(answerOf(frame).message),
    resolvers: () => [],
    portName: index => `tap${index}`,
    log: () => {},
    now: () => NOW_MS,
  };
  const service = new DhcpService(options);
  const ask = async (frame: Uint8Array): Promise<Answer | undefined> => {
    answers.length = 0;
    service.handle(frame, 0, NOW_MS);
    await service.settled();
    return answers[0];
  };
  return { service, ask };
}

const select = (client: number, requested: number): Uint8Array =>
  clientFrame(Request, { client, requested: requested as ReturnType<typeof ip>, server: SERVER });

test('a lease stays, and is renewed for the new time', async () => {
  const { service, ask } = bench();
  const first = await ask(select(1, ip('10.1.0.15')));
  assert.equal([first?.type, first?.yiaddr], [Ack, ip('10.1.0.15')]);
  await service.reconfigure({ leaseTimeS: 7_200 });
  assert.equal(
    service.leases().map(({ address, state }) => [address, state]),
    [['10.1.0.15', 'bound']],
  );
  assert.is((await ask(select(1, ip('10.1.0.15'))))?.type, Ack);
  assert.is(service.leases()[0]?.expires, NOW_MS / 1_000 + 7_200);
});

test('an offer that is out is held, for its client and against others', async () => {
  const { service, ask } = bench();
  const offer = await ask(clientFrame(Discover, { client: 1 }));
  assert.is(offer?.type, Offer);
  await service.reconfigure({ leaseTimeS: 7_200 });
  const other = await ask(clientFrame(Discover, { client: 2, requested: offer!.yiaddr }));
  assert.is(other?.type, Offer);
  assert.is.not(other?.yiaddr, offer?.yiaddr);
  assert.equal([(await ask(select(1, offer!.yiaddr)))?.type], [Ack]);
});

test('an address that is in no pool any more is refused to its client; the next one is in the new pool', async () => {
  const { service, ask } = bench();
  await ask(select(1, ip('10.1.0.15')));
  await service.reconfigure({ first: ip('10.1.0.30'), last: ip('10.1.0.40') });
  assert.is((await ask(select(1, ip('10.1.0.15'))))?.type, Nak);
  const offer = await ask(clientFrame(Discover, { client: 1 }));
  assert.ok(offer!.yiaddr >= ip('10.1.0.30') && offer!.yiaddr <= ip('10.1.0.40'));
});

test.run();
