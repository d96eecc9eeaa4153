/** One capture that somebody reads: records from the data plane's ring become pcapng for its response. */
import type { ServerResponse } from 'node:http';
import * as ring from '../dataplane/capturering.ts';
import * as pcapng from '../wire/pcapng.ts';
import { Comments, type NameOf } from './comment.ts';

/** What may wait for the reader beside what its socket holds; while more does, the ring keeps what comes, or loses it. */
const MAX_WAITING = 1 << 20;
const CHUNK = 1 << 18;
/** A chunk ends with less room than this: for the largest packet, its comment and an interface before it. */
const MARGIN = 1 << 17;
/** Records between two looks at the clock. */
const GROUP = 32;

export interface SessionParts {
  readonly memory: SharedArrayBuffer;
  readonly response: ServerResponse;
  readonly nameOf: NameOf;
  /** Bytes of a frame that are kept at the most. */
  readonly snapLength: number;
  readonly filter: string;
  /** Who writes. */
  readonly application: string;
  /** What the monotonic clock lacks to Unix time, ms. */
  readonly epochMs: number;
}

/** A port as the file knows it. */
interface Interface {
  readonly id: number;
  readonly name: string;
  /** Of the ring's count of frames lost: what is not this interface's. */
  readonly lostBefore: number;
  /** The ring's count at its last frame, as records have it. */
  lostTold: number;
  written: number;
  /** Counts that the reader has been told last: frames and losses together grow. */
  told: number;
}

export class Session {
  readonly #parts: SessionParts;
  readonly #ring: ring.CaptureRing;
  readonly #comments: Comments;
  readonly #interfaces = new Map<number, Interface>();
  #count = 0;
  #to = pcapng.targetOf(new Uint8Array(0));
  #at = 0;

  /** Begins the file: the section, and an interface for each port that is captured by now. */
  constructor(parts: SessionParts, ports: readonly number[]) {
    this.#parts = parts;
    this.#ring = new ring.CaptureRing(parts.memory);
    this.#comments = new Comments(parts.nameOf);
    this.#open();
    this.#at = pcapng.putSection(this.#to, 0, parts.application);
    for (const port of ports) {
      if (this.#to.bytes.length - this.#at < MARGIN) {
        this.#write();
        this.#open();
      }
      this.#interfaceOf(port);
    }
    this.#write();
  }

  /** Writes what there is, till a time (performance.now) or till the reader is behind; true: there is more at hand. */
  pump(deadline: number): boolean {
    const { response } = this.#parts;
    while (response.writableLength < MAX_WAITING) {
      let at = this.#ring.oldest();
      if (at < 0) return false;
      this.#open();
      for (let count = 1; at >= 0 && this.#to.bytes.length - this.#at > MARGIN; count++) {
        this.#put(at);
        this.#ring.pass(at);
        if (count % GROUP === 0 && performance.now() > deadline) break;
        at = this.#ring.oldest();
      }
      this.#ring.release();
      this.#write();
      if (performance.now() > deadline) return true;
    }
    return false;
  }

  /** Tells of each interface that has counted more since the last time. `now`: Unix time, ms. */
  report(now: number): void {
    if (this.#parts.response.writableLength >= MAX_WAITING) return;
    this.#open();
    for (const [port, each] of this.#interfaces) {
      const dropped = (this.#ring.lost[port] as number) - each.lostBefore;
      const received = each.written + dropped;
      if (received === each.told || this.#to.bytes.length - this.#at < MARGIN) continue;
      each.told = received;
      const counts = { ...timeOf(now), interfaceId: each.id, received, dropped };
      this.#at = pcapng.putStatistics(this.#to, this.#at, counts);
    }
    this.#write();
  }

  /** The end of the file, with the counts. */
  end(now: number): void {
    this.pump(Number.POSITIVE_INFINITY);
    this.report(now);
    this.#parts.response.end();
  }

  #open(): void {
    this.#to = pcapng.targetOf(Buffer.allocUnsafe(CHUNK));
    this.#at = 0;
  }

  #write(): void {
    if (this.#at > 0) this.#parts.response.write(this.#to.bytes.subarray(0, this.#at));
  }

  #put(at: number): void {
    const { words, doubles, bytes } = this.#ring;
    const word = at >> 2;
    const from = this.#interfaceOf(words[word + ring.PORT] as number);
    const lost = words[word + ring.LOST] as number;
    const { seconds, nanoseconds } = timeOf(
      (doubles[(word + ring.TIME) >> 1] as number) + this.#parts.epochMs,
    );
    const kept = words[word + ring.KEPT] as number;
    const start = this.#at + pcapng.PACKET_HEADER;
    const first = at + ring.FRAME_AT;
    this.#to.bytes.set(bytes.subarray(first, first + kept), start); // long ones in a tenth of a loop's time
    const packet: pcapng.Packet = {
      seconds,
      nanoseconds,
      interfaceId: from.id,
      from: this.#to.bytes,
      start,
      kept,
      originalLength: words[word + ring.LENGTH] as number,
      way: ((words[word + ring.WAY] as number) & 0xff) === ring.IN ? pcapng.INBOUND : pcapng.OUTBOUND,
      lost: (lost - from.lostTold) >>> 0,
      comment: this.#comments.of(words, word),
    };
    this.#at = pcapng.putPacket(this.#to, this.#at, packet);
    from.lostTold = lost;
    from.written++;
  }

  /** A port's interface, described where it has none yet, or has become another port. */
  #interfaceOf(port: number): Interface {
    const known = this.#interfaces.get(port);
    const name = this.#parts.nameOf(port);
    if (known?.name === name) return known;
    const lostBefore = known === undefined ? 0 : (this.#ring.lost[port] as number);
    const lostTold = known?.lostTold ?? 0;
    const added = { id: this.#count++, name, lostBefore, lostTold, written: 0, told: 0 };
    this.#interfaces.set(port, added);
    const { snapLength, filter } = this.#parts;
    this.#at = pcapng.putInterface(this.#to, this.#at, name, snapLength, filter);
    return added;
  }
}

function timeOf(ms: number): pcapng.Time {
  const seconds = Math.floor(ms / 1_000);
  const nanoseconds = Math.min(999_999_999, Math.round((ms - seconds * 1_000) * 1e6));
  return { seconds, nanoseconds };
}
