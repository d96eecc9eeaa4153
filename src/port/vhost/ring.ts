/**
 * One split virtqueue (virtio 1.2 §2.7) in a guest's memory, as the device sees it. The guest writes the descriptors and the
 * available ring, we the used ring; both sides run at the same time, and the guest may write anything at any moment. So what is
 * read is checked and then used from where it was read to, never read again.
 *
 *   available   │ taken: last … │ offered: … idx │      used   │ … published │ done, not yet told │
 *
 * Everything is used in the order in which it was taken. Two places need a barrier, which an Atomics call is: between telling what
 * is used and looking whether the guest wants to hear of it, and between asking for a kick and looking once more.
 */
import type { GuestMemory } from './memory.ts';

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;
const NO_INTERRUPT = 1; // avail.flags
const NO_NOTIFY = 1; // used.flags
/** Words of a descriptor: address (two), length, flags and next. */
export const WORDS = 4;
const MAX_SIZE = 32_768;
/** `used_idx` in the header of a queue's in-flight area: vhost-user.rst, "Inflight I/O tracking". */
const INFLIGHT_USED = 7;
/** Descriptors of one frame; QEMU's and Linux' own limit. */
export const MAX_CHAIN = 1_024;

/** Bytes of one descriptor and of one chain. */
export const MAX_PIECE = 1 << 24;
/** A burst of long frames, or one that is as scattered as can be after it. */
const MAX_PIECES = 4 * MAX_CHAIN;

/** Pieces of a guest's memory, one after the other. */
export class Pieces {
  readonly window = new Int32Array(MAX_PIECES);
  readonly at = new Int32Array(MAX_PIECES);
  readonly bytes = new Int32Array(MAX_PIECES);
  count = 0;
}

export interface RingAddresses {
  readonly descriptors: number;
  readonly used: number;
  readonly available: number;
}

const NONE: Int32Array = new Int32Array(0);
const NONE16: Uint16Array = new Uint16Array(0);

export class Ring {
  size = 0;
  addresses: RingAddresses | undefined;
  /** Where the guest's next offer is, modulo 2^16. */
  last = 0;
  enabled = false;
  started = false;
  /** Has it been kicked off? Then it runs as soon as its parts are known. */
  wanted = false;
  /** Has the guest no file to kick with? Then it is looked at all the time. */
  polled = false;
  kick = -1;
  call = -1;
  error = -1;
  /** Its header in the area that outlives a connection, as 16-bit words; undefined: there is none. */
  inflight: Uint16Array | undefined;
  readonly #memory: GuestMemory;
  #eventIndex = false;
  mask = 0;
  descriptors = NONE;
  available = NONE16;
  usedWords = NONE;
  #used = NONE16;
  /** used.idx as we know it: what is done, and what the guest was told of when it was signalled last. */
  done = 0;
  #told = 0;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /**
   * Looks its parts up; false: they are none, and it does not run. It goes on where the used ring ends, whatever base was set: a
   * front end whose back end was killed may say 0 (DPDK's virtio-user), and DPDK's vhost library goes by the used ring, too.
   */
  start(eventIndex: boolean): boolean {
    const { size, addresses } = this;
    this.stop();
    if (size < 1 || size > MAX_SIZE || (size & (size - 1)) !== 0) return false;
    if (addresses === undefined) return false;
    const descriptors = this.#view(addresses.descriptors, 16 * size, 16);
    const available = this.#view(addresses.available, 6 + 2 * size, 2);
    const used = this.#view(addresses.used, 6 + 8 * size, 4);
    if (descriptors === undefined || available === undefined || used === undefined) return false;
    this.descriptors = new Int32Array(descriptors.buffer, descriptors.byteOffset, WORDS * size);
    this.available = new Uint16Array(available.buffer, available.byteOffset, 3 + size);
    this.usedWords = new Int32Array(used.buffer, used.byteOffset, 1 + 2 * size);
    this.#used = new Uint16Array(used.buffer, used.byteOffset, 3 + 4 * size);
    this.#eventIndex = eventIndex;
    this.mask = size - 1;
    this.done = this.#told = Atomics.load(this.#used, 1);
    this.last = this.done;
    this.started = true;
    return true;
  }

  /** Its memory may go afterwards. */
  stop(): void {
    this.started = false;
    this.descriptors = this.usedWords = NONE;
    this.available = this.#used = NONE16;
  }

  /** How many heads the guest offers beyond those taken; -1: more than there can be. */
  offered(): number {
    const count = (Atomics.load(this.available, 1) - this.last) & 0xffff;
    return count <= this.size ? count : -1;
  }

  /** The head `ahead` places behind the last taken; it may be any number. */
  head(ahead: number): number {
    return this.available[2 + ((this.last + ahead) & this.mask)] as number;
  }

  /**
   * Appends the pieces of the chain at `head`, all of them the device's to write, or to read; the bytes in them, or -1 when
   * something of it is not as it must be.
   */
  walk(head: number, writable: boolean, pieces: Pieces): number {
    const memory = this.#memory;
    const wanted = writable ? WRITE : 0;
    let table = this.descriptors;
    let base = 0;
    let size = this.size;
    let next = head;
    let total = 0;
    for (let steps = 0; steps < MAX_CHAIN; steps++) {
      if (next >= size || pieces.count === MAX_PIECES) return -1;
      const word = base + WORDS * next;
      const low = table[word] as number;
      const high = table[word + 1] as number;
      const bytes = table[word + 2] as number;
      const last = table[word + 3] as number;
      if (bytes < 0 || bytes > MAX_PIECE) return -1;
      const at = memory.find(low, high, bytes);
      if (at < 0) return -1;
      const { window } = memory;
      if ((last & INDIRECT) !== 0) {
        // One table for one chain, from its beginning: none within another, and none behind other pieces.
        if (table !== this.descriptors || (last & NEXT) !== 0 || steps > 0) return -1;
        if (bytes === 0 || (bytes & 15) !== 0 || (at & 3) !== 0 || bytes > 16 * MAX_CHAIN) return -1;
        table = memory.words[window] as Int32Array;
        base = at >> 2;
        size = bytes >> 4;
        next = 0;
        continue;
      }
      if ((last & WRITE) !== wanted) return -1;
      if (bytes > 0) {
        const place = pieces.count++;
        pieces.window[place] = window;
        pieces.at[place] = at;
        pieces.bytes[place] = bytes;
        total += bytes;
        if (total > MAX_PIECE) return -1;
      }
      if ((last & NEXT) === 0) return total;
      next = last >>> 16;
    }
    return -1;
  }

  /** A head is done with, of which `bytes` bytes were written. The guest learns of it by `publish`. */
  use(head: number, bytes: number): void {
    const place = 1 + 2 * (this.done & this.mask);
    this.usedWords[place] = head;
    this.usedWords[place + 1] = bytes;
    this.done = (this.done + 1) & 0xffff;
  }

  /** Shows the guest what was used: all copies must be done. True: it wants to be signalled. */
  publish(): boolean {
    const done = this.done;
    Atomics.store(this.#used, 1, done);
    if (this.inflight !== undefined) this.inflight[INFLIGHT_USED] = done;
    const told = this.#told;
    this.#told = done;
    if (!this.#eventIndex) return (Atomics.load(this.available, 0) & NO_INTERRUPT) === 0;
    const wanted = Atomics.load(this.available, 2 + this.size);
    return ((done - wanted - 1) & 0xffff) < ((done - told) & 0xffff);
  }

  /** Asks the guest to kick at its next offer, or not to; true: there is an offer already. */
  arm(on: boolean): boolean {
    if (this.#eventIndex) {
      // Without a kick: half a ring's worth of counting away, where its next offers are not.
      const event = on ? this.last : (this.last + 0x8000) & 0xffff;
      Atomics.store(this.#used, 2 + 4 * this.size, event);
    } else Atomics.store(this.#used, 0, on ? 0 : NO_NOTIFY);
    return on && this.offered() !== 0;
  }

  #view(address: number, bytes: number, alignment: number): Uint8Array | undefined {
    const at = this.#memory.findUser(address, bytes);
    if (at < 0 || at % alignment !== 0) return undefined;
    const window = this.#memory.windows[this.#memory.window] as Uint8Array;
    return new Uint8Array(window.buffer, at, bytes);
  }
}
