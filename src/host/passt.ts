/**
 * passt(1) as the uplink: a process that makes the guests' packets, which the NAT has folded onto one address, into
 * connections of its own. It needs no rule, no route and no right of the host, and drops what rights it is started with.
 * It talks Ethernet on a socket pair, under a MAC that we choose, with a guest whose MAC and address are the gateway's
 * and the NAT's: so nothing has to be asked for. When it ends it is started again, each time after a longer pause.
 */
import { OperatorError } from '../errors.ts';
import type { Native } from '../port/native.ts';
import { formatIp4, formatMac, type Ip4, type Mac } from '../wire/address.ts';
import * as arp from '../wire/arp.ts';
import { ETHERNET_SIZE, ETHERTYPE_ARP, setHeader, type as typeOf } from '../wire/ethernet.ts';
import { type Ended, type Running, start } from './run.ts';

/** It answers within 20 ms on an idle machine. */
const ANSWER_MS = 8_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** One that has run for this long begins with the shortest pause again. */
const SOUND_MS = 60_000;

/** An ARP frame behind its length. */
const LENGTH_BYTES = 4;
const ARP_BYTES = LENGTH_BYTES + ETHERNET_SIZE + arp.ARP_SIZE;

export interface PasstSettings {
  /** What it takes for its guest's: the NAT's address, and the gateway's MAC. */
  readonly address: Ip4;
  readonly mac: Mac;
  readonly prefix: number;
  /** Its own MAC, and the address that it answers ARP for. */
  readonly ownMac: Mac;
  readonly gateway: Ip4;
}

export interface PasstListener {
  /** Its frames come and go by this socket, till `down` has returned. */
  up(fd: number): void;
  down(): void;
  warn(sentence: string): void;
}

interface Alive {
  readonly fd: number;
  readonly process: Running;
  readonly sinceMs: number;
}

export class Passt {
  readonly #native: Native;
  readonly #settings: PasstSettings;
  readonly #listener: PasstListener;
  #alive: Alive | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #timer: NodeJS.Timeout | undefined;
  /** A start or an end that is under way. */
  #work: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(native: Native, settings: PasstSettings, listener: PasstListener) {
    this.#native = native;
    this.#settings = settings;
    this.#listener = listener;
  }

  /** Starts it and waits till it answers; throws one sentence with what it said when it does not. */
  async open(): Promise<void> {
    this.#alive = await this.#launch();
  }

  /** Serves it from now on, and starts it again whenever it ends. */
  serve(): void {
    if (this.#alive !== undefined) this.#serve(this.#alive);
  }

  /** The data plane has lost it. `fault`: what the port says of that. */
  gone(fault: string | undefined): void {
    if (this.#alive !== undefined) this.#lose(this.#alive, fault);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#work;
    if (this.#alive !== undefined) await this.#end(this.#alive);
    this.#alive = undefined;
  }

  async #launch(): Promise<Alive> {
    const [fd, theirs] = this.#native.socketPair();
    let process: Running;
    try {
      process = start('passt', passtWords(this.#settings), theirs);
    } catch (error) {
      this.#native.close(fd);
      throw error;
    } finally {
      this.#native.close(theirs);
    }
    const alive = { fd, process, sinceMs: performance.now() };
    if (await this.#answers(fd)) return alive;
    throw new OperatorError(`passt does not serve as the uplink: it ended ${told(await this.#end(alive))}`, {
      code: 'HostChange',
    });
  }

  /** Asks it for the gateway's address, which also tells it our MAC; false when it ends instead, or says nothing. */
  async #answers(fd: number): Promise<boolean> {
    const question = arpRequest(this.#settings);
    this.#native.sendBytes(fd, question, 0, question.length);
    return new Promise(resolve => {
      const done = (answer: boolean): void => {
        clearTimeout(timer);
        watch.close();
        resolve(answer);
      };
      const timer = setTimeout(() => done(false), ANSWER_MS);
      // One frame and no more, which may come in parts: the next bytes are the data plane's.
      const answer = new Uint8Array(ARP_BYTES);
      let filled = 0;
      const watch = this.#native.watch(fd, () => {
        const got = this.#native.receiveBytes(fd, answer, filled, ARP_BYTES);
        filled += got;
        if (got >= 0 && filled < ARP_BYTES) return;
        filled = 0;
        if (got < 0 || !isArp(answer)) done(false);
        else if (isReply(answer)) done(true);
      });
    });
  }

  #serve(alive: Alive): void {
    this.#listener.up(alive.fd);
    void alive.process.ended.then(() => this.#lose(alive, undefined));
  }

  #lose(alive: Alive, fault: string | undefined): void {
    if (this.#alive !== alive || this.#stopped) return;
    this.#alive = undefined;
    this.#listener.down();
    if (performance.now() - alive.sinceMs > SOUND_MS) this.#pauseMs = FIRST_PAUSE_MS;
    this.#work = this.#end(alive).then(ended =>
      this.#startLater(`passt ended ${told(ended)}${fault === undefined ? '' : `; ${fault}`}`),
    );
  }

  async #end({ fd, process }: Alive): Promise<Ended> {
    this.#native.close(fd);
    await process.stop();
    return process.ended;
  }

  #startLater(why: string): void {
    if (this.#stopped) return;
    this.#listener.warn(`the uplink is down: ${why}; it is started again in ${this.#pauseMs / 1_000} s`);
    this.#timer = setTimeout(() => {
      this.#work = this.#startAgain();
    }, this.#pauseMs);
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  async #startAgain(): Promise<void> {
    try {
      this.#alive = await this.#launch();
      if (!this.#stopped) this.#serve(this.#alive);
    } catch (error) {
      this.#startLater(error instanceof Error ? error.message : String(error));
    }
  }
}

/** What it is started with; its end of the socket pair is descriptor 3. */
export const passtWords = ({ address, prefix, ownMac, gateway }: PasstSettings): readonly string[] => [
  '--foreground',
  '--quiet',
  '--ipv4-only',
  ...['--address', formatIp4(address)],
  ...['--netmask', String(prefix)],
  ...['--gateway', formatIp4(gateway)],
  ...['--mac-addr', formatMac(ownMac.hi, ownMac.lo)],
  // What only the host itself may reach, on its loopback, stays so.
  '--no-map-gw',
  // Guests are served by the switch.
  ...['--no-dhcp', '--no-dhcpv6', '--no-ndp', '--no-ra'],
  ...['--fd', '3'],
];

function arpRequest({ address, mac, gateway }: PasstSettings): Uint8Array {
  const frame = new Uint8Array(ARP_BYTES);
  const mem = new DataView(frame.buffer);
  mem.setUint32(0, ARP_BYTES - LENGTH_BYTES);
  setHeader(mem, LENGTH_BYTES, 0xffff, -1, mac.hi, mac.lo, ETHERTYPE_ARP);
  arp.emit(mem, LENGTH_BYTES + ETHERNET_SIZE, arp.REQUEST, mac.hi, mac.lo, address, 0, 0, gateway);
  return frame;
}

function isArp(frame: Uint8Array): boolean {
  const mem = new DataView(frame.buffer);
  return mem.getUint32(0) === ARP_BYTES - LENGTH_BYTES && typeOf(mem, LENGTH_BYTES) === ETHERTYPE_ARP;
}

const isReply = (frame: Uint8Array): boolean =>
  arp.operation(new DataView(frame.buffer), LENGTH_BYTES + ETHERNET_SIZE) === arp.REPLY;

/** What it says of rights that it drops and of logs that are not there is no reason. */
const NO_REASON = /^(Don't run as root|Failed to send \d+ bytes to syslog)/;

function told({ how, said }: Ended): string {
  const reasons = said.filter(line => !NO_REASON.test(line));
  return reasons.length === 0 ? how : `${how}: ${reasons.join(' / ')}`;
}
