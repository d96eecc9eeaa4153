/**
 * The thread that writes a recording: takes frames out of the ring, makes pcapng blocks of them and writes these in large pieces.
 * A disk that is slow or full holds up nobody else: the ring fills up, and the port loses what it has no room for.
 *
 * Only whole blocks count as written: after a write that failed the file is cut to the last one, and it is tried again every second.
 */
import { closeSync, ftruncateSync, writeSync } from 'node:fs';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import {
  blockSize,
  PACKET_HEADER,
  type Packet,
  packetSize,
  putInterface,
  putPacket,
  putSection,
  putStatistics,
  targetOf,
  UNKNOWN_WAY,
} from '../../wire/pcapng.ts';
import { type FileSeries, startFile } from './files.ts';
import { PcapRing } from './ring.ts';

export interface RecorderSettings extends FileSeries {
  readonly memory: SharedArrayBuffer;
  /** The first file, empty. */
  readonly fd: number;
  readonly name: string;
  /** Bytes that a file has at the most. */
  readonly limit: number;
  readonly snapLength: number;
}

const BUFFER_BYTES = 262_144;
/** A file is at most so far behind what the port was given. */
const REST_MS = 1_000;
const RETRY_MS = 1_000;
/** A frame whose bytes stand in the buffer already. */
type Draft = { -readonly [Key in keyof Packet]: Packet[Key] };

class Recorder {
  readonly #settings: RecorderSettings;
  readonly #ring: PcapRing;
  readonly #target = targetOf(new Uint8Array(BUFFER_BYTES));
  readonly #packet: Draft;
  #fd: number;
  #used = 0;
  #written = 0;
  /** Bytes before a file's first frame. */
  #head = 0;
  #recorded = 0;
  /** Frames among what is not written yet. */
  #buffered = 0;
  #lost = 0;
  #fault: string | undefined;

  constructor(settings: RecorderSettings) {
    this.#settings = settings;
    this.#ring = new PcapRing(settings.memory);
    this.#fd = settings.fd;
    this.#packet = {
      ...{ interfaceId: 0, from: this.#target.bytes, start: 0, kept: 0, originalLength: 0 },
      ...{ way: UNKNOWN_WAY, lost: 0, comment: new Uint8Array(0), seconds: 0, nanoseconds: 0 },
    };
    this.#begin();
  }

  /** Till it is told to stop, and has written what is there. */
  run(): void {
    const ring = this.#ring;
    for (;;) {
      const stops = ring.stopped;
      const fine = this.#drain() && this.#flush();
      if (stops) break;
      if (fine) ring.rest(REST_MS, () => ring.empty);
      else ring.rest(RETRY_MS, () => true);
    }
    this.#finish();
  }

  #finish(): void {
    let left = this.#buffered;
    while (this.#ring.next()) left++;
    if (left > 0) say(`${this.#settings.path} lacks the last ${left} frames, which could not be written`);
    else {
      this.#putCounts();
      this.#flush();
    }
    closeSync(this.#fd);
  }

  /** False: it can't be written at the moment. */
  #drain(): boolean {
    const ring = this.#ring;
    while (ring.next()) {
      const size = packetSize(ring.kept, 0);
      if (!this.#makeRoom(size)) {
        ring.rewind();
        return false;
      }
      this.#put();
      ring.release();
    }
    return true;
  }

  #makeRoom(size: number): boolean {
    const counts = blockSize(0);
    const bytes = this.#written + this.#used;
    if (bytes > this.#head && bytes + size + counts > this.#settings.limit) return this.#rotate();
    return this.#used + size + counts <= BUFFER_BYTES || this.#flush();
  }

  #put(): void {
    const ring = this.#ring;
    const packet = this.#packet;
    // A loop over bytes of shared memory takes ten times as long.
    packet.start = this.#used + PACKET_HEADER;
    packet.from.set(ring.bytes.subarray(ring.at, ring.at + ring.kept), packet.start);
    packet.kept = ring.kept;
    packet.originalLength = ring.originalLength;
    packet.seconds = ring.seconds;
    packet.nanoseconds = ring.nanoseconds;
    packet.lost = ring.takeLost();
    this.#lost += packet.lost;
    this.#recorded++;
    this.#buffered++;
    this.#used = putPacket(this.#target, this.#used, packet);
  }

  #begin(): void {
    const { name, snapLength } = this.#settings;
    this.#used = putSection(this.#target, 0, 'vswitchd');
    this.#used = putInterface(this.#target, this.#used, name, snapLength);
    this.#head = this.#used;
    this.#written = this.#recorded = this.#lost = 0;
  }

  #putCounts(): void {
    this.#lost += this.#ring.takeLost();
    const { seconds, nanoseconds } = this.#packet;
    const counts = { interfaceId: 0, received: this.#recorded + this.#lost, dropped: this.#lost };
    this.#used = putStatistics(this.#target, this.#used, { ...counts, seconds, nanoseconds });
  }

  /** The file is full: it moves on, and the next one begins. */
  #rotate(): boolean {
    if (!this.#flush()) return false;
    return this.#try(() => {
      const next = startFile(this.#settings);
      const old = this.#fd;
      const at = this.#written;
      this.#putCounts();
      // Without its counts the old file is whole all the same.
      tryQuietly(() => writeSync(old, this.#target.bytes, 0, this.#used, at));
      closeSync(old);
      this.#fd = next;
      this.#begin();
    });
  }

  #flush(): boolean {
    if (this.#used === 0) return true;
    return this.#try(() => {
      const { bytes } = this.#target;
      for (let done = 0; done < this.#used; )
        done += writeSync(this.#fd, bytes, done, this.#used - done, this.#written + done);
      this.#written += this.#used;
      this.#used = 0;
      this.#buffered = 0;
    });
  }

  #try(write: () => void): boolean {
    const { path } = this.#settings;
    try {
      write();
    } catch (cause) {
      tryQuietly(() => ftruncateSync(this.#fd, this.#written));
      const { code = 'EIO' } = cause as NodeJS.ErrnoException;
      if (this.#fault !== code)
        say(
          `${path} can't be written (${code}); frames are lost and counted till it can, which is tried every second`,
        );
      this.#fault = code;
      return false;
    }
    if (this.#fault !== undefined) say(`${path} is written again`);
    this.#fault = undefined;
    return true;
  }
}

function tryQuietly(act: () => void): void {
  try {
    act();
  } catch {
    // what it is about has been said
  }
}

const say = (sentence: string): void => (parentPort as MessagePort).postMessage(sentence);

const settings = workerData as RecorderSettings;
try {
  new Recorder(settings).run();
} finally {
  new PcapRing(settings.memory).finish();
}
