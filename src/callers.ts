/**
 * Who may use the control API: root, the switch's own user, and the members of the sockets' group. The kernel says who has
 * connected (unix(7), SO_PEERCRED and SO_PEERGROUPS); the socket's mode alone would not do where somebody has widened it.
 */
import type { Socket } from 'node:net';
import type { Native } from './port/native.ts';

const ROOT = 0;
/** As in Node's own: where a socket has its file. */
interface WithFile {
  readonly _handle?: { readonly fd?: number } | null;
}

/** Why a connection is refused; undefined: it may ask. `group`: the sockets', undefined where the host has none. */
export function refusalOf(
  native: Pick<Native, 'peerOf'>,
  socket: Socket,
  group: number | undefined,
): string | undefined {
  const fd = (socket as WithFile)._handle?.fd ?? -1;
  if (fd < 0) return 'this connection has ended';
  const [user, ...groups] = native.peerOf(fd);
  if (user === ROOT || user === process.geteuid?.()) return undefined;
  if (group !== undefined && groups.includes(group)) return undefined;
  return `user ${user} may not use this switch; expected root, the user that it runs as, or a member of its sockets' group`;
}
