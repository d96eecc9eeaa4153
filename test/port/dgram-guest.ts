/** A guest's end of a port of datagrams, for tests: bare frames to and from one path. */
import { rmSync } from 'node:fs';
import { Batch, BURST, HEADROOM } from '../../src/dataplane/batch.ts';
import { loadNative } from '../../src/port/native.ts';

const native = loadNative();

export class DgramGuest {
  readonly fd: number;
  readonly #own: string;
  readonly #batch = new Batch();
  readonly #address = new Uint8Array(110);
  readonly #bytes: Int32Array;
  readonly #row = Int32Array.of(0);
  readonly #refused = new Int32Array(1);
  readonly #sender = new Uint8Array(110);
  readonly #senderBytes = new Int32Array(1);
  #open = true;

  constructor(own: string, to: string) {
    this.#own = own;
    this.fd = native.bindDatagrams(own);
    new DataView(this.#address.buffer).setUint16(0, 1, true);
    this.#bytes = Int32Array.of(3 + Buffer.from(this.#address.buffer).write(to, 2));
  }

  /** False: the switch's socket is full. Throws when nobody is there. */
  send(frame: Uint8Array): boolean {
    const { slab, arena, offset, length } = this.#batch;
    offset[0] = arena + HEADROOM;
    length[0] = frame.length;
    slab.set(frame, offset[0]);
    this.#refused[0] = 0;
    const sent = native.sendDatagrams(
      this.fd,
      slab,
      offset,
      length,
      this.#row,
      1,
      this.#refused,
      this.#address,
      this.#bytes,
    );
    if (sent < 0 || this.#refused[0] !== 0) throw new Error(`not sent: ${sent}`);
    return sent === 1;
  }

  /** Datagrams that were taken from the socket; nothing is kept of them. */
  take(): number {
    const { slab, arena, offset, length } = this.#batch;
    return native.receiveDatagrams(
      this.fd,
      slab,
      arena,
      offset,
      length,
      0,
      BURST,
      this.#sender,
      this.#senderBytes,
    );
  }

  received(): Uint8Array[] {
    const { slab, offset, length } = this.#batch;
    const frames: Uint8Array[] = [];
    for (let got = this.take(); got > 0; got = this.take())
      for (let i = 0; i < got; i++) frames.push(slab.slice(offset[i]!, offset[i]! + length[i]!));
    return frames;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    native.close(this.fd);
    rmSync(this.#own);
  }
}
