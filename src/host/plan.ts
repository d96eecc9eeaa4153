/**
 * What a switch wants of its host, worked out before anything is changed. An `accept` in a table of ours can't overrule a
 * drop in somebody else's chain at the same hook (Docker's FORWARD policy, a firewall's INPUT), so the plan looks at all
 * of them and puts marked rules first where they would be in the way.
 */
import type { Config } from '../config.ts';
import { formatIp4 } from '../wire/address.ts';
import type { ChainChange, Change, RuleChange, SysctlChange, TableChange, TcChange } from './changes.ts';

/** A chain of somebody else at a hook that our packets pass. */
export interface BaseChain {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly hook: 'forward' | 'input';
}

/** The host as it is. */
export interface Present {
  readonly chains: readonly BaseChain[];
  /** Settings by key, as far as the plan asks for them. */
  sysctl(key: string): string | undefined;
}

/** Without it the host passes nothing on. Several switches may need it. */
export const FORWARDING = 'net/ipv4/ip_forward';

/** A name as an identifier of nft's, no two the same: what it takes stands for itself, the rest for its bytes. */
const identifier = (name: string): string =>
  name.replace(/[^A-Za-z0-9_]/gu, character => `.${Buffer.from(character).toString('hex')}`);

export const tableName = (name: string): string => `vswitchd_${identifier(name)}`;
/** The comment on rules of ours in others' chains. */
export const markOf = (name: string): string => `vswitchd:${name}`;

/** The changes for a switch as a whole, in the order in which they are made. Taps come with their ports. */
export function plan(config: Config, present: Present): Change[] {
  const nft = config.firewall !== 'none';
  const shields: Change[] = nft ? [shieldTable(config.name)] : [];
  if (config.uplink === 'none') return shields;
  return [
    ...setting(present, FORWARDING, '1'),
    ...(nft
      ? [natTable(config), ...shields, ...present.chains.flatMap(chain => rulesFor(config.name, chain))]
      : []),
  ];
}

/** A setting, unless it is so already or does not exist here. */
export function setting(present: Pick<Present, 'sysctl'>, key: string, value: string): SysctlChange[] {
  const before = present.sysctl(key);
  return before === undefined || before === value ? [] : [{ kind: 'sysctl', key, value, before }];
}

/** Masquerades the NAT address wherever it leaves, so that two default routes or a VPN are all the same. */
function natTable(config: Config): TableChange {
  const uplink = config.name;
  const lines = [
    'chain postrouting {',
    '  type nat hook postrouting priority srcnat; policy accept;',
    `  ip saddr ${formatIp4(config.natAddress)} oifname != "${uplink}" masquerade`,
    '}',
    'chain forward {',
    '  type filter hook forward priority filter; policy accept;',
    `  iifname "${uplink}" accept`,
    `  oifname "${uplink}" ct state established,related accept`,
    // Nobody outside may address guests by the private network's addresses: that is what a NAT is for.
    `  oifname "${uplink}" drop`,
    '}',
  ];
  return {
    kind: 'table',
    family: 'inet',
    name: tableName(uplink),
    body: lines.map(line => `  ${line}\n`).join(''),
  };
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
export function planTaps(config: Config, stateOf: (name: string) => 'none' | 'down' | 'up'): Change[] {
  const by = config.firewall === 'none' ? { qdisc: true } : 'nft';
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
