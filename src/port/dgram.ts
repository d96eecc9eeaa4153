/**
 * Frames as datagrams of a unix socket, each one bare: QEMU's `-netdev dgram`. The socket is bound already and stays its
 * opener's. Datagrams know no connection: the peer is the one that was named, or whoever sent the last burst; one that is not
 * there gets nothing, and is back with its next frame.
 *
 * Segments and unfinished checksums are finished here, for a datagram has no word for them.
 */
import { type Batch, BURST } from '../dataplane/batch.ts';
import { Drop } from '../wire/drop.ts';
import * as vnet from '../wire/vnet.ts';
import { loadNative } from './native.ts';
import { Finisher, MAX_SEGMENTS } from './offload.ts';
import { GONE, NO_REST, type Port, type PortHost, type Rest } from './port.ts';

/** struct sockaddr_un of unix(7): a family of two bytes, then the path. */
const [ADDRESS_BYTES, FAMILY_BYTES, AF_UNIX] = [110, 2, 1];
const [ENOENT, EMSGSIZE, ECONNRESET, ECONNREFUSED, EPIPE] = [-2, -90, -104, -111, -32];
const ABSENT: readonly number[] = [ENOENT, ECONNRESET, ECONNREFUSED, EPIPE];

const IDENTITY = Int32Array.from({ length: MAX_SEGMENTS }, (_, row) => row);

export class DgramPort implements Port {
  readonly kind = 'dgram';
  readonly offloads = false;
  readonly holds = false;
  readonly #native = loadNative();
  readonly #host: PortHost;
  readonly #address = new Uint8Array(ADDRESS_BYTES);
  readonly #addressLength = new Int32Array(1);
  /** What `receive` writes senders to: the same where none was named. */
  readonly #sender: Uint8Array;
  readonly #senderLength: Int32Array;
  readonly #finisher = new Finisher();
  readonly #run = new Int32Array(MAX_SEGMENTS);
  readonly #refusals = new Int32Array(1);
  #present = false;

  constructor(
    readonly name: string,
    readonly fd: number,
    readonly mtu: number,
    peer: string | undefined,
    host: PortHost,
    left?: Rest,
  ) {
    this.#host = host;
    this.#sender = peer === undefined ? this.#address : new Uint8Array(ADDRESS_BYTES);
    this.#senderLength = peer === undefined ? this.#addressLength : new Int32Array(1);
    if (left?.peer !== undefined) this.#goOnWith(left.peer);
    if (peer === undefined) return;
    new DataView(this.#address.buffer).setUint16(0, AF_UNIX, true);
    this.#addressLength[0] = FAMILY_BYTES + Buffer.from(this.#address.buffer).write(peer, FAMILY_BYTES) + 1;
  }

  get refused(): number {
    return this.#refusals[0] as number;
  }

  receive(batch: Batch, ingress: number): number {
    const { slab, arena, offset, length, count } = batch;
    let got = EMSGSIZE;
    // What is no frame is skipped, a burst at a time: the socket tells of the rest once more.
    for (let tries = 0; got === EMSGSIZE && tries < BURST; tries++)
      got = this.#native.receiveDatagrams(
        this.fd,
        slab,
        arena,
        offset,
        length,
        count,
        BURST,
        this.#sender,
        this.#senderLength,
      );
    if (got === EMSGSIZE) return 0;
    if (got < 0) return GONE;
    if (got > 0 && !this.#present) this.#turn(true);
    batch.claim(got, ingress);
    return got;
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    this.#refusals[0] = 0;
    const { slab, mem, offset, length } = batch;
    let taken = 0;
    while (taken < count) {
      // A run of frames that go as they are, then one that does not.
      let run = 0;
      while (
        taken + run < count &&
        run < MAX_SEGMENTS &&
        vnet.finished(mem, offset[rows[taken + run] as number] as number)
      ) {
        this.#run[run] = rows[taken + run] as number;
        run++;
      }
      const sent = run === 0 ? 0 : this.#send(slab, offset, length, this.#run, run);
      taken += sent;
      if (sent < run) return taken;
      if (taken === count || run === MAX_SEGMENTS) continue;
      if (!this.#sendSegments(batch, rows[taken] as number)) return taken;
      taken++;
    }
    return taken;
  }

  rest(): Rest {
    if (!this.#present) return NO_REST;
    return { ...NO_REST, peer: this.#address.slice(0, this.#addressLength[0]) };
  }

  close(): void {}

  /** Somebody is there, though nothing has come of them here. */
  #goOnWith(address: Uint8Array): void {
    this.#address.set(address.subarray(0, ADDRESS_BYTES));
    this.#addressLength[0] = Math.min(address.length, ADDRESS_BYTES);
    this.#turn(true);
  }

  /** A frame that the kernel would have to finish; false: the socket is full, and not one part of it has gone. */
  #sendSegments(batch: Batch, row: number): boolean {
    const finisher = this.#finisher;
    const bytes = batch.length[row] as number;
    if (finisher.finish(batch.slab, batch.mem, batch.offset[row] as number, bytes) !== Drop.None) {
      this.#refusals[0] = this.refused + 1;
      return true;
    }
    const { slab, offset, length, count } = finisher;
    // What follows a segment that was taken is lost on the wire when it finds no room, as a segment may be.
    return this.#send(slab, offset, length, IDENTITY, count) > 0;
  }

  /** How many of the rows were taken; all of them, and none delivered, when nobody is there. */
  #send(slab: Uint8Array, offset: Int32Array, length: Int32Array, rows: Int32Array, count: number): number {
    if (this.#addressLength[0] === 0) return this.#refuse(count);
    const sent = this.#native.sendDatagrams(
      this.fd,
      slab,
      offset,
      length,
      rows,
      count,
      this.#refusals,
      this.#address,
      this.#addressLength,
    );
    if (sent >= 0) return sent;
    if (this.#present && ABSENT.includes(sent)) this.#turn(false);
    return this.#refuse(count);
  }

  /** Nobody is there: the frames are off our hands, and counted. */
  #refuse(count: number): number {
    this.#refusals[0] = this.refused + count;
    return count;
  }

  #turn(present: boolean): void {
    this.#present = present;
    this.#host.carrier(present);
  }
}
