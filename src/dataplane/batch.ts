/**
 * A batch: up to `capacity` frames as columns over one slab of memory, reused for ever. Stages are loops over its rows.
 *
 *   slab   ┌ 0 … reserved slots, 2 KiB each: frames that the switch makes itself (ARP, ICMP, injected)
 *          └ arena … received frames, packed one after the other by the port
 *
 *   slot   ┌ HEADROOM bytes ─────────────┬ frame ──────────────┐
 *          │ …        virtio-net header  │ destination MAC …   │
 *          └──────────────────10 bytes───┴─ offset[row] ≡ 2 mod 4
 *
 * The frame starts two bytes past a word boundary, so that the last four bytes of the destination MAC, the first four of
 * the source MAC and the whole IPv4 header of an untagged frame stand on word boundaries.
 */
import type { Drop } from '../wire/drop.ts';

/** Frames that one `receive` may append. */
export const BURST = 64;
/** Rows beyond those received, for frames that stages append. */
const EXTRA = 128;
/** Rows of a batch. */
export const CAPACITY = BURST + EXTRA;
/** Rows below which a loop is cheaper than `fill`: a call costs 20 ns. */
const FEW = 16;
/** Bytes before each frame: the virtio-net header now, tunnel headers later. */
export const HEADROOM = 66;
/** Bytes of the largest frame: a 65,535-byte IP packet behind an Ethernet header and two VLAN tags. */
export const MAX_FRAME = 65_557;
/** Bytes from one frame's slot to the next at the most; an odd number of cache lines, lest all headers share one set. */
export const SLOT = 65_728;
/** Bytes of a slot for a frame that the switch makes; its frame may have RESERVED_SLOT - HEADROOM bytes. */
export const RESERVED_SLOT = 2_112;

/** Of a key (see the columns): the address's first two octets, without the VLAN. */
export const KEY_OCTETS = 0xffff;

/** `egress` of a row: a port's index, or one of these. */
export const UNDECIDED = -1; // the FDB decides, by the columns that parse has filled in
export const FLOOD = -2;
export const CONSUMED = -3; // delivered elsewhere (punted, answered): neither sent nor dropped
export const DROPPED = -4; // `drop` has the reason
export const LOOK_UP = -5; // the FDB decides, by the frame itself: the gateway has written it since parse
/** Of an injected frame: to the guest whose address its packet is for, as the gateway would send it. */
export const BY_ADDRESS = -6;

/** The ingress of frames that the gateway makes or routes: no port, so nothing is filtered against it. */
export const GATEWAY_PORT = 255;
export const MAX_PORTS = 255;

/**
 * The ends of a burst's frames, where these are still in the memory that they came in: a guest's, which it may change. Only the
 * beginning of such a frame, all that rules decide on, is in the slab; there is room for the rest behind it.
 */
export interface Origin {
  readonly windows: readonly Uint8Array[];
  /** By piece: which window it stands in, where, and its bytes. */
  readonly window: Int32Array;
  readonly at: Int32Array;
  readonly bytes: Int32Array;
}

export class Batch {
  readonly capacity = CAPACITY;
  readonly slab: Uint8Array<ArrayBuffer>;
  readonly mem: DataView;
  readonly halves: Uint16Array;
  readonly words: Int32Array;
  /** Where ports put what they receive, bytes from the slab's start. */
  readonly arena = EXTRA * RESERVED_SLOT;

  /** Where the frames end that memory ports have laid down for good; 0: there are none. */
  looped = 0;

  /** Rows in use. */
  count = 0;
  /** The port that the burst came in on: `ingress` of all rows before the gateway. */
  port = GATEWAY_PORT;
  /** Bytes of all frames received. Valid after parse. */
  bytes = 0;
  /** May one of them be for a group address? Valid after parse. */
  grouped = false;
  /** Seconds of the monotonic clock, whole: what ages are measured in. */
  nowS = 0;
  /** Milliseconds of the same clock. */
  nowMs = 0;

  /** Undefined: all frames are whole in the slab. */
  origin: Origin | undefined;
  /** Of a row whose end is not in the slab: its pieces in `origin`, 0 of them where it is. Valid while there is an origin. */
  readonly tailFirst = new Int32Array(this.capacity);
  readonly tailCount = new Int32Array(this.capacity);

  readonly offset = new Int32Array(this.capacity);
  /** Bytes from the destination MAC to the end, without FCS. */
  readonly length = new Int32Array(this.capacity);
  readonly ingress = new Uint8Array(this.capacity);
  readonly egress = new Int32Array(this.capacity);
  /** Valid where `egress` is DROPPED. */
  readonly drop = new Uint8Array(this.capacity);

  // What follows is valid after parse, unless dropped.

  /** The EtherType behind any VLAN tag, and where what it names begins. */
  readonly etherType = new Uint16Array(this.capacity);
  readonly l3 = new Int32Array(this.capacity);
  /** Addresses as the FDB takes them: the outer tag's VLAN (0 without a tag) << 16 | two octets, the last four. */
  readonly sourceKey = new Int32Array(this.capacity);
  readonly sourceLo = new Int32Array(this.capacity);
  readonly destinationKey = new Int32Array(this.capacity);
  readonly destinationLo = new Int32Array(this.capacity);
  /** Where the FDB has them, as a rule. */
  readonly sourceHome = new Int32Array(this.capacity);
  readonly destinationHome = new Int32Array(this.capacity);

  #reserved = 0;

  /** `arenaBytes`: room for received frames; a burst of the largest, unless a benchmark loops over more. */
  constructor(arenaBytes = BURST * SLOT) {
    this.slab = new Uint8Array(EXTRA * RESERVED_SLOT + arenaBytes);
    this.mem = new DataView(this.slab.buffer);
    this.halves = new Uint16Array(this.slab.buffer);
    this.words = new Int32Array(this.slab.buffer, 0, this.slab.length >> 2);
  }

  /** Forgets all frames, takes the round's time and the port that is served. */
  reset(nowMs: number, port = GATEWAY_PORT): void {
    this.count = 0;
    this.origin = undefined;
    this.port = port;
    this.#reserved = 0;
    this.nowMs = nowMs;
    this.nowS = Math.floor(nowMs / 1000) | 0;
  }

  /** Takes the next row for a frame that a port received; the caller has checked that `count < capacity`. */
  push(offset: number, length: number, ingress: number): number {
    const row = this.count++;
    this.offset[row] = offset;
    this.length[row] = length;
    this.ingress[row] = ingress;
    this.egress[row] = UNDECIDED;
    return row;
  }

  /** The frame goes nowhere; it is counted at the end. */
  refuse(row: number, reason: Drop): void {
    this.egress[row] = DROPPED;
    this.drop[row] = reason;
  }

  /** Takes the next `rows` rows, whose offsets and lengths a port's native call has filled in; parse does the rest. */
  claim(rows: number, ingress: number): void {
    const first = this.count;
    const end = first + rows;
    if (rows < FEW) for (let row = first; row < end; row++) this.ingress[row] = ingress;
    else this.ingress.fill(ingress, first, end);
    this.count = end;
  }

  /**
   * Makes room for a finished frame of `length` bytes which the switch sends itself, and returns its row, or -1 when
   * the batch or the slot is too small: then it is not sent, as if lost on a wire. The caller fills all bytes,
   * `etherType` and `l3`; its `egress` may stay LOOK_UP for the FDB to decide.
   */
  append(length: number, ingress: number): number {
    if (this.count === this.capacity || this.#reserved === EXTRA || length > RESERVED_SLOT - HEADROOM)
      return -1;
    const offset = this.#reserved++ * RESERVED_SLOT + HEADROOM;
    this.mem.setInt32(offset - 10, 0);
    this.mem.setInt32(offset - 6, 0);
    this.mem.setInt16(offset - 2, 0);
    const row = this.push(offset, length, ingress);
    this.tailCount[row] = 0;
    this.egress[row] = LOOK_UP;
    return row;
  }
}

/**
 * One step of the pipeline: a loop over the batch. It must not allocate, await, or touch anything slow.
 *
 * A stage is made for one batch and takes the columns that it needs into constants of its closure. The compiler then
 * knows each column's address and length, which makes a row of a loop cost less than half: given as an argument, every
 * column's type, base and length are loaded anew for every row, for V8 hoists nothing out of a loop.
 */
export interface Stage {
  readonly name: string;
  run(): void;
}
