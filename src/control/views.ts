/** What the switch shows of itself: the shapes that the API sends, `vswitchctl` prints and programs read. */
import type { ServerResponse } from 'node:http';

export interface PortView {
  readonly name: string;
  /**
   * `packet` is a tap's interface end, or that of a LAN; `tap` a tap's device end; `tun` the uplink; `stream`, `dgram` and
   * `vhost-user` are sockets (the first passt's too); `-` while there is no device and no connection.
   */
  readonly kind: string;
  /** The network namespace that the tap is in, where it is not the switch's own. */
  readonly netns?: string;
  readonly up: boolean;
  /** Present where the operator has set it down. */
  readonly disabled?: true;
  readonly rxFrames: number;
  readonly rxBytes: number;
  readonly txFrames: number;
  readonly txBytes: number;
  /** Frames not delivered, by reason; reasons that have not occurred are left out. */
  readonly drops: Readonly<Record<string, number>>;
}

export interface MacView {
  readonly mac: string;
  readonly vlan: number;
  readonly port: string;
  readonly ageS: number;
}

export interface LeaseView {
  readonly address: string;
  readonly mac: string;
  /** What the lease is known by: `id:` and option 61, `hw:`, type and hardware address, or `port:` and its name. */
  readonly client: string;
  readonly hostname?: string;
  /** `bound`, `expired`, `released`, `offered` or `declined` (quarantined). */
  readonly state: string;
  /** Where it was seen last. */
  readonly port?: string;
  /** Unix time, seconds: the end of the lease, the offer or the quarantine. */
  readonly expires: number;
}

export interface FlowView {
  readonly protocol: string;
  readonly inside: string;
  readonly external: string;
  readonly remote: string;
  readonly state: string;
  readonly idleS: number;
}

export interface ForwardView {
  readonly protocol: string;
  /** Of the host. */
  readonly port: number;
  /** As it was written: an address, or a lease's host name. */
  readonly guest: string;
  readonly guestPort: number;
  /** Where the guest is; left out while nobody has that name. */
  readonly address?: string;
}

export interface EgressView {
  /** What befalls packets that no rule is about. */
  readonly otherwise: string;
  /** In their order; `hits`: packets that opened a flow, or were denied. */
  readonly rules: readonly { readonly rule: string; readonly hits: number }[];
  /** Packets that opened a flow, or were denied, by no rule. */
  readonly allowed: number;
  readonly denied: number;
  /** Addresses that guests have learnt from DNS answers, of names in the rules. */
  readonly names: readonly NameView[];
  /** DNS answers seen, by what became of them; empty where no rule has a domain. */
  readonly answers: Readonly<Partial<Record<string, number>>>;
}

export interface NameView {
  readonly guest: string;
  readonly name: string;
  readonly address: string;
  readonly endsInS: number;
}

/** What the DHCP server does; null where there is none. */
export interface DhcpView {
  /** Messages by type. */
  readonly received: Readonly<Record<string, number>>;
  readonly sent: Readonly<Record<string, number>>;
  /** Messages that got no answer, by reason; those that have not occurred are 0. */
  readonly ignored: Readonly<Record<string, number>>;
  /** Addresses. `quarantined`: declined, or found in use. */
  readonly pool: Readonly<Record<'size' | 'free' | 'bound' | 'offered' | 'quarantined', number>>;
  /** Addresses asked for before they were offered; `skipped`: offered unasked, as too many were asked for. */
  readonly probes: Readonly<Record<'sent' | 'running' | 'free' | 'conflicts' | 'skipped', number>>;
  /** Runs of `--lease-hook`; left out where there is none. */
  readonly hook?: Readonly<Record<'run' | 'failed' | 'lost' | 'waiting', number>>;
  /** Why leases can't be written; left out while they can. */
  readonly unwritten?: string;
}

/** Something that has happened: a time (Unix, ms), a name, and fields by the name; see docs/operation.md. */
export type EventView = { readonly time: number; readonly event: string } & Readonly<
  Record<string, string | number>
>;

export interface DnsView {
  readonly domain: string;
  /** Whom the service asks for what it does not know itself. */
  readonly upstreams: readonly {
    readonly address: string;
    /** Smoothed; left out while it has not answered. */
    readonly rttMs?: number;
    readonly queries: number;
    readonly failures: number;
    readonly alive: boolean;
  }[];
  readonly names: readonly {
    readonly name: string;
    readonly address: string;
    /** `lease`, `reservation`, `record` (the operator's) or `gateway`. */
    readonly origin: string;
  }[];
  /** Guests that call themselves by another's name, and have none. */
  readonly refusedNames: number;
  readonly cache: { readonly entries: number; readonly bytes: number; readonly evicted: number };
  /** Questions that wait for an upstream. */
  readonly waiting: number;
  /** Questions by what became of them; of guests by UDP, and at the host's address. */
  readonly queries: Readonly<Record<string, number>>;
  readonly byUdp: Readonly<Record<string, number>>;
  readonly byHost: Readonly<Partial<Record<string, number>>>;
}

export interface StatusView {
  readonly name: string;
  readonly version: string;
  readonly pid: number;
  readonly subnet: string;
  readonly gateway: string;
  /** As for `--uplink`, and its port's name; none has no port. */
  readonly uplink: string;
  readonly uplinkPort?: string;
  readonly uptimeS: number;
  readonly ports: number;
  readonly portsUp: number;
  /** Addresses learnt, and how many there may be. */
  readonly macs: number;
  readonly maxMacs: number;
  /** Frames from addresses that were not learnt, as the table was full: what is sent to those is flooded. */
  readonly unlearnt: number;
  /** Why leases can't be written, so that no address is acknowledged; left out while they can. */
  readonly leasesUnwritten?: string;
}

/** What a guest's cloud-init gets. */
export interface CloudInitView {
  readonly port: string;
  readonly mac: string;
  readonly address: string;
  readonly instanceId: string;
  readonly hostname: string;
  /** The one-time password, where it has been asked for and the guest has not phoned home. */
  readonly password?: string;
  readonly phonedHome?: {
    /** Unix time, seconds. */
    readonly atS: number;
    readonly address: string;
    /** What the guest has posted. */
    readonly fields: Readonly<Record<string, string>>;
  };
  readonly documents: readonly {
    readonly name: string;
    /** A file's path, or how else it came about. */
    readonly from: string;
    /** As in HTTP. */
    readonly status: number;
    readonly content: string;
  }[];
}

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
  /** Answers with frames from now on, as pcapng: `port` (a name, or `all`), `filter`, `snaplen`. */
  capture(asked: URLSearchParams, response: ServerResponse): Promise<void>;
}
