/**
 * One question under way. The fastest server is asked; when it should have answered by now the next one is asked as well,
 * and so on, then those that are silent again, and the first good answer wins.
 *
 *   ask ─ patience ─ ask the next … ─ ask all silent ones again (0.5, 1, 2 s) ─ 5 s: nobody answers
 *    │ answer of another's (id, port, question, case): not seen
 *    │ cut short: the same server by TCP
 *    │ name in another case: by TCP, which no forger speaks; three times: that is how the server is
 *    │ error with EDNS: once more without
 *    └ error, refusal, nobody there: the next at once
 *
 * Slower servers are waited for a little after the end, for their speed is worth knowing.
 */
import { isIPv6 } from 'node:net';
import { DNS_HEADER, type Question } from '../../wire/dns.ts';
import { Flag, Rcode } from '../../wire/dnsquery.ts';
import { readU16 } from '../../wire/dnsrecords.ts';
import type { Call, Exchange } from './exchange.ts';
import { type Match, matchOf, questionMessage } from './message.ts';
import { type Reply, readReply } from './reply.ts';
import type { Ranking, Server } from './upstream.ts';

const DEADLINE_MS = 5_000;
const FIRST_AGAIN_MS = 500;
const LINGER_MS = 1_500;
/** Silence that says something about a server. */
const SILENT_MS = 1_000;
/** Byte offset of the number of answers. */
const ANSWERS = 6;
/** Attempts of one question; more are forgeries at work. */
const MAX_ATTEMPTS = 24;

/** Why there is no good answer; `error`: what a server said of it, RFC 8914. */
export interface Failure {
  readonly silent: boolean;
  readonly error: Buffer | undefined;
}

export interface FlightWorld {
  readonly exchange: Exchange;
  /** 32 bits. */
  readonly random: () => number;
  nowMs(): number;
  /** Calls `run` later; what it returns calls that off. */
  after(ms: number, run: () => void): () => void;
  /** May one socket more be opened, for what is not the first? */
  hasRoom(): boolean;
  /** Sockets that were opened, less those closed. */
  opened(sockets: number): void;
  log(level: 'info' | 'warn', sentence: string): void;
}

export interface Asked {
  readonly question: Question;
  /** Name, type and class as they stand in a message, in lower case. */
  readonly bytes: Uint8Array;
  /** DO and CD. */
  readonly bits: number;
  readonly tcp: boolean;
}

/** How a server is asked. */
interface Way {
  readonly tcp: boolean;
  readonly edns: boolean;
  readonly mixed: boolean;
  /**
   * Why it is asked in another way than at first: it may not know EDNS; it may not know names in mixed case; it may change
   * their case; it may not be reached by TCP.
   */
  readonly trial?: 'edns' | 'case' | 'mangled' | 'udp';
}

interface Attempt extends Way {
  readonly server: Server;
  readonly message: Uint8Array;
  readonly sentMs: number;
  call: Call | undefined;
}

export class Flight {
  readonly #world: FlightWorld;
  readonly #asked: Asked;
  readonly #done: (result: Reply | Failure) => void;
  readonly #closed: () => void;
  /** Yet to be asked. */
  readonly #queue: Server[];
  readonly #attempts = new Set<Attempt>();
  readonly #answered = new Set<Server>();
  #begun = 0;
  /** Till one of those that were asked should have answered. */
  #patienceMs = Number.POSITIVE_INFINITY;
  #againMs = FIRST_AGAIN_MS;
  #over = false;
  #error: Buffer | undefined;
  #next: (() => void) | undefined;
  #last: (() => void) | undefined;

  /** `done` is called once, and never before `start`; `closed` when its last socket is. */
  constructor(
    world: FlightWorld,
    asked: Asked,
    { servers }: Ranking,
    done: (result: Reply | Failure) => void,
    closed: () => void,
  ) {
    this.#world = world;
    this.#asked = asked;
    this.#done = done;
    this.#closed = closed;
    this.#queue = [...servers];
  }

  start(atOnce: number): void {
    this.#last = this.#world.after(DEADLINE_MS, () => this.#finish({ silent: true, error: this.#error }));
    for (let i = 1; i < atOnce; i++) if (this.#world.hasRoom()) this.#ask(this.#queue.shift());
    this.#advance();
  }

  /** Ends it without a word. */
  close(): void {
    this.#over = true;
    this.#next?.();
    this.#last?.();
    for (const attempt of [...this.#attempts]) this.#drop(attempt);
    this.#closed();
  }

  /** Asks the next server; when there is none, all that are silent once more. */
  #advance(): void {
    this.#next?.();
    const server = this.#queue.shift();
    if (server !== undefined) this.#ask(server);
    else {
      const silent = [...this.#attempts];
      // where sockets are short, the new attempt has the old one's
      if (!this.#world.hasRoom()) for (const attempt of silent) this.#drop(attempt);
      for (const each of new Set(silent.map(attempt => attempt.server))) this.#ask(each);
    }
    const waitMs = this.#queue.length > 0 ? this.#patienceMs : this.#againMs;
    if (this.#queue.length === 0) this.#againMs *= 2;
    if (!this.#over) this.#next = this.#world.after(waitMs, () => this.#advance());
  }

  #ask(server: Server | undefined): void {
    if (server === undefined) return;
    const nowMs = this.#world.nowMs();
    server.asked(nowMs);
    this.#patienceMs = Math.min(this.#patienceMs, server.patienceMs);
    const [edns, mixed] = [server.edns(nowMs), server.keepsCase(nowMs)];
    this.#send(server, { tcp: this.#asked.tcp, edns, mixed });
  }

  #send(server: Server, way: Way): void {
    if (++this.#begun > MAX_ATTEMPTS) return;
    server.queries++;
    const { exchange, random } = this.#world;
    const { bytes, bits } = this.#asked;
    const loopback = /^(127\.|::1$)/.test(server.address);
    const message = questionMessage({ question: bytes, bits, loopback, ...way }, random);
    const attempt: Attempt = { ...way, server, message, sentMs: this.#world.nowMs(), call: undefined };
    this.#attempts.add(attempt);
    this.#world.opened(1);
    attempt.call = exchange[way.tcp ? 'tcp' : 'udp'](server, message, {
      message: received => this.#receive(attempt, received),
      failed: () => this.#unreachable(attempt),
    });
  }

  #drop(attempt: Attempt): void {
    if (!this.#attempts.delete(attempt)) return;
    this.#world.opened(-1);
    attempt.call?.close();
  }

  #receive(attempt: Attempt, message: Uint8Array): void {
    if (!this.#attempts.has(attempt)) return;
    const match = matchOf(message, attempt.message, DNS_HEADER + this.#asked.bytes.length);
    if (match === 'none') return;
    const { server, tcp } = attempt;
    const nowMs = this.#world.nowMs();
    const mangled = match === 'mangled' && attempt.mixed;
    if (mangled && (this.#over || !this.#isCaseSettled(attempt, nowMs))) {
      this.#drop(attempt);
      if (!this.#over) this.#send(server, { ...attempt, tcp: true, trial: 'mangled' });
      return;
    }
    if (server.answered(tcp ? undefined : nowMs - attempt.sentMs))
      this.#world.log('info', `the DNS server ${nameOf(server)} answers again`);
    this.#answered.add(server);
    this.#drop(attempt);
    if (!this.#over) this.#judge(attempt, message, match);
    else if (this.#attempts.size === 0) this.close();
  }

  /** Is an answer in another case to be taken? */
  #isCaseSettled({ server, tcp }: Attempt, nowMs: number): boolean {
    if (tcp) server.knowsNoCase(nowMs);
    else if (!server.mangledCase(nowMs)) return false;
    this.#world.log(
      'info',
      `the DNS server ${nameOf(server)} changes the case of names; it is asked in lower case`,
    );
    return true;
  }

  /** What an answer is worth that is the server's for certain. */
  #judge(attempt: Attempt, message: Uint8Array, match: Match): void {
    const flags = readU16(message, 2);
    if ((flags & Flag.Truncated) !== 0 && !attempt.tcp) {
      this.#send(attempt.server, { ...attempt, tcp: true });
      return;
    }
    const rcode = flags & Flag.Rcode;
    const good = (rcode === Rcode.NoError || rcode === Rcode.NxDomain) && match !== 'bare';
    const reply = match === 'bare' ? undefined : readReply(message, this.#asked.question);
    if (good && reply !== undefined) this.#accept(attempt, reply, match);
    else this.#refused(attempt, rcode, reply);
  }

  #accept(attempt: Attempt, reply: Reply, match: Match): void {
    const { server, trial } = attempt;
    const nowMs = this.#world.nowMs();
    const there = readU16(reply.data, ANSWERS) > 0 && (readU16(reply.data, 2) & Flag.Rcode) === Rcode.NoError;
    if (trial === 'edns') server.knowsNoEdns(nowMs);
    if (trial === 'case' && there) server.knowsNoCase(nowMs);
    if (attempt.mixed && match === 'exact' && there) server.keptCase();
    if (attempt.mixed && match === 'exact' && !there && server.mustCheckCase())
      this.#send(server, { ...attempt, mixed: false, trial: 'case' });
    else this.#finish(reply);
  }

  /** An error, or nonsense: BADVERS is 16, whose lower four bits stand in the header, and are none. */
  #refused(attempt: Attempt, rcode: number, reply: Reply | undefined): void {
    const { server, edns } = attempt;
    const isFormal = rcode === Rcode.FormErr || rcode === Rcode.NotImp || rcode === Rcode.NoError;
    if (edns && isFormal) this.#send(server, { ...attempt, edns: false, trial: 'edns' });
    else {
      this.#error ??= reply?.error;
      server.failed();
      this.#failed(server);
    }
  }

  /** The host says that nobody is there; or a connection failed, and then a datagram may get through. */
  #unreachable(attempt: Attempt): void {
    if (!this.#attempts.has(attempt)) return;
    const { server, tcp, trial } = attempt;
    this.#drop(attempt);
    if (this.#over) return;
    if (!tcp && !this.#answered.has(server)) this.#mourn(server, true);
    else server.failed();
    if (tcp && trial === 'mangled') this.#send(server, { ...attempt, tcp: false });
    else if (tcp && trial === undefined && this.#asked.tcp)
      this.#send(server, { ...attempt, tcp: false, trial: 'udp' });
    else this.#failed(server);
  }

  #failed(server: Server): void {
    if ([...this.#attempts].some(attempt => attempt.server === server)) return;
    if (this.#queue.length > 0) this.#advance();
    else if (this.#attempts.size === 0) this.#finish({ silent: false, error: this.#error });
  }

  #mourn(server: Server, certain: boolean): void {
    if (server.silent(certain, this.#world.nowMs()))
      this.#world.log(
        'warn',
        `the DNS server ${nameOf(server)} does not answer; it is asked last from now on`,
      );
  }

  #finish(result: Reply | Failure): void {
    if (this.#over) return;
    this.#over = true;
    this.#next?.();
    this.#last?.();
    if (this.#attempts.size === 0 || !this.#world.hasRoom()) this.#end();
    else this.#last = this.#world.after('data' in result ? LINGER_MS : 0, () => this.#end());
    this.#done(result);
  }

  /** Whoever has been silent all the while is remembered for it. */
  #end(): void {
    const nowMs = this.#world.nowMs();
    const late = [...this.#attempts].filter(({ sentMs }) => nowMs - sentMs >= SILENT_MS);
    for (const server of new Set(late.map(attempt => attempt.server)))
      if (!this.#answered.has(server)) this.#mourn(server, false);
    this.close();
  }
}

const nameOf = ({ address, port }: Server): string =>
  port === 53 ? address : isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
