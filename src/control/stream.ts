/**
 * `GET /v1/events`: one JSON object a line, for as long as the reader stays. A reader that does not read costs a bounded
 * amount: what does not fit its buffer is lost to it, and when it reads again it is told how much that was.
 */
import type { ServerResponse } from 'node:http';
import { OperatorError } from '../errors.ts';
import type { EventView } from './views.ts';

/** Calls back at each event till what it returns is called. */
export type Subscribe = (listener: (event: EventView) => void) => () => void;

export interface StreamLimits {
  readonly readers: number;
  /** What may wait for one reader, beside what its socket holds. */
  readonly bytes: number;
}

const LIMITS: StreamLimits = { readers: 16, bytes: 262_144 };

interface Reader {
  readonly response: ServerResponse;
  lost: number;
}

const lineOf = (event: EventView): string => `${JSON.stringify(event)}\n`;

export class EventStreams {
  readonly #subscribe: Subscribe;
  readonly #limits: StreamLimits;
  readonly #readers = new Set<Reader>();
  #unsubscribe: (() => void) | undefined;

  constructor(subscribe: Subscribe, limits: StreamLimits = LIMITS) {
    this.#subscribe = subscribe;
    this.#limits = limits;
  }

  /** Answers with what happens from now on. */
  open(response: ServerResponse): void {
    if (this.#readers.size >= this.#limits.readers)
      throw new OperatorError(
        `events: there are ${this.#limits.readers} readers already; expected at most that many`,
        { code: 'Busy' },
      );
    const reader = { response, lost: 0 };
    this.#readers.add(reader);
    response.on('close', () => this.#leave(reader));
    response.on('drain', () => catchUp(reader));
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.flushHeaders();
    this.#unsubscribe ??= this.#subscribe(event => this.#tell(event));
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** Ends every stream. */
  close(): void {
    for (const { response } of this.#readers) response.end();
  }

  #tell(event: EventView): void {
    const line = lineOf(event);
    for (const reader of this.#readers) {
      const full = reader.response.writableLength + line.length > this.#limits.bytes;
      if (full || reader.lost > 0) reader.lost++;
      else reader.response.write(line);
    }
  }

  #leave(reader: Reader): void {
    this.#readers.delete(reader);
    if (this.#readers.size > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }
}

/** It has read all that was left of its buffer. */
function catchUp(reader: Reader): void {
  if (reader.lost === 0) return;
  const count = reader.lost;
  reader.lost = 0;
  reader.response.write(lineOf({ time: Date.now(), event: 'lost', count }));
}
