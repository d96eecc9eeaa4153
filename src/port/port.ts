/**
 * The contract of a port: something that frames come from and go to. One file a kind beside this one.
 *
 * Who owns what: the batch owns all frame memory. `receive` writes into it and `transmit` reads from it during the call
 * only; a port that must keep a frame copies it. Nothing here blocks, throws or allocates.
 */
import type { Batch } from '../dataplane/batch.ts';
import type { Drop } from '../wire/drop.ts';

export type PortKind = 'tap' | 'packet' | 'tun' | 'stream' | 'dgram' | 'vhost-user' | 'pcap' | 'memory';

/** What `receive` returns when the device behind the port is gone; the port then wants closing. */
export const GONE = -1;

/** What a port on a connection holds of its peer's bytes, for whoever goes on with the connection. */
export interface Rest {
  /** Received, and not made frames of. */
  readonly received: Uint8Array;
  /** Of frames that were taken, and that the peer has not. */
  readonly unsent: Uint8Array;
  /** Of a socket for datagrams: the address of whoever is there, as the system has it. */
  readonly peer?: Uint8Array | undefined;
}

/** Of a port that holds nothing. */
export const NO_REST: Rest = { received: new Uint8Array(0), unsent: new Uint8Array(0) };

/** What the data plane does for a port that is more than one file to read. */
export interface PortHost {
  /** Waits for one more file: `receive` is called when there is something to read in it. */
  poll(fd: number): void;
  unpoll(fd: number): void;
  /** Says whether `receive` is also to be called when a file takes bytes again. */
  writing(fd: number, on: boolean): void;
  /** The guest behind the port has come or gone, though the port stays. */
  carrier(up: boolean): void;
  /** Counts frames that the port had to leave out of what it received. */
  drop(reason: Drop, frames: number): void;
}

export interface Port {
  readonly name: string;
  readonly kind: PortKind;
  /** IP MTU, bytes: no Ethernet header, no FCS. Frames with an unfinished segmentation may be larger. */
  readonly mtu: number;
  /** What epoll waits on for reading; -1 where there is nothing to wait for. */
  readonly fd: number;
  /** Does it take frames with an unfinished checksum or segmentation? If not, it finishes them itself (offload.ts). */
  readonly offloads: boolean;
  /** Frames that the last `transmit` took from us but could not deliver: invalid to the kernel, or too large. */
  readonly refused: number;
  /** Has it read more than the last `receive` gave? Then that is to be called again: epoll knows nothing of it. */
  readonly holds: boolean;
  /** Why it is gone, where that is more than a device that went. */
  readonly fault?: string | undefined;
  /**
   * Appends up to BURST frames to the batch with `ingress` as given, each with its virtio-net header before it, and
   * returns how many, or GONE. BURST means that there may be more.
   */
  receive(batch: Batch, ingress: number): number;
  /**
   * Sends the frames of `rows[0 … count - 1]`, in order, and returns how many it took, or GONE. Fewer than `count`:
   * it is full, and the rest was not taken. It may change the frame's headroom, never the frame.
   */
  transmit(batch: Batch, rows: Int32Array, count: number): number;
  /** Does `transmit` take frames whose ends are still in a guest's memory (batch.origin)? If not, they are brought in before. */
  readonly gathers?: boolean;
  /**
   * Of a port that is not sent floods. `all`: it records, and `transmit` is given a copy of each frame that comes in, before any
   * stage, and of each that the gateway writes. `none`: nobody is there.
   */
  readonly listens?: 'all' | 'none';
  /** Is it to be served in every round, for it waits for no file at the moment? */
  readonly polls?: boolean;
  /**
   * Sends what `transmit` took and kept, for many bursts may go in one write: called after the last burst that was at hand. False:
   * it is gone, and `refused` says how many frames with it.
   */
  flush?(): boolean;
  /** One of its files is ready: called before `receive`. False: it is gone. */
  wake?(): boolean;
  /** The frames of the last `receive` have gone where they go, and what they came in may be given back. */
  settle?(): void;
  rest?(): Rest;
  /**
   * Writes into a socket what whoever goes on with its connection needs, instead of `rest`, as there are files in it; false: the
   * connection can't be gone on with.
   */
  transcribe?(socket: number): boolean;
  close(): void;
}
