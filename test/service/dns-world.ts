/**
 * A world for the resolver without sockets and without waiting: a clock that is set forward by hand, servers as functions,
 * and messages written and read by dns-packet.
 */
import dnsPacket, { type Answer, type OptAnswer, type Packet } from 'dns-packet';
import type { Call, Exchange, Replies } from '../../src/service/dns/exchange.ts';
import { type Local, Resolver, type ResolverOptions } from '../../src/service/dns/resolver.ts';
import type { Upstream } from '../../src/service/dns/upstream.ts';
import { random } from '../random.ts';

export type Decoded = ReturnType<typeof dnsPacket.decode> & { rcode?: string };

export const RD = dnsPacket.RECURSION_DESIRED;
const RA = dnsPacket.RECURSION_AVAILABLE;
export const [FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED] = [1, 2, 3, 4, 5] as const;

export const opt = (more: Partial<OptAnswer> = {}): OptAnswer =>
  ({ type: 'OPT', name: '.', udpPayloadSize: 1232, flags: 0, options: [], ...more }) as OptAnswer;

/** A copy: a Buffer's slice would be the same memory as others. */
export const encode = (packet: Packet): Uint8Array => Uint8Array.from(dnsPacket.encode(packet));
export const decode = (message: Uint8Array): Decoded => dnsPacket.decode(Buffer.from(message)) as Decoded;

export const query = (name: string, type: string = 'A', more: Partial<Packet> = {}): Uint8Array =>
  encode({ type: 'query', id: 7, flags: RD, questions: [{ type, name } as never], ...more });

export const a = (name: string, data = '192.0.2.1', ttl = 300): Answer => ({ type: 'A', name, data, ttl });
export const cname = (name: string, data: string, ttl = 300): Answer => ({ type: 'CNAME', name, data, ttl });
export const soa = (name: string, ttl = 900, minimum = 60): Answer => ({
  type: 'SOA',
  name,
  ttl,
  data: { mname: `ns.${name}`, rname: `root.${name}`, serial: 1, refresh: 2, retry: 3, expire: 4, minimum },
});

/** An answer to a question as it was sent. */
export function answer(
  to: Uint8Array,
  answers: Answer[],
  more: Partial<Packet> & { rcode?: number } = {},
): Uint8Array {
  const { id, questions } = decode(to);
  const { rcode = 0, flags = 0, ...rest } = more;
  return encode({
    type: 'response',
    id,
    flags: RD | RA | flags | rcode,
    questions,
    answers,
    ...rest,
  } as Packet);
}

/** What a server does with a message: answers at once, after some milliseconds, or never. */
export type Behaviour = (message: Uint8Array, tcp: boolean) => Response | undefined;
export interface Response {
  readonly message?: Uint8Array;
  readonly afterMs?: number;
  /** Nobody is there. */
  readonly failed?: boolean;
}

export interface Sent {
  readonly to: string;
  readonly tcp: boolean;
  readonly message: Uint8Array;
  readonly atMs: number;
}

interface Timer {
  readonly atMs: number;
  readonly run: () => void;
}

export class World {
  nowMs = 1_000_000;
  servers: Upstream[] = [];
  open = 0;
  mostOpen = 0;
  forged = 0;
  readonly sent: Sent[] = [];
  readonly logged: string[] = [];
  readonly resolver: Resolver;
  readonly #behaviours = new Map<string, Behaviour>();
  #timers: Timer[] = [];
  /** Of calls, by number; undefined: closed. */
  readonly #receivers: (((message: Uint8Array) => void) | undefined)[] = [];
  #asking = -1;

  constructor(options: Partial<ResolverOptions> = {}, seed = 1) {
    const next = random(seed);
    const local: Local = { answer: () => undefined };
    this.resolver = new Resolver({
      local,
      upstreams: () => this.servers,
      exchange: this.#exchange(),
      maxCacheBytes: 1 << 20,
      random: () => next(2 ** 32),
      nowMs: () => this.nowMs,
      after: (ms, run) => this.after(ms, run),
      log: (_level, sentence) => this.logged.push(sentence),
      ...options,
    });
  }

  server(address: string, behaviour: Behaviour): this {
    if (!this.#behaviours.has(address)) this.servers = [...this.servers, { address, port: 53 }];
    this.#behaviours.set(address, behaviour);
    return this;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.nowMs + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter(each => each !== timer);
    };
  }

  /** Lets time pass, and what is due happen. */
  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    for (;;) {
      const due = this.#timers.filter(({ atMs }) => atMs <= untilMs).sort((x, y) => x.atMs - y.atMs)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter(each => each !== due);
      this.nowMs = Math.max(this.nowMs, due.atMs);
      due.run();
    }
    this.nowMs = untilMs;
  }

  /** What hands a message to whoever asked last, as if it came from the server. */
  forge(message: Uint8Array): () => void {
    const asked = this.#asking;
    return () => {
      this.forged++;
      this.#receivers[asked]?.(message);
    };
  }

  get timers(): number {
    return this.#timers.length;
  }

  /** Asks, and lets as much time pass as it takes, six seconds at most. */
  ask(message: Uint8Array, { tcp = false, client = 0 } = {}): { response?: Uint8Array; tookMs: number } {
    const result: { response?: Uint8Array; tookMs: number } = { tookMs: Number.POSITIVE_INFINITY };
    const begunMs = this.nowMs;
    this.resolver.resolve(
      message,
      tcp,
      response => {
        if (response !== undefined) result.response = response;
        result.tookMs = this.nowMs - begunMs;
      },
      client,
    );
    for (let i = 0; i < 6_000 && result.tookMs === Number.POSITIVE_INFINITY; i++) this.pass(1);
    return result;
  }

  /** Asks, and says in one line what came. */
  says(message: Uint8Array, how = {}): string {
    const { response } = this.ask(message, how);
    return response === undefined ? 'nothing' : line(response);
  }

  #exchange(): Exchange {
    const call =
      (tcp: boolean) =>
      (to: Upstream, message: Uint8Array, replies: Replies): Call => {
        this.sent.push({ to: to.address, tcp, message, atMs: this.nowMs });
        this.open++;
        this.mostOpen = Math.max(this.mostOpen, this.open);
        let open = true;
        const number = this.#receivers.push(received => replies.message(received)) - 1;
        this.#asking = number;
        const done = this.#behaviours.get(to.address)?.(message, tcp);
        if (done !== undefined)
          this.after(done.afterMs ?? 1, () => {
            if (open && done.failed === true) replies.failed('refused');
            else if (open && done.message !== undefined) replies.message(done.message);
          });
        return {
          close: () => {
            if (open) this.open--;
            open = false;
            this.#receivers[number] = undefined;
          },
        };
      };
    return { udp: call(false), tcp: call(true), close: () => undefined };
  }
}

/** Code, flags, records and their times to live: `NOERROR TC a.b A 300 192.0.2.1 | authorities`. */
export function line(message: Uint8Array): string {
  const read = decode(message);
  const flags = [read.flag_tc ? 'TC' : '', read.flag_aa ? 'AA' : '', read.flag_ad ? 'AD' : ''].filter(
    Boolean,
  );
  const show = (records: Answer[] = []): string[] =>
    records
      .filter(({ type }) => type !== 'OPT')
      .map(record => {
        const { name, type, ttl, data } = record as {
          name: string;
          type: string;
          ttl: number;
          data: unknown;
        };
        return `${name} ${type} ${ttl}${typeof data === 'string' ? ` ${data}` : ''}`;
      });
  const sections = [read.answers, read.authorities, read.additionals].map(show);
  return [read.rcode ?? '', ...flags, ...(sections[0] as string[])]
    .concat(sections.slice(1).flatMap(records => (records.length > 0 ? ['|', ...records] : [])))
    .join(' ');
}

/** The extended error in a response: its code, and what it says. */
export function extendedError(message: Uint8Array): string | undefined {
  const edns = decode(message).additionals?.find((each): each is OptAnswer => each.type === 'OPT');
  const option = (edns?.options as { code: number; data: Buffer }[] | undefined)?.find(
    ({ code }) => code === 15,
  );
  return option && `${option.data.readUInt16BE()} ${option.data.subarray(2).toString()}`;
}
