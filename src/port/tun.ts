/**
 * The uplink: a tun, whose other side is the host's IP stack. A tun carries bare IP packets, so this port puts on and
 * takes off the Ethernet header that the pipeline works with: on the switch's side the host looks like a station with
 * the MAC `uplinkMac` that only ever talks to the gateway.
 */
import type { Batch } from '../dataplane/batch.ts';
import type { Mac } from '../wire/address.ts';
import { ETHERNET_SIZE, ETHERTYPE_IP4, ETHERTYPE_IP6, setHeader } from '../wire/ethernet.ts';
import { shiftStart, VNET_SIZE } from '../wire/vnet.ts';
import { FilePort } from './file-port.ts';

export interface UplinkMacs {
  readonly gatewayMac: Mac;
  readonly uplinkMac: Mac;
}

export class TunPort extends FilePort {
  readonly kind = 'tun';

  constructor(
    name: string,
    fd: number,
    mtu: number,
    readonly macs: UplinkMacs,
  ) {
    super(name, fd, mtu);
  }

  receive(batch: Batch, ingress: number): number {
    const first = batch.count;
    const got = this.read(batch, ingress, ETHERNET_SIZE);
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
    const taken = this.write(batch, rows, count, ETHERNET_SIZE);
    this.#shift(batch, rows, count, ETHERNET_SIZE);
    return taken;
  }

  #shift(batch: Batch, rows: Int32Array, count: number, delta: number): void {
    for (let i = 0; i < count; i++) shiftStart(batch.mem, batch.offset[rows[i] as number] as number, delta);
  }
}

/** Moves the virtio-net header that stands before `from` to stand before `to`. */
function moveHeader(batch: Batch, from: number, to: number): void {
  batch.slab.copyWithin(to - VNET_SIZE, from - VNET_SIZE, from);
}
