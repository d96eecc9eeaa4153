/** Undoing: what this instance made, at its end, or what a killed one left. Twice does no harm. */
import { OperatorError } from '../errors.ts';
import { takeBack } from './apply.ts';
import type { Change } from './changes.ts';
import { type Journal, same } from './journal.ts';
import { holderOf } from './locks.ts';
import { orphansEnded } from './orphans.ts';

/** Undoes changes and takes them out of the journal. */
export async function undo(journal: Journal, changes: readonly Change[]): Promise<void> {
  await takeBack(changes);
  journal.forget(changes);
}

/**
 * Before a start: undoes what a killed instance left, but for what is wanted again. A guest may hold the taps, and there
 * shall be no moment without their shields. Rules are made anew, to be first in their chains.
 */
export async function undoStale(journal: Journal, wanted: readonly Change[]): Promise<number> {
  const kept = wanted.filter(change => change.kind !== 'rule' && change.kind !== 'iptables');
  const stale = journal.changes.filter(change => !kept.some(one => same(one, change)));
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
  await orphansEnded(name);
  const changes = [...journal.changes];
  await undo(journal, changes);
  return changes.length;
}
