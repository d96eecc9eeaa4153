/**
 * What is known of the servers that are asked: how fast each answers, whether it does at all, and what it can't do. The
 * fastest comes first; those that do not answer come last and are tried again now and then, beside one that does.
 */
export interface Upstream {
  /** IPv4 or IPv6; a link-local one with its zone, `fe80::1%eth0`. */
  readonly address: string;
  readonly port: number;
}

export interface UpstreamView extends Upstream {
  /** Smoothed; undefined: it has not answered yet. */
  readonly rttMs: number | undefined;
  readonly queries: number;
  readonly answers: number;
  /** Errors, refusals and silence. */
  readonly failures: number;
  readonly alive: boolean;
  readonly keepsCase: boolean;
}

/** RFC 6298's weights. */
const RTT_WEIGHT = 1 / 8;
const DEVIATION_WEIGHT = 1 / 4;
/** The next server is asked when this one should have answered; how long that is when nobody knows. */
const LEAST_PATIENCE_MS = 20;
const MOST_PATIENCE_MS = 500;
const UNKNOWN_PATIENCE_MS = 100;
/** Silences in a row after which a server is dead, and when it is tried again: longer each time. */
const SILENCES = 3;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;
/** A server that nobody has asked for so long is asked beside another, so that its speed is known. */
const STALE_MS = 10_000;
/** What was found out about a server is found out again. */
const BELIEVED_MS = 3_600_000;
/** Negative answers to mixed case that were checked without it; then the server is believed. */
const CASE_CHECKS = 5;
/** Answers to mixed case in another case, one after the other, each to a port and an id of its own. */
const MANGLED = 3;

export class Server implements Upstream {
  readonly address: string;
  readonly port: number;
  queries = 0;
  answers = 0;
  failures = 0;
  rttMs: number | undefined;
  alive = true;
  #deviationMs = 0;
  #silences = 0;
  #retryMs = FIRST_RETRY_MS;
  #retryAtMs = 0;
  #askedMs = Number.NEGATIVE_INFINITY;
  #plainUntilMs = 0;
  #lowerUntilMs = 0;
  #mangled = 0;
  #caseChecks = 0;

  constructor({ address, port }: Upstream) {
    this.address = address;
    this.port = port;
  }

  get patienceMs(): number {
    if (this.rttMs === undefined) return UNKNOWN_PATIENCE_MS;
    return Math.min(Math.max(this.rttMs + 4 * this.#deviationMs, LEAST_PATIENCE_MS), MOST_PATIENCE_MS);
  }

  /** May EDNS be used? */
  edns(nowMs: number): boolean {
    return nowMs >= this.#plainUntilMs;
  }

  keepsCase(nowMs: number): boolean {
    return nowMs >= this.#lowerUntilMs;
  }

  /** Should it be asked beside another? */
  isDue(nowMs: number): boolean {
    return this.alive ? nowMs - this.#askedMs >= STALE_MS : nowMs >= this.#retryAtMs;
  }

  asked(nowMs: number): void {
    this.#askedMs = nowMs;
    if (!this.alive) this.#retryAtMs = nowMs + this.#retryMs;
  }

  /** It has answered, whatever; true: it was dead. `tookMs` undefined: that says nothing of its speed. */
  answered(tookMs: number | undefined): boolean {
    this.answers++;
    this.#silences = 0;
    this.#retryMs = FIRST_RETRY_MS;
    if (tookMs !== undefined) this.#sample(tookMs);
    const revived = !this.alive;
    this.alive = true;
    return revived;
  }

  /** It has answered by an error. */
  failed(): void {
    this.failures++;
  }

  /** It has not answered; `certain`: the host says that nobody is there. True: it has died. */
  silent(certain: boolean, nowMs: number): boolean {
    this.failures++;
    this.#silences = certain ? SILENCES : this.#silences + 1;
    if (this.#silences < SILENCES) return false;
    const died = this.alive;
    this.#retryMs = died ? FIRST_RETRY_MS : Math.min(2 * this.#retryMs, LAST_RETRY_MS);
    this.#retryAtMs = nowMs + this.#retryMs;
    this.alive = false;
    return died;
  }

  /** An error to a question with EDNS, and a good answer to the same without. */
  knowsNoEdns(nowMs: number): void {
    this.#plainUntilMs = nowMs + BELIEVED_MS;
  }

  /** A good answer in the case that was sent. */
  keptCase(): void {
    this.#mangled = 0;
    this.#caseChecks = CASE_CHECKS;
  }

  /** An answer in another case: is it the server's way, and no forger's guess? */
  mangledCase(nowMs: number): boolean {
    if (++this.#mangled < MANGLED) return false;
    this.knowsNoCase(nowMs);
    return true;
  }

  knowsNoCase(nowMs: number): void {
    this.#mangled = 0;
    this.#lowerUntilMs = nowMs + BELIEVED_MS;
  }

  /** It says that there is nothing by a name in mixed case. There are servers that would know it in lower case. */
  mustCheckCase(): boolean {
    if (this.#caseChecks >= CASE_CHECKS) return false;
    this.#caseChecks++;
    return true;
  }

  view(nowMs: number): UpstreamView {
    const { address, port, rttMs, queries, answers, failures, alive } = this;
    return { address, port, rttMs, queries, answers, failures, alive, keepsCase: this.keepsCase(nowMs) };
  }

  #sample(tookMs: number): void {
    if (this.rttMs === undefined) {
      this.rttMs = tookMs;
      this.#deviationMs = tookMs / 2;
      return;
    }
    this.#deviationMs += DEVIATION_WEIGHT * (Math.abs(tookMs - this.rttMs) - this.#deviationMs);
    this.rttMs += RTT_WEIGHT * (tookMs - this.rttMs);
  }
}

/** Where a server stands that has not answered yet: behind fast ones, before slow ones. */
const UNKNOWN_RTT_MS = 50;

/** The servers in the order in which to ask them, and how many of them at once. */
export interface Ranking {
  readonly servers: readonly Server[];
  readonly atOnce: number;
}

export class Servers {
  #list: readonly Upstream[] = [];
  #servers: Server[] = [];

  /** Takes the list that is to be asked from now on; true: it is another one. What is known of those in both stays known. */
  follow(list: readonly Upstream[]): boolean {
    if (list === this.#list) return false;
    const same =
      list.length === this.#list.length &&
      list.every(({ address, port }, i) => {
        const before = this.#list[i];
        return before?.address === address && before.port === port;
      });
    this.#list = list;
    if (same) return false;
    const known = new Map(this.#servers.map(server => [`${server.address} ${server.port}`, server]));
    this.#servers = list.map(
      upstream => known.get(`${upstream.address} ${upstream.port}`) ?? new Server(upstream),
    );
    return true;
  }

  rank(nowMs: number): Ranking {
    const order = (server: Server): number =>
      server.alive ? (server.rttMs ?? UNKNOWN_RTT_MS) : Number.MAX_VALUE;
    const [first, ...others] = this.#servers.toSorted((a, b) => order(a) - order(b));
    if (first === undefined) return { servers: [], atOnce: 0 };
    // one more at once, if one is due: its speed is learnt while the answer is there already
    const due = others.find(server => server.isDue(nowMs));
    if (due === undefined) return { servers: [first, ...others], atOnce: 1 };
    return { servers: [first, due, ...others.filter(server => server !== due)], atOnce: 2 };
  }

  views(nowMs: number): UpstreamView[] {
    return this.#servers.map(server => server.view(nowMs));
  }
}
