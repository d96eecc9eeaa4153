/**
 * `vswitchctl top`: a look at the ports every second. On a terminal it is one screen that changes, till `q`; else each look is
 * printed below the last, or with `--json` as a line.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { ask } from './control/client.ts';
import { statusText } from './control/screen.ts';
import { type Rate, rates, ratesText } from './control/top.ts';
import type { PortView, StatusView } from './control/views.ts';
import { OperatorError } from './errors.ts';

export interface TopOptions {
  readonly interval: string;
  readonly count?: string;
  readonly json?: boolean;
}

/** The alternate screen without a cursor, and back; the first column of the first line; what is left of a line, and of the screen. */
const [ENTER, LEAVE, HOME] = ['\x1b[?1049h\x1b[?25l', '\x1b[?25h\x1b[?1049l', '\x1b[H'];
const [REST_OF_LINE, REST_OF_SCREEN] = ['\x1b[K', '\x1b[J'];
/** q, Q, Ctrl-C, Ctrl-D. */
const ENDING: readonly number[] = [0x71, 0x51, 3, 4];
const SHORTEST_S = 0.1;
const LONGEST_S = 3_600;

/** Resolves when as many looks as were asked for have been shown, or the user has had enough. */
export async function top(socketPath: string, options: TopOptions): Promise<void> {
  const seconds = secondsIn(options.interval);
  const count = options.count === undefined ? Number.POSITIVE_INFINITY : countIn(options.count);
  const screen = process.stdout.isTTY && options.json !== true;
  process.stdout.on('error', () => process.exit()); // the reader has gone
  const ended = screen ? takeTerminal() : new AbortController();
  try {
    await look(socketPath, {
      seconds,
      count,
      ended: ended.signal,
      show: shower(screen, options.json === true),
      lasts: screen,
    });
  } finally {
    if (screen) giveTerminalBack();
  }
}

interface Looking {
  readonly seconds: number;
  readonly count: number;
  readonly ended: AbortSignal;
  /** Does it go on while nobody answers? */
  readonly lasts: boolean;
  show(status: StatusView, rates: readonly Rate[] | string): void;
}

async function look(socketPath: string, { seconds, count, ended, show, lasts }: Looking): Promise<void> {
  let before = await ask<PortView[]>(socketPath, 'ports');
  let status = await ask<StatusView>(socketPath, 'status');
  let atMs = performance.now();
  for (let shown = 0; shown < count; ) {
    await pause(seconds * 1000, undefined, { signal: ended }).catch(() => undefined);
    if (ended.aborted) return;
    try {
      const after = await ask<PortView[]>(socketPath, 'ports');
      const nowMs = performance.now();
      const { pid } = status;
      status = await ask<StatusView>(socketPath, 'status');
      // Another process counts anew.
      show(status, rates(pid === status.pid ? before : [], after, (nowMs - atMs) / 1000));
      before = after;
      atMs = nowMs;
      shown++;
    } catch (error) {
      if (!lasts || !(error instanceof OperatorError)) throw error;
      show(status, error.message);
    }
  }
}

const shower =
  (screen: boolean, json: boolean): Looking['show'] =>
  (status, rates) => {
    if (json) console.log(JSON.stringify({ time: Date.now(), ports: rates }));
    else if (!screen) console.log(`${typeof rates === 'string' ? rates : ratesText(rates)}\n`);
    else draw([statusText(status), '', typeof rates === 'string' ? rates : ratesText(rates)].join('\n'));
  };

/** As much as the terminal has room for. */
function draw(text: string): void {
  // A serial console has no size: 0 by 0.
  const rows = process.stdout.rows || 24;
  const columns = process.stdout.columns || 80;
  const lines = text.split('\n');
  const shown =
    lines.length <= rows - 1 ? lines : [...lines.slice(0, rows - 2), `  … ${lines.length - rows + 2} more`];
  process.stdout.write(
    `${HOME}${shown.map(line => `${line.slice(0, columns)}${REST_OF_LINE}\n`).join('')}${REST_OF_SCREEN}`,
  );
}

/** Ends at `q`, Ctrl-C and signals. */
function takeTerminal(): AbortController {
  const ended = new AbortController();
  const end = (): void => ended.abort();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, end);
  const { stdin } = process;
  if (stdin.isTTY) {
    stdin.setRawMode(true);
    stdin.on('data', (keys: Buffer) => {
      if (keys.some(key => ENDING.includes(key))) end();
    });
  }
  process.stdout.write(ENTER);
  return ended;
}

function giveTerminalBack(): void {
  process.stdout.write(LEAVE);
  if (!process.stdin.isTTY) return;
  process.stdin.setRawMode(false);
  process.stdin.pause();
}

function secondsIn(text: string): number {
  const seconds = /^\d{1,4}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (seconds >= SHORTEST_S && seconds <= LONGEST_S) return seconds;
  throw new OperatorError(
    `top --interval ${text}: expected seconds from ${SHORTEST_S} to ${LONGEST_S}, such as 0.5`,
    { code: 'Usage' },
  );
}

function countIn(text: string): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count >= 1) return count;
  throw new OperatorError(`top --count ${text}: expected a whole number from 1 on`, { code: 'Usage' });
}
