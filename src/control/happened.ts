/** Events as lines for people: when, what, and then whatever the event has, in its own order. */
import { duration } from './screen.ts';
import type { EventView } from './views.ts';

const NAME_WIDTH = 14;

/** `14:03:07.120  lease-bound     192.168.100.10  02:00:…  vm1  tap0  ends in 12h00m`. */
export function eventText({ time, event, ...rest }: EventView): string {
  const { client: _client, expires, ...shown } = rest; // the client's key is for programs
  const words = Object.entries(shown).flatMap(([name, value]) => wordOf(name, value));
  const left = typeof expires === 'number' ? expires - time / 1000 : 0;
  if (left > 0) words.push(`ends in ${duration(Math.round(left))}`);
  return [clock(time), event.padEnd(NAME_WIDTH), ...words].join('  ').trimEnd();
}

const wordOf = (name: string, value: string | number): string[] => {
  if (value === '' || (name === 'vlan' && value === 0)) return []; // 0: untagged
  if (name === 'from') return [`from ${value}`];
  return [typeof value === 'number' ? `${name} ${value}` : value];
};

/** Local time of day. */
function clock(timeMs: number): string {
  const at = new Date(timeMs);
  const two = (value: number): string => String(value).padStart(2, '0');
  const seconds = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':');
  return `${seconds}.${String(at.getMilliseconds()).padStart(3, '0')}`;
}
