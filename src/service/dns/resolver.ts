/**
 * The DNS forwarder: what guests ask is answered from the names that are ours, or from the cache, or by the servers above.
 *
 *   query ─ read ─ local? ─ cached? ─ under way already? ─ flight ─ reply ─ cache
 *            │        │        │             └ waits with the others ┘        │
 *            └ error  └────────┴──────────────── emit ───────────────────────┘
 *
 * All but the flight happens at once, within the call. Sockets and clocks come from outside.
 */
import { randomFillSync } from 'node:crypto';
import { DNS_HEADER, type Question } from '../../wire/dns.ts';
import { DROP, Flag, MIN_UDP_BYTES, type Query, Rcode, readQuery, TYPE_ANY } from '../../wire/dnsquery.ts';
import { Cache, kindOf } from './cache.ts';
import type { Exchange } from './exchange.ts';
import { type Failure, Flight, type FlightWorld } from './flight.ts';
import { CD, DO } from './message.ts';
import {
  bareHeader,
  bareReply,
  emit,
  errorOf,
  FAILURE_TTL_S,
  minimalAny,
  OUR_UDP_BYTES,
  type Reply,
  readReply,
} from './reply.ts';
import { Servers, type Upstream, type UpstreamView } from './upstream.ts';

/** Questions under way and clients that wait for them, and what one client may have of both. */
const MAX_FLIGHTS = 512;
const MAX_WAITING = 4_096;
const SHARES = 4;
/** Sockets that are open before second attempts have to do without. */
const MAX_SOCKETS = 1_024;
const MAX_TCP_BYTES = 65_535;
/** How long a failure is remembered for which no server gave a reason: long enough to break a loop, RFC 9520 §3.2. */
const UNEXPLAINED_TTL_S = 1;

/** RFC 8914 §4. */
const NO_SERVER = errorOf(22, 'the host has no DNS server');
const SILENT = errorOf(22, 'no DNS server of the host answered in time');
const UNREACHABLE = errorOf(23, 'no DNS server of the host could answer');
const BUSY = errorOf(14, 'too many questions at once');

/** Names that are answered here. */
export interface Local {
  /**
   * A response to a question that is answered here and never asked upstream; undefined: ask upstream. Its id, RD, RA, CD, the
   * case of its question, EDNS and truncation are seen to; an OPT record in it is not needed.
   */
  answer(query: Uint8Array, question: Question): Uint8Array | undefined;
}

export interface ResolverOptions {
  readonly local: Local;
  /** In the operator's order. Called for every query; another array where it has changed. */
  upstreams(): readonly Upstream[];
  readonly exchange: Exchange;
  readonly maxCacheBytes: number;
  /** What guests are sent by UDP at most, whatever they say. */
  readonly maxUdpBytes?: number;
  /** 32 bits that nobody can guess; the system's where it is left out. */
  readonly random?: () => number;
  /** Monotonic. */
  nowMs(): number;
  /** Calls `run` later; what it returns calls that off. */
  readonly after?: (ms: number, run: () => void) => () => void;
  log(level: 'info' | 'warn', sentence: string): void;
}

/**
 * Queries by what became of them: each has one of the first nine. `forwarded`: a server was asked for it, `joined`: one had
 * been already. `servfail`: of those two, and of `local`, it could not be answered; `truncated`: it was answered in part.
 */
export type DnsCounters = Record<
  | 'local'
  | 'cached'
  | 'forwarded'
  | 'joined'
  | 'formerr'
  | 'notimp'
  | 'refused'
  | 'busy'
  | 'dropped'
  | 'queries'
  | 'servfail'
  | 'truncated',
  number
>;

export interface ResolverView {
  readonly counters: Readonly<DnsCounters>;
  readonly cache: { readonly entries: number; readonly bytes: number; readonly evicted: number };
  readonly waiting: number;
  readonly upstreams: readonly UpstreamView[];
}

export type Done = (response: Uint8Array | undefined) => void;

/** Somebody who waits for an answer. */
interface Waiter {
  readonly query: Query;
  /** Header and question. */
  readonly head: Uint8Array;
  readonly limit: number;
  readonly client: number;
  readonly done: Done;
}

interface UnderWay {
  readonly flight: Flight;
  /** Who asked first. */
  readonly client: number;
  readonly waiters: Waiter[];
}

export class Resolver {
  readonly counters: DnsCounters = {
    queries: 0,
    local: 0,
    cached: 0,
    forwarded: 0,
    joined: 0,
    servfail: 0,
    formerr: 0,
    notimp: 0,
    refused: 0,
    busy: 0,
    dropped: 0,
    truncated: 0,
  };
  readonly #options: ResolverOptions;
  readonly #cache: Cache;
  readonly #servers = new Servers();
  readonly #world: FlightWorld;
  readonly #maxUdpBytes: number;
  /** By name, type and bits. */
  readonly #underWay = new Map<string, UnderWay>();
  /** All that are not over, those too that nobody waits for any more. */
  readonly #flights = new Set<Flight>();
  readonly #waitingOf = new Map<number, number>();
  readonly #flightsOf = new Map<number, number>();
  #waiting = 0;
  #sockets = 0;
  #closed = false;

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#cache = new Cache(options.maxCacheBytes);
    this.#maxUdpBytes = Math.max(
      Math.min(options.maxUdpBytes ?? OUR_UDP_BYTES, OUR_UDP_BYTES),
      MIN_UDP_BYTES,
    );
    this.#world = {
      exchange: options.exchange,
      random: options.random ?? systemRandom(),
      nowMs: () => options.nowMs(),
      after: options.after ?? timeout,
      hasRoom: () => this.#sockets < MAX_SOCKETS,
      opened: sockets => {
        this.#sockets += sockets;
      },
      log: (level, sentence) => options.log(level, sentence),
    };
  }

  /**
   * Answers a query. `done` is called once, maybe before this returns; with undefined where no answer at all is due, as to what
   * is no query. The query's bytes are the caller's again afterwards. `client`: whoever it is, for their fair share.
   */
  resolve(message: Uint8Array, overTcp: boolean, done: Done, client = 0): void {
    this.counters.queries++;
    const query = readQuery(message);
    if (typeof query === 'number') {
      done(this.#refuseHeader(message, query));
      return;
    }
    const limit = overTcp ? MAX_TCP_BYTES : Math.min(query.maxUdpBytes, this.#maxUdpBytes);
    const response = this.#answerAtOnce(message, query, limit);
    if (response !== undefined) done(response);
    else {
      const head = message.slice(0, query.question.end);
      this.#wait({ query, head, limit, client, done }, bitsOf(query), overTcp);
    }
  }

  view(): ResolverView {
    const { entries, bytes, evicted } = this.#cache;
    return {
      counters: { ...this.counters },
      cache: { entries, bytes, evicted },
      waiting: this.#waiting,
      upstreams: this.#servers.views(this.#options.nowMs()),
    };
  }

  /** Forgets all answers. */
  flush(): void {
    this.#cache.clear();
  }

  /** Closes all sockets. Whoever waits gets nothing. */
  close(): void {
    this.#closed = true;
    for (const flight of this.#flights) flight.close();
    this.#flights.clear();
    const waiters = [...this.#underWay.values()].flatMap(each => each.waiters);
    this.#underWay.clear();
    for (const waiter of waiters) this.#release(waiter)(undefined);
    this.#options.exchange.close();
  }

  #answerAtOnce(message: Uint8Array, query: Query, limit: number): Uint8Array | undefined {
    const { question, rcode } = query;
    if (rcode !== Rcode.NoError) {
      this.counters.refused++;
      return emit(bareReply(message, question, rcode), message, query, 0, limit);
    }
    const local = this.#options.local.answer(message, question);
    if (local !== undefined) return this.#answerLocal(local, message, query, limit);
    if (question.type === TYPE_ANY) {
      this.counters.local++;
      return emit(minimalAny(message, question), message, query, 0, limit);
    }
    if (this.#servers.follow(this.#options.upstreams())) this.flush();
    const nowMs = this.#options.nowMs();
    const entry = this.#cache.get(question.name, kindOf(question.type, bitsOf(query)), nowMs);
    if (entry === undefined) return undefined;
    this.counters.cached++;
    return this.#emit(entry.reply, message, query, Math.floor((nowMs - entry.storedMs) / 1000), limit);
  }

  #refuseHeader(message: Uint8Array, rcode: number): Uint8Array | undefined {
    if (rcode === DROP) {
      this.counters.dropped++;
      return undefined;
    }
    this.counters[rcode === Rcode.NotImp ? 'notimp' : 'formerr']++;
    return bareHeader(message, rcode);
  }

  #answerLocal(local: Uint8Array, message: Uint8Array, query: Query, limit: number): Uint8Array {
    this.counters.local++;
    const reply =
      readReply(local, query.question, true) ?? bareReply(message, query.question, Rcode.ServFail);
    return this.#emit(reply, message, query, 0, limit);
  }

  #emit(reply: Reply, message: Uint8Array, query: Query, ageS: number, limit: number): Uint8Array {
    const response = emit(reply, message, query, ageS, limit);
    const low = response[3] as number;
    if ((low & Flag.Rcode) === Rcode.ServFail) this.counters.servfail++;
    if (((response[2] as number) & (Flag.Truncated >> 8)) !== 0) this.counters.truncated++;
    return response;
  }

  /** Lets a client wait for the answer to a question that nobody here knows. */
  #wait(waiter: Waiter, bits: number, overTcp: boolean): void {
    const { name, type } = waiter.query.question;
    const key = `${name} ${type} ${bits}`;
    const present = this.#underWay.get(key);
    if (!this.#mayWait(waiter.client, present === undefined)) {
      this.counters.busy++;
      const { query, head, limit } = waiter;
      const reply = bareReply(head, query.question, Rcode.ServFail, BUSY);
      waiter.done(this.#closed ? undefined : this.#emit(reply, head, query, 0, limit));
      return;
    }
    this.#waiting++;
    count(this.#waitingOf, waiter.client, 1);
    this.counters[present === undefined ? 'forwarded' : 'joined']++;
    if (present === undefined) this.#fly(key, waiter, bits, overTcp);
    else present.waiters.push(waiter);
  }

  #mayWait(client: number, anew: boolean): boolean {
    const waiting = this.#waitingOf.get(client) ?? 0;
    const flights = this.#flightsOf.get(client) ?? 0;
    if (this.#closed || this.#waiting >= MAX_WAITING || waiting >= MAX_WAITING / SHARES) return false;
    return !anew || (this.#underWay.size < MAX_FLIGHTS && flights < MAX_FLIGHTS / SHARES);
  }

  #fly(key: string, waiter: Waiter, bits: number, tcp: boolean): void {
    const { query, head, client } = waiter;
    const ranking = this.#servers.rank(this.#options.nowMs());
    const bytes = bareReply(head, query.question, 0).data.subarray(DNS_HEADER);
    const asked = { question: query.question, bytes, bits, tcp };
    const flight: Flight = new Flight(
      this.#world,
      asked,
      ranking,
      result => this.#land(key, result),
      () => this.#flights.delete(flight),
    );
    this.#underWay.set(key, { flight, client, waiters: [waiter] });
    count(this.#flightsOf, client, 1);
    if (ranking.servers.length === 0) this.#land(key, { silent: true, error: NO_SERVER });
    else {
      this.#flights.add(flight);
      flight.start(ranking.atOnce);
    }
  }

  /** A question has been answered, or not. */
  #land(key: string, result: Reply | Failure): void {
    const under = this.#underWay.get(key);
    if (under === undefined) return;
    this.#underWay.delete(key);
    count(this.#flightsOf, under.client, -1);
    const [first] = under.waiters;
    if (first === undefined) return;
    const { question } = first.query;
    const reply = 'data' in result ? result : this.#failed(first, result);
    this.#cache.put(question.name, kindOf(question.type, bitsOf(first.query)), reply, this.#options.nowMs());
    for (const waiter of under.waiters)
      this.#release(waiter)(this.#emit(reply, waiter.head, waiter.query, 0, waiter.limit));
  }

  #failed({ head, query }: Waiter, { silent, error }: Failure): Reply {
    const reply = bareReply(head, query.question, Rcode.ServFail, error ?? (silent ? SILENT : UNREACHABLE));
    if (error === NO_SERVER) return reply;
    return { ...reply, ttlS: error === undefined ? UNEXPLAINED_TTL_S : FAILURE_TTL_S };
  }

  #release(waiter: Waiter): Done {
    this.#waiting--;
    count(this.#waitingOf, waiter.client, -1);
    return waiter.done;
  }
}

const bitsOf = ({ dnssecOk, flags }: Query): number =>
  (dnssecOk ? DO : 0) | ((flags & Flag.CheckingDisabled) !== 0 ? CD : 0);

function count(counts: Map<number, number>, key: number, by: number): void {
  const now = (counts.get(key) ?? 0) + by;
  if (now === 0) counts.delete(key);
  else counts.set(key, now);
}

function timeout(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

/** The system's random numbers, fetched many at a time. */
function systemRandom(): () => number {
  const words = new Uint32Array(256);
  let left = 0;
  return () => {
    if (left === 0) {
      randomFillSync(words);
      left = words.length;
    }
    return words[--left] as number;
  };
}
