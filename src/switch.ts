/**
 * A running switch: its parts and the wires between them. Nothing is decided here; what stands here is the order.
 *
 *   locks → data plane → uplink → host plan, and undo what a killed instance left → names → leases → cloud-init → ports
 *   → API → ready
 *
 * Stopping goes the other way. A start that fails undoes what it had done.
 */
import { join } from 'node:path';
import { Binder } from './binder.ts';
import { refusalOf } from './callers.ts';
import { Captures } from './capture/captures.ts';
import { monotonicMs } from './clock.ts';
import type { Config, EgressConfig } from './config.ts';
import { Api } from './control/api.ts';
import { Exporter } from './control/exporter.ts';
import type { ApiFigures } from './control/figures.ts';
import { metricsText } from './control/metrics.ts';
import type { Views } from './control/views.ts';
import { BY_ADDRESS, FLOOD } from './dataplane/batch.ts';
import { Counters } from './dataplane/counters.ts';
import { type GatewaySettings, UPLINK_PORT } from './dataplane/messages.ts';
import type { Plane } from './dataplane/plane.ts';
import { Endings } from './endings.ts';
import { OperatorError } from './errors.ts';
import { onlyGuest } from './events/leases.ts';
import { checkHooks, Life } from './events/life.ts';
import { WatchedPlane } from './events/watched.ts';
import { figuresOf } from './figures.ts';
import { makeFolder } from './folder.ts';
import { Forwarding } from './forwarding.ts';
import { MAX_NAMES } from './gateway/nametable.ts';
import type { EgressPolicy } from './gateway/policy.ts';
import type { Predecessor } from './handover/predecessor.ts';
import { Restart } from './handover/restart.ts';
import { beginAgain, heldFiles } from './handover/takeover.ts';
import { readPresent } from './host/apply.ts';
import { HostForwards } from './host/forwards.ts';
import { groupId, SOCKET_GROUP } from './host/group.ts';
import { Journal, journalPath } from './host/journal.ts';
import { checkLan, checkRoutes } from './host/links.ts';
import { Locks } from './host/locks.ts';
import { orphansEnded, signTools } from './host/orphans.ts';
import { Shields } from './host/shield.ts';
import { portFault } from './host/sockets.ts';
import { changeHost } from './hostchanges.ts';
import { dhcpSettings, egressPolicy, gatewaySettings } from './identity.ts';
import { openLeases } from './leasestore.ts';
import type { Log } from './log.ts';
import { checkFolder, Metadata } from './metadata.ts';
import { Naming } from './naming.ts';
import { type StartedPlane, startPlane } from './planestart.ts';
import { loadNative } from './port/native.ts';
import { PortLimit } from './portlimit.ts';
import { Ports, type PortsParts } from './ports.ts';
import { PortTable } from './porttable.ts';
import { Reconfigure, type Source } from './reconfigure.ts';
import type { Change as LeaseChange } from './service/dhcp/leases.ts';
import { DhcpService } from './service/dhcp/service.ts';
import { isDns } from './service/dns/service.ts';
import { NameService } from './service/names/service.ts';
import { hostResolvers } from './service/resolvers.ts';
import { viewsOf } from './status.ts';
import { uplinkOf } from './uplink.ts';
import { UNSPECIFIED } from './wire/address.ts';

/** How often leases are looked after that end. */
const DHCP_TICK_MS = 1_000;

/** Where its control socket is. */
export const socketPath = (config: Pick<Config, 'name' | 'runDir'>): string =>
  join(config.runDir, `${config.name}.sock`);

/** What the control API may change. */
interface Steered {
  readonly captures: Captures;
  readonly forwarding: Forwarding;
  readonly metadata: Metadata;
  readonly naming: Naming | undefined;
  readonly ports: Ports;
  readonly restart: Restart;
}

export class Switch {
  readonly #config: Config;
  readonly #source: Source;
  readonly #log: Log;
  readonly #failed: (cause: Error) => void;
  readonly #native = loadNative();
  readonly #locks = new Locks();
  readonly #ports: PortTable;
  readonly #life: Life;
  #dhcp: DhcpService | undefined;
  #binder: Binder | undefined;
  #hostForwards: HostForwards | undefined;
  #plane: Plane | undefined;
  #reconfigure: Reconfigure | undefined;
  readonly #gateway: GatewaySettings;
  /** The rules that hold by now. */
  #egress: { readonly config: EgressConfig; readonly policy: EgressPolicy };
  readonly #endings: Endings;
  readonly #predecessor: Predecessor | undefined;
  #succeeded: (pid: number) => void = () => undefined;
  /** Resolves when another process has taken over, with its id: then there is nothing to stop. */
  readonly succeeded = new Promise<number>(resolve => {
    this.#succeeded = resolve;
  });

  /** `source`: what the configuration was read from. `failed` is called when the data plane ends by itself: then there is nothing left to run. */
  constructor(
    config: Config,
    log: Log,
    failed: (cause: Error) => void,
    source: Source,
    predecessor?: Predecessor,
  ) {
    this.#predecessor = predecessor;
    this.#endings = new Endings(error => log.error({ err: error }, 'while stopping'));
    this.#config = config;
    this.#source = source;
    this.#log = log;
    this.#failed = failed;
    this.#life = new Life(config, log, port => this.#dhcp?.releasePort(port));
    this.#ports = new PortTable(config, this.#life.portTurned);
    this.#gateway = gatewaySettings(config, hostResolvers());
    this.#egress = { config: config.egress, policy: this.#gateway.egress };
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

  /** Reads the file of the start again, and changes what differs; a file that is wrong is told of in the log. */
  async reload(): Promise<void> {
    await this.#reconfigure?.reload();
  }

  /** Has the data plane answered since this was asked before? */
  answers(): boolean {
    return this.#plane?.answers() ?? false;
  }

  /** Ends everything, as far as it was started, and undoes every change to the host. */
  async stop(): Promise<void> {
    this.#life.stopping();
    await this.#endings.endAll();
  }

  async #start(): Promise<void> {
    const config = this.#config;
    checkHooks(config);
    await checkFolder(config.cloudInit);
    const before = this.#predecessor;
    if (before === undefined) await this.#takeLocks();
    const journal = openJournal(config);
    if (journal.changes.length > 0 && before === undefined) await orphansEnded(config.name);
    signTools(config.name);
    const { plane, keep } = this.#startPlane(); // first: its thread starts while the host is looked at
    const forwarding = this.#forwarding(plane);
    if (before === undefined) forwarding.check();
    const [present] = await Promise.all([
      readPresent(config, journal.changes),
      checkRoutes(config),
      checkLan(config),
    ]);
    if (before !== undefined) {
      await before.takeControl();
      await this.#takeLocks();
    }
    const uplink = uplinkOf({
      ...{ config, native: this.#native, plane, ports: this.#ports, log: this.#log },
      left: before?.hello.tun ?? -1,
    });
    this.#endings.addPorts(() => uplink.close());
    await uplink.open();
    const shields = new Shields(config.name, journal, present.backend.shields);
    await changeHost({
      ...{ config, journal, present, shields, log: this.#log },
      ...{ locks: this.#locks, endings: this.#endings },
    });
    if (config.uplink.kind === 'tun' && config.natAddress !== UNSPECIFIED)
      this.#hostForwards = new HostForwards(config, present, journal);
    const names = this.#watchNames(plane);
    const naming = this.#startNaming(plane, names);
    this.#dhcp = this.#startDhcp(plane, changes => {
      naming?.zone.changed(changes);
      forwarding.leasesChanged(changes);
    });
    naming?.load(this.#dhcp?.leases() ?? []);
    this.#endings.addPorts(() => uplink.detach());
    if (before === undefined) await uplink.attach();
    await naming?.listen();
    await forwarding.start();
    const metadata = await this.#serveMetadata(plane);
    const left = await before?.takeData();
    keep();
    if (left !== undefined) {
      plane.restore(left.flows, left.neighbours); // before any frame: a guest's next one would open another flow
      plane.gather();
      await uplink.attach();
    }
    const ports = await this.#openPorts({ plane, journal, shields, held: left && heldFiles(left) });
    if (left !== undefined) beginAgain(left, plane, this.#ports, this.#log);
    this.#limitPorts(plane, ports);
    const views = viewsOf(config, plane.memory, {
      ...{ ports: this.#ports, made: ports, dhcp: this.#dhcp, forwarding, life: this.#life, naming },
      egress: () => ({ ...this.#egress, names }),
    });
    const captures = new Captures({ plane, ports: this.#ports });
    const restart = new Restart({
      ...{ plane, ports, native: this.#native, table: this.#ports, log: this.#log, tun: uplink.file },
      written: () => this.#reconfigure?.written() ?? this.#source.written,
      endControl: () => this.#endings.endControl(),
      succeeded: pid => this.#succeeded(pid),
      failed: cause => this.#failed(cause),
    });
    await this.#listen(views, plane, { forwarding, metadata, naming, ports, captures, restart });
  }

  async #takeLocks(): Promise<void> {
    await this.#locks.take(this.#config);
    this.#endings.add(() => this.#locks.release());
  }

  async #listen(
    views: Views,
    plane: Plane,
    { forwarding, metadata, naming, ports, captures, restart }: Steered,
  ): Promise<void> {
    const metrics = (figures: ApiFigures): string =>
      metricsText(views, figuresOf(this.#config, plane.memory), figures);
    const reconfigure = new Reconfigure({
      ...{ config: this.#config, source: this.#source, ports, forwarding, log: this.#log },
      serve: config => this.#serve(config, { naming, forwarding, metadata }),
      police: (egress, ports) => this.#police(plane, egress, ports),
      told: event => this.#life.events.emit(event),
    });
    this.#reconfigure = reconfigure;
    const group = groupId(SOCKET_GROUP);
    const api = new Api(
      socketPath(this.#config),
      views,
      {
        addForward: text => forwarding.add(text),
        removeForward: name => forwarding.remove(name),
        cloudInit: port => metadata.view(port),
        resetCloudInit: port => metadata.reset(port),
        addPort: text => ports.add(text),
        removePort: name => ports.remove(name),
        setPort: (name, up) => ports.set(name, up),
        config: () => reconfigure.written(),
        diffConfig: file => reconfigure.diff({ ...file, wins: true }),
        applyConfig: file => reconfigure.apply({ ...file, wins: true }),
        capture: (asked, response) => captures.open(asked, response),
        restart: () => restart.begin(),
      },
      this.#watched(plane).on,
      undefined,
      metrics,
      connection => refusalOf(this.#native, connection, group),
    );
    await api.listen(group);
    this.#endings.add(
      () => api.close(),
      () => captures.close(),
    );
    if (this.#config.metrics === undefined) return;
    const exporter = new Exporter(this.#config.metrics, () => metrics(api.figures()));
    this.#endings.add(() => exporter.close());
    await exporter.listen();
  }

  #watched(plane: Plane): WatchedPlane {
    const watched = new WatchedPlane(this.#life.events, plane.memory, {
      portName: this.#ports.nameOf,
      guestOn: port => onlyGuest(this.#dhcp?.leases() ?? [], port),
    });
    this.#endings.add(() => watched.stop());
    return watched;
  }

  /** Other egress rules, about these ports, which need not be there yet. */
  #police(plane: Plane, config: EgressConfig, ports: readonly string[]): void {
    if (!this.#ports.keep(ports))
      throw new OperatorError('there are more ports than a switch can have', { code: 'Usage' });
    const policy = egressPolicy(config, hostResolvers(), this.#ports.indexFor);
    plane.egress(policy);
    this.#egress = { config, policy };
  }

  /** DHCP, names, and what knows of reservations, by another configuration. */
  async #serve(
    config: Config,
    { naming, forwarding, metadata }: Omit<Steered, 'captures' | 'ports' | 'restart'>,
  ): Promise<void> {
    const dhcp = this.#dhcp;
    if (dhcp !== undefined && config.dhcp !== undefined) {
      const { ports: _ports, ...settings } = dhcpSettings(config, config.dhcp);
      await dhcp.reconfigure(settings);
    }
    if (config.dns !== undefined) naming?.reconfigure(config, config.dns, dhcp?.leases() ?? []);
    forwarding.reserve(config.dhcp?.hosts ?? []);
    this.#binder?.reserve(config.dhcp?.hosts ?? []);
    metadata.reconfigure(config);
  }

  async #openPorts(parts: Pick<PortsParts, 'plane' | 'journal' | 'shields' | 'held'>): Promise<Ports> {
    const ports = new Ports({
      ...{ ...parts, config: this.#config, native: this.#native, table: this.#ports, locks: this.#locks },
      log: this.#log,
      told: event => this.#life.events.emit(event),
    });
    this.#endings.addPorts(() => ports.stop());
    await ports.start();
    return ports;
  }

  /** Before any guest is served: the ports must be known to the gateway. */
  async #serveMetadata(plane: Plane): Promise<Metadata> {
    const metadata = new Metadata({
      config: this.#config,
      callers: this.#gateway.callers,
      fdb: plane.memory.fdb,
      ports: this.#ports,
      serve: (port, aliasPort) => plane.serve(port, aliasPort),
      leases: () => this.#dhcp?.leases() ?? [],
      leaseOf: (mac, port) => this.#dhcp?.leaseOf(mac, port),
      resolvers: hostResolvers,
      told: event => this.#life.events.emit(event),
      log: (level, sentence) => this.#log[level](sentence),
    });
    this.#endings.add(() => metadata.close());
    await metadata.start();
    return metadata;
  }

  #startPlane(): StartedPlane {
    const started = startPlane({
      ...{ config: this.#config, gateway: this.#gateway, log: this.#log },
      portName: index => this.#ports.nameOf(index),
      restores: this.#predecessor === undefined,
      failed: cause => this.#failed(cause),
    });
    this.#endings.addPorts(() => started.end());
    this.#plane = started.plane;
    return started;
  }

  #forwarding(plane: Plane): Forwarding {
    return new Forwarding({
      config: this.#config,
      leases: () => this.#dhcp?.leases() ?? [],
      gateway: forwards => plane.forward(forwards),
      host: async forwards => this.#hostForwards?.hold(forwards),
      taken: portFault,
      warn: sentence => this.#log.warn(sentence),
    });
  }

  #startNaming(plane: Plane, watched: NameService | undefined): Naming | undefined {
    const { dns } = this.#config;
    if (dns === undefined) return undefined;
    const naming = new Naming({ config: this.#config, plane, watched, log: this.#log }, dns);
    this.#endings.add(() => naming.close());
    return naming;
  }

  #startDhcp(plane: Plane, changed: (changes: readonly LeaseChange[]) => void): DhcpService | undefined {
    const config = this.#config;
    if (config.dhcp === undefined) return undefined;
    const service = new DhcpService({
      ...dhcpSettings(config, config.dhcp),
      store: openLeases(config, text => this.#log.warn(text)),
      send: (frame, egress) => void plane.inject(frame, egress),
      flood: frame => void plane.inject(frame, FLOOD),
      resolvers: hostResolvers,
      ports: this.#ports.guests,
      portName: index => this.#ports.nameOf(index),
      changed: changes => {
        this.#binder?.leasesChanged(changes);
        this.#life.leasesChanged(changes);
        changed(changes);
      },
      expired: records => {
        this.#binder?.leasesExpired(records);
        this.#life.leasesExpired(records);
      },
      log: (level, sentence) => this.#log[level](sentence),
      now: Date.now,
    });
    this.#binder = this.#bindTo(plane, service);
    plane.on('punt', (frame, ingress) => {
      if (ingress !== UPLINK_PORT && !isDns(frame)) service.handle(frame, ingress, Date.now());
    });
    const ticks = setInterval(() => service.tick(), DHCP_TICK_MS).unref();
    this.#endings.add(
      () => this.#life.stop(),
      () => service.close(),
      () => clearInterval(ticks),
    );
    return service;
  }

  #limitPorts(plane: Plane, ports: Ports): void {
    const { portMacs } = this.#config;
    if (portMacs?.shutdown !== true) return;
    const limit = new PortLimit({
      ...{ max: portMacs.max, counters: new Counters(plane.memory.counters) },
      ...{ table: this.#ports, ports, log: this.#log },
    });
    this.#endings.add(() => limit.stop());
    limit.start();
  }

  /** For a strict guard: who has which address, before any guest is served. */
  #bindTo(plane: Plane, service: DhcpService): Binder | undefined {
    const { guard, dhcp } = this.#config;
    if (guard !== 'strict') return undefined;
    const binder = new Binder(plane, this.#ports);
    binder.reserve(dhcp?.hosts ?? []);
    binder.load(service.bound());
    plane.on('revived', () => binder.tellAgain());
    return binder;
  }

  /** Where egress rules name domains: what the uplink brings of answers from DNS servers is read before guests get it. */
  #watchNames(plane: Plane): NameService | undefined {
    const { egress, gatewayIp } = this.#gateway;
    if (egress.domains.length === 0) return undefined;
    const service = new NameService({
      domains: egress.domains,
      maxNames: MAX_NAMES,
      gateway: gatewayIp,
      resolvers: () => {
        const { resolvers } = this.#egress.config;
        return resolvers.length > 0 ? resolvers : hostResolvers();
      },
      tell: (learnt, forgotten) => plane.names(learnt, forgotten),
      send: (frame, egress = BY_ADDRESS) => plane.inject(frame, egress),
      log: (level, sentence) => this.#log[level](sentence),
    });
    plane.on('punt', (frame, ingress) => {
      if (ingress === UPLINK_PORT) service.handle(frame, monotonicMs());
    });
    plane.on('revived', () => service.tellAgain(monotonicMs()));
    return service;
  }
}

function openJournal(config: Config): Journal {
  try {
    makeFolder(config.stateDir, 0o700);
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
