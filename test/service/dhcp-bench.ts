/** A DHCP service with a clock of its own, between frames and a store in memory: what the tests of this folder talk to. */
import * as assert from 'uvu/assert';
import {
  type Answer,
  answerOf,
  clientFrame,
  GATEWAY_MAC,
  ip,
  type Said,
  SERVER,
} from '../../fixtures/dhcp.ts';
import { DhcpService, type DhcpServiceOptions } from '../../src/service/dhcp/service.ts';
import { type LeaseStore, MemoryStore } from '../../src/service/dhcp/store.ts';
import { formatIp4 } from '../../src/wire/address.ts';
import { MessageType } from '../../src/wire/dhcp.ts';

const { Discover, Request, Ack } = MessageType;
export const START_MS = 1_800_000_000_000;

/** The network of these services, and who they are on it. */
export const NETWORK = {
  network: ip('192.168.100.0'),
  mask: ip('255.255.255.0'),
  broadcast: ip('192.168.100.255'),
  gateway: SERVER,
  gatewayMac: GATEWAY_MAC,
  natAddress: ip('192.168.100.254'),
  mtu: 1500,
} as const;

/** A service with a clock of its own; `say` hands in one message and returns the answer. */
export function bench(more: Partial<DhcpServiceOptions> = {}) {
  const sent: { frame: Uint8Array; egress: number }[] = [];
  const logged: string[] = [];
  const clock = { nowMs: START_MS };
  const store: LeaseStore = more.store ?? new MemoryStore();
  const service = new DhcpService({
    ...NETWORK,
    first: ip('192.168.100.0'),
    last: ip('192.168.100.255'),
    leaseTimeS: 3600,
    dns: [],
    domain: 'vm.test',
    store,
    send: (frame, egress) => sent.push({ frame, egress }),
    resolvers: () => [ip('9.9.9.9')],
    portName: index => `tap${index}`,
    log: (_level, sentence) => logged.push(sentence),
    now: () => clock.nowMs,
    ...more,
  });
  const hand = async (frame: Uint8Array, ingress = 0): Promise<Answer | undefined> => {
    sent.length = 0;
    service.handle(frame, ingress, clock.nowMs);
    await service.settled();
    assert.ok(sent.length <= 1);
    return sent[0] === undefined ? undefined : answerOf(sent[0].frame);
  };
  const say = (type: MessageType, said: Said = {}, ingress = 0) => hand(clientFrame(type, said), ingress);
  const take = async (client: number, said: Said = {}): Promise<string> => {
    const offer = (await say(Discover, { ...said, client }))!;
    const requested = offer.message.yiaddr;
    const ack = (await say(Request, { ...said, client, requested, server: SERVER }))!;
    assert.is(ack.message.type, Ack);
    assert.is(ack.message.yiaddr, requested);
    return formatIp4(ack.message.yiaddr);
  };
  return { service, store, sent, logged, clock, hand, say, take };
}
