/**
 * A guest's memory, as the front end has told of it: regions of its address space, each a part of a file. They are mapped in
 * windows of at most 2 GiB, one beginning every GiB, so that any range of a GiB lies in one of them: an ArrayBuffer over that is
 * slow or refused, and a guest has more.
 *
 *   region   ├──────────────────────── 5 GiB ────────────────────────┤
 *   windows  ├─── 2 ───┤
 *                 ├─── 2 ───┤                                           … and so on; the last ends with the region
 *
 * Addresses are the guest's, so hostile: `find` and `findUser` give a place only when the whole range is in one region.
 */
import type { Native } from '../native.ts';

const GIB = 1 << 30;
const WINDOW_BYTES = 2 * GIB;
/** Windows of one guest: a terabyte. Each is room in a table. */
const MAX_WINDOWS = 1_024;
/** What the upper half of an address counts. */
export const WORD = 4_294_967_296;

export interface Region {
  /** Guest-physical address, and the front end's own for the same. */
  readonly guest: number;
  readonly user: number;
  readonly bytes: number;
  /** What it is a part of, from `offset` on. */
  readonly file: number;
  readonly offset: number;
  readonly buffers: readonly ArrayBuffer[];
  /** Its first window's number. */
  first: number;
}

export class GuestMemory {
  readonly #native: Native;
  #regions: Region[] = [];
  /** Columns of the regions, for `find`. */
  #starts = new Float64Array(0);
  #sizes = new Float64Array(0);
  #firsts = new Int32Array(0);
  #lasts = new Int32Array(0);
  /** All windows as bytes, by number, and as words. */
  windows: Uint8Array[] = [];
  words: Int32Array[] = [];
  /** Of the last range that was found. */
  window = 0;

  constructor(native: Native) {
    this.#native = native;
  }

  get regions(): readonly Region[] {
    return this.#regions;
  }

  /**
   * Maps one region more, and keeps the file, for whoever goes on with the guest. Throws a RangeError when it overlaps another or
   * wraps around, the system's error when the file is shorter than that; the file stays the caller's then.
   */
  add(guest: number, user: number, bytes: number, file: number, offset: number): void {
    if (bytes <= 0 || !Number.isSafeInteger(guest + bytes) || !Number.isSafeInteger(offset + bytes))
      throw new RangeError(`a region of ${bytes} bytes at ${guest} is none`);
    for (const region of this.#regions)
      if (guest < region.guest + region.bytes && region.guest < guest + bytes)
        throw new RangeError(`a region of ${bytes} bytes at ${guest} overlaps another`);
    if (this.windows.length + Math.ceil(bytes / GIB) > MAX_WINDOWS)
      throw new RangeError(`a region of ${bytes} bytes is more than can be mapped`);
    const buffers: ArrayBuffer[] = [];
    try {
      let at = 0;
      do {
        buffers.push(this.#native.mapMemory(file, offset + at, Math.min(WINDOW_BYTES, bytes - at)));
        at += GIB;
      } while (at + GIB < bytes);
    } catch (error) {
      for (const buffer of buffers) this.#native.unmapMemory(buffer);
      throw error;
    }
    this.#regions.push({ guest, user, bytes, file, offset, buffers, first: 0 });
    this.#list();
  }

  /** Unmaps a region; false: there is none like it. */
  remove(guest: number, user: number, bytes: number): boolean {
    const at = this.#regions.findIndex(
      region => region.guest === guest && region.user === user && region.bytes === bytes,
    );
    if (at < 0) return false;
    for (const region of this.#regions.splice(at, 1)) this.#drop(region);
    this.#list();
    return true;
  }

  clear(): void {
    for (const region of this.#regions) this.#drop(region);
    this.#regions = [];
    this.#list();
  }

  #drop({ buffers, file }: Region): void {
    for (const buffer of buffers) this.#native.unmapMemory(buffer);
    this.#native.close(file);
  }

  /** That window's addresses, for a loop to look there first: `size` from `start` on. */
  start = 0;
  size = 0;

  /** Where `bytes` bytes (less than a GiB) at a guest's address begin in `window`; -1: they are not all in one region. */
  find(low: number, high: number, bytes: number): number {
    const starts = this.#starts;
    const address = (high >>> 0) * WORD + (low >>> 0);
    for (let i = 0; i < starts.length; i++) {
      const into = address - (starts[i] as number);
      if (into < 0 || into + bytes > (this.#sizes[i] as number)) continue;
      const step = Math.min((into / GIB) | 0, this.#lasts[i] as number);
      this.window = (this.#firsts[i] as number) + step;
      this.start = (starts[i] as number) + step * GIB;
      this.size = (this.windows[this.window] as Uint8Array).length;
      return (into - step * GIB) | 0;
    }
    return -1;
  }

  /** The same for an address of the front end's: what rings are told by. */
  findUser(address: number, bytes: number): number {
    for (const region of this.#regions) {
      const into = address - region.user;
      if (into < 0 || into + bytes > region.bytes) continue;
      const step = Math.min(Math.floor(into / GIB), region.buffers.length - 1);
      this.window = region.first + step;
      return into - step * GIB;
    }
    return -1;
  }

  #list(): void {
    const regions = this.#regions;
    this.start = this.size = 0;
    this.windows = [];
    this.words = [];
    for (const region of regions) {
      region.first = this.windows.length;
      for (const buffer of region.buffers) {
        this.windows.push(new Uint8Array(buffer));
        this.words.push(new Int32Array(buffer, 0, Math.floor(buffer.byteLength / 4)));
      }
    }
    this.#starts = Float64Array.from(regions, region => region.guest);
    this.#sizes = Float64Array.from(regions, region => region.bytes);
    this.#firsts = Int32Array.from(regions, region => region.first);
    this.#lasts = Int32Array.from(regions, region => region.buffers.length - 1);
  }
}
