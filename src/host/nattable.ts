/** The nftables table of a switch: its NAT on the host, and what must stand beside it. */
import type { Config, Forward } from '../config.ts';
import { formatIp4, UNSPECIFIED } from '../wire/address.ts';
import type { TableChange } from './changes.ts';

/** A name as an identifier of nft's, no two the same: what it takes stands for itself, the rest for its bytes. */
export const identifier = (name: string): string =>
  name.replace(/[^A-Za-z0-9_]/gu, character => `.${Buffer.from(character).toString('hex')}`);

export const tableName = (name: string): string => `vswitchd_${identifier(name)}`;

/** The table's chains with their hooks; the host's own connections are turned to the NAT address at `output`. */
const CHAINS: Readonly<Record<string, string>> = {
  shelter: 'type filter hook prerouting priority raw',
  prerouting: 'type nat hook prerouting priority dstnat',
  output: 'type nat hook output priority -100',
  postrouting: 'type nat hook postrouting priority srcnat',
  clamp: 'type filter hook forward priority mangle',
  forward: 'type filter hook forward priority filter',
  input: 'type filter hook input priority filter',
};

/**
 * The set `forwards` holds the host's ports that are passed on, protocol and port; it is empty at first. Without `lan` the
 * NAT address is masqueraded wherever it leaves, so that two default routes or a VPN are all the same.
 */
export function natTable(config: Config): TableChange {
  const { name } = config;
  const chains = config.natAddress === UNSPECIFIED ? routes(config) : translations(config);
  return {
    kind: 'table',
    family: 'inet',
    name: tableName(name),
    body: chains.map(line => `  ${line}\n`).join(''),
  };
}

function translations(config: Config): string[] {
  const { name, lan } = config;
  const nat = formatIp4(config.natAddress);
  const dnat = `meta l4proto . th dport @forwards fib daddr type local dnat ip to ${nat}`;
  const rules: Readonly<Record<keyof typeof CHAINS, readonly string[]>> = {
    // A loopback address from the uplink is a guest's attempt at what listens for the host alone.
    shelter: [`iifname "${name}" ip daddr 127.0.0.0/8 drop`],
    prerouting: [lan === undefined ? dnat : `iifname { "${lan}", "${name}" } ${dnat}`],
    output: [dnat],
    postrouting: [
      `ip saddr ${nat} oifname ${lan === undefined ? `!= "${name}"` : `"${lan}"`} masquerade`,
      // Whoever is turned back by the uplink, guest or host, must be answered by way of the host.
      ...turnedSources(config).map(
        source => `oifname "${name}" ct status dnat ip saddr ${source} masquerade`,
      ),
    ],
    clamp: clampOf(name),
    forward: [
      ...pinned(name, lan),
      `iifname "${name}" accept`,
      `oifname "${name}" ct state established,related accept`,
      `oifname "${name}" ct status dnat accept`,
      // Nobody outside may address guests by the private network's addresses: that is what a NAT is for.
      `oifname "${name}" drop`,
    ],
    ...closed(config),
  };
  return ['set forwards {', '  type inet_proto . inet_service;', '}', ...chainsOf(rules)];
}

/** Without a NAT the subnet is routed as it is. */
const routes = (config: Config): string[] => {
  const { name, lan } = config;
  return chainsOf({
    clamp: clampOf(name),
    forward: [...pinned(name, lan), ...['iifname', 'oifname'].map(side => `${side} "${name}" accept`)],
    ...closed(config),
  });
};

/**
 * What guests may not reach of the host, at any address of its. At the gateway's address new TCP connections are those that
 * the gateway lets through: to services of the switch.
 */
const closed = ({ name, hostAccess, subnet }: Config): Readonly<Record<string, readonly string[]>> =>
  hostAccess === 'all'
    ? {}
    : {
        input: [
          `iifname "${name}" ct state established,related accept`,
          `iifname "${name}" ip daddr ${formatIp4(subnet.gateway)} meta l4proto tcp accept`,
          `iifname "${name}" drop`,
        ],
      };

/** Path MTU discovery fails where ICMP is filtered; TCP need not know of it. */
const clampOf = (name: string): string[] =>
  ['iifname', 'oifname'].map(side => `${side} "${name}" tcp flags syn tcp option maxseg size set rt mtu`);

const pinned = (name: string, lan: string | undefined): string[] =>
  lan === undefined
    ? []
    : [
        `iifname "${name}" oifname "${name}" accept`,
        `iifname "${name}" oifname != "${lan}" drop`,
        `oifname "${name}" iifname != "${lan}" drop`,
      ];

const chainsOf = (rules: Readonly<Record<string, readonly string[]>>): string[] =>
  Object.entries(rules).flatMap(([chain, lines]) => [
    `chain ${chain} {`,
    `  ${CHAINS[chain]}; policy accept;`,
    ...lines.map(line => `  ${line}`),
    '}',
  ]);

/** Who is answered by way of the host when the uplink turns him back: the host's loopback and guests, by either address. */
export function turnedSources({ subnet, natAddress }: Config): string[] {
  const inside = (natAddress & subnet.mask) === subnet.network;
  return ['127.0.0.0/8', subnet.text, ...(inside ? [] : [`${formatIp4(natAddress)}/32`])];
}

/** What makes the set hold these ports and no others. */
export function forwardsText(name: string, forwards: readonly Forward[]): string[] {
  const set = `inet ${tableName(name)} forwards`;
  const elements = forwards.map(({ protocol, port }) => `${protocol} . ${port}`).join(', ');
  return [`flush set ${set}`, ...(forwards.length === 0 ? [] : [`add element ${set} { ${elements} }`])];
}
