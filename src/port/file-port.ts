/**
 * What ports on a file of the kernel's have in common: taps, tuns and packet sockets. The file stays its opener's; `close`
 * forgets it. All of them take frames with unfinished checksums and segmentation.
 */
import type { Batch } from '../dataplane/batch.ts';
import { BURST } from '../dataplane/batch.ts';
import { loadNative } from './native.ts';
import { GONE, type Port, type PortKind } from './port.ts';

export abstract class FilePort implements Port {
  abstract readonly kind: PortKind;
  readonly offloads = true;
  readonly holds = false;
  protected readonly native = loadNative();
  /** The native calls count here what the kernel refused. */
  protected readonly refusals = new Int32Array(1);

  constructor(
    readonly name: string,
    readonly fd: number,
    readonly mtu: number,
  ) {}

  get refused(): number {
    return this.refusals[0] as number;
  }

  abstract receive(batch: Batch, ingress: number): number;
  abstract transmit(batch: Batch, rows: Int32Array, count: number): number;

  /** Reads a burst from a tap or tun, `shift` bytes into each frame. */
  protected read(batch: Batch, ingress: number, shift: number): number {
    const { slab, arena, offset, length, count } = batch;
    const got = this.native.readFrames(this.fd, slab, arena, offset, length, count, BURST, shift);
    if (got < 0) return GONE;
    batch.claim(got, ingress);
    return got;
  }

  /** Writes rows to a tap or tun, without the first `shift` bytes of each. */
  protected write(batch: Batch, rows: Int32Array, count: number, shift: number): number {
    this.refusals[0] = 0;
    const { slab, offset, length } = batch;
    const taken = this.native.writeFrames(this.fd, slab, offset, length, rows, count, shift, this.refusals);
    return taken < 0 ? GONE : taken;
  }

  close(): void {}
}
