/**
 * The thread that replays a capture: reads the file through a window, whatever its size, and puts each frame into the ring when it
 * is due. Frames keep the file's order; one whose time is before another's that has gone is due at once.
 */
import { closeSync, openSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { MAX_FRAME } from '../../dataplane/batch.ts';
import type { Captured } from '../../wire/pcap.ts';
import { loadNative } from '../native.ts';
import { readerOf } from './files.ts';
import { PcapRing } from './ring.ts';

export interface ReplayerSettings {
  readonly memory: SharedArrayBuffer;
  /** What wakes the data plane. */
  readonly wakeFd: number;
  readonly path: string;
  /** Times the recorded pace; Infinity: as fast as frames are taken. */
  readonly speed: number;
  /** How often the file is played. */
  readonly loop: number;
}

/** Frames after which the data plane is woken while more are due. */
const FEW = 32;
const LONG_MS = 3_600_000;

class Replayer {
  readonly #settings: ReplayerSettings;
  readonly #native = loadNative();
  readonly #ring: PcapRing;
  #unsignalled = 0;
  #played = 0;
  #tooLong = 0;
  #cut = 0;
  #foreign = 0;

  constructor(settings: ReplayerSettings) {
    this.#settings = settings;
    this.#ring = new PcapRing(settings.memory);
  }

  run(): void {
    this.#ring.end(this.#play());
    this.#native.eventSignal(this.#settings.wakeFd);
  }

  /** Why it is at its end. */
  #play(): string {
    const { path, loop } = this.#settings;
    try {
      let truncated: number | undefined;
      for (let round = 0; round < loop && !this.#ring.stopped; round++) truncated = this.#playOnce();
      return `${path} has been played, ${this.#played} frames${this.#remarks(truncated)}`;
    } catch (error) {
      return `${path}: ${(error as Error).message}; ${this.#played} frames were played`;
    }
  }

  #remarks(truncated: number | undefined): string {
    const remarks: string[] = [];
    if (this.#tooLong > 0) remarks.push(`${this.#tooLong} of more than ${MAX_FRAME} bytes were left out`);
    if (this.#cut > 0) remarks.push(`${this.#cut} of these are not whole in the file`);
    if (this.#foreign > 0) remarks.push(`${this.#foreign} were left out as they are not Ethernet`);
    if (truncated !== undefined) remarks.push(`the file ends within what begins at byte ${truncated}`);
    return remarks.map(remark => `; ${remark}`).join('');
  }

  /** Where the file's last, unfinished block begins, if there is one. */
  #playOnce(): number | undefined {
    const fd = openSync(this.#settings.path, 'r');
    try {
      const reader = readerOf(fd);
      const beganMs = performance.now();
      let first: Captured | undefined;
      for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
        first ??= { ...frame, data: NO_BYTES };
        if (!this.#await(beganMs + msBetween(first, frame) / this.#settings.speed)) break;
        if (!this.#put(frame)) break;
      }
      this.#foreign += reader.foreign;
      return reader.truncatedAt;
    } finally {
      this.#signal();
      closeSync(fd);
    }
  }

  /** Rests till it is time; false: it was stopped. */
  #await(dueMs: number): boolean {
    const ring = this.#ring;
    for (;;) {
      if (ring.stopped) return false;
      const left = dueMs - performance.now();
      if (!(left > 0)) return true;
      this.#signal();
      ring.rest(Math.min(left, LONG_MS), () => true);
    }
  }

  /** False: it was stopped. */
  #put({ data, originalLength, seconds, nanoseconds }: Captured): boolean {
    const ring = this.#ring;
    if (data.length > MAX_FRAME) {
      this.#tooLong++;
      ring.lose(1);
      return true;
    }
    if (data.length < originalLength) this.#cut++;
    let at = ring.reserve(data.length, originalLength, seconds, nanoseconds);
    while (at < 0) {
      this.#signal();
      ring.rest(LONG_MS, () => !ring.hasRoom(data.length));
      if (ring.stopped) return false;
      at = ring.reserve(data.length, originalLength, seconds, nanoseconds);
    }
    ring.bytes.set(data, at);
    ring.commit();
    this.#played++;
    if (++this.#unsignalled === FEW) this.#signal();
    return true;
  }

  #signal(): void {
    if (this.#unsignalled === 0) return;
    this.#unsignalled = 0;
    this.#native.eventSignal(this.#settings.wakeFd);
  }
}

const NO_BYTES = new Uint8Array(0);

const msBetween = (first: Captured, frame: Captured): number =>
  (frame.seconds - first.seconds) * 1000 + (frame.nanoseconds - first.nanoseconds) / 1e6;

const settings = workerData as ReplayerSettings;
try {
  new Replayer(settings).run();
} finally {
  new PcapRing(settings.memory).finish();
}
