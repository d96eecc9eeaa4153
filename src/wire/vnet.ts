/**
 * The virtio-net header that says what of a frame is unfinished: struct virtio_net_hdr of virtio 1.2 §5.1.6 in its
 * 10-byte form, as taps (IFF_VNET_HDR), packet sockets (PACKET_VNET_HDR) and tuns use it. Little-endian.
 *
 * It always stands in the ten bytes before the frame: `at` below is the frame's start, the header's is `at - VNET_SIZE`.
 * So a frame's offload state travels with it from port to port, and costs a port without offloads one test.
 */
export const VNET_SIZE = 10;

/** flags */
export const VNET_NEEDS_CSUM = 1; // csum_start and csum_offset are valid; the field holds the pseudo-header's sum
export const VNET_DATA_VALID = 2; // the sender vouches for the checksum

/** gso_type, without the ECN bit */
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_UDP = 3; // UFO: a datagram to be cut into IP fragments
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5; // USO: one datagram per gso_size of payload
export const GSO_ECN = 0x80;

export const vnetFlags = (mem: DataView, at: number): number => mem.getUint8(at - 10);
export const gsoType = (mem: DataView, at: number): number => mem.getUint8(at - 9);
/** Bytes of headers that every segment repeats, counted from the frame's start. A hint only: hostile senders lie. */
export const headersLength = (mem: DataView, at: number): number => mem.getUint16(at - 8, true);
/** Payload bytes per segment. */
export const gsoSize = (mem: DataView, at: number): number => mem.getUint16(at - 6, true);
/** Where the sum starts, from the frame's start. */
export const csumStart = (mem: DataView, at: number): number => mem.getUint16(at - 4, true);
/** Where its 16-bit field stands, from csumStart. */
export const csumOffset = (mem: DataView, at: number): number => mem.getUint16(at - 2, true);

/** Is there nothing left to do for this frame? (no checksum to fill, no segmentation) */
export const finished = (mem: DataView, at: number): boolean =>
  (mem.getUint8(at - 10) & VNET_NEEDS_CSUM) === 0 && mem.getUint8(at - 9) === GSO_NONE;

/** Marks a frame as complete: nothing to sum, nothing to segment. */
export function setFinished(mem: DataView, at: number): void {
  mem.setInt32(at - 10, 0);
  mem.setInt32(at - 6, 0);
  mem.setInt16(at - 2, 0);
}

/** Adds `delta` bytes to every offset that counts from the frame's start: its start has moved by that much. */
export function shiftStart(mem: DataView, at: number, delta: number): void {
  if ((vnetFlags(mem, at) & VNET_NEEDS_CSUM) !== 0) mem.setUint16(at - 4, csumStart(mem, at) + delta, true);
  if (gsoType(mem, at) !== GSO_NONE) mem.setUint16(at - 8, headersLength(mem, at) + delta, true);
}

/**
 * Does the header make sense for a frame of `bytes` bytes? The sum's field lies within the frame, the segmentation is of
 * a kind that we know and has a size. What the headers inside say is checked by whoever segments.
 */
export function checkOffload(mem: DataView, at: number, bytes: number): boolean {
  const gso = gsoType(mem, at) & ~GSO_ECN;
  if ((vnetFlags(mem, at) & VNET_NEEDS_CSUM) !== 0) {
    const start = csumStart(mem, at);
    if (start < 14 || start + csumOffset(mem, at) + 2 > bytes) return false;
  } else if (gso !== GSO_NONE) {
    return false; // segments need sums, and only the kernel's own broken guests ask otherwise
  }
  if (gso === GSO_NONE) return true;
  return (gso === GSO_TCPV4 || gso === GSO_TCPV6 || gso === GSO_UDP_L4) && gsoSize(mem, at) > 0;
}
