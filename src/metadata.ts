/**
 * The metadata service's wiring: who a caller is, by the data plane's table; what is known of a guest, by leases and
 * reservations; and who hears when one phones home.
 */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CloudInitConfig, Config } from './config.ts';
import type { CloudInitView, LeaseView } from './control/views.ts';
import { listEntries } from './dataplane/fdb.ts';
import { OperatorError } from './errors.ts';
import type { PhoneHomeEvent } from './events/bus.ts';
import { callerKey, callerOf } from './gateway/callers.ts';
import { checkHook, Hook } from './host/hook.ts';
import { toldNames } from './identity.ts';
import type { PortTable } from './porttable.ts';
import { Reservations } from './service/dhcp/reservations.ts';
import { Instances } from './service/metadata/instances.ts';
import { MetadataServer } from './service/metadata/server.ts';
import { type Guest, MetadataService, type PhoneHome } from './service/metadata/service.ts';
import { formatIp4, formatMac, type Ip4, parseIp4 } from './wire/address.ts';

export interface MetadataParts {
  readonly config: Config;
  readonly callers: SharedArrayBuffer | undefined;
  readonly fdb: SharedArrayBuffer;
  readonly ports: PortTable;
  /** Tells the gateway of the ports. */
  serve(port: number, aliasPort: number): void;
  leases(): readonly LeaseView[];
  /** The running lease of a machine on a port. */
  leaseOf(mac: string, port: string): LeaseView | undefined;
  /** The host's own name servers. */
  resolvers(): readonly Ip4[];
  told(event: PhoneHomeEvent): void;
  log(level: 'debug' | 'info' | 'warn', sentence: string): void;
}

const NO_ADDRESS = '-';

/** Refuses a folder that can't be served from; to be called before anything is changed. */
export async function checkFolder(cloudInit: CloudInitConfig | undefined): Promise<void> {
  if (cloudInit === undefined) return;
  const { folder, phoneHomeHook } = cloudInit;
  try {
    if (!(await stat(folder)).isDirectory()) throw new Error('it is no folder');
    await access(folder, constants.R_OK | constants.X_OK);
  } catch (cause) {
    throw new OperatorError(
      `--cloud-init ${folder}: can't be read (${reasonOf(cause)}); expected a folder with default/user-data or tap0/user-data in it`,
      { code: 'Usage', cause },
    );
  }
  if (phoneHomeHook !== undefined) checkHook('phone-home-hook', phoneHomeHook);
}

const reasonOf = (cause: unknown): string =>
  (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;

export class Metadata {
  readonly #parts: MetadataParts;
  #config: Config;
  #reservations: Reservations;
  #service: MetadataService | undefined;
  #server: MetadataServer | undefined;
  #instances: Instances | undefined;
  #hook: Hook | undefined;

  constructor(parts: MetadataParts) {
    this.#parts = parts;
    this.#config = parts.config;
    this.#reservations = new Reservations(parts.config.dhcp?.hosts ?? []);
  }

  /** Other reservations and resolvers. */
  reconfigure(config: Config): void {
    this.#config = config;
    this.#reservations = new Reservations(config.dhcp?.hosts ?? []);
  }

  /** Serves guests, if that is configured; the gateway's address must be on the uplink. */
  async start(): Promise<void> {
    const { config, log, serve } = this.#parts;
    const { cloudInit, subnet, name } = config;
    if (cloudInit === undefined) return;
    if (cloudInit.phoneHomeHook !== undefined)
      this.#hook = new Hook({
        option: 'phone-home-hook',
        program: cloudInit.phoneHomeHook,
        warn: sentence => log('warn', sentence),
      });
    const gateway = formatIp4(subnet.gateway);
    const url = `http://${gateway}:${cloudInit.port}/`;
    this.#instances = openInstances(join(config.stateDir, `${name}.cloud-init`), sentence =>
      log('warn', sentence),
    );
    this.#service = new MetadataService({
      folder: cloudInit.folder,
      switchName: name,
      url,
      gateway,
      domain: toldNames(config).domain,
      instances: this.#instances,
      dns: () => this.#resolvers().map(formatIp4),
      known: guest => this.#known(guest),
      phonedHome: event => this.#phonedHome(event),
      log,
      now: Date.now,
    });
    this.#server = new MetadataServer({
      address: gateway,
      port: cloudInit.port,
      service: this.#service,
      isTaken: port => config.forwards.some(forward => forward.protocol === 'tcp' && forward.port === port),
      callerOf: (address, port, aliased) => this.#callerOf(address, port, aliased),
    });
    try {
      serve(cloudInit.port, await this.#server.listen());
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== 'EADDRINUSE') throw cause;
      throw new OperatorError(
        `--cloud-init-port ${cloudInit.port}: another program of this host waits at that TCP port; expected a free one`,
        { code: 'Busy', cause },
      );
    }
    log('info', `cloud-init: ${cloudInit.folder} is served at ${url} and at 169.254.169.254`);
  }

  async close(): Promise<void> {
    await this.#server?.close();
    await this.#hook?.stop();
  }

  /** What the guest on a port gets. */
  async view(port: string): Promise<CloudInitView> {
    const { service } = this.#running(port);
    return service.view(this.#guestOn(port));
  }

  /** A new password for the guest on a port, and all of it served again. */
  async reset(port: string): Promise<CloudInitView> {
    const { instances } = this.#running(port);
    await instances.reset(port);
    return this.view(port);
  }

  #running(port: string): { service: MetadataService; instances: Instances } {
    if (this.#service === undefined || this.#instances === undefined)
      throw usage('cloud-init is not served; expected a switch that was started with --cloud-init DIR');
    const guests = this.#parts.ports.guests();
    if (!guests.includes(port)) throw usage(`there is no port ${port}; expected one of ${guests.join(', ')}`);
    return { service: this.#service, instances: this.#instances };
  }

  /** Whoever was heard last on a port, else whoever has a lease there. */
  #guestOn(port: string): Guest {
    const { fdb, ports, leases } = this.#parts;
    const index = ports.indexOf(port);
    const [heard] = listEntries(fdb)
      .filter(entry => entry.port === index)
      .sort((a, b) => b.seenS - a.seenS);
    const lease = leases().find(candidate => candidate.port === port && candidate.state === 'bound');
    const mac = heard === undefined ? lease?.mac : formatMac(heard.hi, heard.lo);
    if (mac === undefined)
      throw usage(
        `nobody has been heard on ${port} yet; expected a guest, whose MAC address is a part of what it gets`,
      );
    return { port, mac, address: NO_ADDRESS };
  }

  #callerOf(address: string, port: number, aliased: boolean): Guest | undefined {
    const ip = parseIp4(address);
    const { callers, ports } = this.#parts;
    if (ip === undefined || callers === undefined) return undefined;
    const caller = callerOf(callers, ip, callerKey(port, aliased));
    return caller && { port: ports.nameOf(caller.ingress), mac: formatMac(caller.hi, caller.lo), address };
  }

  /** A reservation is the operator's word, a lease the next best. */
  #known({ port, mac }: Guest): { hostname?: string; address?: string } {
    const lease = this.#parts.leaseOf(mac, port);
    const host = this.#reservations.find(port, lease?.client ?? '', mac);
    const address = lease?.address ?? (host && formatIp4(host.address));
    return {
      ...(host === undefined || host.name === '' ? {} : { hostname: host.name }),
      ...(address === undefined ? {} : { address }),
    };
  }

  #resolvers(): readonly Ip4[] {
    const { dns } = toldNames(this.#config);
    return dns.length > 0 ? dns : this.#parts.resolvers();
  }

  #phonedHome(event: PhoneHome): void {
    const { port, mac, address, instanceId, hostname } = event;
    this.#hook?.put({
      words: [],
      source: port,
      environment: {
        VSWITCHD_EVENT: 'phone-home',
        VSWITCHD_ADDRESS: address,
        VSWITCHD_MAC: mac,
        VSWITCHD_HOSTNAME: hostname,
        VSWITCHD_PORT: port,
        VSWITCHD_INSTANCE_ID: instanceId,
        VSWITCHD_NAME: this.#parts.config.name,
      },
      input: `${JSON.stringify(event)}\n`,
    });
    this.#parts.told({ event: 'phone-home', address, mac, hostname, port, instanceId });
  }
}

function openInstances(folder: string, warn: (sentence: string) => void): Instances {
  try {
    return new Instances(folder, Date.now, warn);
  } catch (cause) {
    throw new OperatorError(
      `${folder}, where guests' passwords are kept, can't be had: ${(cause as Error).message}; expected a folder that can be written`,
      { code: 'State', cause },
    );
  }
}

const usage = (message: string): OperatorError => new OperatorError(message, { code: 'Usage' });
