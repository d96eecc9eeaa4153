/**
 * A guest's network device over vhost-user: its rings are in its memory, which is mapped here, and its frames are read and written
 * there. Ring 2n is what the guest receives by, ring 2n + 1 what it sends by.
 *
 * A guest that sends is looked at in every round, without a kick; when it has been quiet for a while it is asked to kick again.
 * Whatever a front end writes, into its messages or its rings, costs this port and no other: it is GONE, with a reason.
 */
import { type Batch, CAPACITY, HEADROOM } from '../../dataplane/batch.ts';
import type { Mac } from '../../wire/address.ts';
import * as ethernet from '../../wire/ethernet.ts';
import { setFinished } from '../../wire/vnet.ts';
import { loadNative } from '../native.ts';
import { GONE, type Port, type PortHost } from '../port.ts';
import { type Abilities, Delivery } from './delivery.ts';
import { Intake } from './intake.ts';
import { Feature } from './protocol.ts';
import type { Ring } from './ring.ts';
import { Session } from './session.ts';

/** How long a guest is looked at that sends nothing. */
const PATIENCE_MS = 0.05;
/** RARP of a guest that has moved here (RFC 903): its MAC, four times. */
const [ETHERTYPE_RARP, RARP_BYTES, REVERSE_REQUEST] = [0x8035, 60, 3];

export class VhostPort implements Port {
  readonly kind = 'vhost-user';
  readonly offloads = true;
  readonly gathers = true;
  readonly holds = false;
  refused = 0;
  fault: string | undefined;
  readonly #native = loadNative();
  readonly #host: PortHost;
  readonly #session: Session;
  readonly #intake: Intake;
  readonly #delivery: Delivery;
  readonly #abilities: Abilities = {
    header: 10,
    mergeable: false,
    csum: false,
    tso4: false,
    tso6: false,
    ecn: false,
  };
  /** Rings that the guest sends by, and those that it receives by and has enabled. */
  #sources: Ring[] = [];
  #sinks: Ring[] = [];
  /** Rows that go to the same ring. */
  readonly #run = new Int32Array(CAPACITY);
  /** Where the burst at hand came from. */
  #source: Ring | undefined;
  #turn = 0;
  #polling = false;
  #busyMs = 0;
  #up = false;
  #moved: Uint8Array | undefined;

  /**
   * `fd`: a connected socket, which stays its opener's. `pairs`: of rings that the guest may have. `transcript`: a socket with what a
   * port before this one has written of where it stood.
   */
  constructor(
    readonly name: string,
    readonly fd: number,
    readonly mtu: number,
    pairs: number,
    gatewayMac: Mac | undefined,
    host: PortHost,
    transcript?: number,
  ) {
    this.#host = host;
    this.#session = new Session(this.#native, fd, pairs, {
      poll: file => host.poll(file),
      unpoll: file => host.unpoll(file),
      changed: () => this.#look(),
      announce: mac => {
        this.#moved = mac;
      },
    });
    this.#intake = new Intake(this.#native, this.#session.memory, gatewayMac);
    this.#delivery = new Delivery(this.#native, this.#session.memory);
    if (transcript !== undefined) this.#session.resume(transcript);
  }

  get polls(): boolean {
    return this.#polling;
  }

  wake(): boolean {
    if (!this.#session.take()) {
      this.fault = this.#session.fault;
      return false;
    }
    for (const ring of this.#session.rings) if (ring.kick >= 0) this.#native.eventClear(ring.kick);
    for (const ring of this.#sources) ring.arm(false);
    this.#polling = this.#sources.length > 0;
    return true;
  }

  receive(batch: Batch, ingress: number): number {
    if (this.#moved !== undefined) return this.#announce(batch, ingress, this.#moved);
    const sources = this.#sources;
    for (let i = 0; i < sources.length; i++) {
      this.#turn = this.#turn + 1 < sources.length ? this.#turn + 1 : 0;
      const ring = sources[this.#turn] as Ring;
      const offered = ring.offered();
      if (offered === 0) continue;
      if (offered < 0) return this.#break('sends by');
      this.#busyMs = batch.nowMs;
      this.#source = ring;
      if (!this.#session.isOn(ring)) {
        this.#intake.discard(ring, offered, batch);
        return 0;
      }
      const taken = this.#intake.take(ring, offered, this.#abilities.header, batch, ingress);
      return taken < 0 ? this.#break('sends by') : taken;
    }
    if (this.#polling && batch.nowMs - this.#busyMs > PATIENCE_MS) this.#rest();
    return 0;
  }

  settle(): void {
    const ring = this.#source;
    if (ring === undefined || this.#intake.count === 0) return;
    this.#intake.use(ring);
    this.#publish(ring);
  }

  transmit(batch: Batch, rows: Int32Array, count: number): number {
    this.refused = 0;
    const sinks = this.#sinks;
    if (sinks.length === 0) {
      this.refused = count; // nobody is there
      return count;
    }
    if (sinks.length > 1) return this.#spread(batch, rows, count);
    return this.#give(sinks[0] as Ring, batch, rows, count);
  }

  transcribe(socket: number): boolean {
    return this.#session.transcribe(socket);
  }

  close(): void {
    this.#sources = this.#sinks = [];
    this.#polling = false;
    this.#source = undefined;
    this.#intake.clear();
    this.#delivery.clear();
    this.#session.close();
  }

  #give(ring: Ring, batch: Batch, rows: Int32Array, count: number): number {
    const taken = this.#delivery.give(ring, batch, rows, count, this.#abilities);
    if (taken < 0) return this.#break('receives by');
    this.refused += this.#delivery.refused;
    if (taken > 0) this.#publish(ring);
    return taken;
  }

  /** A flow stays on one ring: runs of frames of the same one go together. What one ring has no room for is refused. */
  #spread(batch: Batch, rows: Int32Array, count: number): number {
    const run = this.#run;
    let length = 0;
    let ring = this.#ringOf(batch, rows[0] as number);
    for (let i = 0; i < count; i++) {
      run[length++] = rows[i] as number;
      const next = i + 1 < count ? this.#ringOf(batch, rows[i + 1] as number) : -1;
      if (next === ring) continue;
      const taken = this.#give(this.#sinks[ring] as Ring, batch, run, length);
      if (taken === GONE) return GONE;
      this.refused += length - taken;
      length = 0;
      ring = next;
    }
    return count;
  }

  #ringOf({ mem, offset, l3, length, etherType }: Batch, row: number): number {
    const at = offset[row] as number;
    let hash = ethernet.sourceLo(mem, at) ^ Math.imul(ethernet.destinationLo(mem, at), 31);
    const packet = l3[row] as number;
    if (etherType[row] === ethernet.ETHERTYPE_IP4 && packet + 24 <= at + (length[row] as number))
      hash ^= mem.getInt32(packet + 12) ^ mem.getInt32(packet + 16) ^ mem.getInt32(packet + 20);
    return (Math.imul(hash, 0x9e3779b1) >>> 16) % this.#sinks.length;
  }

  #publish(ring: Ring): void {
    if (ring.publish() && ring.call >= 0) this.#native.eventSignal(ring.call);
  }

  /** Asks for kicks again; one that has offered something meanwhile is looked at further. */
  #rest(): void {
    let offered = false;
    for (const ring of this.#sources) if (ring.arm(true)) offered = true;
    this.#polling = offered || this.#sources.some(ring => ring.polled);
    if (!offered) return;
    for (const ring of this.#sources) ring.arm(false);
  }

  /** What has become of the rings and features. */
  #look(): void {
    const session = this.#session;
    const { rings } = session;
    this.#sources = rings.filter((ring, index) => index % 2 === 1 && ring.started);
    this.#sinks = rings.filter((ring, index) => index % 2 === 0 && session.isOn(ring));
    if (this.#source !== undefined && !this.#source.started) this.#intake.count = 0;
    for (const ring of this.#sinks) ring.arm(false);
    const abilities = this.#abilities;
    abilities.mergeable = session.has(Feature.mergeable);
    abilities.header = abilities.mergeable || session.has(Feature.version1) ? 12 : 10;
    abilities.csum = session.has(Feature.guestCsum);
    abilities.tso4 = session.has(Feature.guestTso4);
    abilities.tso6 = session.has(Feature.guestTso6);
    abilities.ecn = session.has(Feature.guestEcn);
    this.#polling = this.#sources.length > 0;
    const up = this.#sinks.length > 0 && this.#sources.some(ring => session.isOn(ring));
    if (up !== this.#up) this.#host.carrier(up);
    this.#up = up;
  }

  #announce(batch: Batch, ingress: number, mac: Uint8Array): number {
    this.#moved = undefined;
    const at = batch.arena + HEADROOM;
    const { slab, mem } = batch;
    slab.fill(0, at, at + RARP_BYTES);
    slab.fill(0xff, at, at + 6);
    slab.set(mac, at + 6);
    mem.setUint16(at + 12, ETHERTYPE_RARP);
    mem.setUint16(at + 14, 1);
    mem.setUint16(at + 16, ethernet.ETHERTYPE_IP4);
    mem.setUint16(at + 18, 0x0604);
    mem.setUint16(at + 20, REVERSE_REQUEST);
    slab.set(mac, at + 22);
    slab.set(mac, at + 32);
    setFinished(mem, at);
    batch.push(at, RARP_BYTES, ingress);
    return 1;
  }

  #break(how: string): typeof GONE {
    this.fault = `a ring that its guest ${how} is not as it must be`;
    return GONE;
  }
}
