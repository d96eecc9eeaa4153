/**
 * Captures for readers of the control API. A reader that does not keep up loses frames of its capture, and is told how
 * many; the traffic does not wait for it, what waits for it is bounded, and so is the control thread's time.
 */
import type { ServerResponse } from 'node:http';
import { ALL_PORTS } from '../dataplane/capture.ts';
import { captureMemory, HEADER_BYTES } from '../dataplane/capturering.ts';
import type { Plane } from '../dataplane/plane.ts';
import { OperatorError } from '../errors.ts';
import type { PortTable } from '../porttable.ts';
import { SharedPool } from '../sharedpool.ts';
import { VERSION } from '../version.ts';
import { MAX_CAPTURED } from '../wire/pcap.ts';
import { compile } from './filter.ts';
import { Session } from './session.ts';

/** Each has a ring of its own in memory. */
const MAX_CAPTURES = 4;
/** How often rings are looked at, and how long all of them may take; with more at hand it goes on after a pause as long. */
const [POLL_MS, TURN_MS] = [10, 3];
const REPORT_MS = 1_000;

interface Running {
  readonly session: Session;
  readonly response: ServerResponse;
  readonly memory: SharedArrayBuffer;
  /** The port that is captured; undefined: all. */
  readonly port: { readonly name: string; readonly index: number } | undefined;
}

export interface CapturesParts {
  readonly plane: Pick<Plane, 'capture' | 'endCapture'>;
  readonly ports: Pick<PortTable, 'find' | 'entries' | 'nameOf'>;
}

export class Captures {
  readonly #plane: CapturesParts['plane'];
  readonly #ports: CapturesParts['ports'];
  readonly #running = new Map<number, Running>();
  readonly #memory = new SharedPool(captureMemory, HEADER_BYTES, MAX_CAPTURES);
  /** Those that are about to begin, too. */
  #count = 0;
  #ids = 0;
  #timer: NodeJS.Timeout | undefined;
  #reportedMs = 0;

  constructor({ plane, ports }: CapturesParts) {
    this.#plane = plane;
    this.#ports = ports;
  }

  /** Answers with frames from now on: `port` (a name, or `all`), `filter` (tcpdump's), `snaplen`. */
  async open(asked: URLSearchParams, response: ServerResponse): Promise<void> {
    const port = this.#portOf(asked.get('port'));
    const snapLength = snapLengthOf(asked.get('snaplen'));
    const filter = asked.get('filter') ?? '';
    if (this.#count >= MAX_CAPTURES)
      throw new OperatorError(
        `capture: there are ${MAX_CAPTURES} already; expected at most that many at a time`,
        { code: 'Busy' },
      );
    this.#count++;
    response.once('close', () => {
      this.#count--;
    });
    const program = await compile(filter);
    if (!response.closed) this.#start({ port, snapLength, filter, program, response });
  }

  #start({ port, snapLength, filter, program, response }: Wanted): void {
    const memory = this.#memory.take();
    const id = ++this.#ids;
    const index = port?.index ?? ALL_PORTS;
    this.#plane.capture({ id, port: index, snapLength, program, memory });
    response.once('close', () => this.#leave(id));
    response.writeHead(200, { 'content-type': 'application/x-pcapng' });
    response.flushHeaders();
    const nameOf = (of: number): string => this.#ports.nameOf(of);
    const application = `vswitchd ${VERSION}`;
    const session = new Session(
      { memory, response, nameOf, snapLength, filter, application, epochMs: epochMs() },
      port === undefined ? this.#ports.entries.map(entry => entry.index) : [port.index],
    );
    this.#running.set(id, { session, response, memory, port });
    this.#timer ??= setTimeout(this.#turn, POLL_MS).unref();
  }

  /** Ends every capture; what has been captured is written. */
  close(): void {
    for (const [id, { session }] of this.#running) {
      this.#plane.endCapture(id);
      session.end(Date.now());
    }
    this.#running.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  readonly #turn = (): void => {
    const now = Date.now();
    const reports = now - this.#reportedMs >= REPORT_MS || now < this.#reportedMs;
    if (reports) this.#reportedMs = now;
    let more = false;
    const share = TURN_MS / Math.max(1, this.#running.size);
    for (const { session, port, response } of this.#running.values()) {
      if (response.writableEnded) continue;
      if (session.pump(performance.now() + share)) more = true;
      if (reports) session.report(now);
      // The port has been removed, and its index may be another's.
      if (port !== undefined && this.#ports.find(port.name)?.index !== port.index) session.end(now);
    }
    this.#timer =
      this.#running.size === 0 ? undefined : setTimeout(this.#turn, more ? TURN_MS : POLL_MS).unref();
  };

  #leave(id: number): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    this.#running.delete(id);
    this.#plane.endCapture(id);
    this.#memory.give(running.memory);
  }

  #portOf(name: string | null): Running['port'] {
    if (name === 'all') return undefined;
    const entry = name === null ? undefined : this.#ports.find(name);
    if (entry !== undefined) return { name: entry.name, index: entry.index };
    const names = this.#ports.entries.map(each => each.name).join(', ');
    throw new OperatorError(
      `capture ${name ?? ''}: there is no such port; expected one of ${names}, or all`,
      {
        code: 'Usage',
      },
    );
  }
}

interface Wanted {
  readonly port: Running['port'];
  readonly snapLength: number;
  readonly filter: string;
  readonly program: Int32Array | undefined;
  readonly response: ServerResponse;
}

function snapLengthOf(text: string | null): number {
  if (text === null) return MAX_CAPTURED;
  const bytes = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (bytes >= 1 && bytes <= MAX_CAPTURED) return bytes;
  throw new OperatorError(`--snaplen ${text}: expected a number of bytes, 1 to ${MAX_CAPTURED}`, {
    code: 'Usage',
  });
}

/**
 * What the monotonic clock lacks to Unix time, in milliseconds and parts of them. The system's time is told in whole ones, so
 * the moment is waited for when it changes: a millisecond at the most.
 */
function epochMs(): number {
  const before = Date.now();
  let now = before;
  while (now === before) now = Date.now();
  return now - Number(process.hrtime.bigint()) / 1e6;
}
