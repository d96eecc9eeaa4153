/**
 * What a switch wants of its host, worked out before anything is changed. An `accept` in a table of ours can't overrule a
 * drop in somebody else's chain at the same hook (Docker's FORWARD policy, a firewall's INPUT), so the plan looks at all
 * of them and puts marked rules first where they would be in the way.
 */
import type { Config } from '../config.ts';
import type { Backend } from './backend.ts';
import type {
  ChainChange,
  Change,
  IptablesChange,
  RuleChange,
  SysctlChange,
  TableChange,
  TcChange,
} from './changes.ts';
import { zoneFor } from './firewalld.ts';
import { identifier, natTable, tableName } from './nattable.ts';
import { splitDns } from './resolved.ts';
import { ufwRules } from './ufw.ts';
import { admitRules, forwardRules, natRules, tablesFor } from './xtables.ts';

/** A chain of somebody else at a hook that our packets pass. */
export interface BaseChain {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly hook: 'forward' | 'input';
}

/** One variant of iptables, and what others have in it. */
export interface Xtables {
  /** `iptables-nft` or `iptables-legacy` */
  readonly tool: string;
  readonly tables: readonly string[];
  hasChain(table: string, chain: string): boolean;
  /** The kernel keeps tables, once made, as long as the namespace: so it is with the legacy variant. */
  readonly lasting: boolean;
  /** Has somebody rules, or drops by policy, where it filters what comes in and what is forwarded? */
  readonly filters: boolean;
}

/** The host as it is. */
export interface Present {
  readonly backend: Backend;
  /** Chains of nftables; none where it is not installed. */
  readonly chains: readonly BaseChain[];
  /** The variant of iptables that the backend uses, where it does. */
  readonly iptables?: Xtables | undefined;
  /** The other one, or both where the backend uses none. */
  readonly others: readonly Xtables[];
  /** What was added to ufw by its command, and which iptables it calls; where that is the backend. */
  readonly ufw?: { readonly added: readonly string[]; readonly byNft: boolean } | undefined;
  /** The zone of firewalld's that the uplink is in, where that is the backend. */
  readonly zone?: string | undefined;
  /** Does systemd-resolved run? */
  readonly resolved: boolean;
  /** Settings by key, as far as the plan asks for them. */
  sysctl(key: string): string | undefined;
}

/** Without it the host passes nothing on. Several switches may need it. */
export const FORWARDING = 'net/ipv4/ip_forward';

/** The comment on rules of ours in others' chains. */
export const markOf = (name: string): string => `vswitchd:${name}`;

/** The changes for a switch as a whole, in the order in which they are made. Taps come with their ports. */
export function plan(config: Config, present: Present): Change[] {
  const { backend } = present;
  const shields: Change[] = backend.shields === 'nft' ? [shieldTable(config.name)] : [];
  if (config.uplink.kind !== 'tun') return shields;
  const nat: Change[] = backend.nat === 'nft' ? [natTable(config)] : [];
  return [
    ...setting(present, FORWARDING, '1'),
    ...nat,
    ...shields,
    ...rulesOfNft(config.name, present),
    ...rulesOfIptables(config, present),
    ...(present.ufw === undefined ? [] : ufwRules(config.name, present.ufw.added)),
    ...(backend.name === 'firewalld' ? zoneFor(config.name, present.zone) : []),
    ...(present.resolved ? splitDns(config) : []),
  ];
}

/** Rules in others' chains of nftables, but for those that the backend has commands of its own for. */
function rulesOfNft(name: string, { backend, chains, ufw }: Present): RuleChange[] {
  if (backend.name === 'none' || backend.name === 'iptables') return [];
  const isBackends = ({ family, table }: BaseChain): boolean =>
    (backend.name === 'firewalld' && table === 'firewalld') ||
    (ufw?.byNft === true && family === 'ip' && table === 'filter');
  return chains.filter(chain => !isBackends(chain)).flatMap(chain => rulesFor(name, chain));
}

/** The NAT by iptables, where it is made so; and what passes the rules that somebody has in iptables. */
function rulesOfIptables(config: Config, { backend, iptables, others }: Present): Change[] {
  const past = others.filter(other => other.filters).flatMap(other => admitRules(config.name, other.tool));
  if (backend.nat !== 'iptables' || iptables === undefined) return past;
  const own: IptablesChange[] = [
    ...(backend.name === 'iptables' ? admitRules(config.name, iptables.tool) : []),
    ...natRules(config, iptables.tool), // later, and so before those
  ];
  // The ports that are passed on change while the switch runs: what their rules stand in is there from the start.
  const some = forwardRules(config, iptables.tool, [{ protocol: 'tcp', port: 1, guest: '', guestPort: 1 }]);
  return [...tablesFor(iptables, [...own, ...some]), ...own, ...past];
}

/** A setting, unless it is so already or does not exist here. */
export function setting(present: Pick<Present, 'sysctl'>, key: string, value: string): SysctlChange[] {
  const before = present.sysctl(key);
  return before === undefined || before === value ? [] : [{ kind: 'sysctl', key, value, before }];
}

/** The table whose chains keep the host's own stack from seeing what guests send on their taps; empty at first. */
const shieldTable = (name: string): TableChange => ({
  kind: 'table',
  family: 'netdev',
  name: tableName(name),
  body: '',
});

/** What cuts the host's stack off from a tap's interface. `byNft`: with a chain, else with tc. */
export function shieldOf(
  name: string,
  tap: string,
  present: Pick<Present, 'sysctl'>,
  by: 'nft' | { readonly qdisc: boolean },
): (SysctlChange | ChainChange | TcChange)[] {
  return [
    ...setting(present, `net/ipv6/conf/${tap}/disable_ipv6`, '1'),
    by === 'nft'
      ? { kind: 'chain', table: tableName(name), name: `tap_${identifier(tap)}`, interface: tap }
      : { kind: 'tc', interface: tap, qdisc: by.qdisc },
  ];
}

/** What the taps in our namespace need, for people to read: the follower does it, for each tap as it finds it. */
export function planTaps(
  config: Config,
  shields: Backend['shields'],
  stateOf: (name: string) => 'none' | 'down' | 'up',
): Change[] {
  const by = shields === 'nft' ? 'nft' : { qdisc: true };
  return config.taps
    .filter(tap => tap.netns === undefined)
    .flatMap(({ name, end }): Change[] => {
      const state = stateOf(name);
      const alias = aliasOf(config.name, name);
      const made: Change[] = state === 'none' ? [{ kind: 'tap', name, alias }] : [];
      if (end === 'device') return made;
      const up: Change[] = state === 'down' ? [{ kind: 'link', interface: name, ifindex: 0 }] : [];
      return [...made, ...shieldOf(config.name, name, { sysctl: () => '0' }, by), ...up];
    });
}

/** What a tap that a switch made is found by, wherever it has gone. */
export const aliasOf = (switchName: string, tap: string): string => `vswitchd:${switchName}:${tap}`;

/** The accepting rules that a switch needs in somebody else's chain. */
export function rulesFor(name: string, { family, table, chain, hook }: BaseChain): RuleChange[] {
  const rule = (match: RuleChange['match']): RuleChange => ({
    kind: 'rule',
    family,
    table,
    chain,
    match,
    comment: markOf(name),
  });
  if (hook === 'input') return ['tcp', 'udp', 'icmp'].map(l4proto => rule({ iifname: name, l4proto }));
  // What is forwarded to guests needs no look at its state here: our own table drops what nobody asked for.
  return [rule({ oifname: name }), rule({ iifname: name })];
}
