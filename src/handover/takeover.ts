/** What a predecessor has left, made what the ports and the data plane take. */
import { monotonicMs } from '../clock.ts';
import type { Plane } from '../dataplane/plane.ts';
import type { Log } from '../log.ts';
import type { HeldFiles } from '../ports.ts';
import type { PortTable } from '../porttable.ts';
import type { LeftData } from './predecessor.ts';

export function heldFiles({ sockets, taps, bytes }: LeftData): HeldFiles {
  const rests = new Map(
    bytes.map(({ name, received, unsent }) => [
      name,
      { received: Buffer.from(received, 'base64'), unsent: Buffer.from(unsent, 'base64') },
    ]),
  );
  return {
    sockets: sockets.map(({ name, file, guests }) => ({
      ...{ name, fd: file },
      guests: guests.map(guest => ({ name: guest.name, fd: guest.file, rest: rests.get(guest.name) })),
    })),
    taps: taps.map(({ file, ...tap }) => ({ ...tap, fd: file })),
  };
}

/** The MACs behind ports that are there, when the ports are. */
export function learnAgain({ macs, stoppedMs }: LeftData, plane: Plane, table: PortTable, log: Log): void {
  const words = macs.flatMap(([key, lo, port, seenS]) =>
    table.has(port) ? [key, lo, table.indexOf(port), seenS] : [],
  );
  plane.restore(new Int32Array(0), Int32Array.from(words));
  log.info(`took over: no frame passed for ${monotonicMs() - stoppedMs} ms`);
}
