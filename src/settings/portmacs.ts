/** How many MAC addresses a port may have, and what becomes of it when there are more. */
import { Refusal } from './schema.ts';

export interface PortMacs {
  readonly max: number;
  /** Is the port then set down? If not, only the frames are dropped. */
  readonly shutdown: boolean;
}

const MAX = 65_536;
export const PORT_MACS = 'expected a number of MAC addresses from 1 to 65536, such as 4 or 4,shutdown';

export function parsePortMacs(value: string): PortMacs | Refusal {
  const [, count, action] = /^(\d{1,5})(?:,(drop|shutdown))?$/.exec(value) ?? [];
  const max = Number(count);
  return max >= 1 && max <= MAX ? { max, shutdown: action === 'shutdown' } : new Refusal(PORT_MACS);
}
