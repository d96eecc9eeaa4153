/**
 * Is an address in use that no lease tells of? Somebody may have set it by hand. Before it is offered to a client that
 * has no claim to it, everybody is asked by ARP (RFC 2131 §3.1 step 2, in the form of RFC 5227 §2.1.1: the sender's
 * address is 0.0.0.0, so nobody's cache is touched). An answer within the time is a conflict, silence is consent.
 *
 * The offer waits here meanwhile, and nothing else waits for it: `hold` takes it, `verdict` gives it back. There are no
 * clock and no socket here: frames go out by `send` and come in by `hear`, and time passes in `after`.
 */
import type { Ip4, Mac } from '../../wire/address.ts';
import * as arp from '../../wire/arp.ts';
import { Drop } from '../../wire/drop.ts';
import * as ethernet from '../../wire/ethernet.ts';

const NOBODY = 0 as Ip4;

export interface ProberOptions<T> {
  /** How long an answer is waited for; 0: nobody is asked. */
  readonly timeMs: number;
  /** Addresses that may be asked for at once. */
  readonly maxProbes: number;
  /** Whom answers go to: the gateway's. */
  readonly mac: Mac;
  /** Sends a frame to everybody on the network. */
  send(frame: Uint8Array): void;
  /** Calls back once, so much later. */
  after(ms: number, act: () => void): void;
  /** What was held for the address may go on (`by` undefined), or somebody has the address. Never called by `hold`. */
  verdict(ip: Ip4, held: T, by: InUse | undefined): void;
}

/** Who has an address. */
export interface InUse {
  readonly mac: Mac;
  /** The port that the answer came in on. */
  readonly ingress: number;
}

export interface ProbeCounters {
  readonly sent: number;
  /** Nobody answered. */
  readonly free: number;
  readonly conflicts: number;
  /** Offers that left unasked, as too many were asked for. */
  readonly skipped: number;
}

interface Probe<T> {
  held: T;
  owner: Mac;
}

export class Prober<T> {
  readonly #options: ProberOptions<T>;
  readonly #running = new Map<Ip4, Probe<T>>();
  #timeMs: number;
  readonly #counters = { sent: 0, free: 0, conflicts: 0, skipped: 0 };

  constructor(options: ProberOptions<T>) {
    this.#options = options;
    this.#timeMs = options.timeMs;
  }

  get counters(): ProbeCounters {
    return this.#counters;
  }

  /** How long is asked from now on, ms; 0: nobody is asked. */
  set timeMs(ms: number) {
    this.#timeMs = ms;
  }

  /** Addresses that are asked for right now. */
  get running(): number {
    return this.#running.size;
  }

  /**
   * Holds an offer of the address while it is asked for, or while it is asked for already: then this offer takes the
   * place of the former, which answered the same client's earlier message. False: the offer may leave at once.
   * `owner`: the client's own hardware address, whose answer is no conflict. `asks`: false where the client has a claim.
   */
  hold(ip: Ip4, owner: Mac, held: T, asks: boolean): boolean {
    const probe = this.#running.get(ip);
    if (probe !== undefined) {
      probe.held = held;
      probe.owner = owner;
      return true;
    }
    const { maxProbes } = this.#options;
    const timeMs = this.#timeMs;
    if (!asks || timeMs === 0) return false;
    if (this.#running.size >= maxProbes) {
      this.#counters.skipped++;
      return false;
    }
    const begun = { held, owner };
    this.#running.set(ip, begun);
    this.#counters.sent++;
    this.#options.send(probeFor(ip, this.#options.mac));
    this.#options.after(timeMs, () => {
      if (this.#running.get(ip) !== begun) return; // it was answered
      this.#counters.free++;
      this.#end(ip, begun, undefined);
    });
    return true;
  }

  /** Takes a frame that came in; true: it is ARP, and nobody else's business. */
  hear(frame: Uint8Array, ingress: number): boolean {
    const mem = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const l3 = ethernet.ETHERNET_SIZE;
    if (frame.length < l3 || ethernet.type(mem, 0) !== ethernet.ETHERTYPE_ARP) return false;
    if (arp.check(mem, l3, frame.length - l3) !== Drop.None || arp.operation(mem, l3) !== arp.REPLY)
      return true;
    const ip = arp.senderIp(mem, l3);
    const probe = this.#running.get(ip);
    const mac = { hi: arp.senderMacHi(mem, l3), lo: arp.senderMacLo(mem, l3) };
    if (probe === undefined || isSame(mac, probe.owner)) return true;
    this.#counters.conflicts++;
    this.#end(ip, probe, { mac, ingress });
    return true;
  }

  #end(ip: Ip4, { held }: Probe<T>, by: InUse | undefined): void {
    this.#running.delete(ip);
    this.#options.verdict(ip, held, by);
  }
}

const isSame = (a: Mac, b: Mac): boolean => a.hi === b.hi && a.lo === b.lo;

/** The question to everybody: who has this address? */
export function probeFor(ip: Ip4, { hi, lo }: Mac): Uint8Array {
  const frame = new Uint8Array(ethernet.ETHERNET_SIZE + arp.ARP_SIZE);
  const mem = new DataView(frame.buffer);
  ethernet.setHeader(mem, 0, 0xffff, -1, hi, lo, ethernet.ETHERTYPE_ARP);
  arp.emit(mem, ethernet.ETHERNET_SIZE, arp.REQUEST, hi, lo, NOBODY, 0, 0, ip);
  return frame;
}
