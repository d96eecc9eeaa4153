/**
 * A front end's connection: what it says of the guest's memory and rings, and what it is answered. A message that can't be one
 * ends the connection, with a reason; one that asks for what can't be had is answered so, where an answer is wanted.
 *
 * A ring runs from its kick file on, as far as its parts are in the memory that is known; it goes on through a change of memory,
 * and stops when its base is asked for. Nothing of a frame is pending between two bursts, and heads are used in order: so the used
 * ring alone says where to go on after a connection broke, and the in-flight area has no head in it (vhost-user.rst, "Inflight").
 */
import type { Native } from '../native.ts';
import { GuestMemory } from './memory.ts';
import {
  ANSWERED,
  bits,
  Feature,
  HEADER_BYTES,
  hasBit,
  INDEX_MASK,
  isRequest,
  MAX_FILES,
  MAX_PAYLOAD,
  MAX_SLOTS,
  messageFault,
  NEED_REPLY,
  NO_FILE,
  ProtocolFeature,
  REPLY,
  Request,
  VERSION,
} from './protocol.ts';
import { Ring } from './ring.ts';
import { type Inflight, transcribe } from './transcript.ts';

const PIPE_BROKEN = -32;
/** Messages that are taken in one go: the others' frames wait meanwhile. */
const MAX_TAKEN = 64;
/** Of a transcript; one of as many regions and rings as there may be is shorter. */
const MAX_TRANSCRIPT = 1_024;
/** Of a queue's in-flight area: its header, and what each descriptor has. */
const [INFLIGHT_HEADER, INFLIGHT_DESCRIPTOR, INFLIGHT_ALIGN] = [16, 16, 64];
const INFLIGHT_VERSION = 1;
const DONE = 0n;
const REFUSED = 1n;
const NO_FILES = new Int32Array(0);

export interface SessionHost {
  poll(fd: number): void;
  unpoll(fd: number): void;
  /** Rings have started, stopped, or been enabled or disabled; or features were chosen. */
  changed(): void;
  /** The guest has moved here: others are to learn it. */
  announce(mac: Uint8Array): void;
}

export class Session {
  readonly memory: GuestMemory;
  readonly rings: readonly Ring[];
  features = 0n;
  /** Why it is to be ended. */
  fault: string | undefined;
  readonly #native: Native;
  readonly #host: SessionHost;
  readonly #fd: number;
  readonly #pairs: number;
  #protocol = 0n;
  #status = 0;
  #inflight: Inflight | undefined;
  /** The end of what is read has come. */
  #ended = false;
  #resumes = false;
  readonly #buffer = new Uint8Array(HEADER_BYTES + MAX_PAYLOAD);
  readonly #mem = new DataView(this.#buffer.buffer);
  readonly #payload = new DataView(this.#buffer.buffer, HEADER_BYTES);
  #filled = 0;
  readonly #came = new Int32Array(1 + MAX_FILES);
  #files: number[] = [];

  constructor(native: Native, fd: number, pairs: number, host: SessionHost) {
    this.#native = native;
    this.#fd = fd;
    this.#pairs = pairs;
    this.#host = host;
    this.memory = new GuestMemory(native);
    this.rings = Array.from({ length: 2 * pairs }, () => new Ring(this.memory));
  }

  has = (feature: number): boolean => hasBit(this.features, feature);

  /** A ring that has started is at work unless the front end says otherwise; without the protocol's features it can't. */
  isOn = (ring: Ring): boolean => ring.started && (ring.enabled || !this.has(Feature.protocol));

  /** Takes in the messages that have come; false: the connection is over, `fault` says why. */
  take(): boolean {
    return this.fault === undefined && this.#take(this.#fd);
  }

  /** What leads another session to where this one stands, into a socket; false: it did not take all. */
  transcribe(socket: number): boolean {
    const { features, rings, memory } = this;
    return transcribe(this.#native, socket, {
      ...{ features, rings, regions: memory.regions, inflight: this.#inflight },
      ...{ protocol: this.#protocol, status: this.#status },
      ...{ begun: this.#buffer.slice(0, this.#filled), files: this.#files },
    });
  }

  /** Goes on where another stood, by what that has put into a socket and ended; false: it can't, `fault` says why. */
  resume(socket: number): boolean {
    this.#resumes = true;
    let goesOn = true;
    for (let left = MAX_TRANSCRIPT; goesOn && left > 0; left -= MAX_TAKEN) goesOn = this.#take(socket);
    this.#resumes = false;
    if (goesOn) this.fault = 'what a process before this one has left of it has no end';
    else if (this.#ended) this.fault = undefined;
    this.#ended = false;
    return this.fault === undefined;
  }

  #take(fd: number): boolean {
    for (let taken = 0; taken < MAX_TAKEN; taken++) {
      const size = this.#filled < HEADER_BYTES ? 0 : this.#mem.getUint32(8, true);
      if (size > MAX_PAYLOAD)
        return this.#refuse(`it sent a message of ${size} bytes; ${MAX_PAYLOAD} are the most`);
      const end = HEADER_BYTES + size;
      if (this.#filled < end) {
        const got = this.#native.receiveMessage(fd, this.#buffer, this.#filled, end, this.#came);
        for (let i = 1; i <= (this.#came[0] as number); i++) this.#files.push(this.#came[i] as number);
        if (this.#files.length > MAX_FILES)
          return this.#refuse(`its message came with more than ${MAX_FILES} files`);
        this.#ended = got === PIPE_BROKEN;
        if (this.#ended) return this.#refuse('its front end has closed the connection');
        if (got < 0) return this.#refuse(`its connection failed with errno ${-got}`);
        if (got === 0) return true;
        this.#filled += got;
        continue;
      }
      this.#filled = 0;
      if (!this.#handle(size)) return false;
    }
    return true;
  }

  /** Gives everything back. */
  close(): void {
    for (const ring of this.rings) {
      ring.stop();
      this.#closeFile(ring, 'kick');
      this.#closeFile(ring, 'call');
      this.#closeFile(ring, 'error');
    }
    this.#closeFiles();
    this.#dropInflight();
    this.memory.clear();
  }

  #refuse(why: string): false {
    this.fault = why;
    return false;
  }

  #handle(size: number): boolean {
    const number = this.#mem.getUint32(0, true);
    const flags = this.#mem.getUint32(4, true);
    const fault = messageFault(number, flags, this.#payload, size, this.#files.length);
    if (fault !== undefined) return this.#refuse(fault);
    const wants = (flags & NEED_REPLY) !== 0 && hasBit(this.#protocol, ProtocolFeature.replyAck);
    let result = REFUSED;
    if (isRequest(number)) {
      try {
        const answer = this.#obey(number);
        if (ANSWERED.includes(number)) {
          this.#closeFiles();
          return this.#answer(number, answer);
        }
        result = answer;
      } catch {
        result = REFUSED; // what it asks for can't be had; all that was is as it was
      }
    }
    this.#closeFiles();
    if (this.#resumes && result === REFUSED)
      return this.#refuse(`its ${Request[number]} can't be had again in this process`);
    return wants ? this.#answer(number, result) : true;
  }

  /** A number to answer with; for what has no answer of its own DONE or REFUSED. */
  #obey(request: Request): bigint {
    const payload = this.#payload;
    const value = (): bigint => payload.getBigUint64(0, true);
    switch (request) {
      case Request.GetFeatures:
        return this.#offered();
      case Request.SetFeatures:
        return this.#choose(value());
      case Request.SetOwner:
        return DONE;
      case Request.ResetOwner:
      case Request.ResetDevice:
        return this.#reset();
      case Request.GetProtocolFeatures:
        return PROTOCOL_OFFERED;
      case Request.SetProtocolFeatures:
        this.#protocol = value() & PROTOCOL_OFFERED;
        return DONE;
      case Request.GetQueueNum:
        return BigInt(this.#pairs);
      case Request.SetMemTable:
        return this.#table();
      case Request.GetMaxMemSlots:
        return BigInt(MAX_SLOTS);
      case Request.AddMemReg:
        return this.#changeMemory(() => {
          if (this.memory.regions.length >= MAX_SLOTS) return REFUSED;
          this.#addRegion(8, 0);
          return DONE;
        });
      case Request.RemMemReg:
        return this.#changeMemory(() =>
          this.memory.remove(this.#size(8), this.#size(24), this.#size(16)) ? DONE : REFUSED,
        );
      case Request.SetVringNum:
        return this.#onRing(ring => {
          ring.size = payload.getUint32(4, true);
        });
      case Request.SetVringAddr:
        return this.#onRing(ring => {
          ring.addresses = { descriptors: this.#size(8), used: this.#size(16), available: this.#size(24) };
        });
      case Request.SetVringBase:
        return this.#onRing(ring => {
          ring.last = payload.getUint32(4, true) & 0xffff;
        });
      case Request.GetVringBase:
        return this.#stop();
      case Request.SetVringEnable:
        return this.#onRing(ring => {
          ring.enabled = payload.getUint32(4, true) === 1;
          this.#host.changed();
        });
      case Request.SetVringKick:
        return this.#onRing(ring => this.#kicked(ring));
      case Request.SetVringCall:
        return this.#onRing(ring => this.#adopt(ring, 'call'));
      case Request.SetVringErr:
        return this.#onRing(ring => this.#adopt(ring, 'error'));
      case Request.SendRarp:
        this.#host.announce(this.#buffer.slice(HEADER_BYTES, HEADER_BYTES + 6));
        return DONE;
      case Request.GetInflightFd:
        return DONE; // #answer makes the area
      case Request.SetInflightFd:
        return this.#setInflight();
      case Request.SetStatus:
        this.#status = payload.getUint8(0);
        return this.#status === 0 ? this.#reset() : DONE;
      case Request.GetStatus:
        return BigInt(this.#status);
    }
  }

  #offered(): bigint {
    return this.#pairs > 1 ? OFFERED | bits(Feature.multiqueue) : OFFERED;
  }

  #choose(features: bigint): bigint {
    if ((features & ~this.#offered()) !== 0n) return REFUSED;
    this.features = features;
    this.#restart();
    this.#host.changed();
    return DONE;
  }

  #reset(): bigint {
    for (const ring of this.rings) {
      ring.stop();
      ring.enabled = false;
      this.#closeFile(ring, 'kick');
    }
    this.#host.changed();
    return DONE;
  }

  /** A number of 64 bits; what is too large for it to be exact is no address and no size. */
  #size(at: number): number {
    const value = this.#payload.getBigUint64(at, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`${value} is no address`);
    return Number(value);
  }

  /** `number`: of its file among the message's. */
  #addRegion(at: number, number: number): void {
    const file = this.#files[number] ?? -1;
    this.memory.add(this.#size(at), this.#size(at + 16), this.#size(at + 8), file, this.#size(at + 24));
    this.#files[number] = -1; // it is the region's
  }

  #table(): bigint {
    return this.#changeMemory(() => {
      this.memory.clear();
      const regions = this.#payload.getUint32(0, true);
      for (let i = 0; i < regions; i++) this.#addRegion(8 + 32 * i, i);
      return DONE;
    });
  }

  /** Rings look their parts up anew, for windows may have gone; one whose parts are gone stops. */
  #changeMemory(change: () => bigint): bigint {
    try {
      return change();
    } finally {
      for (const ring of this.rings) ring.stop();
      this.#restart();
    }
  }

  #onRing(act: (ring: Ring) => unknown): bigint {
    const ring = this.rings[this.#payload.getUint32(0, true) & INDEX_MASK];
    if (ring === undefined) return REFUSED;
    return act(ring) === false ? REFUSED : DONE;
  }

  #kicked(ring: Ring): boolean {
    ring.stop();
    if (!this.#adopt(ring, 'kick')) return false;
    ring.polled = ring.kick < 0;
    ring.wanted = true;
    this.#restart();
    return ring.started;
  }

  /** Takes the message's file for a ring's; false: it is none that one can wait for. */
  #adopt(ring: Ring, use: 'kick' | 'call' | 'error'): boolean {
    this.#closeFile(ring, use);
    if ((this.#payload.getUint32(0, true) & NO_FILE) !== 0) return true;
    const file = this.#files[0];
    if (file === undefined || !this.#native.adoptEvent(file)) return false;
    this.#files.shift();
    ring[use] = file;
    if (use === 'kick') this.#host.poll(file);
    return true;
  }

  #closeFile(ring: Ring, use: 'kick' | 'call' | 'error'): void {
    const file = ring[use];
    if (file < 0) return;
    ring[use] = -1;
    if (use === 'kick') this.#host.unpoll(file);
    this.#native.close(file);
  }

  #stop(): bigint {
    const index = this.#payload.getUint32(0, true) & INDEX_MASK;
    const ring = this.rings[index];
    if (ring === undefined) return BigInt(index);
    ring.stop();
    ring.wanted = false;
    this.#closeFile(ring, 'kick');
    this.#host.changed();
    return BigInt(index) | (BigInt(ring.last) << 32n);
  }

  /** Starts what is wanted and can be. */
  #restart(): void {
    for (const ring of this.rings)
      if (ring.wanted && !ring.started && ring.start(this.has(Feature.eventIndex))) ring.arm(true);
    this.#host.changed();
  }

  #setInflight(): bigint {
    const [bytes, offset] = [this.#size(0), this.#size(8)];
    const [queues, size] = [this.#payload.getUint16(16, true), this.#payload.getUint16(18, true)];
    const step = inflightBytes(size);
    if (queues > this.rings.length || bytes < queues * step) return REFUSED;
    this.#dropInflight();
    const file = this.#files[0] ?? -1;
    const area = this.#native.mapMemory(file, offset, queues * step);
    this.#files = [];
    this.#inflight = { area, file, bytes, offset, queues, size };
    for (let i = 0; i < queues; i++)
      (this.rings[i] as Ring).inflight = new Uint16Array(area, i * step, INFLIGHT_HEADER / 2);
    return DONE;
  }

  #dropInflight(): void {
    for (const ring of this.rings) ring.inflight = undefined;
    if (this.#inflight === undefined) return;
    this.#native.unmapMemory(this.#inflight.area);
    this.#native.close(this.#inflight.file);
    this.#inflight = undefined;
  }

  #answer(request: number, value: bigint): boolean {
    const mem = this.#mem;
    mem.setUint32(0, request, true);
    mem.setUint32(4, VERSION | REPLY, true);
    if (request === Request.GetInflightFd) return this.#giveInflight();
    mem.setUint32(8, 8, true);
    mem.setBigUint64(HEADER_BYTES, value, true);
    return this.#send(HEADER_BYTES + 8, NO_FILES);
  }

  /** An area for the rings that are asked for; without one when that can't be had. */
  #giveInflight(): boolean {
    const { payload, area } = this.#makeInflight();
    this.#mem.setUint32(8, payload, true);
    if (area < 0) return this.#send(HEADER_BYTES + payload, NO_FILES);
    const sent = this.#send(HEADER_BYTES + payload, Int32Array.of(area));
    this.#native.close(area);
    return sent;
  }

  #makeInflight(): { payload: number; area: number } {
    const mem = this.#payload;
    const [queues, size] = [mem.getUint16(16, true), mem.getUint16(18, true)];
    const bytes = queues * inflightBytes(size);
    mem.setBigUint64(0, 0n, true);
    mem.setBigUint64(8, 0n, true);
    if (queues === 0 || queues > this.rings.length || size === 0) return { payload: 24, area: -1 };
    const area = this.#native.createMemory(bytes);
    const words = new DataView(this.#native.mapMemory(area, 0, bytes));
    for (let i = 0; i < queues; i++) {
      words.setUint16(i * inflightBytes(size) + 8, INFLIGHT_VERSION, true);
      words.setUint16(i * inflightBytes(size) + 10, size, true);
    }
    this.#native.unmapMemory(words.buffer as ArrayBuffer);
    mem.setBigUint64(0, BigInt(bytes), true);
    return { payload: 24, area };
  }

  /** An answer is short, and the front end waits for it: one that does not read it has no connection. */
  #send(bytes: number, files: Int32Array): boolean {
    const sent = this.#native.sendMessage(this.#fd, this.#buffer, bytes, files);
    return sent === bytes ? true : this.#refuse('it does not read what it is answered');
  }

  #closeFiles(): void {
    for (const file of this.#files.splice(0)) if (file >= 0) this.#native.close(file);
  }
}

/** Bytes of a queue's in-flight area. */
const inflightBytes = (size: number): number =>
  (INFLIGHT_HEADER + INFLIGHT_DESCRIPTOR * size + INFLIGHT_ALIGN - 1) & ~(INFLIGHT_ALIGN - 1);

const OFFERED = bits(
  Feature.csum,
  Feature.guestCsum,
  Feature.guestTso4,
  Feature.guestTso6,
  Feature.guestEcn,
  Feature.hostTso4,
  Feature.hostTso6,
  Feature.hostEcn,
  Feature.mergeable,
  Feature.anyLayout,
  Feature.indirect,
  Feature.eventIndex,
  Feature.protocol,
  Feature.version1,
);

const PROTOCOL_OFFERED = bits(...Object.values(ProtocolFeature));
