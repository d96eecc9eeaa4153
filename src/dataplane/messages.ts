/** What the control thread and the data-plane worker tell each other, apart from the frames in the rings. */
import type { NatFiltering } from '../config.ts';
import type { NatForward } from '../gateway/nat.ts';
import type { EgressPolicy } from '../gateway/policy.ts';
import type { PortKind, Rest } from '../port/port.ts';
import type { StormLimit } from '../settings/stormlimit.ts';
import type { Ip4, Mac } from '../wire/address.ts';
import type { CaptureSpec } from './capture.ts';

/** Memory that both threads see. The worker writes all of it but the inject ring's tail and `acknowledged`'s readers. */
export interface SharedMemory {
  readonly counters: SharedArrayBuffer;
  readonly loop: SharedArrayBuffer;
  readonly fdb: SharedArrayBuffer;
  readonly flows: SharedArrayBuffer;
  readonly neighbours: SharedArrayBuffer;
  /** Worker to control: DHCP, DNS, watched DNS answers and whatever else the gateway does not answer by itself. */
  readonly punt: SharedArrayBuffer;
  /** Control to worker: the answers. */
  readonly inject: SharedArrayBuffer;
  /** One Int32: the number of the last command that the worker has carried out. */
  readonly acknowledged: SharedArrayBuffer;
}

export interface GatewaySettings {
  readonly network: Ip4;
  readonly mask: Ip4;
  readonly broadcast: Ip4;
  readonly gatewayIp: Ip4;
  readonly gatewayMac: Mac;
  readonly uplinkMac: Mac;
  /** UNSPECIFIED: there is no NAT. */
  readonly natAddress: Ip4;
  readonly natFiltering: NatFiltering;
  readonly maxFlows: number;
  readonly maxGuestFlows: number;
  readonly mtu: number;
  /** Is the host behind the uplink, under the gateway's address? If not, only the NAT's packets pass there. */
  readonly hostBehind: boolean;
  /** May guests open connections to it? */
  readonly hostOpen: boolean;
  readonly dhcp: boolean;
  /** Are questions for the gateway's port 53 for the control plane? */
  readonly dns: boolean;
  readonly egress: EgressPolicy;
  /** Must guests speak with their own addresses? */
  readonly strict: boolean;
  /** Who calls the service that the host runs for guests; undefined: there is none. The worker writes it. */
  readonly callers: SharedArrayBuffer | undefined;
}

export interface WorkerSettings {
  readonly memory: SharedMemory;
  readonly maxMacs: number;
  /** Addresses that a guest's port may have; undefined: as many as there is room for. */
  readonly portMacs: number | undefined;
  /** What it may flood; undefined: as much as it likes. */
  readonly stormLimit: StormLimit | undefined;
  readonly ageingS: number;
  /** The uplink's port index, -1: none, or one that is a port like others. */
  readonly uplink: number;
  /** Is there a gateway? On a LAN that the switch is a part of there is another. */
  readonly routes: boolean;
  readonly seed: number;
  readonly gateway: GatewaySettings;
  /** Eventfds: what wakes the worker, and what it wakes the control thread with. */
  readonly wakeFd: number;
  readonly puntFd: number;
  /** Flows of a data plane before this one, packed (gateway/packedflows.ts). */
  readonly flows?: Int32Array | undefined;
}

/** A port's open file; the control thread opens and closes it, the worker uses it in between. */
interface FileSpec<Kind extends PortKind> {
  readonly name: string;
  readonly kind: Kind;
  readonly fd: number;
  readonly mtu: number;
}

export type PortSpec =
  | FileSpec<'tap' | 'packet' | 'tun'>
  /** A connected socket, with what a port before this one held of it. */
  | (FileSpec<'stream'> & { readonly rest?: Rest | undefined })
  /** A bound socket. `peer`: whom frames go to; undefined: to whoever sent the last, or was there for a port before this one. */
  | (FileSpec<'dgram'> & { readonly peer: string | undefined; readonly rest?: Rest | undefined })
  /** A connected socket, on which the front end says where its rings are. */
  | (FileSpec<'vhost-user'> & {
      readonly queues: number;
      /** A socket with what a port before this one has left of it; needed no longer when the port is attached. */
      readonly transcript?: number | undefined;
    })
  /** An eventfd, and the ring that the file's thread writes to or reads from; `snapLength`: bytes of a frame that are recorded. */
  | (FileSpec<'pcap'> & {
      readonly mode: 'record' | 'replay';
      readonly memory: SharedArrayBuffer;
      readonly snapLength: number;
    });

export type Command =
  /** Put ports in, and serve them when all are; and MACs behind them: four words each, the FDB's key and last octets, port, second. */
  | {
      readonly number: number;
      readonly do: 'attach';
      readonly ports: readonly AttachedPort[];
      readonly macs: Int32Array;
    }
  | { readonly number: number; readonly do: 'detach'; readonly index: number }
  /** Forget what was learnt on a port: its guest has gone. */
  | { readonly number: number; readonly do: 'flush'; readonly index: number }
  /** Forget all that is known of a port, its counts too: another gets its index. */
  | { readonly number: number; readonly do: 'clear'; readonly index: number }
  /** The port forwards that are wanted: all of them. */
  | { readonly number: number; readonly do: 'forward'; readonly forwards: readonly NatForward[] }
  /** Another egress policy, with the same domains, of which what was learnt stays. */
  | { readonly number: number; readonly do: 'egress'; readonly policy: EgressPolicy }
  /** What guests have learnt by name, and what no longer counts: see Egress. */
  | {
      readonly number: number;
      readonly do: 'names';
      readonly learnt: Int32Array;
      readonly forgotten: Int32Array;
    }
  /** The ports at which the host serves guests: one at the gateway's address, one behind 169.254.169.254:80. */
  | {
      readonly number: number;
      readonly do: 'serve';
      readonly port: number;
      readonly aliasPort: number;
    }
  /** Flows and neighbours of a switch before this one, packed. */
  | {
      readonly number: number;
      readonly do: 'restore';
      readonly flows: Int32Array;
      readonly neighbours: Int32Array;
    }
  /** Whose addresses have come and gone: see Bindings. */
  | { readonly number: number; readonly do: 'bind'; readonly added: Int32Array; readonly removed: Int32Array }
  /** Take all ports out at once, and say what these hold. */
  | { readonly number: number; readonly do: 'yield'; readonly ports: readonly YieldedPort[] }
  /** Nothing but to say that it is carried out: a sign of life. */
  | { readonly number: number; readonly do: 'answer' }
  | { readonly number: number; readonly do: 'capture'; readonly capture: CaptureSpec }
  | { readonly number: number; readonly do: 'endCapture'; readonly id: number }
  | { readonly number: number; readonly do: 'stop' };

export interface AttachedPort {
  readonly index: number;
  readonly port: PortSpec;
}

/** A port whose connection another process goes on with. */
export interface YieldedPort {
  readonly index: number;
  /** A socket for what `Port.transcribe` writes; undefined: it is asked for its `rest`. */
  readonly transcript?: number | undefined;
}

type Unnumbered<T> = T extends Command ? Omit<T, 'number'> : never;
/** A command before it has its number. */
export type Order = Unnumbered<Command>;

/** What the worker tells of a port. */
export type Event = {
  readonly index: number;
  /** The number of the command that attached it: a port of the same index may have come since. */
  readonly attachment: number;
} & (
  | {
      /** The device behind it is gone; the worker no longer polls it and waits for its detach. */
      readonly what: 'gone';
      /** Why, where that is more than a device that went. */
      readonly fault: string | undefined;
    }
  /** Its guest has come or gone. */
  | { readonly what: 'carrier'; readonly up: boolean }
  /** It was taken out by 'yield'. undefined: its connection can't be gone on with. */
  | { readonly what: 'yielded'; readonly rest: Rest | undefined }
);

/** The index of the uplink among the ports; guests' ports follow it. */
export const UPLINK_PORT = 0;
