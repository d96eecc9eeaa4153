/** Makes folders. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a folder and those above it, where they are missing; throws the system's error. Not by `recursive` of mkdir: where the
 * system says ENOENT though the folder above is there, as /proc does, that tries again for ever.
 */
export function makeFolder(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    const above = dirname(path);
    if (code !== 'ENOENT' || above === path) throw error;
    makeFolder(above, mode);
    mkdirSync(path, { mode });
  }
}
