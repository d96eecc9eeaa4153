/** Names of interfaces, and taps with their places and ends, as the operator writes them. */
import type { TapConfig, TapEnd } from '../config.ts';
import { Refusal } from './schema.ts';

const MAX_NAME_BYTES = 15; // IFNAMSIZ, less the closing zero
/** Narrower than the kernel, which takes anything but '/', ':' and white space: these names also go into rules and paths. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+-]*$/;

/** Why a name is no interface name; undefined when it is one. */
function nameFault(name: string): string | undefined {
  if (name === '') return 'has an empty name; expected an interface name, such as tap0';
  const bytes = Buffer.byteLength(name);
  if (bytes > MAX_NAME_BYTES)
    return `names ${name} with ${bytes} bytes; expected at most ${MAX_NAME_BYTES}, which is what Linux allows`;
  if (!NAME.test(name))
    return `names ${JSON.stringify(name)}; expected letters, digits, '_', '.', '+' and '-' only, such as tap0`;
  return undefined;
}

const ENDS: readonly string[] = ['auto', 'device', 'interface'];
export const MOST_PORTS = 254; // 255 ports, less the uplink

function parseTap(item: string): TapConfig | Refusal {
  const colon = item.lastIndexOf(':');
  const [place, end] = colon < 0 ? [item, 'auto'] : [item.slice(0, colon), item.slice(colon + 1)];
  if (!ENDS.includes(end))
    return new Refusal(
      `asks for the end ${JSON.stringify(end)}; expected :device or :interface after the tap`,
    );
  const at = place.indexOf('@');
  const name = at < 0 ? place : place.slice(0, at);
  const fault = nameFault(name);
  if (fault !== undefined) return new Refusal(fault);
  if (at < 0) return { name, end: end as TapEnd };
  const netns = place.slice(at + 1);
  if (netns === '' || /\s|^\.{1,2}$/.test(netns) || (netns.includes('/') && !netns.startsWith('/')))
    return new Refusal(
      `names the namespace ${JSON.stringify(netns)}; expected a name of 'ip netns' or a path after '@'`,
    );
  if (end === 'interface')
    return new Refusal(
      `asks for the interface end of ${name} in another namespace; expected ${name}@${netns} or ${name}@${netns}:device`,
    );
  return { name, netns, end: end as TapEnd };
}

export function parseTaps(items: readonly string[]): readonly TapConfig[] | Refusal {
  const taps: TapConfig[] = [];
  for (const item of items) {
    const tap = parseTap(item.trim());
    if (tap instanceof Refusal) return tap;
    if (taps.some(other => other.name === tap.name))
      return new Refusal(`names ${tap.name} twice; expected each tap once`);
    taps.push(tap);
  }
  return taps.length <= MOST_PORTS
    ? taps
    : new Refusal(`names ${taps.length} taps; expected at most ${MOST_PORTS}`);
}

const MAX_PORT_NAME_BYTES = 32;

/** Any port's: what is no interface may have a longer one. */
export const parsePortName = (value: string): string | Refusal =>
  NAME.test(value) && Buffer.byteLength(value) <= MAX_PORT_NAME_BYTES
    ? value
    : new Refusal(
        `${JSON.stringify(value)}; expected name= with letters, digits, '_', '.', '+' and '-', at most ${MAX_PORT_NAME_BYTES}`,
      );

export const parseName = (value: string): string | Refusal => {
  const fault = nameFault(value);
  return fault === undefined ? value : new Refusal(fault);
};
