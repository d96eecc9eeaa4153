/**
 * Cloud-init's NoCloud seed for guests: who asks, by the port that the request came in on, and what that guest gets.
 *
 * Cloud-init 22.4 takes a seed without user-data for none, after eleven tries in ten seconds, and tries as long for
 * vendor-data before it does without; later ones do so for network-config. So what has no file is served empty, which all of
 * them take for "none", and meta-data is made.
 */
import { Seldom } from '../seldom.ts';
import { DOCUMENTS, type DocumentName, findDocument } from './documents.ts';
import {
  type Fields,
  type Instances,
  instanceId,
  newPassword,
  type PhonedHome,
  type Who,
} from './instances.ts';
import { fieldsOf } from './phonehome.ts';
import { filled, type Word, wordsIn } from './template.ts';

/** A guest as the data plane knows it. */
export interface Guest {
  readonly port: string;
  /** Lower case, with colons. */
  readonly mac: string;
  readonly address: string;
}

export interface Reply {
  readonly status: number;
  readonly body: Buffer | string;
}

export interface PhoneHome extends Guest {
  readonly instanceId: string;
  /** As it is configured, not as the guest says. */
  readonly hostname: string;
  readonly fields: Fields;
}

export interface DocumentView {
  readonly name: DocumentName;
  /** A path; `generated`; or why there is none. */
  readonly from: string;
  readonly status: number;
  readonly content: string;
}

export interface InstanceView extends Guest {
  readonly instanceId: string;
  readonly hostname: string;
  readonly password?: string;
  readonly phonedHome?: PhonedHome;
  readonly documents: readonly DocumentView[];
}

export interface MetadataOptions {
  readonly folder: string;
  readonly switchName: string;
  /** With a slash at its end. */
  readonly url: string;
  readonly gateway: string;
  /** Empty: none. */
  readonly domain: string;
  readonly instances: Instances;
  /** Addresses of name servers. */
  dns(): readonly string[];
  /** The name and address that the guest's reservation or lease has, as far as there is one. */
  known(guest: Guest): { readonly hostname?: string; readonly address?: string };
  phonedHome(event: PhoneHome): void;
  log(level: 'debug' | 'info' | 'warn', sentence: string): void;
  /** Unix time, ms. */
  now(): number;
}

interface Subject extends Guest {
  readonly who: Who;
  readonly hostname: string;
}

/** What a document became: the reply, and where it came from. */
interface Served extends Reply {
  readonly from: string;
}

const EMPTY = 'no file, so empty';
/** How often the same complaint is written: guests may ask as often as they like. */
const COMPLAINT_MS = 10_000;
const MAX_COMPLAINTS = 256;
/** Lines about guests that have phoned home, in a minute: with another MAC a guest is another instance. */
const MAX_CALLS = 20;
const CALLS_MS = 60_000;

export class MetadataService {
  readonly #o: MetadataOptions;
  readonly #complaints = new Map<string, number>();
  readonly #calls = new Seldom(MAX_CALLS, CALLS_MS);

  constructor(options: MetadataOptions) {
    this.#o = options;
  }

  /** Answers a guest's request; never rejects. */
  async answer(guest: Guest, method: string, path: string, body: () => Promise<string>): Promise<Reply> {
    try {
      const subject = this.#subject(guest);
      if (path === '/phone-home') return await this.#hear(subject, method, body);
      const name = DOCUMENTS.find(document => path === `/${document}`);
      if (name === undefined) return { status: 404, body: 'there is no such document\n' };
      if (method !== 'GET' && method !== 'HEAD') return { status: 405, body: 'expected GET\n' };
      const served = await this.#serve(subject, name);
      this.#o.log('debug', `${guest.port}: ${name} (${served.from}) for ${guest.address}: ${served.status}`);
      return served;
    } catch (error) {
      this.#complain(`${guest.port}: ${path.slice(0, 64)}: ${(error as Error).message}`);
      return { status: 500, body: 'it can not be served; the log of vswitchd says why\n' };
    }
  }

  /** All that a guest would get. */
  async view(guest: Guest): Promise<InstanceView> {
    const subject = this.#subject(guest);
    const documents: DocumentView[] = [];
    for (const name of DOCUMENTS) documents.push(await this.#viewOf(subject, name));
    const { password, phonedHome } = this.#o.instances.get(subject.who.id) ?? {};
    return {
      port: guest.port,
      mac: guest.mac,
      address: subject.address,
      instanceId: subject.who.id,
      hostname: subject.hostname,
      ...(password === undefined ? {} : { password }),
      ...(phonedHome === undefined ? {} : { phonedHome }),
      documents,
    };
  }

  async #viewOf(subject: Subject, name: DocumentName): Promise<DocumentView> {
    try {
      const { from, status, body } = await this.#serve(subject, name);
      return { name, from, status, content: body.toString() };
    } catch (error) {
      return { name, from: (error as Error).message, status: 500, content: '' };
    }
  }

  #subject(guest: Guest): Subject {
    const { hostname = nameOf(guest.port), address = guest.address } = this.#o.known(guest);
    const id = instanceId(this.#o.switchName, guest.port, guest.mac);
    return { ...guest, address, hostname, who: { id, port: guest.port, mac: guest.mac } };
  }

  async #serve(subject: Subject, name: DocumentName): Promise<Served> {
    const found = await findDocument(this.#o.folder, subject.port, subject.mac, name);
    if (found === undefined)
      return name === 'meta-data'
        ? { status: 200, body: this.#generated(subject), from: 'generated' }
        : { status: 200, body: '', from: EMPTY };
    const password = wordsIn(found.content).has('password') ? await this.#passwordOf(subject) : '';
    return { status: 200, body: filled(found.content, this.#values(subject, password)), from: found.path };
  }

  /**
   * The one-time password; when the guest has phoned home, another at each request, which nobody ever learns. No answer at
   * all would cost the guest its identity: cloud-init reads its seed at every boot, and without user-data it takes the
   * guest for a new instance, of no datasource.
   */
  async #passwordOf({ who }: Subject): Promise<string> {
    const { password = newPassword() } = await this.#o.instances.withPassword(who);
    return password;
  }

  #generated({ who, hostname }: Subject): string {
    const { domain } = this.#o;
    return `instance-id: ${who.id}\nlocal-hostname: ${domain === '' ? hostname : `${hostname}.${domain}`}\n`;
  }

  #values({ who, port, mac, address, hostname }: Subject, password: string): Record<Word, string> {
    const { url, gateway, domain, dns } = this.#o;
    return {
      'instance-id': who.id,
      hostname,
      address,
      mac,
      port,
      gateway,
      domain,
      dns: dns().join(', '),
      url,
      password,
      'phone-home-url': `${url}phone-home`,
    };
  }

  async #hear(subject: Subject, method: string, body: () => Promise<string>): Promise<Reply> {
    if (method !== 'POST') return { status: 405, body: 'expected POST, as cloud-init phones home\n' };
    const { instances, log, now } = this.#o;
    const { who, port, mac, address, hostname } = subject;
    const fields = fieldsOf(await body());
    const atS = Math.floor(now() / 1000);
    if (!(await instances.phonedHome(who, { atS, address, fields })))
      return { status: 200, body: 'it is known\n' };
    const said = this.#calls.say(`${port}: ${who.id} (${hostname}, ${address}) has phoned home`, now());
    if (said !== undefined) log('info', said);
    this.#o.phonedHome({ port, mac, address, instanceId: who.id, hostname, fields });
    return { status: 200, body: 'thank you\n' };
  }

  #complain(sentence: string): void {
    const nowMs = this.#o.now();
    if (nowMs - (this.#complaints.get(sentence) ?? Number.NEGATIVE_INFINITY) < COMPLAINT_MS) return;
    if (this.#complaints.size >= MAX_COMPLAINTS) this.#complaints.clear();
    this.#complaints.set(sentence, nowMs);
    this.#o.log('warn', sentence);
  }
}

/** A port's name as a host's: what a guest calls itself before it is set up is its image's name, the same for all. */
const nameOf = (port: string): string =>
  port
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '') || 'guest';
