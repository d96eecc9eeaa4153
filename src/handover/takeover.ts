/** What a predecessor has left, made what the ports and the data plane take. */
import { closeSync } from 'node:fs';
import { monotonicMs } from '../clock.ts';
import type { Plane } from '../dataplane/plane.ts';
import type { HeldGuest } from '../host/guestsockets.ts';
import type { Log } from '../log.ts';
import type { Rest } from '../port/port.ts';
import type { HeldFiles } from '../ports.ts';
import type { PortTable } from '../porttable.ts';
import type { LeftGuest } from './channel.ts';
import type { LeftData } from './predecessor.ts';

export function heldFiles({ sockets, taps, bytes, transcribed }: LeftData): HeldFiles {
  const rests = new Map(
    bytes.map(({ name, received, unsent, peer }): [string, Rest] => {
      const rest = { received: Buffer.from(received, 'base64'), unsent: Buffer.from(unsent, 'base64') };
      return [name, peer === undefined ? rest : { ...rest, peer: Buffer.from(peer, 'base64') }];
    }),
  );
  const held = ({ name, file, transcript }: LeftGuest): HeldGuest[] => {
    if (transcript < 0) return [{ name, fd: file, rest: rests.get(name) }];
    if (transcribed.includes(name)) return [{ name, fd: file, transcript }];
    for (const fd of [file, transcript]) closeSync(fd); // it joins anew
    return [];
  };
  return {
    sockets: sockets.map(({ name, file, guests }) => ({
      ...{ name, fd: file, rest: rests.get(name) },
      guests: guests.flatMap(held),
    })),
    taps: taps.map(({ file, ...tap }) => ({ ...tap, fd: file })),
  };
}

/** Serves the ports that are there, and knows the MACs behind them. */
export function beginAgain({ macs, stoppedMs }: LeftData, plane: Plane, table: PortTable, log: Log): void {
  const words = macs.flatMap(([key, lo, port, seenS]) =>
    table.has(port) ? [key, lo, table.indexOf(port), seenS] : [],
  );
  plane.begin(Int32Array.from(words));
  log.info(`took over: no frame passed for ${monotonicMs() - stoppedMs} ms`);
}
