/**
 * A capture's records between the two threads: a ring (port/bytering.ts) with the data plane as its producer and the control thread
 * as its consumer. Neither waits; what finds no room is lost to the capture, and counted by port.
 *
 *   header  ┌ head ┬ tail ┬ lost, by port
 *   record  ┌ 20 words, below ┬ two bytes ┬ frame … ┐
 *
 * The two bytes bring a frame onto the boundary that it has in a batch's slab. The producer writes many records and shows them
 * at once.
 */
import { ByteRing } from '../port/bytering.ts';
import { MAX_PORTS } from './batch.ts';

/** Bytes of records: a burst of 64 of the largest frames, and as much again. */
const RING_BYTES = 8 << 20;
const LOST_AT = 128;
const PORTS = MAX_PORTS + 1; // GATEWAY_PORT included
export const HEADER_BYTES = LOST_AT + PORTS * 8;

// Words of a record, behind its size.
/** The port that the frame was seen at, and its way (IN, OUT) | IP protocol, with MARK_REWRITTEN, << 8 | marks << 16. */
export const [PORT, WAY] = [1, 2];
/** What became of it (Outcome), by or from which port, and how many ports. */
export const [OUTCOME, OTHER, COPIES] = [3, 4, 5];
/** Why it went nowhere, or failed at a port (Drop), and at how many ports. */
export const [REASON, FAILED] = [6, 7];
/** Bytes that it had, and that are here. */
export const [LENGTH, KEPT] = [8, 9];
/** Two words: milliseconds of the monotonic clock, as a double. */
export const TIME = 10;
/** Frames lost at the port since the beginning; wraps. */
export const LOST = 12;
/** Its addresses and ports (source << 16 | destination) as it came, and as it left. Valid with MARK_REWRITTEN. */
export const [SOURCE, DESTINATION, PORTS_OF] = [13, 14, 15];
export const [SOURCE_NOW, DESTINATION_NOW, PORTS_NOW] = [16, 17, 18];
/** What of it is unfinished: the virtio-net header's flags | kind of segments << 8 | their bytes << 16. */
export const OFFLOAD = 19;
const RECORD_WORDS = 20;
/** From a record's start to the frame. */
export const FRAME_AT = RECORD_WORDS * 4 + 2;

export const [IN, OUT] = [0, 1];

/** Marks of a record. */
export const MARK_ANSWERED = 1; // the gateway has answered it, whatever else became of it
export const MARK_REFUSED = 2; // the device refused some frames of its burst, and does not say which
export const MARK_REWRITTEN = 4; // its addresses or ports have been changed

/** What became of a frame. */
export enum Outcome {
  // of one that came in
  Forwarded, // to OTHER
  Flooded, // to COPIES ports
  Dropped, // for REASON
  Arp, // taken in by the gateway
  Dhcp, // to the DHCP server
  Dns, // to the name service
  WaitsForNeighbour, // till the gateway knows the guest's MAC
  WaitsForFragment, // till its datagram's first fragment comes
  Split, // sent on in fragments
  Echo, // an echo request, turned into its reply
  // of one that goes out
  FromPort, // of OTHER
  FromGateway, // which made it, or had it waiting
  FromControl, // the control plane: DHCP, names, probes
}

/** Memory for a ring of so many bytes of records, a power of two. */
export const captureMemory = (bytes = RING_BYTES): SharedArrayBuffer =>
  new SharedArrayBuffer(HEADER_BYTES + bytes);

export class CaptureRing extends ByteRing {
  readonly doubles: Float64Array;
  /** Frames lost by port; the producer writes them. */
  readonly lost: Float64Array;

  constructor(memory: SharedArrayBuffer) {
    super(memory, HEADER_BYTES);
    this.doubles = new Float64Array(memory, HEADER_BYTES);
    this.lost = new Float64Array(memory, LOST_AT, PORTS);
  }

  /**
   * For the producer: where a record with `kept` bytes of a frame begins, in bytes; -1: there is no room, and it is counted
   * as lost at `port`. The caller fills in all words but the first.
   */
  reserve(kept: number, port: number): number {
    const at = this.take(FRAME_AT + kept);
    if (at < 0) this.lost[port] = (this.lost[port] as number) + 1;
    return at;
  }
}
