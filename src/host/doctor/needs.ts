/** What the switch needs of the host: rights, tools, drivers, name servers. */
import { packageOf } from '../run.ts';
import type { Facts } from './facts.ts';
import { type Finding, ours, yours } from './finding.ts';

export function rights({ root, subject }: Facts): Finding[] {
  if (root) return [];
  return [
    {
      id: 'not-root',
      severity: 'warning',
      what: 'only root can read the firewall and the journal, so what is wrong there is not found',
      fix: [yours(`sudo vswitchctl --name ${subject.name} doctor`)],
    },
  ];
}

const LACKING: Readonly<Record<string, string>> = {
  ip: 'vswitchd does not start without it',
  nft: 'guests reach the host, but not the outside',
};

export function missingTools({ missing, subject }: Facts): Finding[] {
  const needed = missing.filter(tool => tool !== 'nft' || subject.firewall !== 'none');
  return needed.map(tool => ({
    id: 'missing-tool',
    severity: 'error',
    what: `${tool} is not installed: ${LACKING[tool]}`,
    fix: [yours(`apt-get install ${packageOf(tool)}`)],
  }));
}

/** The driver of taps and of the uplink. */
export function tunDevice({ tunFault }: Facts): Finding[] {
  if (tunFault === undefined) return [];
  const closed = tunFault === 'EPERM' || tunFault === 'EACCES';
  return [
    {
      id: 'no-tun',
      severity: 'error',
      what: closed
        ? '/dev/net/tun is closed to us: a container must be given it'
        : `/dev/net/tun can't be opened (${tunFault}): its driver is not there, or the container lacks it`,
      fix: [closed ? yours('docker run --device /dev/net/tun --cap-add NET_ADMIN …') : ours('modprobe tun')],
    },
  ];
}

/** nft's tables, its NAT and connection tracking: asked of the kernel by a table like ours that is only checked. */
export function natModules({ natFault, subject, missing }: Facts): Finding[] {
  if (natFault === undefined || subject.firewall === 'none' || missing.includes('nft')) return [];
  return [
    {
      id: 'no-nat',
      severity: 'error',
      what: `this kernel refuses a table that masquerades (${natFault}); after an update of the kernel its modules are there when the host has been rebooted`,
      fix: [ours('modprobe -a nf_tables nft_chain_nat nft_masq nft_ct nf_conntrack')],
    },
  ];
}

/** A lease is on disk before it is acknowledged, so a full disk means no new guest. */
export function leasesUnwritten({ unwritten, subject }: Facts): Finding[] {
  if (unwritten === undefined || subject.dhcp === undefined) return [];
  return [
    {
      id: 'leases-unwritten',
      severity: 'error',
      what: `the leases of ${subject.name} can't be written (${unwritten}), so guests' addresses are not acknowledged; they are again when there is room, without a restart`,
      fix: [yours(`df -h ${subject.stateDir}`), yours(`df -i ${subject.stateDir}`)],
    },
  ];
}

/**
 * The DNS service asks the host's name servers. Without it guests are told of them, but for one that listens on the host's
 * loopback alone.
 */
export function noResolver({ subject, resolvers, running }: Facts): Finding[] {
  const { dhcp, dns } = subject;
  if (dns === undefined ? dhcp === undefined || dhcp.dns.length > 0 : dns.upstreams !== 'host') return [];
  if (resolvers > 0) return [];
  const whom =
    dns === undefined
      ? 'no server that a guest can reach, so guests are told none'
      : 'no server, so guests find each other by name and nobody else';
  return [
    {
      id: 'no-resolver',
      severity: running ? 'warning' : 'error',
      what: `/etc/resolv.conf names ${whom}${running && dns === undefined ? ', unless --dns was given' : ''}`,
      fix: [
        yours(
          `vswitchd --name ${subject.name} --subnet ${subject.subnet.text} --dns 9.9.9.9,149.112.112.112`,
        ),
      ],
    },
  ];
}

/** A server that the DNS service has given up on for now: it asks the others, and this one again now and then. */
export function silentResolvers({ silent, resolvers }: Facts): Finding[] {
  return silent.map(address => ({
    id: 'resolver-silent',
    severity: silent.length < resolvers ? 'warning' : 'error',
    what: `the name server ${address} does not answer${silent.length < resolvers ? '; others are asked' : ', so guests find nobody outside by name'}`,
    fix: [yours(`dig @${address} example.com`)],
  }));
}
