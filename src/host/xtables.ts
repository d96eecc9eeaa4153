/** What a switch wants of its host in the words of iptables: the model is the table of nft's, in nattable.ts. */
import type { Config, Forward } from '../config.ts';
import { formatIp4, UNSPECIFIED } from '../wire/address.ts';
import type { IptablesChange, XtableChange } from './changes.ts';
import { turnedSources } from './nattable.ts';
import type { Xtables } from './plan.ts';

/** A rule as it stands here: its table, its chain, what it compares and what it does. */
type Row = readonly [table: string, chain: string, match: string, target: string];

/**
 * Rules of the switch `name` for a tool, each with the mark that says whose it is. Rows stand in the order in which packets
 * meet them; as each is put before all others, the last is made first.
 */
const marked = (tool: string, name: string, rows: readonly Row[]): IptablesChange[] =>
  rows.toReversed().map(([table, chain, match, target]) => ({
    kind: 'iptables',
    tool,
    table,
    chain,
    words: `${match} -m comment --comment vswitchd:${name} -j ${target}`,
  }));

/** The NAT and what must stand beside it, where nftables is not used. */
export function natRules(config: Config, tool: string): IptablesChange[] {
  const { name, lan } = config;
  const nat = formatIp4(config.natAddress);
  const clamp = ['-i', '-o'].map((side): Row => {
    const syn = `${side} ${name} -p tcp -m tcp --tcp-flags SYN,RST SYN`;
    return ['mangle', 'FORWARD', syn, 'TCPMSS --clamp-mss-to-pmtu'];
  });
  const pinned: Row[] = [
    ['filter', 'FORWARD', `-i ${name} -o ${name}`, 'ACCEPT'],
    ['filter', 'FORWARD', `-i ${name} ! -o ${lan}`, 'DROP'],
    ['filter', 'FORWARD', `-o ${name} ! -i ${lan}`, 'DROP'],
  ];
  const gateway = formatIp4(config.subnet.gateway);
  const closed: Row[] =
    config.hostAccess === 'all'
      ? []
      : [
          ['filter', 'INPUT', `-i ${name} -m conntrack --ctstate RELATED,ESTABLISHED`, 'ACCEPT'],
          ['filter', 'INPUT', `-d ${gateway}/32 -i ${name} -p tcp`, 'ACCEPT'],
          ['filter', 'INPUT', `-i ${name}`, 'DROP'],
        ];
  // Without a NAT the subnet is routed as it is.
  if (config.natAddress === UNSPECIFIED)
    return marked(tool, name, [...clamp, ...closed, ...(lan === undefined ? [] : pinned)]);
  return marked(tool, name, [
    ['mangle', 'PREROUTING', `-i ${name} -d 127.0.0.0/8`, 'DROP'],
    ...clamp,
    ...closed,
    ['nat', 'POSTROUTING', `-s ${nat}/32 ${lan === undefined ? `! -o ${name}` : `-o ${lan}`}`, 'MASQUERADE'],
    ...turnedSources(config).map((source): Row => {
      const turned = `-s ${source} -o ${name} -m conntrack --ctstate DNAT`;
      return ['nat', 'POSTROUTING', turned, 'MASQUERADE'];
    }),
    ...(lan === undefined ? [] : pinned),
    ['filter', 'FORWARD', `-o ${name} -m conntrack --ctstate RELATED,ESTABLISHED`, 'ACCEPT'],
    ['filter', 'FORWARD', `-o ${name} -m conntrack --ctstate DNAT`, 'ACCEPT'],
    ['filter', 'FORWARD', `-o ${name}`, 'DROP'],
  ]);
}

/** What lets packets from and to the uplink past the rules of somebody else; the NAT's own rules stand before. */
export const admitRules = (name: string, tool: string): IptablesChange[] =>
  marked(tool, name, [
    ['filter', 'FORWARD', `-i ${name}`, 'ACCEPT'],
    ['filter', 'FORWARD', `-o ${name}`, 'ACCEPT'],
    ...['tcp', 'udp', 'icmp'].map((kind): Row => ['filter', 'INPUT', `-i ${name} -p ${kind}`, 'ACCEPT']),
  ]);

/** A host's port to the NAT address's, for those outside, for guests and for the host itself. */
export function forwardRules(config: Config, tool: string, forwards: readonly Forward[]): IptablesChange[] {
  const { name, lan } = config;
  const from = lan === undefined ? [''] : [`-i ${lan} `, `-i ${name} `];
  const rows = forwards.flatMap(({ protocol, port }): Row[] => {
    const match = `-p ${protocol} -m ${protocol} --dport ${port} -m addrtype --dst-type LOCAL`;
    const target = `DNAT --to-destination ${formatIp4(config.natAddress)}`;
    return [
      ...from.map((way): Row => ['nat', 'PREROUTING', `${way}${match}`, target]),
      ['nat', 'OUTPUT', match, target],
    ];
  });
  return marked(tool, name, rows);
}

/** Tables and chains that iptables-nft will make for the rules, and that go with them again. */
export function tablesFor(present: Xtables, rules: readonly IptablesChange[]): XtableChange[] {
  if (present.lasting) return [];
  return [...new Set(rules.map(rule => rule.table))].flatMap((table): XtableChange[] => {
    const whole = !present.tables.includes(table);
    const used = [...new Set(rules.filter(rule => rule.table === table).map(rule => rule.chain))];
    const chains = used.filter(chain => whole || !present.hasChain(table, chain));
    return chains.length === 0 ? [] : [{ kind: 'xtable', tool: present.tool, table, chains, whole }];
  });
}
