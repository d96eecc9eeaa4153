/** Where does a frame go? This list is the answer. */
import { setFlagsFromString } from 'node:v8';
import type { Mac } from '../wire/address.ts';
import type { Batch, Stage } from './batch.ts';
import type { Fdb } from './fdb.ts';
import { forward } from './forward.ts';
import { guard } from './guard.ts';
import { type InspectParts, inspect } from './inspect.ts';
import { learn } from './learn.ts';
import { parse } from './parse.ts';
import { type Allowances, storm } from './storm.ts';

// A stage is a closure over its batch's columns: what is compiled into it has their addresses as constants, what it calls has
// not. V8's usual budget for that (920 and 460 bytes of bytecode) leaves half of the NAT outside; a quarter of its speed.
setFlagsFromString('--max-inlined-bytecode-size-cumulative=3000');
setFlagsFromString('--max-inlined-bytecode-size=1000');

/** What makes a stage for a batch. */
export interface StageMaker {
  stage(batch: Batch): Stage;
}

export interface Parts {
  readonly batch: Batch;
  readonly fdb: Fdb;
  /** ARP, ICMP, routing, NAT; punts. Undefined: a switch without a gateway. */
  readonly gateway: StageMaker | undefined;
  readonly gatewayMac: Mac | undefined;
  /** The uplink's port, -1: none. */
  readonly uplink: number;
  /** Undefined: guests may say what they like of themselves. */
  readonly strict: Omit<InspectParts, 'uplink'> | undefined;
  /** What a guest may flood; undefined: as much as it likes. */
  readonly allowances: Allowances | undefined;
}

export const pipeline = (parts: Parts): readonly Stage[] => [
  parse(parts.batch, parts.fdb), //                    bytes → columns, or a drop reason
  guard(parts.batch, parts.gatewayMac), //             may this port send this?
  ...optional(parts.strict && inspect(parts.batch, { ...parts.strict, uplink: parts.uplink })), // with its own addresses?
  ...optional(parts.allowances && storm(parts.batch, parts.allowances)), //                  so much to so many?
  learn(parts.batch, parts.fdb, parts.uplink, parts.allowances), // source MAC → ingress port
  ...optional(parts.gateway?.stage(parts.batch)), //   what is for the gateway, and what it routes
  forward(parts.batch, parts.fdb, parts.allowances), // destination MAC → egress ports
];

const optional = (stage: Stage | undefined): Stage[] => (stage === undefined ? [] : [stage]);
