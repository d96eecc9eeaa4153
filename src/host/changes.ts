/**
 * A change to the host, as data: what the plan holds, the journal records and `--dry-run` prints. A change knows how it
 * is undone; nothing but these kinds is ever changed.
 */
export type Change =
  | SysctlChange
  | TableChange
  | RuleChange
  | ChainChange
  | IptablesChange
  | XtableChange
  | UfwChange
  | ZoneChange
  | TcChange
  | TapChange
  | LinkChange
  | ResolvedChange;

/**
 * Frames that wait in a tap of ours till the switch reads them. The kernel's 1,000 are 3 ms of short frames, and any pause of
 * the switch that is longer loses some: 0.2 M frames/s without a loss (RFC 2544), against 0.4 with these.
 */
export const TAP_QUEUE = 4_096;

/** A kernel setting; `before` is what it held, and what undo puts back if it still holds `value`. */
export interface SysctlChange {
  readonly kind: 'sysctl';
  /** With slashes, as under /proc/sys: an interface's name may hold dots. */
  readonly key: string;
  readonly value: string;
  readonly before: string;
}

/** An nftables table of our own, whole. Of a netdev table the chains come and go with the taps. */
export interface TableChange {
  readonly kind: 'table';
  readonly family: 'inet' | 'netdev';
  readonly name: string;
  /** What stands between the braces, in nft's words. */
  readonly body: string;
}

/**
 * An accepting rule in somebody else's chain, found again by its comment. It compares `meta` values alone, which
 * iptables-nft can read as rules of its own: with `ct state` it would refuse to list or save the whole table.
 */
export interface RuleChange {
  readonly kind: 'rule';
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly match: Readonly<Partial<Record<'iifname' | 'oifname' | 'l4proto', string>>>;
  readonly comment: string;
}

/** A chain of our netdev table that drops what an interface receives, after packet sockets have seen it. */
export interface ChainChange {
  readonly kind: 'chain';
  readonly table: string;
  readonly name: string;
  readonly interface: string;
}

/** A rule of iptables, put first in its chain. The exact words, with its comment, are what it is removed by. */
export interface IptablesChange {
  readonly kind: 'iptables';
  /** `iptables-nft` or `iptables-legacy`: what `iptables` stands for may change meanwhile. */
  readonly tool: string;
  readonly table: string;
  readonly chain: string;
  /** Words with blanks between; none has a blank in it. */
  readonly words: string;
}

/** Chains at hooks that iptables-nft makes for the first rule in them, and the table with them if `whole`. */
export interface XtableChange {
  readonly kind: 'xtable';
  readonly tool: string;
  readonly table: string;
  readonly chains: readonly string[];
  readonly whole: boolean;
}

/** A rule of ufw's, with our comment. */
export interface UfwChange {
  readonly kind: 'ufw';
  /** `route allow in on vsw0 from 0.0.0.0/0` */
  readonly words: string;
  readonly comment: string;
}

/** An interface in a zone of firewalld's, till firewalld is loaded again: nothing is written to its files. */
export interface ZoneChange {
  readonly kind: 'zone';
  readonly zone: string;
  readonly interface: string;
}

/** A filter of tc's that drops what an interface receives, where nftables is not used. `qdisc`: the clsact is ours as well. */
export interface TcChange {
  readonly kind: 'tc';
  readonly interface: string;
  readonly qdisc: boolean;
}

/** A tap that did not exist. It carries `alias`, by which undo finds it under another name or in another namespace. */
export interface TapChange {
  readonly kind: 'tap';
  readonly name: string;
  readonly alias: string;
}

/** An interface that was there, and down, and is set up now. */
export interface LinkChange {
  readonly kind: 'link';
  readonly interface: string;
  readonly ifindex: number;
}

/** Names of some domains are asked of a server by an interface, by systemd-resolved, as long as the interface is there. */
export interface ResolvedChange {
  readonly kind: 'resolved';
  readonly interface: string;
  readonly server: string;
  /** `~vsw.internal`: for routing alone, not searched. */
  readonly domains: readonly string[];
}

/** The change in the words of the tool that makes it. */
export function describe(change: Change): string {
  switch (change.kind) {
    case 'sysctl':
      return `sysctl -w ${change.key.replaceAll('/', '.')}=${change.value}    # was ${change.before}`;
    case 'table':
      return `nft -f - <<END\n${tableText(change)}END`;
    case 'rule':
      return `nft '${ruleText(change)}'`;
    case 'chain':
      return `nft '${chainText(change)}'`;
    case 'iptables':
      return `${change.tool} -w -t ${change.table} -I ${change.chain} ${change.words}`;
    case 'xtable':
      return `# ${change.tool} makes ${change.chains.join(', ')} of the table ${change.table}`;
    case 'ufw':
      return `ufw ${change.words} comment ${change.comment}`;
    case 'zone':
      return `firewall-cmd --zone=${change.zone} --add-interface=${change.interface}`;
    case 'tc':
      return `tc filter add dev ${change.interface} ingress pref 1 protocol all bpf da bytecode '1,6 0 0 2'`;
    case 'tap':
      return `ip tuntap add dev ${change.name} mode tap vnet_hdr && ip link set ${change.name} txqueuelen ${TAP_QUEUE} alias ${change.alias}`;
    case 'link':
      return `ip link set dev ${change.interface} up`;
    case 'resolved':
      return resolvedWords(change)
        .map(words => `resolvectl ${words.map(word => word.replace(/^~.*/, "'$&'")).join(' ')}`)
        .join('\n');
  }
}

/** The words for resolvectl. */
export const resolvedWords = ({ interface: link, server, domains }: ResolvedChange): string[][] => [
  ['dns', link, server],
  ['domain', link, ...domains],
  ['default-route', link, 'no'],
];

export const tableText = (table: TableChange): string =>
  `table ${table.family} ${table.name} {\n${table.body}}\n`;

export const ruleText = (rule: RuleChange): string =>
  `insert rule ${rule.family} ${rule.table} ${rule.chain} ${matchText(rule)}accept comment "${rule.comment}"`;

const matchText = ({ match }: RuleChange): string =>
  Object.entries(match)
    .map(([key, value]) => (key === 'l4proto' ? `meta l4proto ${value} ` : `${key} "${value}" `))
    .join('');

export const chainText = ({ table, name, interface: device }: ChainChange): string =>
  `add chain netdev ${table} ${name} { type filter hook ingress device "${device}" priority -500; policy drop; }`;
