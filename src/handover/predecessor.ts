/** The new process's side of a restart: what it is left, and when it may take it. */
import { Socket } from 'node:net';
import { OperatorError } from '../errors.ts';
import { CHANNEL_FILE, Channel, type Data, FORM, type Hello, type LeftSocket, SUCCEEDS } from './channel.ts';

const HELLO_MS = 10_000;
/** For hooks and a commit of leases that are under way. */
const CONTROL_MS = 20_000;
const DATA_MS = 5_000;

/** All that it leaves when it lets go of its ports, unpacked, and the sockets that it told of before. */
export interface LeftData extends Omit<Data, 'say' | 'flows' | 'neighbours'> {
  readonly sockets: readonly LeftSocket[];
  readonly flows: Int32Array;
  readonly neighbours: Int32Array;
}

export class Predecessor {
  readonly hello: Hello;
  readonly #channel: Channel;

  private constructor(channel: Channel, hello: Hello) {
    this.#channel = channel;
    this.hello = hello;
  }

  /**
   * The switch that this process was started by to go on with; undefined: it is none's successor. Throws where the two can't
   * understand each other; that one goes on then.
   */
  static async meet(): Promise<Predecessor | undefined> {
    if (process.env[SUCCEEDS] === undefined) return undefined;
    delete process.env[SUCCEEDS]; // for what we start
    const channel = new Channel(new Socket({ fd: CHANNEL_FILE }));
    const predecessor = new Predecessor(channel, await channel.expect('hello', HELLO_MS));
    const { form } = predecessor.hello;
    if (form === FORM) return predecessor;
    const why = `this program takes over by form ${FORM}, and the switch that runs hands over by form ${form ?? 1}; expected a stop and a start`;
    await predecessor.fail(why);
    throw new OperatorError(why, { code: 'Busy' });
  }

  /** Returns when the old process has let go of all but its ports. */
  async takeControl(): Promise<void> {
    await this.#channel.send({ say: 'ready', pid: process.pid });
    await this.#channel.expect('control', CONTROL_MS);
  }

  /** From now on nobody serves the ports. */
  async takeData(): Promise<LeftData> {
    await this.#channel.send({ say: 'give' });
    const { flows, neighbours, ...data }: Data = await this.#channel.expect('data', DATA_MS);
    this.#channel.close();
    const { sockets } = this.hello;
    return { ...data, sockets, flows: words(flows), neighbours: words(neighbours) };
  }

  async fail(why: string): Promise<void> {
    await this.#channel.send({ say: 'failed', why });
  }
}

const words = (text: string): Int32Array =>
  new Int32Array(Uint8Array.from(Buffer.from(text, 'base64')).buffer);
