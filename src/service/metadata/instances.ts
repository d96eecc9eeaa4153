/**
 * What is kept of each instance, which is a guest as cloud-init counts them: its one-time password, and that it has phoned
 * home. One file each, below the state directory and its owner's alone: written beside, synced, renamed, before anybody is
 * told what it says.
 */
import { createHash, randomInt } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** Without letters and digits that are taken for one another. */
const ALPHABET = 'abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789';
const PASSWORD_LENGTH = 20;
/** A guest may come with a new MAC at every request: the oldest of its port's instances goes. */
const MOST_A_PORT = 16;
const ID_DIGITS = 17;

/** As it came from the guest, in bounds. */
export type Fields = Readonly<Record<string, string>>;

export interface PhonedHome {
  /** Unix time, seconds. */
  readonly atS: number;
  readonly address: string;
  readonly fields: Fields;
}

export interface Instance {
  readonly id: string;
  readonly port: string;
  readonly mac: string;
  readonly createdS: number;
  readonly password?: string;
  readonly phonedHome?: PhonedHome;
}

/** The same at every start for what is plugged in where; another for another MAC. */
export function instanceId(switchName: string, port: string, mac: string): string {
  const hash = createHash('sha256').update(`vswitchd instance ${switchName} ${port} ${mac}`);
  return `i-${hash.digest('hex').slice(0, ID_DIGITS)}`;
}

export const newPassword = (): string =>
  Array.from({ length: PASSWORD_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');

/** Who an instance is, for its first record. */
export type Who = Pick<Instance, 'id' | 'port' | 'mac'>;

export class Instances {
  readonly #folder: string;
  readonly #now: () => number;
  readonly #known = new Map<string, Instance>();
  /** Changes are made one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  /** Reads what there is. `now`: Unix time, ms. A file that can't be read is set aside and told of: the next of its instance would be written over it. */
  constructor(folder: string, now: () => number, warn: (sentence: string) => void) {
    this.#folder = folder;
    this.#now = now;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (name.endsWith('.new')) rmSync(path, { force: true });
      else if (name.endsWith('.json')) this.#load(path, warn);
    }
  }

  get(id: string): Instance | undefined {
    return this.#known.get(id);
  }

  ofPort(port: string): Instance[] {
    return [...this.#known.values()].filter(instance => instance.port === port);
  }

  /** The instance with a password, made at the first use; it is on disk when this resolves. */
  withPassword(who: Who): Promise<Instance> {
    return this.#change(who, instance =>
      instance.password === undefined && instance.phonedHome === undefined
        ? { ...instance, password: newPassword() }
        : instance,
    );
  }

  /** Notes that the instance has phoned home, which it does once; false: it had already. */
  async phonedHome(who: Who, what: PhonedHome): Promise<boolean> {
    let first = false;
    await this.#change(who, instance => {
      if (instance.phonedHome !== undefined) return instance;
      first = true;
      const { password: _, ...rest } = instance; // it is of no more use here
      return { ...rest, phonedHome: what };
    });
    return first;
  }

  /** Forgets the port's instances; how many there were. */
  reset(port: string): Promise<number> {
    return this.#inTurn(async () => {
      const gone = this.ofPort(port);
      for (const { id } of gone) await this.#remove(id);
      return gone.length;
    });
  }

  #change(who: Who, change: (instance: Instance) => Instance): Promise<Instance> {
    return this.#inTurn(async () => {
      const known = this.#known.get(who.id);
      const before = known ?? { ...who, createdS: Math.floor(this.#now() / 1000) };
      const after = change(before);
      if (after === known) return after;
      if (known === undefined) await this.#makeRoom(who.port);
      await this.#write(after);
      this.#known.set(after.id, after);
      return after;
    });
  }

  async #makeRoom(port: string): Promise<void> {
    const others = this.ofPort(port).sort((a, b) => a.createdS - b.createdS);
    for (const { id } of others.slice(0, Math.max(0, others.length - MOST_A_PORT + 1)))
      await this.#remove(id);
  }

  async #remove(id: string): Promise<void> {
    await rm(join(this.#folder, `${id}.json`), { force: true });
    await syncFolder(this.#folder);
    this.#known.delete(id);
  }

  async #write(instance: Instance): Promise<void> {
    const path = join(this.#folder, `${instance.id}.json`);
    const file = await open(`${path}.new`, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(instance, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
    await syncFolder(this.#folder);
  }

  #load(path: string, warn: (sentence: string) => void): void {
    try {
      const instance = JSON.parse(readFileSync(path, 'utf8')) as Instance | null;
      for (const field of ['id', 'port', 'mac'] as const)
        if (typeof instance?.[field] !== 'string') throw new Error(`it has no ${field}`);
      if (`${instance?.id}.json` !== basename(path)) throw new Error("it is another's");
      this.#known.set(instance!.id, instance!);
    } catch (error) {
      const aside = `${path}.corrupt-${new Date(this.#now()).toISOString().replace(/:/g, '-')}`;
      renameSync(path, aside);
      warn(`${path} can't be read (${(error as Error).message}); it is kept as ${aside}`);
    }
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(act, act);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
