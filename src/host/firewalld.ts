/**
 * firewalld: the uplink is put into its zone `trusted`, which accepts what comes from it and forwards it anywhere. At run
 * time only: a zone or policy of our own would have to be written to its files and loaded, and loading drops what
 * others have set at run time. So somebody else's loading drops ours too, and `ZoneKeeper` puts it back.
 */
import type { Change, ZoneChange } from './changes.ts';
import { nftPresent } from './nft.ts';
import { exitStatus, findTool, run } from './run.ts';

const ZONE = 'trusted';
/** How firewall-cmd ends when the interface is in no zone: asked for it, and told to take it out. */
const [NO_ZONE, UNKNOWN_INTERFACE] = [2, 17];
const LOOK_MS = 5_000;
/** Asking firewalld itself takes a tenth of a second of a processor. */
const ASK_MS = 60_000;

export async function firewalldIsRunning(): Promise<boolean> {
  if (findTool('firewall-cmd') === undefined) return false;
  return run('firewall-cmd', ['--state']).then(
    said => said.includes('running'),
    () => false,
  );
}

/** The zone that an interface is in by somebody's wish; undefined where it is in none. */
export async function zoneOf(name: string): Promise<string | undefined> {
  try {
    return (await run('firewall-cmd', [`--get-zone-of-interface=${name}`])).trim();
  } catch (error) {
    if (exitStatus(error) === NO_ZONE) return undefined;
    throw error;
  }
}

/** In a zone that somebody else has put the uplink into it stays: he has decided what it may. */
export const zoneFor = (name: string, zone: string | undefined): ZoneChange[] =>
  zone === undefined ? [{ kind: 'zone', zone: ZONE, interface: name }] : [];

const isZone = (change: Change): change is ZoneChange => change.kind === 'zone';

export async function addToZones(changes: readonly Change[]): Promise<void> {
  for (const { zone, interface: name } of changes.filter(isZone))
    await run('firewall-cmd', [`--zone=${zone}`, `--add-interface=${name}`]);
}

/** Nothing is left to take back where firewalld is not running or has been loaded again. */
export async function removeFromZones(changes: readonly Change[]): Promise<void> {
  for (const { zone, interface: name } of changes.filter(isZone)) {
    if (findTool('firewall-cmd') === undefined) return;
    try {
      await run('firewall-cmd', [`--zone=${zone}`, `--remove-interface=${name}`]);
    } catch (error) {
      if (exitStatus(error) !== UNKNOWN_INTERFACE && (await firewalldIsRunning())) throw error;
    }
  }
}

/** Puts the uplink back into its zone when firewalld has been loaded or started again. */
export class ZoneKeeper {
  readonly #change: ZoneChange;
  readonly #warn: (sentence: string) => void;
  readonly #timer: NodeJS.Timeout;
  #work: Promise<void> = Promise.resolve();
  #busy = false;

  constructor(change: ZoneChange, warn: (sentence: string) => void) {
    this.#change = change;
    this.#warn = warn;
    this.#timer = setInterval(() => this.#look(), nftPresent() ? LOOK_MS : ASK_MS);
    this.#timer.unref();
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#work;
  }

  #look(): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#work = this.#keep()
      .catch(error => this.#warn((error as Error).message))
      .finally(() => {
        this.#busy = false;
      });
  }

  async #keep(): Promise<void> {
    const { zone, interface: name } = this.#change;
    if (nftPresent() && (await isInZones(name))) return;
    if (!(await firewalldIsRunning()) || (await zoneOf(name)) !== undefined) return;
    await addToZones([this.#change]);
    this.#warn(`firewalld was loaded again; ${name} is in its zone ${zone} once more`);
  }
}

/** Do firewalld's rules in nftables name the interface? Where they can't be read, firewalld is asked. */
async function isInZones(name: string): Promise<boolean> {
  const said = await run('nft', ['list', 'chain', 'inet', 'firewalld', 'filter_FORWARD_ZONES']).catch(
    () => '',
  );
  return said.includes(`"${name}"`);
}
