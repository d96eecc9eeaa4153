/**
 * Ports that are capture files: recordings and replays. Each has a thread of its own, which alone touches the file, and a ring in
 * shared memory between that thread and the data plane (port/pcap/ring.ts).
 */
import { closeSync, openSync, statSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import type { PcapConfig } from './config.ts';
import { OperatorError } from './errors.ts';
import type { SocketListener } from './host/guestsockets.ts';
import type { Native } from './port/native.ts';
import { obstacleAt, readerOf, startFile } from './port/pcap/files.ts';
import { HEADER_BYTES, PcapRing, pcapRingMemory } from './port/pcap/ring.ts';
import { startRecorder, startReplayer } from './port/pcap/threads.ts';
import { SharedPool } from './sharedpool.ts';

export interface PcapParts {
  readonly native: Native;
  readonly mtu: number;
  readonly listener: SocketListener;
}

/** Bytes of frames that wait for a disk, and that were read before they are due: more than the largest, many times. */
const [RECORD_BYTES, REPLAY_BYTES] = [8_388_608, 1_048_576];
/** Rings of each kind that are kept while no file needs them. */
const MAX_KEPT = 2;
/** A disk that takes no more must not hold up the switch's end. */
const STOP_MS = 2_000;

interface Opened {
  readonly config: PcapConfig;
  readonly fd: number;
  readonly ring: PcapRing;
  readonly memory: SharedArrayBuffer;
  readonly worker: Worker;
}

export class PcapPorts {
  readonly #parts: PcapParts;
  readonly #opened = new Map<string, Opened>();
  readonly #memory = { record: poolOf(RECORD_BYTES), replay: poolOf(REPLAY_BYTES) };

  constructor(parts: PcapParts) {
    this.#parts = parts;
  }

  /** Begins to record or to replay; throws a sentence when the file can't be had, or is no capture. */
  open(config: PcapConfig): void {
    const { native, mtu, listener } = this.#parts;
    const { name, mode } = config;
    const records = mode === 'record';
    for (const other of this.#opened.values())
      if (other.config.path === config.path && (records || other.config.mode === 'record'))
        throw new OperatorError(
          `--port pcap:${config.path}: ${other.config.name} ${other.config.mode}s it; expected a file of its own`,
          { code: 'Busy' },
        );
    const file = records ? attempt(config, () => begin(config)) : attempt(config, () => look(config.path));
    const memory = this.#memory[mode].take();
    const fd = native.eventCreate();
    const worker = records
      ? startRecorder({ ...config, memory, fd: file })
      : startReplayer({ ...config, memory, wakeFd: fd });
    worker.on('message', (sentence: string) => listener.warn(`${name}: ${sentence}`));
    worker.on('error', error => {
      listener.warn(`${name}: the thread of its file has failed: ${error.message}`);
      this.gone(name, 'the thread of its file has failed');
    });
    worker.unref();
    this.#opened.set(name, { config, fd, ring: new PcapRing(memory), memory, worker });
    listener.attach(name, { name, kind: 'pcap', fd, mtu, mode, memory, snapLength: config.snapLength });
  }

  /** Ends a port; a recording is whole on disk then. */
  close(name: string): void {
    this.#end(name, 'it was removed');
  }

  closeAll(): void {
    for (const name of [...this.#opened.keys()]) this.close(name);
  }

  /** The data plane has come to a capture's end, `fault` says how. False: it is none of these. */
  gone(name: string, fault: string | undefined): boolean {
    if (!this.#opened.has(name)) return false;
    this.#end(name, fault ?? 'its file is at its end');
    return true;
  }

  #end(name: string, reason: string): void {
    const opened = this.#opened.get(name);
    if (opened === undefined) return;
    const { listener, native } = this.#parts;
    this.#opened.delete(name);
    listener.detach(name, reason);
    if (opened.ring.stop(STOP_MS)) {
      native.close(opened.fd);
      this.#memory[opened.config.mode].give(opened.memory);
      return;
    }
    listener.warn(
      `${name}: ${opened.config.path} took more than ${STOP_MS} ms to be closed; it is left as it is`,
    );
    void opened.worker.terminate();
  }
}

const poolOf = (bytes: number): SharedPool =>
  new SharedPool(() => pcapRingMemory(bytes), HEADER_BYTES, MAX_KEPT);

function begin({ path, files }: PcapConfig): number {
  const obstacle = obstacleAt(path);
  if (obstacle !== undefined)
    throw new Error(`${path} ${obstacle}; expected a new file, or a pcapng capture to be moved on`);
  return startFile({ path, files });
}

/** Reads up to the first frame, so that what is no capture is told at once. */
function look(path: string): number {
  // A pipe would hold up whoever opens it.
  if (!statSync(path).isFile()) throw new Error(`${path} is no regular file; expected a pcap or pcapng file`);
  const fd = openSync(path, 'r');
  try {
    readerOf(fd).next();
  } finally {
    closeSync(fd);
  }
  return -1;
}

function attempt(config: PcapConfig, open: () => number): number {
  try {
    return open();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const { path, mode } = config;
    const what = mode === 'record' ? 'a path that a file can be made at' : 'a pcap or pcapng file';
    const why = code === undefined ? message : `${path} can't be opened (${code}); expected ${what}`;
    throw new OperatorError(`--port pcap:${path}: ${why}`, { code: 'Usage', cause });
  }
}
