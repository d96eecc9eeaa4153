/** What the settings for guests' cloud-init must be together. It is served by the host's own stack, so there must be a tun. */
import type { CloudInitConfig, UplinkConfig } from '../config.ts';
import { DNS_PORT } from '../wire/dns.ts';
import type { GivenSettings } from './given.ts';

const DEFAULT_PORT = 8000;

export function cloudInitOf(given: GivenSettings, uplink: UplinkConfig): CloudInitConfig | undefined {
  const folder = given.value('cloud-init');
  if (folder === undefined) {
    for (const name of ['cloud-init-port', 'phone-home-hook'] as const)
      if (given.value(name) !== undefined)
        given.refuse(name, 'is given without cloud-init; expected --cloud-init DIR beside it');
    return undefined;
  }
  if (uplink.kind !== 'tun')
    given.refuse(
      'cloud-init',
      `is given beside uplink ${uplink.kind}; expected uplink tun, as the host serves it`,
    );
  const port = given.value('cloud-init-port') ?? DEFAULT_PORT;
  if (port === DNS_PORT && given.value('no-dns') !== true)
    given.refuse('cloud-init-port', 'is where names are served; expected another, or --no-dns');
  if (given.value('forward')?.some(forward => forward.protocol === 'tcp' && forward.port === port) === true)
    given.refuse(
      'forward',
      `takes tcp/${port}, where cloud-init is served; expected another port, or --cloud-init-port`,
    );
  return {
    folder,
    port,
    phoneHomeHook: given.value('phone-home-hook'),
  };
}
