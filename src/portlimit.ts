/**
 * `--port-macs COUNT,shutdown`: sets a port down whose guest has sent from more addresses than it may have. Looked at several
 * times a second, in what is counted anyway; the operator sets it up again.
 */
import type { Counters } from './dataplane/counters.ts';
import type { Log } from './log.ts';
import type { Ports } from './ports.ts';
import type { PortTable } from './porttable.ts';
import { DROP_COUNT, Drop } from './wire/drop.ts';

const LOOK_MS = 200;

export interface PortLimitParts {
  readonly max: number;
  readonly counters: Pick<Counters, 'drops'>;
  readonly table: Pick<PortTable, 'entries'>;
  readonly ports: Pick<Ports, 'set'>;
  readonly log: Pick<Log, 'warn' | 'error'>;
}

export class PortLimit {
  readonly #parts: PortLimitParts;
  /** By port index: frames that were over the limit when it was last looked at. */
  readonly #before = new Map<number, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: PortLimitParts) {
    this.#parts = parts;
    this.look();
  }

  start(): void {
    this.#timer = setInterval(() => this.look(), LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  look(): void {
    const { counters, table } = this.#parts;
    for (const { index, name, disabled } of table.entries) {
      const over = counters.drops[index * DROP_COUNT + Drop.MacLimit] as number;
      const before = this.#before.get(index) ?? 0;
      this.#before.set(index, over);
      if (over > before && !disabled) this.#shut(name);
    }
  }

  #shut(name: string): void {
    const { max, ports, log } = this.#parts;
    log.warn(
      `${name}: set down, as it sent from more than ${max} MAC addresses (--port-macs); \`vswitchctl port set ${name} up\` has it back`,
    );
    ports.set(name, false).catch((error: unknown) => log.error({ err: error }, `${name}: not set down`));
  }
}
