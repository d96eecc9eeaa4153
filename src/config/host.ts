/** What the settings for the host must be together: what its rules hold, what guests reach of it, and as whom the switch runs. */
import type { Config, TapConfig, UplinkConfig } from '../config.ts';
import type { GivenSettings } from './given.ts';

export function lanOf(given: GivenSettings, uplink: UplinkConfig, name: string): string | undefined {
  const lan = given.value('lan');
  if (lan === undefined) return undefined;
  if (lan === name) given.refuse('lan', 'is the uplink itself; expected an interface that leads outside');
  if (uplink.kind !== 'tun')
    given.refuse('lan', `is given beside uplink ${uplink.kind}; expected one of the two`);
  if (given.value('firewall') === 'none')
    given.refuse('lan', 'is given beside firewall none, which holds nothing; expected one of the two');
  return lan;
}

/** A tun's host is shut off by rules of its own, and by the gateway; past passt or on the LAN there is nothing to do it with. */
export function hostAccessOf(given: GivenSettings, uplink: UplinkConfig): Config['hostAccess'] {
  const access = given.value('host-access') ?? 'all';
  if (access === 'all') return access;
  if (uplink.kind !== 'tun' && uplink.kind !== 'none')
    given.refuse('host-access', `is given beside uplink ${uplink.kind}; expected uplink tun or none`);
  if (uplink.kind === 'tun' && given.value('firewall') === 'none')
    given.refuse(
      'host-access',
      'is given beside firewall none, which holds nothing; expected one of the two',
    );
  if (access === 'none' && given.value('cloud-init') !== undefined)
    given.refuse('host-access', 'is none beside cloud-init, which the host serves; expected services');
  return access;
}

export function userOf(given: GivenSettings, taps: readonly TapConfig[]): string | undefined {
  const user = given.value('user');
  if (user === undefined) return undefined;
  const firewall = given.value('firewall');
  if (firewall === 'ufw' || firewall === 'firewalld')
    given.refuse(
      'user',
      `is given beside firewall ${firewall}, which obeys root alone; expected nft or iptables`,
    );
  const away = taps.find(tap => tap.netns !== undefined);
  if (away !== undefined)
    given.refuse(
      'user',
      `is given beside ${away.name}@${away.netns}; expected taps in no namespace, which only root enters`,
    );
  return user;
}
