/**
 * A port that records: it is given a copy of every frame that comes into the switch and of every one that the gateway writes, and
 * puts them into a ring that a thread of its own writes to the file (recorder.ts). When that is behind, the ring is full, and what
 * it has no room for is lost and counted; the switch goes on.
 *
 * Segments and unfinished checksums are finished here, so that what is recorded is what a wire would have carried.
 */
import type { Batch } from '../../dataplane/batch.ts';
import { Drop } from '../../wire/drop.ts';
import * as vnet from '../../wire/vnet.ts';
import { Copies } from '../copies.ts';
import { loadNative } from '../native.ts';
import { Finisher } from '../offload.ts';
import type { Port } from '../port.ts';
import { PcapRing } from './ring.ts';

/** IP MTU: any frame of the switch's fits. */
const ANY_MTU = 65_535;
/** Milliseconds by which the wall clock must have been set for it to be followed: the monotonic one has the finer steps. */
const CLOCK_STEP_MS = 20;

export class RecordPort implements Port {
  readonly kind = 'pcap';
  readonly mtu = ANY_MTU;
  readonly offloads = false;
  readonly listens = 'all';
  readonly holds = false;
  refused = 0;
  readonly #ring: PcapRing;
  readonly #snapLength: number;
  readonly #copies = new Copies(loadNative());
  readonly #finisher = new Finisher();
  #epochMs = performance.timeOrigin;
  #seconds = 0;
  #nanoseconds = 0;

  /** `snapLength`: bytes of a frame that are kept at the most. */
  constructor(
    readonly name: string,
    readonly fd: number,
    memory: SharedArrayBuffer,
    snapLength: number,
  ) {
    this.#ring = new PcapRing(memory);
    this.#snapLength = snapLength;
  }

  receive(): number {
    return 0;
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    this.refused = 0;
    this.#readClock();
    let taken = 0;
    while (taken < count && this.#take(batch, rows[taken] as number)) taken++;
    this.#copies.finish();
    if (taken < count) this.#ring.lose(count - taken);
    this.#ring.commit();
    this.#ring.wake();
    return taken;
  }

  close(): void {}

  /** False: there is no room. */
  #take(batch: Batch, row: number): boolean {
    const at = batch.offset[row] as number;
    const bytes = batch.length[row] as number;
    if (vnet.finished(batch.mem, at)) return this.#keep(batch.slab, at, bytes);
    const finisher = this.#finisher;
    if (finisher.finish(batch.slab, batch.mem, at, bytes) !== Drop.None) {
      this.refused++;
      return true;
    }
    const { slab, offset, length, count } = finisher;
    for (let i = 0; i < count; i++)
      if (!this.#keep(slab, offset[i] as number, length[i] as number)) {
        if (i === 0) return false;
        this.#ring.lose(count - i); // as a segment may be on the wire
        break;
      }
    this.#copies.finish(); // the next frame to be finished overwrites these
    return true;
  }

  #keep(from: Uint8Array, at: number, bytes: number): boolean {
    const kept = Math.min(bytes, this.#snapLength);
    const to = this.#ring.reserve(kept, bytes, this.#seconds, this.#nanoseconds);
    if (to < 0) return false;
    this.#copies.add(from, at, this.#ring.bytes, to, kept);
    return true;
  }

  #readClock(): void {
    const steady = performance.now();
    const wall = Date.now();
    if (Math.abs(wall - steady - this.#epochMs) > CLOCK_STEP_MS) this.#epochMs = wall - steady;
    const ms = this.#epochMs + steady;
    this.#seconds = Math.floor(ms / 1000);
    this.#nanoseconds = Math.floor((ms - this.#seconds * 1000) * 1e6);
  }
}
