/** The subnet among the host's networks and other switches, and how the host treats what comes back. */
import type { Ip4 } from '../../wire/address.ts';
import { overlapping, overlaps, type ShownRoute } from '../links.ts';
import type { Facts } from './facts.ts';
import { type Finding, yours } from './finding.ts';

/** A LAN's, a VPN's or anybody's route to a part of the subnet: packets for one of the two go astray. */
export function subnetClash(facts: Facts): Finding[] {
  const { subject, routes, running } = facts;
  if (subject.uplink.kind === 'bridge') return []; // the LAN's own
  const clashing = overlapping(routes, subject);
  // Of a device the network itself will do, without its addresses.
  const first = clashing.filter(({ dev }, at) => clashing.findIndex(route => route.dev === dev) === at);
  return first.map(({ dst, dev }) => ({
    id: 'subnet-clash',
    severity: 'error',
    what: `${subject.subnet.text} overlaps the host's route ${dst}${whose(facts, dev)}: ${
      running ? 'what the host sends to guests there goes astray' : 'vswitchd refuses to start'
    }`,
    fix: elsewhere(facts),
  }));
}

function whose({ links }: Facts, dev: string | undefined): string {
  if (dev === undefined) return '';
  const kind = links.find(link => link.name === dev)?.kind;
  return ` on ${dev}${kind === 'wireguard' || kind === 'tun' ? ', a VPN' : ''}`;
}

/** Another switch of this host has the subnet, or a part of it. */
export function subnetHeld(facts: Facts): Finding[] {
  const { subject, subnets } = facts;
  return Object.entries(subnets)
    .filter(([text, holder]) => !isSelf(facts, holder) && overlaps(subject.subnet, text))
    .map(([text, holder]) => ({
      id: 'subnet-held',
      severity: 'error',
      what: `${subject.subnet.text} overlaps ${text}, which another switch serves: ${holder}`,
      fix: elsewhere(facts),
    }));
}

/** Another switch has a tap. */
export function tapsHeld(facts: Facts): Finding[] {
  return facts.subject.taps.flatMap(({ name, netns }) => {
    const holder = facts.taps[name];
    if (netns !== undefined || holder === undefined || isSelf(facts, holder)) return [];
    return [
      {
        id: 'tap-held',
        severity: 'error',
        what: `${name} is served by another switch: ${holder}`,
        fix: stopping(holder),
      },
    ];
  });
}

const isSelf = ({ subject }: Facts, holder: string): boolean => holder.startsWith(`${subject.name} (`);

const stopping = (holder: string): Finding['fix'] => {
  const pid = /\(pid (\d+)\)$/.exec(holder)?.[1];
  return pid === undefined ? [] : [yours(`kill -TERM ${pid}`)];
};

/** The same switch where there is room. */
function elsewhere({ subject, routes, subnets }: Facts): Finding['fix'] {
  const used = [...routes.map(({ dst }) => dst), ...Object.keys(subnets)];
  const taken = (network: Ip4): boolean =>
    used.some(text => text !== 'default' && overlaps({ network, prefix: 24 }, text));
  for (let third = 100; third < 356; third++) {
    const network = ((192 << 24) | (168 << 16) | ((third % 256) << 8)) as Ip4;
    if (taken(network)) continue;
    const taps = subject.taps.map(tap => tap.name).join(',') || 'tap0,tap1';
    return [yours(`vswitchd --name ${subject.name} --subnet 192.168.${third % 256}.0/24 --taps ${taps}`)];
  }
  return [];
}

/** A running switch that does not answer here, or an interface that is in the way of the uplink. */
export function nameTaken({ subject, running, holder, links }: Facts): Finding[] {
  const { name, runDir } = subject;
  if (running) return [];
  if (holder !== undefined)
    return [
      {
        id: 'no-answer',
        severity: 'warning',
        what: `${name} runs (${holder}), but nobody answers at ${runDir}/${name}.sock, so its subnet and taps are not known`,
        fix: [yours(`vswitchctl --name ${name} --run-dir DIR doctor`)],
      },
    ];
  if (subject.uplink.kind !== 'tun' || !links.some(link => link.name === name)) return [];
  return [
    {
      id: 'name-taken',
      severity: 'error',
      what: `there is an interface ${name} already, where the uplink would be made: vswitchd refuses to start`,
      fix: [yours(`vswitchd --name ${name}x --subnet ${subject.subnet.text}`)],
    },
  ];
}

/**
 * Strict reverse path filtering drops what comes in by an interface that is not the way back. Guests' own traffic is safe:
 * it comes from the uplink's subnet, and its answers by the way that it took. What others begin is not, where the host has
 * two ways out.
 */
export function reversePath({ routes, settings, subject }: Facts): Finding[] {
  if (subject.uplink.kind !== 'tun') return [];
  const ways = routes.filter(({ dst, table, dev }) => dst === 'default' && table === undefined && dev);
  const [best, ...others] = ways.sort((left, right) => metricOf(left) - metricOf(right));
  const filter = (name: string): number => Number(settings[`net/ipv4/conf/${name}/rp_filter`] ?? 0);
  const strict = ({ dev = '' }: ShownRoute): boolean => Math.max(filter('all'), filter(dev)) === 1;
  return others
    .filter(way => way.dev !== best?.dev && strict(way))
    .map(({ dev }) => ({
      id: 'rp-filter',
      severity: 'warning',
      what: `rp_filter is strict on ${dev}, but the host's way out is ${best?.dev}: connections from outside by ${dev} are dropped, to forwarded ports too`,
      fix: [yours(`sysctl -w net.ipv4.conf.${dev}.rp_filter=2`)],
      lasting: [`echo 'net.ipv4.conf.${dev}.rp_filter = 2' >/etc/sysctl.d/90-vswitchd.conf`],
    }));
}

const metricOf = ({ metric }: ShownRoute): number => metric ?? 0;
