/**
 * What running switches of a network namespace know of each other. Each claim is an abstract unix socket: the kernel
 * frees it when its holder ends, however it ends, and it belongs to the namespace, as the things do that it stands for.
 *
 *   vswitchd/name/NAME  vswitchd/tap/TAP  vswitchd/subnet/CIDR   one holder each, which says who it is to whoever connects
 *   vswitchd/needs/KEY=BEFORE/NAME                               a kernel setting that must stay while this one runs
 */
import { readFileSync } from 'node:fs';
import { createConnection, createServer, type Server } from 'node:net';
import type { Config, Subnet } from '../config.ts';
import { OperatorError } from '../errors.ts';
import { overlaps } from './links.ts';

const ANSWER_MS = 500;

interface Claim {
  readonly path: string;
  /** What the refusal says: `tap tap0`. */
  readonly what: string;
}

export class Locks {
  readonly #servers: Server[] = [];
  readonly #needs: Server[] = [];
  /** By tap: they come and go. */
  readonly #taps = new Map<string, Server>();

  /** Takes all that the configuration needs, or nothing; throws a sentence that names the holder. */
  async take(config: Config): Promise<void> {
    try {
      for (const claim of claims(config)) this.#servers.push(await hold(claim, config.name));
      for (const tap of config.taps) if (tap.netns === undefined) await this.takeTap(tap.name, config.name);
      // Looked at when ours is taken: of two that start at once, one at least sees the other.
      const other = ownsSubnet(config) ? overlapping(config.subnet) : undefined;
      if (other !== undefined) {
        const claim = {
          path: pathOf('subnet', other),
          what: `the subnet ${other}, which overlaps ${config.subnet.text},`,
        };
        throw refusal(claim, (await whoHolds(claim.path)) ?? SILENT, undefined);
      }
    } catch (error) {
      await this.release();
      throw error;
    }
  }

  /** One more tap; throws a sentence that names its holder. `name`: the switch's. */
  async takeTap(tap: string, name: string): Promise<void> {
    this.#taps.set(tap, await hold(tapClaim(tap), name));
  }

  async releaseTap(tap: string): Promise<void> {
    const server = this.#taps.get(tap);
    this.#taps.delete(tap);
    if (server !== undefined) await close([server]);
  }

  /** Says to others that this switch needs a setting, and what it held before any of us. */
  async need(key: string, before: string, name: string): Promise<void> {
    this.#needs.push(await hold({ path: pathOf('needs', `${key}=${before}/${name}`), what: key }, name));
  }

  /** Call it before settings are put back: then of several that end at once the last one puts them back. */
  needNoMore(): Promise<void> {
    return close(this.#needs);
  }

  async release(): Promise<void> {
    await close(this.#needs);
    await close(this.#servers);
    await close([...this.#taps.values()]);
    this.#taps.clear();
  }
}

async function close(servers: Server[]): Promise<void> {
  await Promise.all(servers.splice(0).map(server => new Promise(resolve => server.close(resolve))));
}

const pathOf = (kind: string, value: string): string => `\0vswitchd/${kind}/${value}`;

/** On a LAN that the switch is a part of, the addresses are the LAN's. */
const ownsSubnet = (config: Config): boolean => config.uplink.kind !== 'bridge';

const tapClaim = (name: string): Claim => ({ path: pathOf('tap', name), what: `the tap ${name}` });

function claims(config: Config): Claim[] {
  return [
    { path: pathOf('name', config.name), what: `the name ${config.name}` },
    ...(ownsSubnet(config)
      ? [{ path: pathOf('subnet', config.subnet.text), what: `the subnet ${config.subnet.text}` }]
      : []),
  ];
}

/** The values that are claimed of a kind in this namespace. */
function claimed(kind: string): string[] {
  const prefix = `@vswitchd/${kind}/`;
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map(line => line.split(' ').at(-1) ?? '')
    .filter(path => path.startsWith(prefix))
    .map(path => path.slice(prefix.length).replace(/@+$/, '')); // padded, by some versions of Node
}

const overlapping = (subnet: Subnet): string | undefined =>
  claimed('subnet').find(text => text !== subnet.text && overlaps(subnet, text));

/** What running switches that need a setting say that it held before: several when one was started after another's kill. */
export const neededBefore = (key: string): readonly string[] =>
  claimed('needs')
    .filter(value => value.startsWith(`${key}=`))
    .map(value => value.slice(key.length + 1).split('/')[0] as string);

function hold(claim: Claim, name: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(connection => connection.end(`${name} (pid ${process.pid})`));
    server.unref();
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EADDRINUSE') reject(cause);
      else whoHolds(claim.path).then(holder => reject(refusal(claim, holder ?? SILENT, cause)));
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

/** Is there a running switch of this name here? One that is too busy to answer is running all the same. */
export async function holderOf(name: string): Promise<string | undefined> {
  const holder = await whoHolds(pathOf('name', name));
  return holder === SILENT ? name : holder;
}

/** What running switches of this namespace hold of a kind, and who they are. */
export async function holdersOf(kind: 'subnet' | 'tap'): Promise<Readonly<Record<string, string>>> {
  const held = claimed(kind).map(async value => [value, (await whoHolds(pathOf(kind, value))) ?? SILENT]);
  return Object.fromEntries(await Promise.all(held)) as Record<string, string>;
}

const SILENT = 'it does not say which';

/** Who holds a path: what it says of itself, SILENT when it says nothing in time, undefined when nobody holds it. */
function whoHolds(path: string): Promise<string | undefined> {
  return new Promise(resolve => {
    const connection = createConnection(path);
    let said = '';
    let free = false;
    connection.setTimeout(ANSWER_MS, () => connection.destroy());
    connection.on('data', chunk => {
      said += chunk.toString();
    });
    connection.on('error', (error: NodeJS.ErrnoException) => {
      free = error.code === 'ECONNREFUSED';
    });
    connection.on('close', () => resolve(free ? undefined : said || SILENT));
  });
}
