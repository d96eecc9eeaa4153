/** What the settings for guests' cloud-init must be together. It is served by the host's own stack, so there must be a tun. */
import type { CloudInitConfig, UplinkConfig } from './config.ts';
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
  return {
    folder,
    port: given.value('cloud-init-port') ?? DEFAULT_PORT,
    phoneHomeHook: given.value('phone-home-hook'),
  };
}
