/**
 * A change to the host, as data: what the plan holds, the journal records and `--dry-run` prints. A change knows how it
 * is undone; nothing but these kinds is ever changed.
 */
export type Change = SysctlChange | TableChange | RuleChange | TapChange | TcChange;

/** A kernel setting; `before` is what it held, and what undo puts back if it still holds `value`. */
export interface SysctlChange {
  readonly kind: 'sysctl';
  /** With slashes, as under /proc/sys: an interface's name may hold dots. */
  readonly key: string;
  readonly value: string;
  readonly before: string;
}

/** An nftables table of our own, whole. */
export interface TableChange {
  readonly kind: 'table';
  readonly family: 'inet' | 'netdev';
  readonly name: string;
  /** What stands between the braces, in nft's words. */
  readonly body: string;
}

/** A rule in somebody else's chain, found again by its comment. */
export interface RuleChange {
  readonly kind: 'rule';
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly match: string;
  readonly comment: string;
}

/** A tap that did not exist. It carries `alias`, by which undo finds it under another name or in another namespace. */
export interface TapChange {
  readonly kind: 'tap';
  readonly name: string;
  readonly alias: string;
}

/** An ingress filter that drops all, where there is no nftables. */
export interface TcChange {
  readonly kind: 'tc';
  readonly interface: string;
}

/** The change in the words of the tool that makes it. */
export function describe(change: Change): string {
  switch (change.kind) {
    case 'sysctl':
      return `sysctl -w ${change.key.replaceAll('/', '.')}=${change.value}    # was ${change.before}`;
    case 'table':
      return `nft -f - <<END\n${tableText(change)}END`;
    case 'rule':
      return `nft ${ruleText(change)}`;
    case 'tc':
      return `tc filter replace dev ${change.interface} ingress matchall action drop`;
    case 'tap':
      return `ip tuntap add dev ${change.name} mode tap vnet_hdr && ip link set ${change.name} alias ${change.alias}`;
  }
}

export const tableText = (table: TableChange): string =>
  `table ${table.family} ${table.name} {\n${table.body}}\n`;

export const ruleText = (rule: RuleChange): string =>
  `insert rule ${rule.family} ${rule.table} ${rule.chain} ${rule.match} accept comment "${rule.comment}"`;
