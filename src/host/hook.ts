/**
 * A program of the operator's that is told of events: run without a shell, one after the other in the order of the
 * events, each for a bounded time. Nobody waits for it: what comes while it is at work stands in a queue, and what finds
 * the queue full is lost, counted and told of. One guest can make as many events as it likes, and has a part of the queue.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { OperatorError } from '../errors.ts';
import { MARK } from './orphans.ts';
import { type Running, startProgram } from './run.ts';

const MAX_WAITING = 1_024;
/** Of them, what may wait of one source. */
const SHARE = 1 / 4;
const TIMEOUT_MS = 10_000;
/** How long the running one may go on when the switch stops. */
const STOP_MS = 2_000;

/** Refuses a program that can't be run, before anything is changed. */
export function checkHook(option: string, path: string): void {
  const refuse = (why: string): never => {
    throw new OperatorError(`--${option} ${path}: ${why}; expected a program`, { code: 'Usage' });
  };
  try {
    if (!statSync(path).isFile()) refuse('is no file');
    accessSync(path, constants.X_OK);
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    refuse(code === 'ENOENT' ? 'is not there' : code === 'EACCES' ? "can't be executed" : String(code));
  }
}

/** What it is run with. */
export interface HookCall {
  readonly words: readonly string[];
  /** Beside the switch's own environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Who made it happen, for a fair share of the queue: a port. */
  readonly source: string;
  /** For its standard input; none: nothing. */
  readonly input?: string;
}

export interface HookCounters {
  readonly run: number;
  /** Ended with a code other than 0, or not in time. */
  readonly failed: number;
  readonly lost: number;
  readonly waiting: number;
}

export interface HookOptions {
  /** As it is told to people: `lease-hook`. */
  readonly option: string;
  readonly program: string;
  warn(sentence: string): void;
  readonly maxWaiting?: number;
  readonly timeoutMs?: number;
  readonly stopMs?: number;
}

export class Hook {
  readonly #options: HookOptions;
  readonly #waiting: HookCall[] = [];
  #working: Promise<void> | undefined;
  #running: Running | undefined;
  #stopped = false;
  #run = 0;
  #failed = 0;
  #lost = 0;
  #losing = false;

  constructor(options: HookOptions) {
    this.#options = options;
  }

  get counters(): HookCounters {
    return { run: this.#run, failed: this.#failed, lost: this.#lost, waiting: this.#waiting.length };
  }

  put(call: HookCall): void {
    if (this.#stopped) return;
    const most = this.#options.maxWaiting ?? MAX_WAITING;
    const alike = this.#waiting.filter(({ source }) => source === call.source).length;
    if (this.#waiting.length >= most || alike >= most * SHARE) {
      this.#lost++;
      if (!this.#losing)
        this.#warn(`is behind with ${this.#waiting.length} events; those that come now are lost to it`);
      this.#losing = true;
      return;
    }
    this.#waiting.push(call);
    this.#working ??= this.#work();
  }

  /** Ends it: what waits is not run any more, the running one has a moment. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#waiting.length > 0) this.#warn(`was not told of ${this.#waiting.length} events before the end`);
    this.#waiting.length = 0;
    const timer = setTimeout(() => void this.#running?.stop(), this.#options.stopMs ?? STOP_MS);
    await this.#working;
    clearTimeout(timer);
  }

  async #work(): Promise<void> {
    await undefined; // never within `put`
    for (let call = this.#waiting.shift(); call !== undefined; call = this.#waiting.shift())
      await this.#call(call);
    this.#losing = false;
    this.#working = undefined;
  }

  async #call({ words, environment, input }: HookCall): Promise<void> {
    const { [MARK]: _tool, ...inherited } = process.env; // nobody has to wait for it after a kill
    const { program, timeoutMs = TIMEOUT_MS } = this.#options;
    const running = startProgram(program, words, { ...inherited, ...environment }, input);
    this.#running = running;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      void running.stop();
    }, timeoutMs);
    const { how, said } = await running.ended;
    clearTimeout(timer);
    this.#running = undefined;
    this.#run++;
    if (how === 'with code 0') return;
    this.#failed++;
    const why = late ? `took longer than ${timeoutMs} ms and was ended` : `ended ${how}`;
    this.#warn([`${words.slice(0, 2).join(' ')}: ${why}`, ...said.slice(-1)].join(': '));
  }

  #warn(what: string): void {
    this.#options.warn(`--${this.#options.option} ${this.#options.program} ${what}`);
  }
}
