/**
 * A capture's records between the two threads: a ring of bytes over shared memory, with the data plane as its producer and
 * the control thread as its consumer. Neither waits; what finds no room is lost to the capture, and counted by port.
 *
 *   memory ┌ head ┬ tail ┬ lost, by port ┬ records …, each on an eight-byte boundary ┬ (padding up to the end) ┐
 *   record ┌ 20 words, below ┬ two bytes ┬ frame … ┐
 *
 * The two bytes bring a frame onto the boundary that it has in a batch's slab. Head and tail are bytes since the beginning
 * (they wrap at 2^32); the producer writes many records and shows them at once.
 */
import { MAX_PORTS } from './batch.ts';

/** Bytes of records: a burst of 64 of the largest frames, and as much again. */
const RING_BYTES = 8 << 20;
const [HEAD, TAIL] = [0, 16]; // words: 64 bytes apart, lest the threads fight over one cache line
const LOST_AT = 128;
const PORTS = MAX_PORTS + 1; // GATEWAY_PORT included
const HEADER_BYTES = LOST_AT + PORTS * 8;

// Words of a record.
/** Its bytes; negative: padding, of so many bytes. */
const SIZE = 0;
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

export class CaptureRing {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly doubles: Float64Array;
  /** Frames lost by port; the producer writes them. */
  readonly lost: Float64Array;
  readonly #control: Int32Array;
  readonly #size: number;
  #head = 0;
  #tail = 0;

  constructor(memory: SharedArrayBuffer) {
    this.#size = memory.byteLength - HEADER_BYTES;
    if ((this.#size & (this.#size - 1)) !== 0)
      throw new RangeError('a capture ring has a power of two of bytes');
    this.#control = new Int32Array(memory, 0, LOST_AT / 4);
    this.lost = new Float64Array(memory, LOST_AT, PORTS);
    this.words = new Int32Array(memory, HEADER_BYTES);
    this.bytes = new Uint8Array(memory, HEADER_BYTES);
    this.doubles = new Float64Array(memory, HEADER_BYTES);
  }

  /** For the producer: begins a group of records. */
  begin(): void {
    this.#head = Atomics.load(this.#control, HEAD);
  }

  /**
   * For the producer: where a record with `kept` bytes of a frame begins, in bytes; -1: there is no room, and it is counted
   * as lost at `port`. The caller fills in all words but the first.
   */
  reserve(kept: number, port: number): number {
    const size = (FRAME_AT + kept + 7) & ~7;
    let at = this.#tail & (this.#size - 1);
    const padding = at + size > this.#size ? this.#size - at : 0;
    const used = (this.#tail - this.#head) | 0;
    if (used + padding + size > this.#size) {
      this.lost[port] = (this.lost[port] as number) + 1;
      return -1;
    }
    if (padding > 0) {
      this.words[(at >> 2) + SIZE] = -padding;
      at = 0;
    }
    this.words[(at >> 2) + SIZE] = size;
    this.#tail = (this.#tail + padding + size) | 0;
    return at;
  }

  /** For the producer: shows the group's records. */
  publish(): void {
    Atomics.store(this.#control, TAIL, this.#tail);
  }

  /** For the consumer: where the oldest record begins, in bytes; -1: there is none. */
  oldest(): number {
    const tail = Atomics.load(this.#control, TAIL);
    if (this.#head === tail) return -1;
    const at = this.#head & (this.#size - 1);
    const size = this.words[(at >> 2) + SIZE] as number;
    if (size > 0) return at;
    this.#head = (this.#head - size) | 0;
    return this.#head === tail ? -1 : 0;
  }

  /** For the consumer: passes over the oldest record. Its memory is the consumer's till `release`. */
  pass(at: number): void {
    this.#head = (this.#head + (this.words[(at >> 2) + SIZE] as number)) | 0;
  }

  /** For the consumer: gives back what was passed over. */
  release(): void {
    Atomics.store(this.#control, HEAD, this.#head);
  }
}
