/**
 * DNS answers on their way to guests, for the egress policy: what addresses the names in them have is told to the data plane
 * first, and then the answer goes on, so that a guest's first packet to the address finds it known.
 *
 *   handle ─ queue ─ read all ─ tell the data plane, once ─ send all
 *
 * An answer that can't be read goes on as well: nothing is known by it. Whom to believe depends on what for. A name is
 * allowed by what the trusted resolvers say of the very name that the guest asked for, as a guest can have a server of its
 * own outside say anything. It is denied whoever says so, and by any alias on the way.
 */
import type { Ip4 } from '../../wire/address.ts';
import { type Answer, readAnswer } from '../../wire/dns.ts';
import { openDatagram } from '../datagram.ts';
import { lifetimeS, NameBook, type NameEntry } from './book.ts';

/** How long the answer of `resolvers` is believed. */
const RESOLVERS_MS = 5_000;
/** One guest has at most this part of the names. */
const SHARES = 4;
/** Answers that are told of at once. */
const BURST = 64;

/** A domain that egress rules are about. */
export interface WatchedDomain {
  readonly name: string;
  readonly below: boolean;
  readonly allow: boolean;
}

export interface NameServiceOptions {
  readonly domains: readonly WatchedDomain[];
  readonly maxNames: number;
  /** Believed as a resolver: the host itself. */
  readonly gateway: Ip4;
  /** The resolvers that guests are told of. */
  resolvers(): readonly Ip4[];
  /** Returns when the data plane knows. */
  tell(learnt: Int32Array, forgotten: Int32Array): void;
  /** Sends an answer on to the guest that it is for, by its port where that is known; false: there was no room. */
  send(frame: Uint8Array, egress?: number): boolean;
  log(level: 'warn' | 'error', sentence: string): void;
}

/**
 * Answers by what became of them. `unread`: errors, other kinds and broken ones; `untrusted`: a server that is not believed
 * named a domain that is allowed; `unsent`: the data plane took no more.
 */
export type NameCounters = Record<'answers' | 'unread' | 'untrusted' | 'unsent', number>;

interface Arrival {
  readonly frame: Uint8Array;
  readonly nowMs: number;
  readonly egress: number | undefined;
}

export class NameService {
  readonly counters: NameCounters = { answers: 0, unread: 0, untrusted: 0, unsent: 0 };
  readonly #options: NameServiceOptions;
  readonly #book: NameBook;
  #queue: Arrival[] = [];
  #running: Promise<void> | undefined;
  #trusted: ReadonlySet<number> = new Set();
  #trustedAtMs = Number.NEGATIVE_INFINITY;
  #warned = false;

  constructor(options: NameServiceOptions) {
    this.#options = options;
    this.#book = new NameBook(options.maxNames, options.maxNames / SHARES);
  }

  /**
   * Takes a punted answer, or one of our own for a port (`egress`), at a time of the monotonic clock. Those of one turn are told
   * of together, right behind it.
   */
  handle(frame: Uint8Array, nowMs: number, egress?: number): void {
    this.#queue.push({ frame, nowMs, egress });
    if (this.#queue.length >= BURST) this.#work();
    else this.#running ??= new Promise(resolve => setImmediate(resolve)).then(() => this.#work());
  }

  /** The same at once, of an answer that `server` gave `guest` by another way: what it says is known when this returns. */
  learn(server: Ip4, guest: Ip4, message: Uint8Array, nowMs: number): void {
    this.#readMessage(server, guest, message, nowMs);
    this.#tell();
  }

  /** Resolves when everything that was handed in has been sent on. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** What is known at `nowMs`. */
  names(nowMs: number): NameEntry[] {
    return this.#book.entries(Math.floor(nowMs / 1000));
  }

  /** Tells all that is known at `nowMs`, to a data plane that knows nothing. */
  tellAgain(nowMs: number): void {
    this.#say(this.names(nowMs), []);
  }

  #work(): void {
    const burst = this.#queue;
    this.#queue = [];
    this.#running = undefined;
    for (const { frame, nowMs } of burst) this.#read(frame, nowMs);
    this.#tell();
    for (const { frame, egress } of burst) if (!this.#options.send(frame, egress)) this.counters.unsent++;
  }

  #tell(): void {
    const { learnt, forgotten } = this.#book.changes();
    if (learnt.length > 0 || forgotten.length > 0) this.#say(learnt, forgotten);
  }

  #say(learnt: readonly NameEntry[], forgotten: readonly NameEntry[]): void {
    try {
      this.#options.tell(wordsOf(learnt), wordsOf(forgotten));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#options.log('error', `names could not be told to the data plane: ${why}`);
    }
  }

  #read(frame: Uint8Array, nowMs: number): void {
    const datagram = openDatagram(frame);
    if (datagram !== undefined)
      this.#readMessage(datagram.source, datagram.destination, datagram.payload, nowMs);
    else {
      this.counters.answers++;
      this.counters.unread++;
    }
  }

  #readMessage(server: Ip4, guest: Ip4, message: Uint8Array, nowMs: number): void {
    this.counters.answers++;
    const answer = readAnswer(message);
    if (answer === undefined) {
      this.counters.unread++;
      return;
    }
    const trusted = this.#trusts(server, nowMs);
    for (const [domain, watched] of this.#options.domains.entries()) {
      if (!isOf(answer, watched)) continue;
      if (watched.allow && !trusted) this.counters.untrusted++;
      else this.#learn(guest, domain, answer, Math.floor(nowMs / 1000));
    }
  }

  #learn(guest: Ip4, domain: number, answer: Answer, nowS: number): void {
    for (const { ip, ttlS } of answer.addresses)
      this.#book.learn(
        { guest, address: ip, domain, name: answer.name, expiresS: nowS + lifetimeS(ttlS) },
        nowS,
      );
  }

  #trusts(server: Ip4, nowMs: number): boolean {
    if (server === this.#options.gateway) return true;
    if (Math.abs(nowMs - this.#trustedAtMs) >= RESOLVERS_MS) {
      this.#trustedAtMs = nowMs;
      this.#trusted = new Set(this.#options.resolvers());
    }
    const trusted = this.#trusted.has(server);
    if (!trusted && this.#trusted.size === 0 && !this.#warned) {
      this.#warned = true;
      this.#options.log(
        'warn',
        'the host has no name server that guests can use, so no name is allowed by what servers say; --dns names one',
      );
    }
    return trusted;
  }
}

/** Is the answer about a name of the domain? */
const isOf = (answer: Answer, { name, below, allow }: WatchedDomain): boolean =>
  (allow ? [answer.name] : [answer.name, ...answer.aliases]).some(
    asked => asked === name || (below && asked.endsWith(`.${name}`)),
  );

/** As the data plane takes entries. */
const wordsOf = (entries: readonly NameEntry[]): Int32Array =>
  Int32Array.from(
    entries.flatMap(({ guest, address, domain, expiresS }) => [guest, address, domain, expiresS]),
  );
