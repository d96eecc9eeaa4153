/**
 * The two ways through a guest's ring that most frames take: chains of one descriptor, all in one window, a frame in one buffer,
 * nothing left to finish. Both are the staged loops of a burst, each touching one kind of memory, so that the misses of many frames
 * are under way at once; and closures over what does not change, as the stages are (see Stage), for a row here costs less than a
 * call. Whatever is not so plain ends the run, and is for intake.ts and delivery.ts.
 *
 *   heads ── descriptors, checks, places ── copies, in one native call ── virtio-net headers, which that has fetched
 */
import { type Batch, BURST, HEADROOM, MAX_FRAME } from '../../dataplane/batch.ts';
import * as ethernet from '../../wire/ethernet.ts';
import { VNET_NEEDS_CSUM } from '../../wire/vnet.ts';
import type { Native } from '../native.ts';
import { type GuestMemory, WORD } from './memory.ts';
import { INDIRECT, MAX_PIECE, NEXT, Pieces, type Ring, WORDS, WRITE } from './ring.ts';

/** A frame of up to so many bytes is copied whole; of a longer one so many are. */
export const WHOLE = 256;
export const BEGINNING = 192;
/** Of the flags in a guest's header, its first byte, what we take its word for. */
export const TRUSTED = ~0xff | VNET_NEEDS_CSUM;

const HEADER = 12;
/** The last word of a header of 12 bytes: csum_offset 0, and one buffer. */
const ONE_BUFFER = 1 << 16;
/** In place of a window's number. */
const NOWHERE = -1;
/** What of a descriptor's flags makes it other than plain. */
const ODD = NEXT | INDIRECT | WRITE;

// Imports that each row needs.
const [TO_WRITE, SHORTEST, LONGEST, MOST, STEP, HALF_STEP] = [
  WRITE,
  ethernet.ETHERNET_SIZE,
  MAX_FRAME,
  MAX_PIECE,
  WORDS,
  WORD,
];
const [ROOM, SHORT, PART, KEPT] = [HEADROOM, WHOLE, BEGINNING, TRUSTED];

/**
 * What all vhost-user ports of a data plane share: one burst is under way at a time. That each is made once matters: V8 takes
 * what a closure holds for constants only while there is no second one of it, and that is a third of the speed.
 */
export interface Plain {
  /** Of the burst at hand: the chains' heads, and by row the ends that stay in the guest's memory. */
  readonly heads: Int32Array;
  readonly pieces: Pieces;
  /** Takes up to `most` chains from a ring whose guest has headers of 12 bytes; how many were plain. */
  take(ring: Ring, memory: GuestMemory, most: number): number;
  /** Lays rows[0 … count - 1] into a ring whose guest has headers of 12 bytes and offers as many; how many were plain. */
  give(ring: Ring, memory: GuestMemory, rows: Int32Array, count: number): number;
}

const shared = new WeakMap<Batch, Plain>();

export function plainOf(native: Native, batch: Batch): Plain {
  const known = shared.get(batch);
  if (known !== undefined) return known;
  const heads = new Int32Array(BURST);
  const pieces = new Pieces();
  const plain = { heads, pieces, take: taker(native, batch, heads, pieces), give: giver(native, batch) };
  shared.set(batch, plain);
  return plain;
}

function taker(native: Native, batch: Batch, heads: Int32Array, pieces: Pieces): Plain['take'] {
  const { slab, words, halves, offset, length, tailFirst, tailCount, arena } = batch;
  const { window, at, bytes } = pieces;
  const places = new Int32Array(BURST);
  const spans = new Int32Array(3 * BURST);
  return (ring, memory, most) => {
    const { available, descriptors, mask, last } = ring;
    for (let i = 0; i < most; i++) heads[i] = available[2 + ((last + i) & mask)] as number;
    const first = batch.count;
    const { start, size, window: current } = memory;
    let next = arena;
    let count = 0;
    for (; count < most; count++) {
      const word = STEP * (heads[count] as number);
      const frame = (descriptors[word + 2] as number) - HEADER;
      if ((heads[count] as number) > mask || ((descriptors[word + 3] as number) & ODD) !== 0) break;
      if (frame < SHORTEST || frame > LONGEST) break;
      const into =
        ((descriptors[word + 1] as number) >>> 0) * HALF_STEP + ((descriptors[word] as number) >>> 0) - start;
      if (into < 0 || into + frame + HEADER > size || (into & 3) !== 0) break;
      const to = next + ROOM;
      next = (to + frame + 63) & ~63;
      const row = first + count;
      offset[row] = to;
      length[row] = frame;
      places[count] = into;
      const span = 3 * count;
      spans[span] = into + HEADER;
      spans[span + 1] = to;
      if (frame <= SHORT) {
        spans[span + 2] = frame;
        tailCount[row] = 0;
        continue;
      }
      spans[span + 2] = PART;
      tailFirst[row] = count;
      tailCount[row] = 1;
      window[count] = current;
      at[count] = into + HEADER + PART;
      bytes[count] = frame - PART;
    }
    if (count === 0) return 0;
    native.copyBytes(memory.windows[current] as Uint8Array, slab, spans, count);
    const guest = memory.words[current] as Int32Array;
    for (let i = 0; i < count; i++) {
      const word = (places[i] as number) >> 2;
      // The frame stands two bytes past a word, so its ten bytes of header begin with one.
      const to = offset[first + i] as number;
      const state = (to - 10) >> 2;
      words[state] = (guest[word] as number) & KEPT;
      words[state + 1] = guest[word + 1] as number;
      halves[(to - 2) >> 1] = guest[word + 2] as number;
    }
    return count;
  };
}

function giver(native: Native, batch: Batch): Plain['give'] {
  const { slab, halves, offset, length, tailFirst, tailCount, capacity } = batch;
  const heads = new Int32Array(capacity);
  const places = new Int32Array(capacity);
  const spans = new Int32Array(3 * capacity);
  const tailSpans = new Int32Array(3 * capacity);
  return (ring, memory, rows, wanted) => {
    const most = Math.min(wanted, capacity);
    const { available, descriptors, mask, last } = ring;
    for (let i = 0; i < most; i++) heads[i] = available[2 + ((last + i) & mask)] as number;
    const { start, size, window: current } = memory;
    const { origin } = batch;
    let source = NOWHERE;
    let tails = 0;
    let count = 0;
    for (; count < most; count++) {
      const head = heads[count] as number;
      const word = STEP * head;
      const room = descriptors[word + 2] as number;
      if (head > mask || ((descriptors[word + 3] as number) & ODD) !== TO_WRITE) break;
      const into =
        ((descriptors[word + 1] as number) >>> 0) * HALF_STEP + ((descriptors[word] as number) >>> 0) - start;
      const row = rows[count] as number;
      const frame = offset[row] as number;
      const frameBytes = length[row] as number;
      if (room < frameBytes + HEADER || room > MOST || into < 0 || into + room > size || (into & 3) !== 0)
        break;
      if (halves[(frame - 10) >> 1] !== 0) break;
      places[count] = into;
      const span = 3 * count;
      spans[span] = frame;
      spans[span + 1] = into + HEADER;
      spans[span + 2] = frameBytes;
      if (origin === undefined || tailCount[row] === 0) continue;
      const piece = tailFirst[row] as number;
      if (source === NOWHERE) source = origin.window[piece] as number;
      if (tailCount[row] !== 1 || origin.window[piece] !== source) break;
      const end = origin.bytes[piece] as number;
      spans[span + 2] = frameBytes - end;
      tailSpans[tails] = origin.at[piece] as number;
      tailSpans[tails + 1] = into + HEADER + frameBytes - end;
      tailSpans[tails + 2] = end;
      tails += 3;
    }
    if (count === 0) return 0;
    if (tails > 0)
      native.copyBytes(
        origin?.windows[source] as Uint8Array,
        memory.windows[current] as Uint8Array,
        tailSpans,
        tails / 3,
      );
    native.copyBytes(slab, memory.windows[current] as Uint8Array, spans, count);
    const guest = memory.words[current] as Int32Array;
    const { usedWords } = ring;
    let { done } = ring;
    for (let i = 0; i < count; i++) {
      const word = (places[i] as number) >> 2;
      guest[word] = 0;
      guest[word + 1] = 0;
      guest[word + 2] = ONE_BUFFER;
      const place = 1 + 2 * (done & mask);
      usedWords[place] = heads[i] as number;
      usedWords[place + 1] = HEADER + (length[rows[i] as number] as number);
      done = (done + 1) & 0xffff;
    }
    ring.done = done;
    ring.last = (last + count) & 0xffff;
    return count;
  };
}
