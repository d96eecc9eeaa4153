/** Where does a frame go? This list is the answer. */
import type { Mac } from '../wire/address.ts';
import type { Stage } from './batch.ts';
import type { Fdb } from './fdb.ts';
import { forward } from './forward.ts';
import { guard } from './guard.ts';
import { learn } from './learn.ts';
import { parse } from './parse.ts';

export interface Parts {
  readonly fdb: Fdb;
  /** ARP, ICMP, routing, NAT; punts. Undefined: a switch without a gateway. */
  readonly gateway: Stage | undefined;
  readonly gatewayMac: Mac | undefined;
}

export const pipeline = (parts: Parts): readonly Stage[] => [
  parse, //                                            bytes → offsets, or a drop reason
  guard(parts.gatewayMac), //                          may this port send this?
  learn(parts.fdb), //                                 source MAC → ingress port
  ...(parts.gateway === undefined ? [] : [parts.gateway]), // what is for the gateway, and what it routes
  forward(parts.fdb), //                               destination MAC → egress ports
];
