/**
 * A restart without a loss, by the old process: it starts a new one, which has its open files, gets it ready beside itself, gives
 * it the control plane, and at last the ports. Till the control plane is given a failure costs nothing; after that the switch ends,
 * and its service manager starts it again.
 */
import { monotonicMs, monotonicS } from '../clock.ts';
import type { Given } from '../config/given.ts';
import { listEntries } from '../dataplane/fdb.ts';
import { UPLINK_PORT } from '../dataplane/messages.ts';
import type { Plane } from '../dataplane/plane.ts';
import { OperatorError } from '../errors.ts';
import { packFlows } from '../gateway/packedflows.ts';
import { startSuccessor } from '../host/run.ts';
import type { Log } from '../log.ts';
import type { HeldFiles, Ports } from '../ports.ts';
import type { PortTable } from '../porttable.ts';
import { CHANNEL_FILE, Channel, type LeftBytes, type LeftSocket, SUCCEEDS } from './channel.ts';

/** From the new process's start till it has looked at the host. */
const READY_MS = 20_000;
const GIVE_MS = 10_000;
/** For the answer to reach who has asked for the restart. */
const ANSWER_MS = 50;

export interface RestartParts {
  readonly plane: Plane;
  readonly table: PortTable;
  readonly ports: Ports;
  readonly log: Log;
  /** The tun's file; -1: there is none. */
  readonly tun: number;
  /** The settings that hold by now. */
  written(): Given;
  /** Ends all but the data plane, its ports and what was made of the host. */
  endControl(): Promise<void>;
  /** All has been given to this process. */
  succeeded(pid: number): void;
  /** It has come so far that there is no way back, and not to its end. */
  failed(cause: Error): void;
}

export class Restart {
  readonly #parts: RestartParts;
  #underWay = false;

  constructor(parts: RestartParts) {
    this.#parts = parts;
  }

  /** Resolves with the new process's id when that is ready to take over, which it then does. */
  async begin(): Promise<number> {
    if (this.#underWay) throw conflict('a restart is under way already');
    this.#underWay = true;
    const { ports, tun, written } = this.#parts;
    const held = ports.hold();
    const files: number[] = [];
    const file = (fd: number): number => (fd < 0 ? -1 : CHANNEL_FILE + files.push(fd));
    const tunFile = file(tun);
    const sockets: LeftSocket[] = held.sockets.map(({ name, fd, guests }) => ({
      ...{ name, file: file(fd) },
      guests: guests.map(guest => ({ name: guest.name, file: file(guest.fd) })),
    }));
    const taps = new Map(held.taps.map(tap => [tap.name, { fd: tap.fd, file: file(tap.fd) }]));
    const channel = new Channel(startSuccessor(files, SUCCEEDS));
    let pid: number;
    try {
      await channel.send({ say: 'hello', pid: process.pid, written: written(), tun: tunFile, sockets });
      ({ pid } = await channel.expect('ready', READY_MS));
    } catch (cause) {
      channel.close(); // which ends it, if it is there yet
      ports.goOn();
      this.#underWay = false;
      throw conflict(`the new process can't take over: ${(cause as Error).message}; this one goes on`, cause);
    }
    setTimeout(() => void this.#give(pid, channel, held, taps), ANSWER_MS);
    return pid;
  }

  async #give(
    pid: number,
    channel: Channel,
    held: HeldFiles,
    files: ReadonlyMap<string, { readonly fd: number; readonly file: number }>,
  ): Promise<void> {
    const { plane, ports, table, endControl, succeeded, failed } = this.#parts;
    try {
      await endControl();
      await channel.send({ say: 'control' });
      await channel.expect('give', GIVE_MS);
      const stoppedMs = monotonicMs();
      const { memory } = plane;
      // First: a port that goes takes what was learnt on it along.
      const macs = listEntries(memory.fdb).map(
        ({ vlan, hi, lo, port, seenS }) => [(vlan << 16) | hi, lo, table.nameOf(port), seenS] as const,
      );
      const bytes = await this.#streams(held);
      const taps = ports.release().map(({ fd, ...tap }) => {
        const known = files.get(tap.name);
        return { ...tap, file: known?.fd === fd ? known.file : -1 };
      });
      if (this.#parts.tun >= 0) plane.detach(UPLINK_PORT);
      const flows = packFlows(memory.flows, monotonicS());
      await channel.send({ ...{ say: 'data', macs, taps, bytes, stoppedMs }, flows: base64(flows) });
      succeeded(pid);
    } catch (cause) {
      channel.close();
      failed(new Error(`the restart has failed half-way: ${(cause as Error).message}`, { cause }));
    }
  }

  /** What stream ports hold; they are out of the data plane then. */
  async #streams({ sockets }: HeldFiles): Promise<LeftBytes[]> {
    const { plane, table } = this.#parts;
    const names = sockets.flatMap(({ guests }) => guests.map(({ name }) => name));
    const known = names.filter(name => table.has(name) && table.find(name)?.kind === 'stream');
    return Promise.all(
      known.map(async name => {
        const { received, unsent } = await plane.yield(table.indexOf(name));
        return { name, received: base64(received), unsent: base64(unsent) };
      }),
    );
  }
}

const base64 = (bytes: ArrayBufferView): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');

const conflict = (message: string, cause?: unknown): OperatorError =>
  new OperatorError(message, { code: 'Busy', cause });
