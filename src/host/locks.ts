/**
 * One switch a name, a tap and a subnet. Each is an abstract unix socket: the kernel frees it when its holder ends,
 * however it ends, and it belongs to the network namespace, as the things do that it stands for. The holder says who it
 * is to whoever connects.
 */
import { createConnection, createServer, type Server } from 'node:net';
import type { Config } from '../config.ts';
import { OperatorError } from '../errors.ts';

const ANSWER_MS = 500;

interface Claim {
  readonly path: string;
  /** What the refusal says: `tap tap0`. */
  readonly what: string;
}

export class Locks {
  readonly #servers: Server[] = [];

  /** Takes all that the configuration needs, or nothing; throws a sentence that names the holder. */
  async take(config: Config): Promise<void> {
    try {
      for (const claim of claims(config)) this.#servers.push(await hold(claim, config.name));
    } catch (error) {
      await this.release();
      throw error;
    }
  }

  async release(): Promise<void> {
    const closing = this.#servers.splice(0).map(server => new Promise(resolve => server.close(resolve)));
    await Promise.all(closing);
  }
}

function claims(config: Config): Claim[] {
  const path = (kind: string, value: string): string => `\0vswitchd/${kind}/${value}`;
  return [
    { path: path('name', config.name), what: `the name ${config.name}` },
    { path: path('subnet', config.subnet.text), what: `the subnet ${config.subnet.text}` },
    ...config.taps
      .filter(tap => tap.netns === undefined)
      .map(tap => ({ path: path('tap', tap.name), what: `the tap ${tap.name}` })),
  ];
}

function hold(claim: Claim, name: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(connection => connection.end(`${name} (pid ${process.pid})`));
    server.unref();
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EADDRINUSE') reject(cause);
      else whoHolds(claim.path).then(holder => reject(refusal(claim, holder, cause)));
    });
    server.listen(claim.path, () => resolve(server));
  });
}

const refusal = (claim: Claim, holder: string, cause: unknown): OperatorError =>
  new OperatorError(
    `${claim.what} is served by another vswitchd already: ${holder}; stop it, or choose another`,
    {
      code: 'AlreadyRunning',
      cause,
    },
  );

/** Is there a running switch of this name here? */
export async function holderOf(name: string): Promise<string | undefined> {
  const holder = await whoHolds(`\0vswitchd/name/${name}`);
  return holder === UNKNOWN ? undefined : holder;
}

const UNKNOWN = 'it does not say which';

function whoHolds(path: string): Promise<string> {
  return new Promise(resolve => {
    const connection = createConnection(path);
    let said = '';
    connection.setTimeout(ANSWER_MS, () => connection.destroy());
    connection.on('data', chunk => {
      said += chunk.toString();
    });
    connection.on('error', () => undefined);
    connection.on('close', () => resolve(said === '' ? UNKNOWN : said));
  });
}
