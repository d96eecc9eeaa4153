/** sd_notify(3): tells a service manager that we are ready, or stopping. Does nothing where there is none. */
import { loadNative } from './port/native.ts';

type Send = (path: string, text: string) => void;

/**
 * Sends `READY=1` or `STOPPING=1`, with a status that people see in `systemctl status`. False when nobody was told: no
 * service manager started us, or it does not listen, which is no reason to fail.
 */
export function notify(
  state: 'READY=1' | 'STOPPING=1',
  status: string,
  socket = process.env.NOTIFY_SOCKET,
  send: Send = (path, text) => loadNative().sendUnixDatagram(path, text),
): boolean {
  if (socket === undefined || !/^[/@]./.test(socket)) return false;
  try {
    send(socket, `${state}\nSTATUS=${status.replaceAll('\n', ' ')}`);
    return true;
  } catch {
    return false;
  }
}
