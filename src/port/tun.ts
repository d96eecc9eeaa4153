/**
 * The uplink: a tun, whose other side is the host's IP stack. A tun carries bare IP packets, so this port puts on and
 * takes off the Ethernet header that the pipeline works with: on the switch's side the host looks like a station with
 * the MAC `uplinkMac` that only ever talks to the gateway.
 */
import type { Batch } from '../dataplane/batch.ts';
import { BURST } from '../dataplane/batch.ts';
import type { Mac } from '../wire/address.ts';
import { ETHERNET_SIZE, ETHERTYPE_IP4, ETHERTYPE_IP6, setHeader } from '../wire/ethernet.ts';
import { shiftStart, VNET_SIZE } from '../wire/vnet.ts';
import { loadNative, type Native } from './native.ts';
import { GONE, type Port } from './port.ts';

export interface UplinkMacs {
  readonly gatewayMac: Mac;
  readonly uplinkMac: Mac;
}

export class TunPort implements Port {
  readonly kind = 'tun';
  readonly offloads = true;
  readonly #native: Native = loadNative();
  readonly #refused = new Int32Array(1);

  constructor(
    readonly name: string,
    readonly fd: number,
    readonly mtu: number,
    readonly macs: UplinkMacs,
  ) {}

  get refused(): number {
    return this.#refused[0] as number;
  }

  receive(batch: Batch, ingress: number): number {
    const first = batch.count;
    const got = this.#native.readFrames(
      this.fd,
      batch.slab,
      batch.arena,
      batch.offset,
      batch.length,
      first,
      BURST,
      ETHERNET_SIZE,
    );
    if (got < 0) return GONE;
    batch.claim(got, ingress);
    const { gatewayMac: to, uplinkMac: from } = this.macs;
    for (let row = first; row < first + got; row++) {
      const at = batch.offset[row] as number;
      moveHeader(batch, at + ETHERNET_SIZE, at);
      shiftStart(batch.mem, at, ETHERNET_SIZE);
      const version = (batch.slab[at + ETHERNET_SIZE] as number) >> 4;
      setHeader(batch.mem, at, to.hi, to.lo, from.hi, from.lo, version === 6 ? ETHERTYPE_IP6 : ETHERTYPE_IP4);
    }
    return got;
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    // The addon sends the virtio-net header from the headroom and the packet from behind the Ethernet header. So only the
    // header's offsets change, and only for as long as the call lasts.
    this.#shift(batch, rows, count, -ETHERNET_SIZE);
    this.#refused[0] = 0;
    const taken = this.#native.writeFrames(
      this.fd,
      batch.slab,
      batch.offset,
      batch.length,
      rows,
      count,
      ETHERNET_SIZE,
      this.#refused,
    );
    this.#shift(batch, rows, count, ETHERNET_SIZE);
    return taken < 0 ? GONE : taken;
  }

  #shift(batch: Batch, rows: Int32Array, count: number, delta: number): void {
    for (let i = 0; i < count; i++) shiftStart(batch.mem, batch.offset[rows[i] as number] as number, delta);
  }

  close(): void {}
}

/** Moves the virtio-net header that stands before `from` to stand before `to`. */
function moveHeader(batch: Batch, from: number, to: number): void {
  batch.slab.copyWithin(to - VNET_SIZE, from - VNET_SIZE, from);
}
