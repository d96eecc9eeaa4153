/**
 * A port whose guest is a capture: a thread of its own reads the file and puts each frame into a ring when it is due (replayer.ts),
 * and here they come in. When the ring is full the thread waits, so that no frame is lost. Nobody is there to send to.
 */
import { type Batch, BURST, HEADROOM } from '../../dataplane/batch.ts';
import { Drop } from '../../wire/drop.ts';
import * as vnet from '../../wire/vnet.ts';
import { Copies } from '../copies.ts';
import { loadNative } from '../native.ts';
import { GONE, type Port, type PortHost } from '../port.ts';
import { PcapRing } from './ring.ts';

export class ReplayPort implements Port {
  readonly kind = 'pcap';
  readonly offloads = true;
  readonly listens = 'none';
  readonly holds = false;
  refused = 0;
  fault: string | undefined;
  readonly #native = loadNative();
  readonly #host: PortHost;
  readonly #ring: PcapRing;
  readonly #copies = new Copies(this.#native);

  /** `fd`: an eventfd, which the thread signals. */
  constructor(
    readonly name: string,
    readonly fd: number,
    readonly mtu: number,
    memory: SharedArrayBuffer,
    host: PortHost,
  ) {
    this.#ring = new PcapRing(memory);
    this.#host = host;
  }

  receive(batch: Batch, ingress: number): number {
    const ring = this.#ring;
    const ended = ring.ended; // before the ring is looked into, for it ends after its last frame
    const { mem, count: first } = batch;
    let next = batch.arena;
    let count = 0;
    while (count < BURST && ring.next()) {
      const at = next + HEADROOM;
      this.#copies.add(ring.bytes, ring.at, batch.slab, at, ring.kept);
      vnet.setFinished(mem, at);
      batch.offset[first + count] = at;
      batch.length[first + count] = ring.kept;
      count++;
      next = (at + ring.kept + 63) & ~63;
    }
    this.#copies.finish();
    ring.release();
    ring.wake();
    const lost = ring.takeLost();
    if (lost > 0) this.#host.drop(Drop.FrameTooLong, lost);
    if (count === 0 && ended) {
      this.fault = ring.why;
      return GONE;
    }
    if (count < BURST) this.#look(ended);
    batch.claim(count, ingress);
    return count;
  }

  transmit(_batch: Batch, _rows: Int32Array, count: number): number {
    this.refused = count;
    return count;
  }

  close(): void {}

  /** Till the next signal, unless there is more already. */
  #look(ended: boolean): void {
    this.#native.eventClear(this.fd);
    if (ended || !this.#ring.empty || this.#ring.ended) this.#native.eventSignal(this.fd);
  }
}
