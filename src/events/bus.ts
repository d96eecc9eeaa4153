/**
 * What happens in the switch, for those who want to know: the API's stream, the lease hook, and whoever comes next. An
 * event is flat, so that a line of it can be read without a schema; docs/operation.md lists all of them. Listeners are
 * called at once and must not wait: an ACK may stand behind them.
 */

/** A lease, as far as it is known; texts are empty where they are not. */
export type LeaseEvent = {
  readonly event:
    | 'lease-bound'
    | 'lease-renewed'
    | 'lease-released'
    | 'lease-expired'
    | 'lease-declined'
    | 'lease-conflict';
  readonly address: string;
  readonly mac: string;
  /** `id:` and option 61, or `hw:`, type and hardware address, in hexadecimal. */
  readonly client: string;
  readonly hostname: string;
  readonly port: string;
  /** Unix time, seconds: the end of the lease, or of the address's quarantine. */
  readonly expires: number;
};

export type PortEvent = {
  readonly event: 'port-up' | 'port-down' | 'port-added' | 'port-removed';
  readonly port: string;
};

/** A guest has said that it is set up. */
export type PhoneHomeEvent = {
  readonly event: 'phone-home';
  readonly address: string;
  readonly mac: string;
  readonly hostname: string;
  readonly port: string;
  readonly instanceId: string;
};

/** All that may happen; new kinds are added here. */
export type Happening = LeaseEvent | PortEvent | PhoneHomeEvent;

/** `time`: Unix time, ms. */
export type SwitchEvent = { readonly time: number } & Happening;

export class EventBus {
  readonly #listeners = new Set<(event: SwitchEvent) => void>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  emit(happening: Happening): void {
    if (this.#listeners.size === 0) return;
    const event = { time: this.#now(), ...happening };
    for (const listener of this.#listeners) listener(event);
  }

  /** Calls back at each event; returns how to end that. */
  on(listener: (event: SwitchEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
