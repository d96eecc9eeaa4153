/** Where this switch's leases are, and what is said when they can't be had. */
import { join } from 'node:path';
import type { Config } from './config.ts';
import { OperatorError } from './errors.ts';
import { SqliteStore } from './service/dhcp/sqlite.ts';

/** Opens the leases; `warn` is told when a damaged file had to be set aside. */
export function openLeases(
  { name, stateDir }: Pick<Config, 'name' | 'stateDir'>,
  warn: (sentence: string) => void,
): SqliteStore {
  try {
    return new SqliteStore(join(stateDir, `${name}.leases.db`), warn, Date.now());
  } catch (cause) {
    const code = (cause as { code?: unknown }).code === 'SQLITE_BUSY' ? 'Busy' : 'State';
    throw new OperatorError((cause as Error).message, { code, cause });
  }
}
