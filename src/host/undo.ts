/** Undoing: what this instance made, at its end, or what a killed one left. Twice does no harm. */
import type { Config } from '../config.ts';
import { OperatorError } from '../errors.ts';
import type { Change } from './changes.ts';
import type { Journal } from './journal.ts';
import { holderOf } from './locks.ts';
import { takeBack } from './nft.ts';
import { deleteByAlias } from './taplinks.ts';

/** Undoes changes, newest first, and takes each out of the journal. */
export async function undo(journal: Journal, changes: readonly Change[]): Promise<void> {
  await takeBack(changes);
  for (const change of changes) if (change.kind === 'tap') await deleteByAlias(change.alias);
  journal.forget(changes);
}

/** Before a start: undoes what a killed instance left, but for the taps that are wanted again: a guest may hold them. */
export async function undoStale(journal: Journal, config: Config): Promise<number> {
  const wanted = new Set(config.taps.map(tap => tap.name));
  const stale = journal.changes.filter(change => change.kind !== 'tap' || !wanted.has(change.name));
  await undo(journal, stale);
  return stale.length;
}

/** `--undo`: all of it, unless the switch is running. The number of changes undone. */
export async function undoAll(name: string, journal: Journal): Promise<number> {
  const holder = await holderOf(name);
  if (holder !== undefined) {
    throw new OperatorError(
      `${holder} is running; it undoes its changes itself when it is stopped (SIGTERM)`,
      {
        code: 'AlreadyRunning',
      },
    );
  }
  const changes = [...journal.changes];
  await undo(journal, changes);
  return changes.length;
}
