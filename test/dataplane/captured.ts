/** What tests read from a capture's ring: records with their comments. */
import { commentOf, type NameOf } from '../../src/capture/comment.ts';
import { ALL_PORTS, type CaptureSpec } from '../../src/dataplane/capture.ts';
import * as ring from '../../src/dataplane/capturering.ts';
import type { Dataplane } from '../../src/dataplane/dataplane.ts';

export interface Record {
  readonly port: number;
  readonly incoming: boolean;
  readonly comment: string;
  readonly length: number;
  readonly data: Uint8Array;
  /** Frames lost at the port before it, in all. */
  readonly lost: number;
  readonly timeMs: number;
  /** Was anything left unfinished? */
  readonly unfinished: boolean;
}

export interface Watched {
  /** All records since the last call. */
  read(): Record[];
  readonly ring: ring.CaptureRing;
}

/** A capture of all that passes a data plane, unless `spec` says of what. */
export function watch(plane: Dataplane, nameOf: NameOf, spec: Partial<CaptureSpec> = {}): Watched {
  const memory = spec.memory ?? ring.captureMemory(1 << 20);
  plane.capture({ id: 1, port: ALL_PORTS, snapLength: 262_144, program: undefined, ...spec, memory });
  const reader = new ring.CaptureRing(memory);
  return {
    ring: reader,
    read: () => {
      const found: Record[] = [];
      for (let at = reader.oldest(); at >= 0; at = reader.oldest()) {
        found.push(recordAt(reader, at, nameOf));
        reader.pass(at);
      }
      reader.release();
      return found;
    },
  };
}

function recordAt({ words, doubles, bytes }: ring.CaptureRing, at: number, nameOf: NameOf): Record {
  const word = (name: number): number => words[(at >> 2) + name] as number;
  return {
    port: word(ring.PORT),
    incoming: (word(ring.WAY) & 0xff) === ring.IN,
    comment: commentOf(words, at >> 2, nameOf),
    length: word(ring.LENGTH),
    data: bytes.slice(at + ring.FRAME_AT, at + ring.FRAME_AT + word(ring.KEPT)),
    lost: word(ring.LOST),
    timeMs: doubles[((at >> 2) + ring.TIME) >> 1] as number,
    unfinished: (word(ring.OFFLOAD) & 0xffff) !== 0,
  };
}
