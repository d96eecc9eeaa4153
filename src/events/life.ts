/**
 * What becomes of leases and ports, told to those who asked: the events' readers, `--lease-hook`, and the leases
 * themselves where `--release-on-detach` ties them to their ports.
 */
import type { Config } from '../config.ts';
import { checkHook, Hook, type HookCounters } from '../host/hook.ts';
import { toldNames } from '../identity.ts';
import type { Log } from '../log.ts';
import type { Change, LeaseRecord } from '../service/dhcp/leases.ts';
import { Seldom } from '../service/seldom.ts';
import { EventBus, type LeaseEvent } from './bus.ts';
import { DetachWatch } from './detach.ts';
import { eventOf, leaseEvent } from './leases.ts';

/** Lines about the hook in a minute: one that fails does so at each event. */
const MAX_WARNINGS = 10;
const WARNINGS_MS = 60_000;

type LifeConfig = Pick<Config, 'name' | 'subnet' | 'dns' | 'dhcp' | 'leaseHook' | 'releaseOnDetach'>;

export class Life {
  readonly events = new EventBus();
  readonly #hook: Hook | undefined;
  readonly #detached: DetachWatch | undefined;

  /** `release` frees the leases that were last seen on a port. */
  constructor(config: LifeConfig, log: Pick<Log, 'warn'>, release: (port: string) => void) {
    this.#hook = hookOf(config, log, this.events);
    if (config.releaseOnDetach) this.#detached = new DetachWatch(release);
  }

  get hook(): HookCounters | undefined {
    return this.#hook?.counters;
  }

  readonly leasesChanged = (changes: readonly Change[]): void => {
    const nowS = Date.now() / 1000;
    for (const change of changes) {
      const event = eventOf(change, nowS);
      if (event !== undefined) this.events.emit(event);
    }
  };

  readonly leasesExpired = (records: readonly LeaseRecord[]): void => {
    for (const record of records) this.events.emit(leaseEvent('lease-expired', record));
  };

  readonly portTurned = (port: string, up: boolean): void => {
    this.events.emit({ event: up ? 'port-up' : 'port-down', port });
    this.#detached?.port(port, up);
  };

  /** The switch stops: ports that go down from now on are no guests' ends. */
  stopping(): void {
    this.#detached?.stop();
  }

  /** Resolves when nothing of it runs any more. */
  async stop(): Promise<void> {
    await this.#hook?.stop();
  }
}

/** Refuses a hook that can't be run. */
export function checkHooks({ leaseHook }: Pick<Config, 'leaseHook'>): void {
  if (leaseHook !== undefined) checkHook('lease-hook', leaseHook);
}

/** What the hook is told of, by the event's name. A conflict is nobody's lease. */
const TOLD: Readonly<Partial<Record<string, string>>> = {
  'lease-bound': 'bound',
  'lease-renewed': 'renewed',
  'lease-released': 'released',
  'lease-expired': 'expired',
  'lease-declined': 'declined',
};

function hookOf(config: LifeConfig, log: Pick<Log, 'warn'>, events: EventBus): Hook | undefined {
  const { leaseHook: program, name } = config;
  const { domain } = toldNames(config);
  if (program === undefined) return undefined;
  const warnings = new Seldom(MAX_WARNINGS, WARNINGS_MS);
  const hook = new Hook({
    option: 'lease-hook',
    program,
    warn: sentence => {
      const said = warnings.say(sentence, Date.now());
      if (said !== undefined) log.warn(said);
    },
  });
  events.on(event => {
    const told = TOLD[event.event];
    if (told !== undefined) hook.put(hookCall(told, event as LeaseEvent, name, domain));
  });
  return hook;
}

function hookCall(told: string, lease: LeaseEvent, name: string, domain: string): Parameters<Hook['put']>[0] {
  const { address, mac, client, port, expires } = lease;
  const hostname = lease.hostname.replace(/^[-.]+/, ''); // a guest chooses it, and it must not be read as an option
  return {
    words: [told, address, mac, hostname],
    source: port,
    environment: {
      VSWITCHD_EVENT: told,
      VSWITCHD_ADDRESS: address,
      VSWITCHD_MAC: mac,
      VSWITCHD_CLIENT: client,
      VSWITCHD_HOSTNAME: hostname,
      VSWITCHD_PORT: port,
      VSWITCHD_EXPIRES: String(expires),
      VSWITCHD_NAME: name,
      VSWITCHD_DOMAIN: domain,
    },
  };
}
