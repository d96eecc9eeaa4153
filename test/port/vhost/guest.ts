/**
 * The guest's side of vhost-user, for tests: a front end that tells of a guest's memory and rings, and the guest's driver of
 * split virtqueues in that memory. It does nothing by itself: the test turns both sides, in one thread.
 */
import { loadNative } from '../../../src/port/native.ts';
import { bits, Feature, HEADER_BYTES, NEED_REPLY, Request } from '../../../src/port/vhost/protocol.ts';

const native = loadNative();

/** Guest-physical addresses and the front end's own differ by this. */
const USER_BASE = 0x7f00_0000_0000;
const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
/** Where a ring's parts stand in its page-aligned place. */
const [DESCRIPTORS, AVAILABLE, USED, RING_BYTES] = [0, 0x4000, 0x8000, 0x10000];

export type Layout = 'single' | 'split' | 'scattered' | 'indirect';

export interface GuestOptions {
  readonly features?: readonly number[];
  readonly pairs?: number;
  readonly size?: number;
  /** Bytes of each buffer that is offered for receiving. */
  readonly bufferBytes?: number;
  /** Where the memory is: guest addresses and bytes. Rings stand in the first, buffers in the last. */
  readonly regions?: readonly (readonly [address: number, bytes: number])[];
}

export const USUAL: readonly number[] = [
  Feature.version1,
  Feature.mergeable,
  Feature.protocol,
  Feature.csum,
  Feature.guestCsum,
  Feature.guestTso4,
  Feature.guestTso6,
  Feature.hostTso4,
  Feature.hostTso6,
];

class Queue {
  readonly descriptors: DataView;
  readonly available: Uint16Array;
  readonly used: DataView;
  seen = 0;
  offered = 0;
  /** Descriptors that are free, and by head those of its chain. */
  readonly free: number[];
  readonly chains = new Map<number, number[]>();
  readonly kick = native.eventCreate();
  readonly call = native.eventCreate();

  constructor(
    readonly at: number,
    readonly size: number,
    memory: ArrayBuffer,
  ) {
    this.descriptors = new DataView(memory, at + DESCRIPTORS, 16 * size);
    this.available = new Uint16Array(memory, at + AVAILABLE, 3 + size);
    this.used = new DataView(memory, at + USED, 6 + 8 * size);
    this.free = Array.from({ length: size }, (_, i) => i);
  }

  describe(index: number, address: number, bytes: number, flags: number, next: number): void {
    const at = 16 * index;
    this.descriptors.setBigUint64(at, BigInt(address), true);
    this.descriptors.setUint32(at + 8, bytes, true);
    this.descriptors.setUint16(at + 12, flags, true);
    this.descriptors.setUint16(at + 14, next, true);
  }

  offer(head: number): void {
    this.available[2 + (this.offered & (this.size - 1))] = head;
    this.offered = (this.offered + 1) & 0xffff;
    Atomics.store(this.available, 1, this.offered);
  }

  get usedIndex(): number {
    return this.used.getUint16(2, true);
  }

  /** Chains that have come back: heads and bytes. */
  *back(): Generator<readonly [head: number, bytes: number]> {
    while (this.seen !== this.usedIndex) {
      const at = 4 + 8 * (this.seen & (this.size - 1));
      const head = this.used.getUint32(at, true);
      this.seen = (this.seen + 1) & 0xffff;
      yield [head, this.used.getUint32(at + 4, true)];
    }
  }
}

export class VhostGuest {
  /** The front end's end of the connection, and the back end's. */
  readonly fd: number;
  readonly theirs: number;
  readonly features: bigint;
  readonly header: number;
  readonly queues: Queue[] = [];
  readonly regions: { address: number; bytes: number; fd: number; memory: ArrayBuffer }[] = [];
  readonly #size: number;
  readonly #bufferBytes: number;
  readonly #options: GuestOptions;
  #next: number;
  readonly #places = new Map<Queue, Map<number, number>>();

  /** `connection`: to a back end that is there already; else both ends are made. */
  constructor(options: GuestOptions = {}, connection?: number) {
    this.#options = options;
    const { features = USUAL, pairs = 1, size = 256, bufferBytes = 2048 } = options;
    const { regions = [[0, 64 << 20]] } = options;
    [this.fd, this.theirs] = connection === undefined ? native.socketPair() : [connection, -1];
    this.features = bits(...features);
    this.header = features.includes(Feature.version1) || features.includes(Feature.mergeable) ? 12 : 10;
    this.#size = size;
    this.#bufferBytes = bufferBytes;
    for (const [address, bytes] of regions) {
      const fd = native.createMemory(bytes);
      this.regions.push({ address, bytes, fd, memory: native.mapMemory(fd, 0, Math.min(bytes, 1 << 30)) });
    }
    for (let i = 0; i < 2 * pairs; i++)
      this.queues.push(new Queue(0x10000 + i * RING_BYTES, size, this.regions[0]!.memory));
    this.#next = this.regions.length > 1 ? 0 : 0x10000 + 2 * pairs * RING_BYTES;
  }

  /** Writes one message; an answer is the caller's to read, by `answer`. */
  say(
    request: Request,
    payload: Uint8Array = new Uint8Array(0),
    files: readonly number[] = [],
    flags = 1,
  ): void {
    const message = messageOf(request, payload, flags);
    native.sendMessage(this.fd, message, message.length, Int32Array.from(files));
  }

  /** The answer's payload, and the files that came with it. */
  answer(): { payload: DataView; files: number[] } {
    const message = new Uint8Array(600);
    const fds = new Int32Array(9);
    const got = native.receiveMessage(this.fd, message, 0, message.length, fds);
    if (got < HEADER_BYTES) throw new Error(`no answer: ${got}`);
    return {
      payload: new DataView(message.buffer, HEADER_BYTES, got - HEADER_BYTES),
      files: [...fds.slice(1, 1 + fds[0]!)],
    };
  }

  /** Says all that starts the rings; `turn`: the back end takes it in. `inflight`: the area's file, if one is wanted. */
  start(turn: () => void, inflight?: { fd: number; bytes: number }): void {
    this.say(Request.SetOwner);
    this.say(Request.SetFeatures, u64(this.features));
    this.say(Request.SetProtocolFeatures, u64(bits(0, 3, 12, 15)));
    this.sayMemory();
    turn();
    if (inflight !== undefined)
      this.say(Request.SetInflightFd, inflightPayload(inflight.bytes, this.queues.length, this.#size), [
        inflight.fd,
      ]);
    // First, as QEMU does: what a ring brings that has started and is disabled is thrown away.
    for (const index of this.queues.keys()) this.say(Request.SetVringEnable, state(index, 1));
    this.queues.forEach((queue, index) => {
      this.say(Request.SetVringNum, state(index, this.#size));
      this.say(Request.SetVringBase, state(index, 0));
      const [user] = this.#user(queue.at);
      this.say(Request.SetVringAddr, addresses(index, user!));
      this.say(Request.SetVringCall, u64(BigInt(index)), [queue.call]);
      this.say(Request.SetVringKick, u64(BigInt(index)), [queue.kick]);
      turn();
    });
  }

  sayMemory(): void {
    const payload = new DataView(new ArrayBuffer(8 + 32 * this.regions.length));
    payload.setUint32(0, this.regions.length, true);
    this.regions.forEach(({ address, bytes }, i) => {
      payload.setBigUint64(8 + 32 * i, BigInt(address), true);
      payload.setBigUint64(16 + 32 * i, BigInt(bytes), true);
      payload.setBigUint64(24 + 32 * i, BigInt(address + USER_BASE), true);
    });
    const files = this.regions.map(({ fd }) => fd);
    this.say(Request.SetMemTable, new Uint8Array(payload.buffer), files, 1 | NEED_REPLY);
  }

  /** Offers so many buffers to receive in on a pair. */
  fill(count: number, pair = 0, pieces = 1): void {
    const queue = this.queues[2 * pair]!;
    for (let i = 0; i < count; i++) {
      const bytes = this.#bufferBytes;
      const chain = queue.free.splice(0, pieces);
      if (chain.length < pieces) throw new Error('the ring is full');
      chain.forEach((index, n) => {
        const last = n === chain.length - 1;
        queue.describe(
          index,
          this.#place(queue, index, bytes),
          bytes,
          WRITE | (last ? 0 : NEXT),
          last ? 0 : chain[n + 1]!,
        );
      });
      queue.chains.set(chain[0]!, chain);
      queue.offer(chain[0]!);
    }
  }

  /** Sends one frame, with its virtio-net header (default: nothing unfinished), laid out in one of the ways. */
  send(
    frame: Uint8Array,
    { pair = 0, layout = 'single', header }: { pair?: number; layout?: Layout; header?: Uint8Array } = {},
  ): void {
    const queue = this.queues[2 * pair + 1]!;
    for (const [head] of queue.back()) queue.free.push(...(queue.chains.get(head) ?? []));
    const all = new Uint8Array(this.header + frame.length);
    if (header !== undefined) all.set(header.subarray(0, 10));
    all.set(frame, this.header);
    const cuts = cutsOf(layout, all.length, this.header);
    const needed = layout === 'indirect' ? 1 : cuts.length;
    const chain = queue.free.splice(0, needed);
    if (chain.length < needed) throw new Error('the ring is full');
    const head = chain[0]!;
    // Each head has a place of its own for a frame, and another for a table.
    const place = this.#place(queue, head, all.length);
    const region = this.#region(place);
    new Uint8Array(region.memory, place - region.address, all.length).set(all);
    let from = 0;
    if (layout === 'indirect') {
      const table = this.#place(queue, head + queue.size, 16 * cuts.length);
      const home = this.#region(table);
      const mem = new DataView(home.memory, table - home.address, 16 * cuts.length);
      cuts.forEach((end, n) => {
        mem.setBigUint64(16 * n, BigInt(place + from), true);
        mem.setUint32(16 * n + 8, end - from, true);
        mem.setUint16(16 * n + 12, n === cuts.length - 1 ? 0 : NEXT, true);
        mem.setUint16(16 * n + 14, n + 1, true);
        from = end;
      });
      queue.describe(head, table, 16 * cuts.length, INDIRECT, 0);
    } else
      cuts.forEach((end, n) => {
        const last = n === cuts.length - 1;
        queue.describe(chain[n]!, place + from, end - from, last ? 0 : NEXT, last ? 0 : chain[n + 1]!);
        from = end;
      });
    queue.chains.set(head, chain);
    queue.offer(head);
  }

  /** The frames that have come, whole, with the ten bytes before them that say what is unfinished. */
  received(pair = 0): { frame: Uint8Array; header: Uint8Array }[] {
    const queue = this.queues[2 * pair]!;
    const frames: { frame: Uint8Array; header: Uint8Array }[] = [];
    const back = queue.back();
    for (let next = back.next(); !next.done; next = back.next()) {
      let parts = [this.#read(queue, ...next.value)];
      const whole = parts[0]!;
      const buffers = this.header === 12 ? whole[10]! | (whole[11]! << 8) : 1;
      for (let i = 1; i < buffers; i++) {
        const more = back.next();
        if (more.done) throw new Error(`a frame of ${buffers} buffers came in ${i}`);
        parts = [...parts, this.#read(queue, ...more.value)];
      }
      const all = Buffer.concat(parts);
      frames.push({ frame: all.subarray(this.header), header: all.subarray(0, 10) });
    }
    return frames;
  }

  close(): void {
    for (const queue of this.queues) {
      native.close(queue.kick);
      native.close(queue.call);
    }
    for (const { fd, memory } of this.regions) {
      native.unmapMemory(memory);
      native.close(fd);
    }
    native.close(this.fd);
  }

  get options(): GuestOptions {
    return this.#options;
  }

  #read(queue: Queue, head: number, bytes: number): Uint8Array {
    const chain = queue.chains.get(head);
    if (chain === undefined) throw new Error(`${head} was not offered`);
    queue.chains.delete(head);
    queue.free.push(...chain);
    const parts: Uint8Array[] = [];
    let left = bytes;
    for (const index of chain) {
      const size = queue.descriptors.getUint32(16 * index + 8, true);
      const place = Number(queue.descriptors.getBigUint64(16 * index, true));
      const region = this.#region(place);
      const part = Math.min(left, size);
      parts.push(new Uint8Array(region.memory, place - region.address, part).slice());
      left -= part;
    }
    if (left > 0) throw new Error(`${bytes} bytes are more than the chain has`);
    return Buffer.concat(parts);
  }

  /** A place in the last region that stays a descriptor's. */
  #place(queue: Queue, index: number, bytes: number): number {
    const places = this.#places.get(queue) ?? new Map<number, number>();
    this.#places.set(queue, places);
    const known = places.get(index);
    if (known !== undefined) return known;
    const region = this.regions.at(-1)!;
    const room = Math.max(bytes, index >= queue.size || queue === this.queues[0] ? bytes : 70_000);
    const place = region.address + this.#next;
    this.#next = (this.#next + room + 63) & ~63;
    if (this.#next > Math.min(region.bytes, 1 << 30)) throw new Error("the guest's memory is full");
    places.set(index, place);
    return place;
  }

  #region(place: number): { address: number; memory: ArrayBuffer } {
    const found = this.regions.find(({ address, bytes }) => place >= address && place < address + bytes);
    if (found === undefined) throw new Error(`${place} is nowhere`);
    return found;
  }

  #user(at: number): number[] {
    return [this.regions[0]!.address + USER_BASE + at];
  }
}

function cutsOf(layout: Layout, bytes: number, header: number): number[] {
  if (layout === 'single' || bytes <= header) return [bytes];
  if (layout === 'split') return [header, bytes];
  const cuts = [header];
  for (let at = header + 7; at < bytes; at += Math.max(13, bytes >> 3)) cuts.push(at);
  return [...cuts, bytes];
}

export function messageOf(request: number, payload: Uint8Array, flags = 1): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + payload.length);
  const mem = new DataView(message.buffer);
  mem.setUint32(0, request, true);
  mem.setUint32(4, flags, true);
  mem.setUint32(8, payload.length, true);
  message.set(payload, HEADER_BYTES);
  return message;
}

export const u64 = (value: bigint): Uint8Array => {
  const payload = new DataView(new ArrayBuffer(8));
  payload.setBigUint64(0, value, true);
  return new Uint8Array(payload.buffer);
};

export const state = (index: number, value: number): Uint8Array =>
  u64(BigInt(index) | (BigInt(value) << 32n));

export function addresses(index: number, at: number): Uint8Array {
  const payload = new DataView(new ArrayBuffer(40));
  payload.setUint32(0, index, true);
  payload.setBigUint64(8, BigInt(at + DESCRIPTORS), true);
  payload.setBigUint64(16, BigInt(at + USED), true);
  payload.setBigUint64(24, BigInt(at + AVAILABLE), true);
  return new Uint8Array(payload.buffer);
}

export function inflightPayload(bytes: number, queues: number, size: number): Uint8Array {
  const payload = new DataView(new ArrayBuffer(24));
  payload.setBigUint64(0, BigInt(bytes), true);
  payload.setUint16(16, queues, true);
  payload.setUint16(18, size, true);
  return new Uint8Array(payload.buffer);
}
