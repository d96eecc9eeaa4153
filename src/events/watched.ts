/**
 * A bus whose readers hear of what the data plane does, too: its memory is looked at while somebody reads, and not else.
 * Nobody pays for events that nobody asked for.
 */
import { monotonicMs } from '../clock.ts';
import { Counters } from '../dataplane/counters.ts';
import { newsOf } from '../dataplane/fdb.ts';
import type { SharedMemory } from '../dataplane/messages.ts';
import type { EventBus, Happening, SwitchEvent } from './bus.ts';
import { type DropNames, DropWatch } from './drops.ts';
import { MacWatch } from './macs.ts';

const MACS_MS = 200;
const DROPS_MS = 1_000;

export class WatchedPlane {
  readonly #bus: EventBus;
  readonly #macs: MacWatch;
  readonly #drops: DropWatch;
  #readers = 0;
  #timers: NodeJS.Timeout[] = [];

  constructor(bus: EventBus, memory: Pick<SharedMemory, 'counters' | 'fdb'>, names: DropNames) {
    const told = (happening: Happening): void => bus.emit(happening);
    this.#bus = bus;
    this.#macs = new MacWatch(newsOf(memory.fdb), index => names.portName(index), told);
    this.#drops = new DropWatch(new Counters(memory.counters).drops, names, told);
  }

  /** As EventBus.on. */
  readonly on = (listener: (event: SwitchEvent) => void): (() => void) => {
    const off = this.#bus.on(listener);
    if (this.#readers++ === 0) this.#start();
    return () => {
      off();
      if (--this.#readers === 0) this.stop();
    };
  };

  stop(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#macs.stop();
  }

  #start(): void {
    this.#macs.start();
    this.#drops.start();
    this.#timers = [
      setInterval(() => this.#macs.look(monotonicMs()), MACS_MS).unref(),
      setInterval(() => this.#drops.look(monotonicMs()), DROPS_MS).unref(),
    ];
  }
}
