/** Other firewalls: what they drop of the guests' traffic, before our rules or without them. */
import type { NftItem } from '../nft.ts';
import { foreignChain, wordsOf } from '../nft.ts';
import { type BaseChain, rulesFor } from '../plan.ts';
import type { Facts } from './facts.ts';
import { again, type Finding, yours } from './finding.ts';
import { type Packet, verdictOf } from './verdict.ts';

/** Who makes a table, by what is found in it. */
const MAKERS: readonly (readonly [RegExp, string])[] = [
  [/^DOCKER/, 'Docker'],
  [/^ufw6?-/, 'ufw'],
  [/^LIBVIRT_/, 'libvirt'],
  [/^(filter_IN|filter_FWD)_/, 'firewalld'],
];

/** ` (of Docker and ufw)`, or nothing where nobody is known. */
function makersOf(ruleset: readonly NftItem[], { family, table }: BaseChain): string {
  const chains = ruleset.flatMap(({ chain }) =>
    chain?.family === family && chain.table === table ? [chain.name] : [],
  );
  const found = MAKERS.filter(([pattern]) => chains.some(name => pattern.test(name))).map(([, who]) => who);
  return found.length === 0 ? '' : ` (of ${found.join(' and ')})`;
}

/** What guests need at a hook: on the way out and back, or to the host. */
function packetsAt(hook: BaseChain['hook'], name: string): readonly Packet[] {
  const known = { nfproto: 'ipv4', l4proto: 'tcp', protocol: 'tcp' };
  const from = { ...known, iifname: name };
  return hook === 'input' ? [from] : [from, { ...known, oifname: name }];
}

/** A chain that drops: our rules are gone from it, or it came when the switch was running already. */
export function droppingChains(facts: Facts): Finding[] {
  const { subject } = facts;
  if (subject.uplink.kind !== 'tun') return [];
  const ruleset = facts.ruleset.filter(item => !isOwnDrop(item, subject.name));
  return ruleset.flatMap(foreignChain).flatMap(chain => {
    const packets = packetsAt(chain.hook, subject.name);
    return packets.some(packet => verdictOf(ruleset, chain, packet) === 'drop')
      ? [droppingChain(facts, chain)]
      : [];
  });
}

/**
 * Ours by iptables (host/xtables.ts), which nft shows without the words of its comment: what it drops is what nobody has asked
 * for, after rules that know.
 */
function isOwnDrop({ rule }: NftItem, name: string): boolean {
  if (rule === undefined || !rule.expr.some(part => part.xt?.name === 'comment')) return false;
  const [interfaces, end, ...more] = wordsOf(rule);
  const { op, right } = interfaces?.match ?? {};
  return op === '==' && right === name && end !== undefined && 'drop' in end && more.length === 0;
}

function droppingChain({ subject, running, ruleset }: Facts, chain: BaseChain): Finding {
  const { name, firewall } = subject;
  const where = `${chain.family} ${chain.table} ${chain.chain}${makersOf(ruleset, chain)}`;
  const rules = rulesFor(name, chain);
  const [id, drops, effect] =
    chain.hook === 'forward'
      ? ['forward-drop', 'what the host forwards', 'guests do not get out']
      : ['input-drop', 'what comes in', 'guests reach no service of the host'];
  if (firewall === 'none')
    return {
      id,
      severity: 'warning',
      what: `${where} drops ${drops}, and with --firewall none nothing is done about it: ${effect}`,
      fix: rules.map(rule => yours(again(rule).text.replace(/ comment "[^"]*"/, ''))),
    };
  if (!running)
    return {
      id,
      severity: 'note',
      what: `${where} drops ${drops}; the switch puts accepting rules first there while it runs`,
      fix: [],
    };
  return {
    id,
    severity: chain.hook === 'forward' ? 'error' : 'warning',
    what: `${where} drops ${drops} before a rule of ${name} accepts it: ${effect}`,
    fix: rules.map(again),
  };
}

/** firewalld makes its table anew at each reload, without the rules that we put there. */
export function firewalldReload({ subject, running, ruleset }: Facts): Finding[] {
  if (!running || subject.uplink.kind !== 'tun' || subject.firewall === 'none') return [];
  if (!ruleset.some(({ table }) => table?.name === 'firewalld')) return [];
  return [
    {
      id: 'firewalld-reload',
      severity: 'note',
      what: `firewalld takes the rules of ${subject.name} out of its chains when it is reloaded; with ${subject.name} in a zone that accepts it would not matter`,
      fix: [yours(`firewall-cmd --zone=trusted --add-interface=${subject.name}`)],
      lasting: [`firewall-cmd --permanent --zone=trusted --add-interface=${subject.name}`],
    },
  ];
}

/** nft neither shows nor reaches the tables of iptables-legacy. */
export function legacyDrop({ subject, running, legacyForward }: Facts): Finding[] {
  const { name, uplink } = subject;
  const accepts = (option: string): boolean => {
    const words = new RegExp(`^-A FORWARD (-s \\S+ )?${option} ${name} (-m comment .*)?-j ACCEPT$`);
    return legacyForward.some(line => words.test(line));
  };
  if (uplink.kind !== 'tun' || legacyForward[0] !== '-P FORWARD DROP') return [];
  const lacking = ['-i', '-o'].filter(option => !accepts(option));
  if (lacking.length === 0) return [];
  return [
    {
      id: 'legacy-drop',
      severity: running ? 'error' : 'warning',
      what: `iptables-legacy's FORWARD drops what it is not told to accept, where nft can't put rules of ours: guests do not get out`,
      fix: lacking.map(option => yours(`iptables-legacy -I FORWARD ${option} ${name} -j ACCEPT`)),
    },
  ];
}
