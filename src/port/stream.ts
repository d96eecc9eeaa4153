/**
 * Frames on a byte stream, as QEMU's `-netdev stream` and passt have them: four bytes of length, big-endian, then the
 * Ethernet frame, without a virtio-net header. The socket is connected already and stays its opener's.
 *
 *   in    ┌ given │ frame │ frame │ part of a frame │ room ┐   one read brings what is there, `receive` gives whole frames
 *   out   ┌ sent  │ frame │ frame │ room ───────────┐          many bursts a write; what the socket does not take stays here,
 *                                                              and nothing more is taken till it is gone
 *
 * Segments and unfinished checksums are finished here, for the stream has no word for them.
 */
import { type Batch, BURST, HEADROOM, MAX_FRAME } from '../dataplane/batch.ts';
import { Drop } from '../wire/drop.ts';
import * as vnet from '../wire/vnet.ts';
import { loadNative } from './native.ts';
import { Finisher, MAX_SEGMENTS } from './offload.ts';
import { GONE, type Port, type PortHost, type Rest } from './port.ts';

const LENGTH_BYTES = 4;
const IN_BYTES = 131_072;
/** Room for a few of the largest frames, cut into segments. */
const OUT_BYTES = 262_144;
/** From so many bytes on there is nothing to gain by waiting for more. */
const ENOUGH = 65_536;
/** Frames that are copied in one go. */
const MAX_SPANS = 256;
const EPIPE = -32;

export class StreamPort implements Port {
  readonly kind = 'stream';
  readonly offloads = false;
  refused = 0;
  fault: string | undefined;
  readonly #native = loadNative();
  readonly #host: PortHost;
  #waits = false;
  /** Are there bytes of a port before this one, that nobody has tried to send yet? */
  #left = false;

  readonly #in = new Uint8Array(IN_BYTES);
  readonly #inMem = new DataView(this.#in.buffer);
  #given = 0;
  #filled = 0;

  readonly #out = new Uint8Array(OUT_BYTES);
  readonly #outMem = new DataView(this.#out.buffer);
  #sent = 0;
  #assembled = 0;
  /** Frames taken that the socket has not. */
  #kept = 0;

  readonly #finisher = new Finisher();
  /** Frames to be copied, between a batch's slab and a buffer. */
  readonly #spans = new Int32Array(3 * MAX_SPANS);
  #spanCount = 0;
  readonly #finishedSpans = new Int32Array(3 * MAX_SEGMENTS);

  constructor(
    readonly name: string,
    readonly fd: number,
    readonly mtu: number,
    host: PortHost,
    rest?: Rest,
  ) {
    this.#host = host;
    if (rest === undefined) return;
    this.#in.set(rest.received);
    this.#filled = rest.received.length;
    this.#out.set(rest.unsent);
    this.#assembled = rest.unsent.length;
    this.#left = this.#assembled > 0;
  }

  rest(): Rest {
    return {
      received: this.#in.slice(this.#given, this.#filled),
      unsent: this.#out.slice(this.#sent, this.#assembled),
    };
  }

  /** A whole frame, or a length that can't be one's. */
  get holds(): boolean {
    const there = this.#filled - this.#given - LENGTH_BYTES;
    return there >= 0 && (there >= this.#nextLength() || this.#isTooLong());
  }

  receive(batch: Batch, ingress: number): number {
    if ((this.#waits || this.#left) && !this.#send()) return GONE;
    if (!this.holds && !this.#read()) return GONE;
    const { mem, count: first, offset, length } = batch;
    const spans = this.#spans;
    const inMem = this.#inMem;
    const filled = this.#filled;
    let given = this.#given;
    let next = batch.arena;
    let count = 0;
    while (count < BURST && given + LENGTH_BYTES <= filled) {
      const bytes = inMem.getInt32(given);
      const end = given + LENGTH_BYTES + bytes;
      if (bytes < 0 || bytes > MAX_FRAME || end > filled) break;
      const at = next + HEADROOM;
      const span = 3 * count;
      spans[span] = given + LENGTH_BYTES;
      spans[span + 1] = at;
      spans[span + 2] = bytes;
      vnet.setFinished(mem, at);
      offset[first + count] = at;
      length[first + count] = bytes;
      count++;
      given = end;
      next = (at + bytes + 63) & ~63;
    }
    this.#given = given;
    if (count === 0) return this.holds ? this.#refuse() : 0;
    this.#native.copyBytes(this.#in, batch.slab, spans, count);
    batch.claim(count, ingress);
    return count;
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    this.refused = 0;
    if (this.#waits && !this.#send()) return GONE;
    if (this.#waits) return 0;
    let taken = 0;
    while (taken < count) {
      const row = rows[taken] as number;
      const finished = vnet.finished(batch.mem, batch.offset[row] as number);
      const bytes = finished ? LENGTH_BYTES + (batch.length[row] as number) : this.#finish(batch, row);
      if (this.#assembled + bytes > OUT_BYTES || this.#spanCount === MAX_SPANS) {
        this.#copyOut(batch);
        if (!this.#send()) return GONE;
        if (this.#assembled > 0) return taken;
      }
      if (finished) this.#append(batch, row);
      else this.#appendFinished();
      taken++;
    }
    this.#copyOut(batch);
    return this.#assembled < ENOUGH || this.#send() ? taken : GONE;
  }

  flush(): boolean {
    if (this.#waits || this.#assembled === 0 || this.#send()) return true;
    this.refused = this.#kept;
    return false;
  }

  close(): void {}

  /** Signed: what is negative is too long all the same. */
  #nextLength(): number {
    return this.#inMem.getInt32(this.#given);
  }

  #isTooLong(): boolean {
    const bytes = this.#nextLength();
    return bytes < 0 || bytes > MAX_FRAME;
  }

  /** After such a length nobody knows where the next frame begins. */
  #refuse(): typeof GONE {
    this.fault = `it sent a frame of ${this.#nextLength() >>> 0} bytes; ${MAX_FRAME} are the most`;
    return GONE;
  }

  /** Moves the part of a frame that is left to the front and reads on behind it; false: the peer is gone. */
  #read(): boolean {
    this.#in.copyWithin(0, this.#given, this.#filled);
    this.#filled -= this.#given;
    this.#given = 0;
    const got = this.#native.receiveBytes(this.fd, this.#in, this.#filled, IN_BYTES);
    if (got < 0) return this.#lose(got);
    this.#filled += got;
    return true;
  }

  /** Finishes a frame that is to follow; the bytes that it takes, none when its header lies. */
  #finish(batch: Batch, row: number): number {
    const finisher = this.#finisher;
    const at = batch.offset[row] as number;
    if (finisher.finish(batch.slab, batch.mem, at, batch.length[row] as number) !== Drop.None) {
      finisher.count = 0;
      this.refused++;
    }
    let bytes = 0;
    for (let i = 0; i < finisher.count; i++) bytes += LENGTH_BYTES + (finisher.length[i] as number);
    return bytes;
  }

  #append(batch: Batch, row: number): void {
    this.#kept++;
    const bytes = batch.length[row] as number;
    this.#outMem.setInt32(this.#assembled, bytes);
    const span = 3 * this.#spanCount++;
    this.#spans[span] = batch.offset[row] as number;
    this.#spans[span + 1] = this.#assembled + LENGTH_BYTES;
    this.#spans[span + 2] = bytes;
    this.#assembled += LENGTH_BYTES + bytes;
  }

  /** At once, for the next frame to be finished overwrites these. */
  #appendFinished(): void {
    const { slab, offset, length, count } = this.#finisher;
    const spans = this.#finishedSpans;
    if (count > 0) this.#kept++;
    for (let i = 0; i < count; i++) {
      const bytes = length[i] as number;
      this.#outMem.setInt32(this.#assembled, bytes);
      spans[3 * i] = offset[i] as number;
      spans[3 * i + 1] = this.#assembled + LENGTH_BYTES;
      spans[3 * i + 2] = bytes;
      this.#assembled += LENGTH_BYTES + bytes;
    }
    this.#native.copyBytes(slab, this.#out, spans, count);
  }

  #copyOut(batch: Batch): void {
    this.#native.copyBytes(batch.slab, this.#out, this.#spans, this.#spanCount);
    this.#spanCount = 0;
  }

  /** Sends what is assembled as far as the socket takes it, and waits for room for the rest; false: the peer is gone. */
  #send(): boolean {
    this.#left = false;
    const sent = this.#native.sendBytes(this.fd, this.#out, this.#sent, this.#assembled);
    if (sent < 0) return this.#lose(sent);
    this.#sent += sent;
    if (this.#sent === this.#assembled) this.#sent = this.#assembled = this.#kept = 0;
    const waits = this.#assembled > 0;
    if (waits !== this.#waits) this.#host.writing(this.fd, waits);
    this.#waits = waits;
    return true;
  }

  #lose(errno: number): false {
    this.fault =
      errno === EPIPE ? 'its peer has closed the connection' : `its connection failed with errno ${-errno}`;
    return false;
  }
}
