/** Kernel settings by their path under /proc/sys. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { SysctlChange } from './changes.ts';
import { neededBefore } from './locks.ts';

const pathOf = (key: string): string => `/proc/sys/${key}`;

/** A kernel setting, undefined where this kernel or namespace has none of that name. */
export function readSysctl(key: string): string | undefined {
  try {
    return readFileSync(pathOf(key), 'utf8').trim();
  } catch {
    return undefined;
  }
}

export const setSysctl = ({ key, value }: Pick<SysctlChange, 'key' | 'value'>): void =>
  writeFileSync(pathOf(key), value);

/** Puts a setting back, unless somebody has changed it since or another switch still needs it, which then puts it back. */
export function restoreSysctl(change: SysctlChange): void {
  if (neededBefore(change.key).length === 0 && readSysctl(change.key) === change.value)
    writeFileSync(pathOf(change.key), change.before);
}
