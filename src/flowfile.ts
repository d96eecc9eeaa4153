/**
 * The NAT's flows on disk, at most a second old: a switch that follows one that was killed goes on with its conversations. The file
 * stands in the run directory, for guests do not outlive the host; a clean end removes it.
 *
 *   file  │ magic │ boot: 16 bytes │ NAT address, network, mask │ flows, packed (gateway/packedflows.ts)
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { monotonicS } from './clock.ts';
import type { Config } from './config.ts';
import { PACKED_WORDS, packFlows } from './gateway/packedflows.ts';

const EVERY_MS = 1_000;
const MAGIC = 0x56_53_57_31; // VSW1
const BOOT_BYTES = 16;
const HEADER_WORDS = 1 + BOOT_BYTES / 4 + 3;
/** Only root can read whom guests talk to. */
const MODE = 0o600;

type Place = Pick<Config, 'runDir' | 'name' | 'natAddress' | 'subnet'>;

const pathOf = ({ runDir, name }: Place): string => join(runDir, `${name}.flows`);

/** What must be as it was for flows to mean anything: the clock that they end by, and the addresses. */
function headerOf({ natAddress, subnet }: Place): Int32Array {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').replaceAll(/[-\n]/g, '');
  const header = new Int32Array(HEADER_WORDS);
  header[0] = MAGIC;
  new Uint8Array(header.buffer, 4, BOOT_BYTES).set(Buffer.from(boot, 'hex'));
  header.set([natAddress, subnet.network, subnet.mask], 1 + BOOT_BYTES / 4);
  return header;
}

/** The flows that a killed switch of this name has left; undefined: there are none that can be gone on with. */
export function readFlows(place: Place): Int32Array | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(pathOf(place));
  } catch {
    return undefined;
  }
  const header = new Uint8Array(headerOf(place).buffer);
  const flows = bytes.subarray(header.length);
  if (!bytes.subarray(0, header.length).equals(header) || flows.length % (4 * PACKED_WORDS) !== 0)
    return undefined;
  return new Int32Array(Uint8Array.from(flows).buffer);
}

/** Keeps the file while the switch runs. */
export class FlowKeeper {
  readonly #place: Place;
  readonly #memory: SharedArrayBuffer;
  readonly #header: Int32Array;
  readonly #warn: (sentence: string) => void;
  readonly #timer: NodeJS.Timeout;
  #kept = new Int32Array(0);
  #writing: Promise<void> | undefined;
  #failing = false;

  constructor(place: Place, memory: SharedArrayBuffer, warn: (sentence: string) => void) {
    this.#place = place;
    this.#memory = memory;
    this.#warn = warn;
    this.#header = headerOf(place);
    this.#timer = setInterval(() => {
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined;
      });
    }, EVERY_MS).unref();
  }

  /** Ends it; `leave`: with the last state for whoever follows, written when this returns. */
  async close(leave = false): Promise<void> {
    clearInterval(this.#timer);
    await this.#writing;
    const path = pathOf(this.#place);
    if (!leave) {
      rmSync(path, { force: true });
      return;
    }
    writeFileSync(`${path}.new`, this.#bytes(this.#flows()), { mode: MODE });
    renameSync(`${path}.new`, path);
  }

  #flows(): Int32Array {
    return packFlows(this.#memory, monotonicS());
  }

  #bytes(flows: Int32Array): Uint8Array {
    const words = new Int32Array(HEADER_WORDS + flows.length);
    words.set(this.#header);
    words.set(flows, HEADER_WORDS);
    return new Uint8Array(words.buffer);
  }

  /** A disk that is full costs what a kill would lose, and no more. */
  async #write(): Promise<void> {
    const flows = this.#flows();
    if (Buffer.from(flows.buffer).equals(Buffer.from(this.#kept.buffer))) return;
    const path = pathOf(this.#place);
    try {
      await writeFile(`${path}.new`, this.#bytes(flows), { mode: MODE });
      await rename(`${path}.new`, path);
      this.#kept = flows as Int32Array<ArrayBuffer>;
      this.#failing = false;
    } catch (error) {
      if (!this.#failing)
        this.#warn(
          `${path} can't be written: ${(error as Error).message}; if the switch is killed, connections through the NAT end`,
        );
      this.#failing = true;
    }
  }
}
