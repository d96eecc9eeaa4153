/**
 * Replay: captures in, captures out, through the same data plane as a running switch, in memory and in the captures' own
 * time. What it gives is the same at every run: the clock is the frames', the random numbers have a fixed seed, and the
 * lease store is empty at the start.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Binder } from './binder.ts';
import type { DnsConfig } from './config/dns.ts';
import type { Config } from './config.ts';
import { type Batch, BY_ADDRESS, FLOOD, GATEWAY_PORT } from './dataplane/batch.ts';
import { Bindings } from './dataplane/bindings.ts';
import { counterMemory } from './dataplane/counters.ts';
import { Dataplane } from './dataplane/dataplane.ts';
import { fdbMemory } from './dataplane/fdb.ts';
import { flowMemory } from './gateway/flowmemory.ts';
import { Gateway } from './gateway/gateway.ts';
import { MAX_NAMES } from './gateway/nametable.ts';
import { dhcpSettings, gatewaySettings } from './identity.ts';
import { zoneOf } from './naming.ts';
import { MemoryPort } from './port/memory.ts';
import { readCapture } from './port/pcap-file.ts';
import { configuredPorts } from './porttable.ts';
import { DhcpService } from './service/dhcp/service.ts';
import { MemoryStore } from './service/dhcp/store.ts';
import { SocketExchange } from './service/dns/exchange.ts';
import { Resolver } from './service/dns/resolver.ts';
import { DnsService, isDns } from './service/dns/service.ts';
import type { Zone } from './service/dns/zone.ts';
import { NameService } from './service/names/service.ts';
import { type Captured, emit } from './wire/pcap.ts';

/** The port of this name stands for the uplink: its frames are those that the tun port shows the pipeline. */
const UPLINK = 'uplink';
const SEED = 1;
/** At which the host of a replay serves what guests ask 169.254.169.254 for. */
const ALIAS_PORT = 49_152;
const TICK_MS = 100;
/** Ticks given in a gap between frames, at its end: enough to go once over every table. */
const MAX_TICKS = 256;

export interface ReplayInput {
  readonly port: string;
  readonly frames: readonly Captured[];
}

export interface PortResult {
  readonly sent: readonly Captured[];
  readonly counters: {
    readonly rxFrames: number;
    readonly rxBytes: number;
    readonly txFrames: number;
    readonly txBytes: number;
    readonly drops: Readonly<Record<string, number>>;
  };
}

export interface ReplayResult {
  readonly ports: Readonly<Record<string, PortResult>>;
  /** Over all ports, and what the gateway itself could not deliver. */
  readonly drops: Readonly<Record<string, number>>;
}

/** Runs the inputs through a switch of the given configuration, in the order of their times. */
export async function replay(config: Config, inputs: readonly ReplayInput[]): Promise<ReplayResult> {
  const stage = new ReplayStage(
    config,
    inputs.map(input => input.port),
  );
  const queue = inputs.flatMap(({ port, frames }) => frames.map(frame => ({ port, frame })));
  queue.sort((a, b) => timeMs(a.frame) - timeMs(b.frame)); // stable: as given, where times are equal
  for (const { port, frame } of queue) await stage.play(port, frame);
  await stage.finish();
  return stage.result();
}

const timeMs = (frame: Captured): number => frame.seconds * 1000 + frame.nanoseconds / 1e6;

/** A port that the configuration has keeps its index, as rules and reservations name it; the others follow. */
function indicesOf(config: Config, names: readonly string[]): ReadonlyMap<string, number> {
  const all = [UPLINK, ...new Set([...configuredPorts(config), ...names].filter(name => name !== UPLINK))];
  return new Map(names.map(name => [name, all.indexOf(name)]));
}

class ReplayStage {
  /** Those that have captures, by the indices that a running switch gives them. */
  readonly #ports: ReadonlyMap<number, MemoryPort>;
  readonly #indices: ReadonlyMap<string, number>;
  readonly #dataplane: Dataplane;
  readonly #uplink: number;
  readonly #dhcp: DhcpService | undefined;
  readonly #binder: Binder | undefined;
  readonly #watched: NameService;
  readonly #dns: { readonly zone: Zone; readonly service: DnsService } | undefined;
  readonly #sent: ReadonlyMap<number, Captured[]>;
  readonly #punted: { frame: Uint8Array; ingress: number }[] = [];
  /** What the control plane waits for; without them its time would be the machine's. */
  readonly #alarms: { readonly atMs: number; readonly act: () => void }[] = [];
  #nowMs = Number.NaN;

  constructor(config: Config, names: readonly string[]) {
    this.#indices = indicesOf(config, names);
    const indices = [...this.#indices];
    this.#ports = new Map(indices.map(([name, index]) => [index, new MemoryPort(name, { mtu: config.mtu })]));
    this.#sent = new Map(indices.map(([, index]) => [index, []]));
    const settings = gatewaySettings(config);
    const uplink = this.#indices.get(UPLINK) ?? -1;
    this.#uplink = uplink;
    const bindings = new Bindings(SEED);
    const gateway = new Gateway({
      ...settings,
      uplink,
      punt: { punt: (batch, row) => this.#punt(batch, row) },
      seed: SEED,
      flowMemory: flowMemory(config.maxFlows),
    });
    if (config.cloudInit !== undefined) gateway.serve(config.cloudInit.port, ALIAS_PORT);
    this.#dataplane = new Dataplane({
      fdbMemory: fdbMemory(config.maxMacs),
      counterMemory: counterMemory(),
      maxMacs: config.maxMacs,
      ageingS: config.ageingS,
      seed: SEED,
      gateway,
      gatewayMac: settings.gatewayMac,
      uplink,
      portMacs: config.portMacs?.max,
      stormLimit: config.stormLimit,
      strict: settings.strict ? { bindings, gatewayIp: settings.gatewayIp } : undefined,
      onGone: () => undefined,
    });
    for (const [index, port] of this.#ports) this.#dataplane.attach(index, port);
    const indexFor = (name: string): number => this.#indices.get(name) ?? -1;
    const bind = (added: Int32Array, removed: Int32Array): void => bindings.change(added, removed);
    this.#binder = settings.strict ? new Binder({ bind }, { indexFor }) : undefined;
    this.#binder?.reserve(config.dhcp?.hosts ?? []);
    this.#watched = new NameService({
      domains: settings.egress.domains,
      maxNames: MAX_NAMES,
      gateway: settings.gatewayIp,
      resolvers: () => config.egress.resolvers,
      tell: (learnt, forgotten) => gateway.egress.learn(learnt, forgotten),
      send: frame => {
        this.#dataplane.inject(frame, BY_ADDRESS, this.#nowMs);
        return true;
      },
      log: () => undefined,
    });
    this.#dns = config.dns === undefined ? undefined : this.#startDns(config, config.dns);
    this.#dhcp = config.dhcp === undefined ? undefined : this.#startDhcp(config, config.dhcp);
  }

  async play(name: string, frame: Captured): Promise<void> {
    const index = this.#indices.get(name) as number;
    const nowMs = timeMs(frame);
    await this.#advance(nowMs);
    this.#ports.get(index)?.give(frame.data);
    this.#dataplane.serve(index, nowMs);
    for (const punted of this.#punted.splice(0))
      if (punted.ingress === this.#uplink) this.#watched.handle(punted.frame, nowMs);
      else if (isDns(punted.frame)) this.#dns?.service.handle(punted.frame, punted.ingress);
      else this.#dhcp?.handle(punted.frame, punted.ingress, nowMs);
    await this.#dhcp?.settled();
    await this.#watched.settled();
    this.#collect(frame);
  }

  /** What was asked at the end of the captures gets no answer. */
  async finish(): Promise<void> {
    await this.#ring(Number.POSITIVE_INFINITY);
  }

  /** Takes what the ports have sent, as at a frame's time. */
  #collect(at: Pick<Captured, 'seconds' | 'nanoseconds'>): void {
    const { seconds, nanoseconds } = at;
    for (const [index, port] of this.#ports)
      for (const data of port.sent.splice(0))
        this.#sent.get(index)?.push({ seconds, nanoseconds, data, originalLength: data.length });
  }

  result(): ReplayResult {
    const { counters } = this.#dataplane;
    const ports = Object.fromEntries(
      [...this.#indices].map(([name, index]) => [
        name,
        {
          sent: this.#sent.get(index) ?? [],
          counters: {
            rxFrames: counters.rxFrames[index] as number,
            rxBytes: counters.rxBytes[index] as number,
            txFrames: counters.txFrames[index] as number,
            txBytes: counters.txBytes[index] as number,
            drops: counters.dropsOf(index),
          },
        },
      ]),
    );
    const drops: Record<string, number> = {};
    for (const index of [...this.#indices.values(), GATEWAY_PORT])
      for (const [reason, count] of Object.entries(counters.dropsOf(index)))
        drops[reason] = (drops[reason] ?? 0) + count;
    return { ports, drops };
  }

  /** Lets the data plane's timers see the time between two frames. */
  async #advance(toMs: number): Promise<void> {
    if (Number.isNaN(this.#nowMs)) this.#nowMs = toMs;
    await this.#ring(toMs);
    this.#nowMs = Math.max(this.#nowMs, toMs - MAX_TICKS * TICK_MS);
    for (; this.#nowMs + TICK_MS <= toMs; this.#nowMs += TICK_MS) this.#dataplane.tick(this.#nowMs + TICK_MS);
    this.#nowMs = Math.max(this.#nowMs, toMs);
    this.#dhcp?.tick();
  }

  /** Lets what waits for a time by then happen, and what follows from it. */
  async #ring(byMs: number): Promise<void> {
    for (;;) {
      this.#alarms.sort((a, b) => a.atMs - b.atMs);
      const next = this.#alarms[0];
      if (next === undefined || next.atMs > byMs) return;
      this.#alarms.shift();
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.act();
      await this.#dhcp?.settled();
      const seconds = Math.floor(next.atMs / 1000);
      this.#collect({ seconds, nanoseconds: Math.round((next.atMs - seconds * 1000) * 1e6) });
    }
  }

  #punt(batch: Batch, row: number): boolean {
    const at = batch.offset[row] as number;
    const frame = batch.slab.slice(at, at + (batch.length[row] as number));
    this.#punted.push({ frame, ingress: batch.ingress[row] as number });
    return true;
  }

  /** Nobody is asked: what is no name of ours can't be answered. */
  #startDns(config: Config, dns: DnsConfig): { zone: Zone; service: DnsService } {
    const zone = zoneOf(
      config,
      dns,
      () => this.#nowMs,
      () => undefined,
    );
    const resolver = new Resolver({
      local: zone,
      upstreams: () => [],
      exchange: new SocketExchange(),
      maxCacheBytes: 0,
      nowMs: () => this.#nowMs,
      log: () => undefined,
    });
    const { gatewayIp, gatewayMac, egress } = gatewaySettings(config);
    const watched = egress.domains.length > 0;
    const service = new DnsService({
      gateway: gatewayIp,
      gatewayMac,
      resolver,
      send: (frame, port) => {
        if (watched) this.#watched.handle(frame, this.#nowMs);
        else this.#dataplane.inject(frame, port, this.#nowMs);
        return true;
      },
    });
    return { zone, service };
  }

  #startDhcp(config: Config, dhcp: NonNullable<Config['dhcp']>): DhcpService {
    return new DhcpService({
      ...dhcpSettings(config, dhcp),
      store: new MemoryStore(),
      send: (frame, egress) => this.#dataplane.inject(frame, egress, this.#nowMs),
      flood: frame => this.#dataplane.inject(frame, FLOOD, this.#nowMs),
      after: (ms, act) => void this.#alarms.push({ atMs: this.#nowMs + ms, act }),
      resolvers: () => [],
      changed: changes => {
        this.#binder?.leasesChanged(changes);
        this.#dns?.zone.changed(changes);
      },
      expired: records => this.#binder?.leasesExpired(records),
      portName: index => this.#ports.get(index)?.name ?? '',
      log: () => undefined,
      now: () => this.#nowMs,
    });
  }
}

export interface ReplayFiles {
  readonly inputs: readonly { readonly port: string; readonly path: string }[];
  readonly outDir: string;
  readonly config: Config;
}

/** The same from files to files: DIR/<port>.pcap and DIR/counters.json. */
export async function replayFiles({ inputs, outDir, config }: ReplayFiles): Promise<void> {
  const read = await Promise.all(
    inputs.map(async ({ port, path }) => ({ port, frames: await readCapture(path) })),
  );
  const result = await replay(config, read);
  mkdirSync(outDir, { recursive: true });
  for (const [name, port] of Object.entries(result.ports))
    writeFileSync(join(outDir, `${name}.pcap`), emit(port.sent));
  const counters = {
    ports: Object.fromEntries(Object.entries(result.ports).map(([name, port]) => [name, port.counters])),
    drops: result.drops,
  };
  writeFileSync(join(outDir, 'counters.json'), `${JSON.stringify(counters, null, 2)}\n`);
}
