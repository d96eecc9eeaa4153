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

/** A station's address has come to a port that had not; `from`: another port had it, and it was not aged out. VLAN 0: untagged. */
export type MacEvent =
  | { readonly event: 'mac-learnt'; readonly mac: string; readonly vlan: number; readonly port: string }
  | {
      readonly event: 'mac-moved';
      readonly mac: string;
      readonly vlan: number;
      readonly port: string;
      readonly from: string;
    };

/** More addresses came or moved than are told of one by one. */
export type MacsHeldBackEvent = { readonly event: 'macs-held-back'; readonly count: number };

/** Many frames of a port were dropped, for one reason: a name of wire/drop.ts. */
export type DropBurstEvent = {
  readonly event: 'drop-burst';
  readonly port: string;
  readonly reason: string;
  readonly count: number;
};

/** Sessions were refused, as the NAT has no room for them, or not for one guest's. */
export type FlowLimitEvent = {
  readonly event: 'flow-limit';
  readonly reason: 'table-full' | 'guest-full';
  readonly port: string;
  /** The guest's address, where only one has a lease on the port; empty: not known. */
  readonly address: string;
  /** Packets that would have opened one. */
  readonly count: number;
};

/** A configuration file was applied to the running switch, or refused, for a reason in a sentence. */
export type ConfigEvent =
  | { readonly event: 'config-applied'; readonly file: string; readonly changes: number }
  | { readonly event: 'config-refused'; readonly file: string; readonly reason: string };

/** All that may happen; new kinds are added here. */
export type Happening =
  | LeaseEvent
  | PortEvent
  | PhoneHomeEvent
  | MacEvent
  | MacsHeldBackEvent
  | DropBurstEvent
  | FlowLimitEvent
  | ConfigEvent;

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
