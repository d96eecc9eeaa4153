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
  readonly table: Pick<PortTable, 'entries' | 'find'>;
  readonly ports: Pick<Ports, 'set' | 'holderOf'>;
  readonly log: Pick<Log, 'warn' | 'error'>;
}

export class PortLimit {
  readonly #parts: PortLimitParts;
  /** By port index: frames that were over the limit when it was last looked at. */
  readonly #before = new Map<number, number>();
  /** Those that are being set down. */
  readonly #going = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: PortLimitParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#timer = setInterval(() => this.look(), LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  look(): void {
    const { counters, table, ports } = this.#parts;
    for (const { index, name } of table.entries) {
      const over = counters.drops[index * DROP_COUNT + Drop.MacLimit] as number;
      const before = this.#before.get(index) ?? 0;
      this.#before.set(index, over);
      if (over > before) this.#shut(ports.holderOf(name), name);
    }
  }

  /** A port goes down with all of its guests. */
  #shut(name: string, guest: string): void {
    const { max, table, ports, log } = this.#parts;
    if (table.find(name)?.disabled !== false || this.#going.has(name)) return;
    this.#going.add(name);
    log.warn(
      `${name}: set down, as ${guest === name ? 'it' : guest} sent from more than ${max} MAC addresses (--port-macs); \`vswitchctl port set ${name} up\` has it back`,
    );
    ports
      .set(name, false)
      .catch((error: unknown) => log.error({ err: error }, `${name}: not set down`))
      .finally(() => this.#going.delete(name));
  }
}
