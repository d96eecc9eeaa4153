/** What the switch shows of itself, and what may be changed of it: the types of what `schemas.ts` describes, and who gives it. */
import type { ServerResponse } from 'node:http';
import type { z } from 'zod';
import type * as schemas from './schemas.ts';

type Deep<T> = T extends readonly (infer E)[]
  ? readonly Deep<E>[]
  : T extends object
    ? { readonly [K in keyof T]: Deep<T[K]> }
    : T;

type Of<K extends keyof typeof schemas> = (typeof schemas)[K] extends z.ZodType<infer T> ? Deep<T> : never;

export type PortView = Of<'portView'>;
export type MacView = Of<'macView'>;
export type LeaseView = Of<'leaseView'>;
export type FlowView = Of<'flowView'>;
export type ForwardView = Of<'forwardView'>;
export type EgressView = Of<'egressView'>;
export type DhcpView = Of<'dhcpView'>;
export type DnsView = Of<'dnsView'>;
export type StatusView = Of<'statusView'>;
export type CloudInitView = Of<'cloudInitView'>;
export type DifferenceView = Of<'differences'>[number];
export type ConfigFile = Of<'configFile'>;
/** Something that has happened; docs/operation.md lists all. */
export type EventView = Of<'eventView'>;

/** One function a resource; each reads the present state and copies it. */
export interface Views {
  status(): StatusView;
  ports(): PortView[];
  macs(): MacView[];
  leases(): LeaseView[];
  flows(): FlowView[];
  forwards(): ForwardView[];
  egress(): EgressView;
  dhcp(): DhcpView | null;
  /** Null where names are not served. */
  dns(): DnsView | null;
}

/** What may be changed at run time; an OperatorError says why something can't be. */
export interface Actions {
  /** As for `--forward`. */
  addForward(text: string): Promise<void>;
  /** `tcp/8080`. */
  removeForward(name: string): Promise<void>;
  /** What the guest on a port gets; it makes the guest's password, if that is asked for. */
  cloudInit(port: string): Promise<CloudInitView>;
  /** Forgets the port's passwords and that its guest has phoned home. */
  resetCloudInit(port: string): Promise<CloudInitView>;
  /** As for `--port`. */
  addPort(text: string): Promise<void>;
  removePort(name: string): Promise<void>;
  /** Up, or down whatever its guest does. */
  setPort(name: string, up: boolean): Promise<void>;
  /** Starts another process that goes on with everything; its id, when it is ready to. */
  restart(): Promise<number>;
  /** What the switch does, as a file would say it. */
  config(): unknown;
  /** What applying a file would change. */
  diffConfig(file: ConfigFile): readonly DifferenceView[];
  /** Changes what differs; all of it or nothing. */
  applyConfig(file: ConfigFile): Promise<readonly DifferenceView[]>;
  /** Answers with frames as they pass: `port` (a name, or `all`), `filter` (tcpdump's), `snaplen`. */
  capture(asked: URLSearchParams, response: ServerResponse): Promise<void>;
}
