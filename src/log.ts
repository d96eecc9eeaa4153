/**
 * The log: lines for people on a terminal, one JSON object a line elsewhere, on standard output either way. Nothing is
 * logged per frame; counters say what frames do.
 */
import { type Logger, pino } from 'pino';
import type { Config } from './config.ts';

export type Log = Logger;

/**
 * Lines are written at once, so that none is lost when the process ends. pino-pretty is loaded only where it is used:
 * it costs more time than the switch needs to start.
 */
export async function openLog(level: Config['logLevel'], terminal = process.stdout.isTTY): Promise<Log> {
  if (!terminal) {
    const out = pino.destination({ dest: 1, sync: true });
    out.on('error', () => undefined); // the reader went away: no reason to stop switching
    return pino({ level, base: {}, timestamp: pino.stdTimeFunctions.isoTime }, out);
  }
  const { default: pretty } = await import('pino-pretty');
  const out = pretty({ colorize: true, sync: true, translateTime: 'SYS:HH:MM:ss.l', destination: 1 });
  return pino({ level, base: {} }, out);
}
