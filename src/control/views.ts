/** What the switch shows of itself: the shapes that the API sends, `vswitchctl` prints and programs read. */

export interface PortView {
  readonly name: string;
  /**
   * `tun` and `stream` (passt) are uplinks; `packet` is a tap's interface end, or that of a LAN; `tap` a tap's device end;
   * `-` while there is no device.
   */
  readonly kind: string;
  /** The network namespace that the tap is in, where it is not the switch's own. */
  readonly netns?: string;
  readonly up: boolean;
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
  readonly hostname?: string;
  readonly state: string;
  readonly port?: string;
  /** Unix time, seconds. */
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

export interface StatusView {
  readonly name: string;
  readonly version: string;
  readonly pid: number;
  readonly subnet: string;
  readonly gateway: string;
  readonly uptimeS: number;
  readonly ports: number;
  readonly portsUp: number;
  /** Addresses learnt, and how many there may be. */
  readonly macs: number;
  readonly maxMacs: number;
  /** Frames from addresses that were not learnt, as the table was full: what is sent to those is flooded. */
  readonly unlearnt: number;
}

/** One function a resource; each reads the present state and copies it. */
export interface Views {
  status(): StatusView;
  ports(): PortView[];
  macs(): MacView[];
  leases(): LeaseView[];
  flows(): FlowView[];
}
