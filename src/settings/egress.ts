/**
 * Egress rules as the operator writes them: `[GUEST] allow|deny [PROTOCOL[/PORTS]] TARGET`, such as `deny 10.0.0.0/8`,
 * `192.168.100.10 deny tcp/25 any`, `tap0 allow tcp/443 *.debian.org`.
 */
import type { EgressGuest, EgressRule, EgressTarget } from '../config.ts';
import { formatIp4, type Ip4, type Network, parseMac, parseNetwork } from '../wire/address.ts';
import { Refusal } from './schema.ts';
import { parsePortName } from './taps.ts';
import { DOMAIN, parseDomain } from './values.ts';

export const EGRESS =
  'expected [GUEST] allow|deny [tcp|udp|icmp[/PORTS]] TARGET, such as deny 10.0.0.0/8 or allow tcp/443 .debian.org';

const GUEST = 'expected a tap, an address, a network or a MAC address';
const SERVICE = 'expected tcp, udp or icmp, the first two maybe with ports: tcp/443, udp/8000-8100';
const TARGET = 'expected any, a network, an address, a domain or encrypted-dns';

const MAX_PORT = 65_535;
const MAX_RULES = 256;
const EVERYWHERE = { kind: 'network', network: 0 as Ip4, mask: 0 as Ip4 } as const;

const isVerb = (word: string | undefined): boolean => word === 'allow' || word === 'deny';
const isNumeric = (word: string): boolean => /^\d[\d./]*$/.test(word);

/** A network without host bits. */
function networkOf(word: string, expected: string): Network | Refusal {
  const found = parseNetwork(word);
  const [address = '', length] = word.split('/');
  if (found === undefined) return new Refusal(`names the network ${JSON.stringify(word)}; ${expected}`);
  if (formatIp4(found.network) === address) return found;
  return new Refusal(
    `names the network ${word} with host bits set; expected ${formatIp4(found.network)}/${length}`,
  );
}

function guestOf(word: string): EgressGuest | Refusal {
  const mac = parseMac(word);
  if (mac !== undefined) return { kind: 'mac', mac };
  if (isNumeric(word)) {
    const network = networkOf(word, GUEST);
    return network instanceof Refusal ? network : { kind: 'network', ...network };
  }
  const name = parsePortName(word);
  if (name instanceof Refusal) return new Refusal(`names the guest ${JSON.stringify(word)}; ${GUEST}`);
  return { kind: 'tap', name };
}

type Service = Pick<EgressRule, 'protocol' | 'firstPort' | 'lastPort'>;

const ANY_SERVICE: Service = { protocol: 'any', firstPort: 0, lastPort: MAX_PORT };

function serviceOf(word: string): Service | Refusal {
  const [, protocol, first, last = first] =
    /^(tcp|udp|icmp)(?:\/(\d{1,5})(?:-(\d{1,5}))?)?$/.exec(word) ?? [];
  if (protocol === undefined || (protocol === 'icmp' && first !== undefined))
    return new Refusal(`names the protocol ${JSON.stringify(word)}; ${SERVICE}`);
  const named = { ...ANY_SERVICE, protocol: protocol as Service['protocol'] };
  if (first === undefined) return named;
  const [firstPort, lastPort] = [Number(first), Number(last)];
  if (firstPort < 1 || lastPort > MAX_PORT || firstPort > lastPort)
    return new Refusal(
      `names the ports ${word}; expected ports from 1 to ${MAX_PORT}, the lower one of two first`,
    );
  return { ...named, firstPort, lastPort };
}

/** A domain has a dot, at its end if nowhere else: else `all` for `any` would be one. */
function domainOf(word: string): EgressTarget | Refusal {
  const below = /^\*?\./.test(word);
  const name = word
    .replace(/^\*?\./, '')
    .replace(/\.$/, '')
    .toLowerCase();
  if (!word.includes('.') || parseDomain(name) instanceof Refusal)
    return new Refusal(
      `names the target ${JSON.stringify(word)}; ${word.includes('.') ? DOMAIN : `${TARGET} (a name without a dot ends with one)`}`,
    );
  return { kind: 'domain', name, below };
}

function targetOf(word: string): EgressTarget | Refusal {
  if (word === 'any') return EVERYWHERE;
  if (word === 'encrypted-dns') return { kind: 'encrypted-dns' };
  if (!isNumeric(word)) return domainOf(word);
  const network = networkOf(word, TARGET);
  return network instanceof Refusal ? network : { kind: 'network', ...network };
}

function parseRule(text: string): EgressRule | Refusal {
  const words = text.split(/\s+/);
  const verb = isVerb(words[0]) ? 0 : 1;
  const rest = words.slice(verb + 1);
  if (!isVerb(words[verb]) || rest.length > 2) return new Refusal(EGRESS);
  const [last = '', before] = rest.reverse();
  if (last === '' || !(serviceOf(last) instanceof Refusal))
    return new Refusal(`has no target in ${JSON.stringify(text)}; ${TARGET}`);
  const guest: EgressGuest | Refusal = verb === 0 ? { kind: 'any' } : guestOf(words[0] as string);
  const service = before === undefined ? ANY_SERVICE : serviceOf(before);
  const target = targetOf(last);
  if (guest instanceof Refusal) return guest;
  if (service instanceof Refusal) return service;
  if (target instanceof Refusal) return target;
  if (target.kind === 'encrypted-dns' && before !== undefined)
    return new Refusal(
      `names ${before} before encrypted-dns, which has ports of its own; expected one of them`,
    );
  return { text, allow: words[verb] === 'allow', guest, ...service, target };
}

export function parseEgressRules(items: readonly string[]): readonly EgressRule[] | Refusal {
  const rules: EgressRule[] = [];
  for (const item of items) {
    const rule = parseRule(item.trim());
    if (rule instanceof Refusal) return rule;
    rules.push(rule);
  }
  return rules.length <= MAX_RULES
    ? rules
    : new Refusal(`has ${rules.length} rules; expected at most ${MAX_RULES}`);
}
