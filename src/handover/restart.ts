/**
 * A restart without a loss, by the old process: it starts a new one, which has its open files, gets it ready beside itself, gives
 * it the control plane, and at last the ports. Till the control plane is given a failure costs nothing; after that the switch ends,
 * and its service manager starts it again.
 */
import { closeSync } from 'node:fs';
import { monotonicMs, monotonicS } from '../clock.ts';
import type { Given } from '../config/given.ts';
import { listEntries } from '../dataplane/fdb.ts';
import { UPLINK_PORT } from '../dataplane/messages.ts';
import type { Plane } from '../dataplane/plane.ts';
import { OperatorError } from '../errors.ts';
import { packNeighbours } from '../gateway/neighbourmemory.ts';
import { packFlows } from '../gateway/packedflows.ts';
import { startSuccessor } from '../host/run.ts';
import type { Log } from '../log.ts';
import type { Native } from '../port/native.ts';
import type { HeldFiles, Ports } from '../ports.ts';
import type { PortTable } from '../porttable.ts';
import {
  CHANNEL_FILE,
  Channel,
  type Data,
  FORM,
  type LeftBytes,
  type LeftSocket,
  SUCCEEDS,
} from './channel.ts';

/** From the new process's start till it has looked at the host. */
const READY_MS = 20_000;
const GIVE_MS = 10_000;
/** For the answer to reach who has asked for the restart. */
const ANSWER_MS = 50;

export interface RestartParts {
  readonly plane: Plane;
  readonly native: Native;
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
    const transcripts = this.#openTranscripts(held);
    const sockets: LeftSocket[] = held.sockets.map(({ name, fd, guests }) => ({
      ...{ name, file: file(fd) },
      guests: guests.map(guest => ({
        ...{ name: guest.name, file: file(guest.fd) },
        transcript: file(transcripts.get(guest.name)?.theirs ?? -1),
      })),
    }));
    const taps = new Map(held.taps.map(tap => [tap.name, { fd: tap.fd, file: file(tap.fd) }]));
    const channel = new Channel(startSuccessor(files, SUCCEEDS));
    for (const { theirs } of transcripts.values()) closeSync(theirs);
    let pid: number;
    try {
      const own = { form: FORM, pid: process.pid, written: written() };
      await channel.send({ say: 'hello', ...own, tun: tunFile, sockets });
      ({ pid } = await channel.expect('ready', READY_MS));
    } catch (cause) {
      channel.close(); // which ends it, if it is there yet
      for (const { ours } of transcripts.values()) closeSync(ours);
      ports.goOn();
      this.#underWay = false;
      throw conflict(`the new process can't take over: ${(cause as Error).message}; this one goes on`, cause);
    }
    setTimeout(() => void this.#give(pid, channel, held, { taps, transcripts }), ANSWER_MS);
    return pid;
  }

  async #give(pid: number, channel: Channel, held: HeldFiles, files: GivenFiles): Promise<void> {
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
      const { bytes, transcribed } = await this.#yield(held, files.transcripts);
      const taps = ports.release().map(({ fd, ...tap }) => {
        const known = files.taps.get(tap.name);
        return { ...tap, file: known?.fd === fd ? known.file : -1 };
      });
      if (this.#parts.tun >= 0) plane.detach(UPLINK_PORT);
      const nowS = monotonicS();
      const flows = base64(packFlows(memory.flows, nowS));
      const neighbours = base64(packNeighbours(memory.neighbours, nowS));
      await channel.send({
        ...{ say: 'data', macs, taps, bytes, transcribed, stoppedMs },
        ...{ flows, neighbours },
      });
      succeeded(pid);
    } catch (cause) {
      channel.close();
      failed(new Error(`the restart has failed half-way: ${(cause as Error).message}`, { cause }));
    }
  }

  /** A socket for each guest whose port says where it stands by a transcript. */
  #openTranscripts({ sockets }: HeldFiles): Map<string, TranscriptEnds> {
    const guests = sockets.flatMap(socket => socket.guests);
    const known = guests.filter(({ name }) => this.#parts.table.find(name)?.kind === 'vhost-user');
    return new Map(
      known.map(({ name }) => {
        const [ours, theirs] = this.#parts.native.socketPair();
        return [name, { ours, theirs }];
      }),
    );
  }

  /** What guests' ports hold. All ports are out of the data plane then. */
  async #yield(
    { sockets }: HeldFiles,
    transcripts: ReadonlyMap<string, TranscriptEnds>,
  ): Promise<Pick<Data, 'bytes' | 'transcribed'>> {
    const { plane, table } = this.#parts;
    const connected = sockets.flatMap(({ guests }) => guests.map(({ name }) => name));
    const datagrams = sockets.map(({ name }) => name).filter(name => table.find(name)?.kind === 'dgram');
    const known = [...connected, ...datagrams].filter(name => table.has(name));
    const rests = await plane.yield(
      known.map(name => ({ index: table.indexOf(name), transcript: transcripts.get(name)?.ours })),
    );
    for (const { ours } of transcripts.values()) closeSync(ours);
    const bytes: LeftBytes[] = [];
    const transcribed: string[] = [];
    for (const [i, name] of known.entries()) {
      const rest = rests[i];
      if (rest === undefined) continue;
      if (transcripts.has(name)) transcribed.push(name);
      else
        bytes.push({
          ...{ name, received: base64(rest.received), unsent: base64(rest.unsent) },
          peer: rest.peer && base64(rest.peer),
        });
    }
    return { bytes, transcribed };
  }
}

/** Both ends of a transcript's socket, of which the new process has one. */
interface TranscriptEnds {
  readonly ours: number;
  readonly theirs: number;
}

/** What the new process has, by name. */
interface GivenFiles {
  readonly taps: ReadonlyMap<string, { readonly fd: number; readonly file: number }>;
  readonly transcripts: ReadonlyMap<string, TranscriptEnds>;
}

const base64 = (bytes: ArrayBufferView): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');

const conflict = (message: string, cause?: unknown): OperatorError =>
  new OperatorError(message, { code: 'Busy', cause });
