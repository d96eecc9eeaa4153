/**
 * Captures read frame by frame, however long the file: classic pcap in all four forms and pcapng with several sections and
 * interfaces (draft-ietf-opsawg-pcapng), through a window of a fixed size. `pcap.ts` has what blocks hold, and reads small files whole.
 *
 *   window  ┌ taken │ block, block, part of one │ room ┐     a block that is not whole is moved to the front, and read on behind
 */
import {
  BYTE_ORDER,
  broken,
  type Captured,
  ENHANCED_PACKET,
  FILE_HEADER,
  formOf,
  INTERFACE,
  type Interface,
  LINK_ETHERNET,
  MAX_CAPTURED,
  OLD_PACKET,
  type PcapForm,
  parseInterface,
  parsePacket,
  RECORD_HEADER,
  SECTION,
  SIMPLE_PACKET,
  viewOf,
} from './pcap.ts';

/** Puts the file's next bytes into `window`, from `at` on at the most to its end; returns how many, 0 at the end of the file. */
export type Source = (window: Uint8Array, at: number) => number;

/** Bytes of the longest block that is looked into: a frame of MAX_CAPTURED with long comments. */
const WINDOW_BYTES = 1_048_576;
/** Interfaces that a section may describe: they are held in memory. */
const MAX_INTERFACES = 65_536;
const BLOCK_FRAME = 12;
const READ: readonly number[] = [SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET];

export class CaptureReader {
  /** Where in the file the last block or record begins, when the file ends within it. Valid once `next` gave undefined. */
  truncatedAt: number | undefined;
  /** Frames so far of interfaces that are not Ethernet: left out. */
  foreign = 0;
  readonly #source: Source;
  readonly #window = new Uint8Array(WINDOW_BYTES);
  readonly #mem = viewOf(this.#window);
  readonly #form: PcapForm;
  #little: boolean;
  #from = 0;
  #to = 0;
  /** Where in the file the window begins. */
  #base = 0;
  #interfaces: Interface[] = [];
  #seconds = 0;
  #nanoseconds = 0;

  /** Reads the beginning. Throws, as `next` does, an Error of one sentence that says at which byte what was expected. */
  constructor(source: Source) {
    this.#source = source;
    this.#need(FILE_HEADER);
    const kind = formOf(this.#window.subarray(0, this.#to));
    if (kind === undefined) throw broken(0, 'the magic number of a pcap or pcapng file');
    this.#form = kind.form;
    this.#little = kind.little;
    if (kind.form === 'pcapng') return;
    if (this.#to < FILE_HEADER) throw broken(this.#to, `a file header of ${FILE_HEADER} bytes`);
    const link = this.#mem.getUint32(20, kind.little) & 0xfff_ffff;
    if (link !== LINK_ETHERNET) throw broken(20, `Ethernet frames (link type 1), not type ${link}`);
    this.#from = FILE_HEADER;
  }

  /** The next frame, valid until the next call; undefined at the end. A frame without a time has that of the one before. */
  next(): Captured | undefined {
    return this.#form === 'pcapng' ? this.#nextBlock() : this.#nextRecord();
  }

  get #at(): number {
    return this.#base + this.#from;
  }

  #nextRecord(): Captured | undefined {
    if (!this.#whole(RECORD_HEADER)) return undefined;
    const mem = this.#mem;
    const kept = mem.getUint32(this.#from + 8, this.#little);
    if (kept > MAX_CAPTURED) throw broken(this.#at, `a record that fits, not one of ${kept} bytes`);
    if (!this.#whole(RECORD_HEADER + kept)) return undefined;
    const at = this.#from;
    const data = at + RECORD_HEADER;
    this.#from = data + kept;
    return {
      seconds: mem.getUint32(at, this.#little),
      nanoseconds: mem.getUint32(at + 4, this.#little) * (this.#form === 'nano' ? 1 : 1000),
      data: this.#window.subarray(data, data + kept),
      originalLength: mem.getUint32(at + 12, this.#little),
    };
  }

  #nextBlock(): Captured | undefined {
    while (this.#whole(BLOCK_FRAME)) {
      if (this.#mem.getUint32(this.#from, true) === SECTION) this.#begin();
      const type = this.#mem.getUint32(this.#from, this.#little);
      const size = this.#mem.getUint32(this.#from + 4, this.#little);
      if (size < BLOCK_FRAME || size % 4 !== 0)
        throw broken(this.#at, `a block of whole words, at least three, not one of ${size} bytes`);
      if (!READ.includes(type)) {
        if (!this.#skip(size)) return undefined;
        continue;
      }
      if (size > WINDOW_BYTES)
        throw broken(this.#at, `a block of at most ${WINDOW_BYTES} bytes, not one of ${size}`);
      if (!this.#whole(size)) return undefined;
      this.#close(this.#from + size - 4, size);
      const frame = this.#look(type, size);
      this.#from += size;
      if (frame !== undefined) return frame;
    }
    return undefined;
  }

  #begin(): void {
    const magic = this.#from + 8;
    this.#little = this.#mem.getUint32(magic, true) === BYTE_ORDER;
    if (this.#mem.getUint32(magic, this.#little) !== BYTE_ORDER)
      throw broken(this.#base + magic, 'the byte-order magic of a section');
    this.#interfaces = [];
  }

  #look(type: number, size: number): Captured | undefined {
    if (type === SECTION) return undefined;
    const at = this.#from;
    const block = {
      ...{ bytes: this.#window, mem: this.#mem, little: this.#little, base: this.#base },
      ...{ at, end: at + size - 4 },
    };
    if (type === INTERFACE) {
      if (this.#interfaces.push(parseInterface(block)) > MAX_INTERFACES)
        throw broken(this.#at, `at most ${MAX_INTERFACES} interfaces in a section`);
      return undefined;
    }
    const frame = parsePacket(block, type, this.#interfaces);
    if (frame === undefined) {
      this.foreign++;
      return undefined;
    }
    if (type === SIMPLE_PACKET) return { ...frame, seconds: this.#seconds, nanoseconds: this.#nanoseconds };
    this.#seconds = frame.seconds;
    this.#nanoseconds = frame.nanoseconds;
    return frame;
  }

  /** Passes over a block that nothing is taken from, however long; false: the file ends within it. */
  #skip(size: number): boolean {
    const at = this.#at;
    for (let left = size - 4; left > 0; ) {
      if (!this.#need(1)) return this.#endWithin(at);
      const step = Math.min(left, this.#to - this.#from);
      this.#from += step;
      left -= step;
    }
    if (!this.#need(4)) return this.#endWithin(at);
    this.#close(this.#from, size);
    this.#from += 4;
    return true;
  }

  #close(at: number, size: number): void {
    if (this.#mem.getUint32(at, this.#little) !== size)
      throw broken(this.#base + at, `the block's length ${size} once more`);
  }

  /** Are so many bytes there, from here on? If not, the file ends here, or within what begins here. */
  #whole(bytes: number): boolean {
    if (this.#need(bytes)) return true;
    if (this.#from < this.#to) this.#endWithin(this.#at);
    return false;
  }

  #endWithin(at: number): false {
    this.truncatedAt = at;
    return false;
  }

  #need(bytes: number): boolean {
    if (this.#to - this.#from >= bytes) return true;
    this.#window.copyWithin(0, this.#from, this.#to);
    this.#base += this.#from;
    this.#to -= this.#from;
    this.#from = 0;
    while (this.#to < bytes) {
      const got = this.#source(this.#window, this.#to);
      if (got === 0) return false;
      this.#to += got;
    }
    return true;
  }
}
