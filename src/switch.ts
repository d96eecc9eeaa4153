/**
 * A running switch: its parts and the wires between them. Nothing is decided here; what stands here is the order.
 *
 *   locks → data plane → uplink → host plan, and undo what a killed instance left → leases → taps → API → ready
 *
 * Stopping goes the other way. A start that fails undoes what it had done.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from './config.ts';
import { Api } from './control/api.ts';
import { UPLINK_PORT } from './dataplane/messages.ts';
import { Plane } from './dataplane/plane.ts';
import { OperatorError } from './errors.ts';
import { make, readPresent } from './host/apply.ts';
import type { Change } from './host/changes.ts';
import { Journal } from './host/journal.ts';
import { checkRoutes } from './host/links.ts';
import { Locks } from './host/locks.ts';
import { nftPresent } from './host/nft.ts';
import { FORWARDING, type Present, plan } from './host/plan.ts';
import { Shields } from './host/shield.ts';
import { TapFollower } from './host/taps.ts';
import { undo, undoStale } from './host/undo.ts';
import { dhcpSettings, gatewaySettings } from './identity.ts';
import type { Log } from './log.ts';
import { loadNative } from './port/native.ts';
import { PortTable } from './porttable.ts';
import { hostResolvers } from './service/dhcp/resolvers.ts';
import { DhcpService } from './service/dhcp/service.ts';
import { SqliteStore } from './service/dhcp/sqlite.ts';
import { viewsOf } from './status.ts';
import { uplinkOf } from './uplink.ts';

/** Where the journal of a switch is. */
export const journalPath = (config: Pick<Config, 'name' | 'stateDir'>): string =>
  join(config.stateDir, `${config.name}.journal`);

export class Switch {
  readonly #config: Config;
  readonly #log: Log;
  readonly #failed: (cause: Error) => void;
  readonly #native = loadNative();
  readonly #locks = new Locks();
  readonly #ports: PortTable;
  /** How to end what has been started, in the order of starting. */
  readonly #endings: (() => unknown)[] = [];

  /** `failed` is called when the data plane ends by itself: then there is nothing left to run. */
  constructor(config: Config, log: Log, failed: (cause: Error) => void) {
    this.#config = config;
    this.#log = log;
    this.#failed = failed;
    this.#ports = new PortTable(config);
  }

  /** Starts everything; when it throws, nothing is left of it. */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Ends everything, as far as it was started, and undoes every change to the host. */
  async stop(): Promise<void> {
    for (const end of this.#endings.splice(0).reverse()) {
      try {
        await end();
      } catch (error) {
        this.#log.error({ err: error }, 'while stopping');
      }
    }
  }

  async #start(): Promise<void> {
    const config = this.#config;
    await this.#locks.take(config);
    this.#endings.push(() => this.#locks.release());
    const journal = openJournal(config);
    const plane = this.#startPlane(); // first: its thread starts while the host is looked at
    const [present] = await Promise.all([readPresent(journal.changes), checkRoutes(config)]);
    const uplink = uplinkOf({ config, native: this.#native, plane, ports: this.#ports, log: this.#log });
    this.#endings.push(() => uplink.close());
    await uplink.open();
    const shields = new Shields(config.name, journal, config.firewall !== 'none');
    await this.#changeHost(journal, present, shields);
    const dhcp = this.#startDhcp(plane);
    this.#endings.push(() => uplink.detach());
    await uplink.attach();
    await this.#followTaps(plane, journal, shields);
    const api = new Api(
      join(config.runDir, `${config.name}.sock`),
      viewsOf(config, plane.memory, this.#ports, dhcp),
    );
    await api.listen();
    this.#endings.push(() => api.close());
  }

  #startPlane(): Plane {
    const { maxMacs, ageingS } = this.#config;
    const { kind } = this.#config.uplink;
    const plane = new Plane({
      maxMacs,
      ageingS,
      uplink: kind === 'tun' || kind === 'passt' ? UPLINK_PORT : -1,
      routes: kind !== 'bridge',
      seed: randomBytes(4).readInt32LE(),
      gateway: gatewaySettings(this.#config),
    });
    plane.on('failed', cause => this.#failed(cause));
    this.#endings.push(() => plane.stop());
    return plane;
  }

  async #changeHost(journal: Journal, present: Present, shields: Shields): Promise<void> {
    const { firewall, name } = this.#config;
    if (firewall === 'nft' && !nftPresent())
      throw new OperatorError('--firewall nft: nft is not installed; apt-get install nftables', {
        code: 'MissingTool',
      });
    const usable = firewall !== 'none' && nftPresent();
    if (firewall === 'auto' && !usable && this.#config.uplink.kind === 'tun')
      this.#log.warn(
        'nft is not installed, so guests can reach the host but not the outside; apt-get install nftables',
      );
    const changes: readonly Change[] = plan(
      usable ? this.#config : { ...this.#config, firewall: 'none' },
      present,
    );
    const undone = await undoStale(journal, [...changes, ...(await this.#tapsLeft(journal, shields))]);
    if (undone > 0) this.#log.info(`undid ${undone} changes that a killed instance had left`);
    journal.record(changes);
    // All that is in the journal, but for the taps and links, which the follower sees to when it has come so far.
    this.#endings.push(async () => {
      await this.#locks.needNoMore();
      await undo(
        journal,
        journal.changes.filter(change => change.kind !== 'tap' && change.kind !== 'link'),
      );
    });
    if (this.#config.uplink.kind === 'tun')
      await this.#locks.need(FORWARDING, present.sysctl(FORWARDING) ?? '1', name);
    await make(changes);
    // IPv6 on the uplink would let the host talk to what no guest sees; the setting goes with the interface.
    if (this.#config.uplink.kind === 'tun')
      writeIfPresent(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1');
  }

  /** What a killed instance has left of taps that are wanted again: a guest may hold them. */
  async #tapsLeft(journal: Journal, shields: Shields): Promise<Change[]> {
    const names = this.#config.taps.map(tap => tap.name);
    const left = journal.changes.filter(
      change =>
        (change.kind === 'tap' && names.includes(change.name)) ||
        (change.kind === 'link' && names.includes(change.interface)),
    );
    const raised = await Promise.all(names.map(name => shields.changesFor(name)));
    return [...left, ...raised.flat()];
  }

  #startDhcp(plane: Plane): DhcpService | undefined {
    const config = this.#config;
    if (config.dhcp === undefined) return undefined;
    const service = new DhcpService({
      ...dhcpSettings(config, config.dhcp),
      store: new SqliteStore(
        join(config.stateDir, `${config.name}.leases.db`),
        text => this.#log.warn(text),
        Date.now(),
      ),
      send: (frame, egress) => void plane.inject(frame, egress),
      resolvers: hostResolvers,
      portName: index => this.#ports.nameOf(index),
      log: (level, sentence) => this.#log[level](sentence),
      now: Date.now,
    });
    plane.on('punt', (frame, ingress) => service.handle(frame, ingress, Date.now()));
    this.#endings.push(() => service.close());
    return service;
  }

  async #followTaps(plane: Plane, journal: Journal, shields: Shields): Promise<void> {
    const ports = this.#ports;
    const follower = new TapFollower(this.#native, this.#config, journal, shields, {
      attach: (name, port, netns) => {
        plane.attach(ports.indexOf(name), port);
        ports.attached(name, port.kind, netns);
        this.#log.info(
          `${name}: served at its ${port.kind === 'tap' ? 'device' : 'interface'} end${netns === undefined ? '' : ` in namespace ${netns}`}`,
        );
      },
      detach: (name, reason) => {
        plane.detach(ports.indexOf(name));
        ports.detached(name);
        this.#log.info(`${name}: down, ${reason}`);
      },
      carrier: (name, up) => {
        if (ports.carrier(name, up)) this.#log.info(`${name}: ${up ? 'up' : 'no guest'}`);
        if (!up) plane.flush(ports.indexOf(name));
      },
      located: (name, netns) => {
        ports.attached(name, 'tap', netns);
        this.#log.info(`${name}: now in namespace ${netns}`);
      },
      warn: sentence => this.#log.warn(sentence),
    });
    this.#endings.push(() => follower.stop());
    plane.on('gone', index => follower.gone(ports.nameOf(index)));
    await follower.start();
  }
}

function openJournal(config: Config): Journal {
  try {
    mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new OperatorError(
      `--state-dir ${config.stateDir} can't be made: ${(cause as Error).message}; name a folder that can be written`,
      {
        code: 'State',
        cause,
      },
    );
  }
  return new Journal(journalPath(config));
}

function writeIfPresent(path: string, value: string): void {
  try {
    writeFileSync(path, value);
  } catch {
    // this kernel has no IPv6
  }
}
