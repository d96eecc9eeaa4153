/** sd_notify(3): tells a service manager that we are ready, alive or stopping. Does nothing where there is none. */
import { loadNative } from './port/native.ts';

type Send = (path: string, text: string) => void;

export type State = 'READY=1' | 'RELOADING=1' | 'STOPPING=1';

/**
 * Sends a state, with a status that people see in `systemctl status`. False when nobody was told: no service manager started
 * us, or it does not listen, which is no reason to fail.
 */
export function notify(
  state: State,
  status: string,
  socket = process.env.NOTIFY_SOCKET,
  send: Send = sendDatagram,
): boolean {
  // whoever started us may have done so by a script of its own
  const main = state === 'READY=1' ? `\nMAINPID=${process.pid}` : '';
  return tell(`${state}\nSTATUS=${status.replaceAll('\n', ' ')}${main}`, socket, send);
}

/** Tells a service manager that another process is the service's main one. */
export const notifySuccessor = (pid: number): boolean =>
  tell(`MAINPID=${pid}`, process.env.NOTIFY_SOCKET, sendDatagram);

const sendDatagram: Send = (path, text) => loadNative().sendUnixDatagram(path, text);

function tell(text: string, socket: string | undefined, send: Send): boolean {
  if (socket === undefined || !/^[/@]./.test(socket)) return false;
  try {
    send(socket, text);
    return true;
  } catch {
    return false;
  }
}

/** How often the service manager wants to hear of us, ms; undefined: it does not. sd_watchdog_enabled(3). */
export function watchdogMs(
  { WATCHDOG_USEC, WATCHDOG_PID }: NodeJS.ProcessEnv,
  pid: number,
): number | undefined {
  if (WATCHDOG_USEC === undefined || !/^[1-9]\d{0,15}$/.test(WATCHDOG_USEC)) return undefined;
  // for another process, whose child we are
  if (WATCHDOG_PID !== undefined && WATCHDOG_PID !== String(pid)) return undefined;
  return Number(WATCHDOG_USEC) / 1000;
}

/** The longest delay that timers take. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Sends `WATCHDOG=1` twice in the time that the manager gives, as long as `answers()` says that the data plane has answered
 * what it was asked at the turn before. So a frame loop that is stuck is noticed as well as this thread would be: after one and
 * a half times that time at most. Returns how to end it.
 */
export function keepWatchdog(
  answers: () => boolean,
  env: NodeJS.ProcessEnv = process.env,
  send: Send = sendDatagram,
): () => void {
  const timeoutMs = watchdogMs(env, process.pid);
  if (timeoutMs === undefined) return () => undefined;
  answers(); // asks for the first time
  const turn = (): void => {
    if (answers()) tell('WATCHDOG=1', env.NOTIFY_SOCKET, send);
  };
  const timer = setInterval(turn, Math.min(timeoutMs / 2, MAX_TIMER_MS)).unref();
  return () => clearInterval(timer);
}
