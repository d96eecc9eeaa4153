/** The uplink as the operator writes it: a kind, or `bridge:` with an interface. */
import type { UplinkConfig } from '../config.ts';
import { Refusal } from './schema.ts';
import { parseName } from './taps.ts';

export const UPLINK = 'expected tun, passt, none, or bridge: with an interface, such as bridge:eth0';

const BRIDGE = 'bridge:';

export function parseUplink(value: string): UplinkConfig | Refusal {
  if (value === 'tun' || value === 'passt' || value === 'none') return { kind: value };
  if (!value.startsWith(BRIDGE) || value === BRIDGE) return new Refusal(UPLINK);
  const name = parseName(value.slice(BRIDGE.length));
  return name instanceof Refusal ? name : { kind: 'bridge', interface: name };
}

export const uplinkText = (uplink: UplinkConfig): string =>
  uplink.kind === 'bridge' ? `${BRIDGE}${uplink.interface}` : uplink.kind;
