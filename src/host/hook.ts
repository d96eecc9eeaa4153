/**
 * Programs of the operator's that are told of something: one at a time, in order, with bounded time, without a shell. What a
 * guest has said goes in on standard input, as JSON; the environment holds what is known for certain.
 */
import { run } from './run.ts';

const MAX_WAITING = 64;
const TIMEOUT_MS = 10_000;

export interface HookCall {
  /** Names without VSWITCHD_. */
  readonly environment: Readonly<Record<string, string>>;
  readonly input: unknown;
}

export class Hook {
  readonly #program: string;
  readonly #warn: (sentence: string) => void;
  readonly #waiting: HookCall[] = [];
  #running: Promise<void> | undefined;

  constructor(program: string, warn: (sentence: string) => void) {
    this.#program = program;
    this.#warn = warn;
  }

  /** Runs the program when those before it have ended; it is left out, with a line in the log, when too many wait. */
  call(call: HookCall): void {
    if (this.#waiting.length >= MAX_WAITING) {
      this.#warn(`${this.#program} is not run, as ${MAX_WAITING} calls of it wait already`);
      return;
    }
    this.#waiting.push(call);
    this.#running ??= this.#work();
  }

  /** Resolves when nothing waits any more. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** What waits is left out. */
  stop(): Promise<void> {
    this.#waiting.length = 0;
    return this.settled();
  }

  async #work(): Promise<void> {
    for (let call = this.#waiting.shift(); call !== undefined; call = this.#waiting.shift()) {
      const env = Object.fromEntries(
        Object.entries(call.environment).map(([name, value]) => [`VSWITCHD_${name}`, value]),
      );
      try {
        await run(this.#program, [], {
          env,
          input: `${JSON.stringify(call.input)}\n`,
          timeoutMs: TIMEOUT_MS,
        });
      } catch (error) {
        this.#warn((error as Error).message);
      }
    }
    this.#running = undefined;
  }
}
