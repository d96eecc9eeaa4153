/**
 * What has been changed on the host, on disk before it is changed: a line of JSON a change, in order. A clean exit undoes
 * all of it and removes the file; after a kill the next start, or --undo, finds it. The last line may have been cut off by
 * the kill: then its change was not made, for the line is synced first.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Config } from '../config.ts';
import { OperatorError } from '../errors.ts';
import type { Change } from './changes.ts';

/** Where the journal of a switch is. */
export const journalPath = (config: Pick<Config, 'name' | 'stateDir'>): string =>
  join(config.stateDir, `${config.name}.journal`);

/** Is it the same change, whoever recorded it? */
export const same = (left: Change, right: Change): boolean => JSON.stringify(left) === JSON.stringify(right);

export class Journal {
  #changes: Change[];

  constructor(readonly path: string) {
    this.#changes = read(path);
  }

  /** All that is recorded and not undone, oldest first. */
  get changes(): readonly Change[] {
    return this.#changes;
  }

  /** Call it before the changes are made; when it returns they are on disk. What is there already stays as it is. */
  record(changes: readonly Change[]): void {
    const added = changes.filter(change => !this.#changes.some(recorded => same(recorded, change)));
    if (added.length === 0) return;
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    this.#write([...this.#changes, ...added]);
  }

  /** Call it after the changes have been undone. */
  forget(changes: readonly Change[]): void {
    const left = this.#changes.filter(recorded => !changes.some(change => same(recorded, change)));
    if (left.length === 0) this.#remove();
    else if (left.length < this.#changes.length) {
      try {
        this.#write(left);
      } catch {
        // A full disk is no reason to stop undoing: what the file says too much is found undone.
      }
    }
    this.#changes = left;
  }

  /** What a kill has left of the next one goes too. */
  #remove(): void {
    for (const path of [this.path, this.#next]) rmSync(path, { force: true });
  }

  get #next(): string {
    return `${this.path}.new`;
  }

  /** Whole and synced under another name first, so that no kill and no full disk leaves half of it. */
  #write(changes: Change[]): void {
    try {
      const file = openSync(this.#next, 'w', 0o600);
      try {
        writeSync(file, changes.map(change => `${JSON.stringify(change)}\n`).join(''));
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(this.#next, this.path);
      syncFolder(dirname(this.path));
    } catch (cause) {
      throw new OperatorError(
        `the journal ${this.path} can't be written, so nothing was changed: ${(cause as Error).message}`,
        {
          code: 'State',
          cause,
        },
      );
    }
    this.#changes = changes;
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function read(path: string): Change[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new OperatorError(`the journal ${path} can't be read: ${(error as Error).message}`, {
      code: 'State',
      cause: error,
    });
  }
  const lines = text.split('\n');
  const changes: Change[] = [];
  for (const [at, line] of lines.entries()) {
    if (line === '') continue;
    try {
      changes.push(JSON.parse(line) as Change);
    } catch (cause) {
      if (at === lines.length - 1) break;
      throw new OperatorError(
        `${path}:${at + 1} is no record of a change; move the file away to start without undoing`,
        {
          code: 'State',
          cause,
        },
      );
    }
  }
  return changes;
}
