/** What the switch has put on the host: is it there, while it runs; is some of it left, when it does not. */
import type { Change } from '../changes.ts';
import { FORWARDING } from '../plan.ts';
import type { Facts } from './facts.ts';
import { again, type Finding, yours } from './finding.ts';

/** Something of ours that somebody has taken away: `nft flush ruleset`, a reload of nftables.service, a sysctl. */
export function takenAway(facts: Facts): Finding[] {
  if (!facts.running || !facts.root || facts.missing.includes('nft')) return [];
  const gone = facts.journal.filter(change => !isThere(change, facts));
  if (gone.length === 0) return [];
  return [
    {
      id: 'taken-away',
      severity: 'error',
      what: `${gone.map(nameOf).join(', ')} of ${facts.subject.name} ${gone.length === 1 ? 'has' : 'have'} been taken away since it started: guests do not get out, or reach the host past the switch`,
      fix: gone.map(again),
    },
  ];
}

/** Rules are judged by their effect (firewall.ts), forwarding by itself; taps are looked after by the switch. */
function isThere(change: Change, { ruleset, settings }: Facts): boolean {
  switch (change.kind) {
    case 'table':
      return ruleset.some(
        ({ table, rule }) =>
          change.family === 'netdev'
            ? table?.family === 'netdev' && table.name === change.name
            : rule?.family === change.family && rule.table === change.name, // a table that was flushed has none
      );
    case 'chain':
      return ruleset.some(
        ({ chain }) =>
          chain?.family === 'netdev' && chain.table === change.table && chain.name === change.name,
      );
    case 'sysctl':
      return change.key === FORWARDING || [undefined, change.value].includes(settings[change.key]);
    default:
      return true;
  }
}

function nameOf(change: Change): string {
  if (change.kind === 'table') return `the table ${change.family} ${change.name}`;
  if (change.kind === 'chain') return `the shield of ${change.interface}`;
  return change.kind === 'sysctl' ? change.key.replaceAll('/', '.') : change.kind;
}

/** Without it nothing gets out, whoever has switched it off. */
export function forwardingOff({ subject, running, settings }: Facts): Finding[] {
  if (!running || subject.uplink.kind !== 'tun' || settings[FORWARDING] !== '0') return [];
  return [
    {
      id: 'forwarding-off',
      severity: 'error',
      what: 'net.ipv4.ip_forward is 0, so the host passes nothing on: guests do not get out',
      fix: [again({ kind: 'sysctl', key: FORWARDING, value: '1', before: '0' })],
    },
  ];
}

/** A killed switch's changes. Not undone by --fix: guests may hold the taps, which the next start keeps for them. */
export function leftBehind({ subject, running, holder, journal }: Facts): Finding[] {
  if (running || holder !== undefined || journal.length === 0) return [];
  const { name, stateDir } = subject;
  return [
    {
      id: 'left-behind',
      severity: 'warning',
      what: `a killed ${name} has left ${journal.length} changes on this host; its next start takes them up, --undo takes them back`,
      fix: [yours(`vswitchd --undo --name ${name} --state-dir ${stateDir}`)],
    },
  ];
}
