/** Groups of the host, by name. */
import { readFileSync } from 'node:fs';

/** Whose members may use the switch's sockets: the control API's and its ports'. */
export const SOCKET_GROUP = 'vswitchd';

/** A group's number; undefined: there is none of that name. group(5). */
export function groupId(name: string, path = '/etc/group'): number | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  const line = text.split('\n').find(each => each.startsWith(`${name}:`));
  const id = line?.split(':')[2] ?? '';
  return /^\d+$/.test(id) ? Number(id) : undefined;
}
