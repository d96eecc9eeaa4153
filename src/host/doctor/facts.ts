/** What the doctor looks at: the host, read once, and the switch that is asked about. Findings are made of these alone. */
import type { Config } from '../../config.ts';
import type { Change } from '../changes.ts';
import type { ShownRoute } from '../links.ts';
import type { NftItem } from '../nft.ts';

/** The switch, running or not. */
export type Subject = Pick<
  Config,
  'name' | 'subnet' | 'taps' | 'uplink' | 'firewall' | 'dhcp' | 'dns' | 'stateDir' | 'runDir'
>;

export interface Link {
  readonly name: string;
  /** The bridge, or whatever it is a part of. */
  readonly master?: string;
  readonly alias?: string;
  /** `bridge`, `wireguard`, `tun`, … */
  readonly kind?: string;
}

/** What running switches hold, by what it is, with who they say they are: `vsw1 (pid 4711)`. */
type Holders = Readonly<Record<string, string>>;

export interface Facts {
  readonly subject: Subject;
  /** Does it answer? Then the subject is what it says of itself. */
  readonly running: boolean;
  /** Who holds its name, whether it answers or not. */
  readonly holder: string | undefined;
  /** May all of this be read? */
  readonly root: boolean;
  /** Tools that the switch needs and are not there. */
  readonly missing: readonly string[];
  /** Why /dev/net/tun can't be opened: an errno's name. */
  readonly tunFault: string | undefined;
  /** Why the kernel refuses a table like ours, in nft's words. */
  readonly natFault: string | undefined;
  readonly ruleset: readonly NftItem[];
  /** `iptables-legacy -S FORWARD`, where that kind of iptables is in use. */
  readonly legacyForward: readonly string[];
  readonly links: readonly Link[];
  readonly routes: readonly ShownRoute[];
  /** Kernel settings by key, with slashes, as far as they are asked for. */
  readonly settings: Readonly<Record<string, string>>;
  readonly journal: readonly Change[];
  readonly subnets: Holders;
  readonly taps: Holders;
  /** Devices and their states: of NetworkManager and of systemd-networkd, empty where it does not run. */
  readonly networkManager: Readonly<Record<string, string>>;
  readonly networkd: Readonly<Record<string, string>>;
  /** Why leases can't be written: what the switch says, or that there is no room in its state directory. */
  readonly unwritten: string | undefined;
  /** Name servers of the host: those that the DNS service can ask, or where there is none, those that a guest can use. */
  readonly resolvers: number;
  /** Servers that the running switch asks and that do not answer. */
  readonly silent: readonly string[];
}
