/** Where does a frame go? This list is the answer. */
import type { Mac } from '../wire/address.ts';
import type { Batch, Stage } from './batch.ts';
import type { Fdb } from './fdb.ts';
import { forward } from './forward.ts';
import { guard } from './guard.ts';
import { learn } from './learn.ts';
import { parse } from './parse.ts';

/** A stage that is not made for one batch. */
export interface BatchStage {
  readonly name: string;
  run(batch: Batch): void;
}

export interface Parts {
  readonly batch: Batch;
  readonly fdb: Fdb;
  /** ARP, ICMP, routing, NAT; punts. Undefined: a switch without a gateway. */
  readonly gateway: BatchStage | undefined;
  readonly gatewayMac: Mac | undefined;
}

export const pipeline = (parts: Parts): readonly Stage[] => [
  parse(parts.batch), //                               bytes → offsets, or a drop reason
  guard(parts.batch, parts.gatewayMac), //             may this port send this?
  learn(parts.batch, parts.fdb), //                    source MAC → ingress port
  ...bound(parts.gateway, parts.batch), //             what is for the gateway, and what it routes
  forward(parts.batch, parts.fdb), //                  destination MAC → egress ports
];

const bound = (stage: BatchStage | undefined, batch: Batch): Stage[] =>
  stage === undefined ? [] : [{ name: stage.name, run: () => stage.run(batch) }];
