/** Who else has a hand on the taps: network managers, and kernel bridges. */
import { foreignChain } from '../nft.ts';
import type { Facts } from './facts.ts';
import { type Finding, ours, yours } from './finding.ts';
import { verdictOf } from './verdict.ts';

/** The switch's interfaces in this namespace. */
const interfacesOf = ({ subject }: Facts): string[] => [
  ...(subject.uplink.kind !== 'tun' ? [] : [subject.name]),
  ...subject.taps.filter(tap => tap.netns === undefined).map(tap => tap.name),
];

/** NetworkManager sets managed interfaces up and down, and asks for addresses on them. */
export function networkManager(facts: Facts): Finding[] {
  const managed = interfacesOf(facts).filter(
    name => (facts.networkManager[name] ?? 'unmanaged') !== 'unmanaged',
  );
  if (managed.length === 0) return [];
  const pattern = interfacesOf(facts).map(name => `interface-name:${name}`);
  return [
    {
      id: 'networkmanager',
      severity: 'warning',
      what: `NetworkManager manages ${managed.join(', ')}: it may set ${managed.length === 1 ? 'it' : 'them'} down or put addresses there`,
      fix: managed.map(name => ours(`nmcli dev set ${name} managed no`)),
      lasting: [
        `printf '[keyfile]\\nunmanaged-devices+=${pattern.join(';')}\\n' >/etc/NetworkManager/conf.d/90-vswitchd.conf`,
        'nmcli general reload conf',
      ],
    },
  ];
}

/** What networkctl says of links that a .network file is for. */
const SET_UP = ['configuring', 'configured', 'failed'];

/** systemd-networkd does the same where a .network file matches: `[Match] Name=*` is common. */
export function networkd(facts: Facts): Finding[] {
  const managed = interfacesOf(facts).filter(name => SET_UP.includes(facts.networkd[name] ?? ''));
  if (managed.length === 0) return [];
  const file = 'systemd/network/10-vswitchd.network';
  const write = (folder: string): string =>
    `printf '[Match]\\nName=${interfacesOf(facts).join(' ')}\\n[Link]\\nUnmanaged=yes\\n' >${folder}/${file}`;
  return [
    {
      id: 'networkd',
      severity: 'warning',
      what: `systemd-networkd configures ${managed.join(', ')}: it may take addresses from there and put others`,
      fix: [yours('mkdir -p /run/systemd/network'), yours(write('/run')), yours('networkctl reload')],
      lasting: [write('/etc')],
    },
  ];
}

/** A tap whose interface end the switch serves is no bridge's: the guest would get each other's frames, and lose its own. */
export function tapsInBridges(facts: Facts): Finding[] {
  return bridged(facts).flatMap(({ tap, bridge, alias }) => {
    if (tap.end === 'device') return [];
    const remove = `ip link set dev ${tap.name} nomaster`;
    return [
      {
        id: 'tap-in-bridge',
        severity: 'error',
        what: `${tap.name} is a port of the bridge ${bridge}, and the switch serves the same end: what the bridge sends reaches the guest, and no answer gets back`,
        fix: [alias?.startsWith('vswitchd:') ? ours(remove) : yours(remove)],
      },
    ];
  });
}

const BRIDGE_FILTER = 'net/bridge/bridge-nf-call-iptables';

/** A bridge that is joined to the switch by a tap's interface end: the host's rules for forwarding see its frames. */
export function bridgeFilter(facts: Facts): Finding[] {
  if (facts.settings[BRIDGE_FILTER] !== '1') return [];
  const known = { nfproto: 'ipv4', l4proto: 'tcp', protocol: 'tcp' };
  const chains = facts.ruleset.flatMap(foreignChain).filter(({ hook }) => hook === 'forward');
  return bridged(facts).flatMap(({ tap, bridge }) => {
    const packet = { ...known, iifname: bridge, oifname: bridge };
    const dropping = chains.find(chain => verdictOf(facts.ruleset, chain, packet) === 'drop');
    if (tap.end !== 'device' || dropping === undefined) return [];
    return [
      {
        id: 'bridge-nf',
        severity: 'error',
        what: `what ${bridge} passes between ${tap.name} and its other ports goes through ${dropping.family} ${dropping.table} ${dropping.chain}, which drops it, as bridge-nf-call-iptables is 1`,
        fix: [yours('sysctl -w net.bridge.bridge-nf-call-iptables=0')],
        lasting: ["echo 'net.bridge.bridge-nf-call-iptables = 0' >/etc/sysctl.d/90-vswitchd-bridge.conf"],
      },
    ];
  });
}

function bridged({ subject, links }: Facts) {
  return subject.taps.flatMap(tap => {
    const link = links.find(candidate => candidate.name === tap.name);
    const bridge = links.find(candidate => candidate.name === link?.master && candidate.kind === 'bridge');
    if (tap.netns !== undefined || bridge === undefined) return [];
    return [{ tap, bridge: bridge.name, alias: link?.alias }];
  });
}
