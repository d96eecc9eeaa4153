/** What has gone wrong with a link or a device, by the error that tells of it. */
import { OperatorError } from '../errors.ts';

/** What an error says. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Was there no interface of that index or name? */
export const isGone = (error: unknown): boolean =>
  ['ENODEV', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Does another program have it? */
export const isBusy = (error: unknown): boolean => error instanceof OperatorError && error.code === 'Busy';
