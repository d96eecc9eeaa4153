/**
 * The egress policy as the gateway reads it: the operator's rules and what befalls the rest, as rows of one typed array in
 * the order in which they are asked. A rule may become several rows; the last row takes every packet.
 */
import type { EgressConfig, EgressGuest, EgressRule } from '../config.ts';
import { type Ip4, type Network, parseNetwork } from '../wire/address.ts';
import { DNS_PORT } from '../wire/dns.ts';
import * as ip4 from '../wire/ipv4.ts';

export const RULE_WORDS = 12;
/** Words of a row. */
export const R_ALLOW = 0; // 1: the packet may open a flow
export const R_HITS = 1; // where it is counted
export const R_PORT = 2; // of ingress; ANY
export const R_MAC_HI = 3; // ANY: whatever MAC
export const R_MAC_LO = 4;
export const R_GUEST = 5;
export const R_GUEST_MASK = 6;
export const R_PROTOCOL = 7; // ANY
export const R_PORTS = 8; // the first remote port << 16 | the last
export const R_TARGET = 9;
export const R_TARGET_MASK = 10;
export const R_DOMAIN = 11; // which domain's learnt addresses; ANY: the target's network alone decides

export const ANY = -1;

const HTTPS_PORT = 443;
/** DNS over TLS and over QUIC: RFC 7858, RFC 9250. */
const DOT_PORT = 853;

/** A name that rules are about; its place in the list is R_DOMAIN. */
export interface Domain {
  readonly name: string;
  readonly below: boolean;
  readonly allow: boolean;
}

export interface EgressPolicy {
  readonly rows: Int32Array;
  readonly domains: readonly Domain[];
  /** Float64 in shared memory: packets that opened a flow or were denied, by rule; then allowed, and denied, by no rule. */
  readonly hits: SharedArrayBuffer;
}

const network = (text: string): Network => {
  const found = parseNetwork(text);
  if (found === undefined) throw new RangeError(`${text} is no network`);
  return found;
};

const EVERYWHERE = network('0.0.0.0/0');

/** RFC 6890 and its registry: what is not reached over the internet. The subnet itself never comes this far. */
const SPECIAL = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'],
  ...['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15'],
  ...['198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
].map(network);

/** Public resolvers that speak DNS over HTTPS, as their operators publish them. */
const DOH = [
  ...['8.8.8.8', '8.8.4.4'], // Google
  ...['1.1.1.0/30', '1.0.0.0/30', '104.16.248.249', '104.16.249.249'], // Cloudflare
  ...['162.159.61.3', '162.159.61.4', '172.64.41.3', '172.64.41.4'], // Cloudflare for browsers
  ...['9.9.9.8/29', '149.112.112.8/29', '149.112.112.112'], // Quad9
  ...['208.67.220.0/24', '208.67.222.0/24', '146.112.41.2', '146.112.41.3'], // OpenDNS
  ...['94.140.14.0/24', '94.140.15.0/24'], // AdGuard
  ...['185.228.168.0/24', '185.228.169.0/24'], // CleanBrowsing
  ...['45.90.28.0/24', '45.90.30.0/24'], // NextDNS
  ...['76.76.2.0/24', '76.76.10.0/24'], // Control D
  ...['194.242.2.0/24'], // Mullvad
  ...['86.54.11.0/24'], // DNS4EU
  ...['185.222.222.222', '45.11.45.11'], // DNS.SB
  ...['77.88.8.0/24'], // Yandex
  ...['223.5.5.5', '223.6.6.6', '1.12.12.12', '120.53.53.53'], // AliDNS, DNSPod
  ...['101.101.101.101'], // Quad101
].map(network);

const PROTOCOLS = { any: ANY, tcp: ip4.TCP, udp: ip4.UDP, icmp: ip4.ICMP } as const;

export interface PolicyParts {
  /** What guests are told to ask: `internet-only` lets them, wherever it is. */
  readonly resolvers: readonly Ip4[];
  /** A tap's port index. */
  portOf(tap: string): number;
}

/** Whom, what and where a row is about; what is left out is any. */
interface Row {
  readonly guest?: EgressGuest;
  readonly protocol?: number;
  readonly ports?: readonly [first: number, last: number];
  readonly target?: Network;
  readonly domain?: number;
}

/** Compiles rules and default. */
export function compile(config: EgressConfig, parts: PolicyParts): EgressPolicy {
  const words: number[] = [];
  const domains: Domain[] = [];
  const add = (allow: boolean, hits: number, row: Row): void => {
    const { guest = { kind: 'any' }, protocol = ANY, ports = [0, 0xffff], target = EVERYWHERE } = row;
    const who = guest.kind === 'network' ? guest : EVERYWHERE;
    const mac = guest.kind === 'mac' ? guest.mac : { hi: ANY, lo: 0 };
    const port = guest.kind === 'tap' ? parts.portOf(guest.name) : ANY;
    words.push(allow ? 1 : 0, hits, port, mac.hi, mac.lo, who.network, who.mask, protocol);
    words.push((ports[0] << 16) | ports[1], target.network, target.mask, row.domain ?? ANY);
  };
  for (const [index, rule] of config.rules.entries())
    for (const row of rowsOf(rule, domains)) add(rule.allow, index, row);
  const allowed = config.rules.length;
  if (config.otherwise === 'internet-only') {
    for (const ip of parts.resolvers)
      for (const protocol of [ip4.UDP, ip4.TCP])
        add(true, allowed, {
          protocol,
          ports: [DNS_PORT, DNS_PORT],
          target: { network: ip, mask: -1 as Ip4 },
        });
    for (const target of SPECIAL) add(false, allowed + 1, { target });
  }
  if (config.otherwise === 'none') add(false, allowed + 1, {});
  else add(true, allowed, {});
  return { rows: Int32Array.from(words), domains, hits: new SharedArrayBuffer((allowed + 2) * 8) };
}

function rowsOf(rule: EgressRule, domains: Domain[]): Row[] {
  const { guest, target } = rule;
  if (target.kind === 'encrypted-dns')
    return [ip4.TCP, ip4.UDP].flatMap(protocol => [
      { guest, protocol, ports: [DOT_PORT, DOT_PORT] as const },
      ...DOH.map(resolver => ({
        guest,
        protocol,
        ports: [HTTPS_PORT, HTTPS_PORT] as const,
        target: resolver,
      })),
    ]);
  const row: Row = {
    guest,
    protocol: PROTOCOLS[rule.protocol],
    ports: [rule.firstPort, rule.lastPort],
  };
  if (target.kind === 'network') return [{ ...row, target }];
  return [{ ...row, domain: indexOf(domains, { ...target, allow: rule.allow }) }];
}

/** The domain's place among those found so far, or the next. */
function indexOf(domains: Domain[], { name, below, allow }: Domain): number {
  const found = domains.findIndex(
    domain => domain.name === name && domain.below === below && domain.allow === allow,
  );
  return found >= 0 ? found : domains.push({ name, below, allow }) - 1;
}
