/**
 * Captures as files. Of a recording: FILE is the one that is written, FILE.1 the one before it, and so on; what is beyond their number is
 * deleted. Each is a whole pcapng file.
 */
import { closeSync, constants, lstatSync, openSync, readSync, renameSync, rmSync } from 'node:fs';
import { formOf } from '../../wire/pcap.ts';
import { CaptureReader } from '../../wire/pcapngread.ts';

export interface FileSeries {
  readonly path: string;
  /** How many files are kept, the one that is written among them. */
  readonly files: number;
}

/** For the owner alone: frames hold what guests say. */
const FILE_MODE = 0o600;
const NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** What is at the path that is not to be moved away; undefined: nothing, or a capture. */
export function obstacleAt(path: string): string | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || (found.isFile() && found.size === 0)) return undefined;
  if (!found.isFile()) return 'is no regular file';
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const magic = new Uint8Array(4);
    readSync(fd, magic, 0, magic.length, 0);
    return formOf(magic)?.form === 'pcapng' ? undefined : 'holds something that is no pcapng capture';
  } finally {
    closeSync(fd);
  }
}

/** Reads a capture from an open file, frame by frame. */
export const readerOf = (fd: number): CaptureReader =>
  new CaptureReader((window, at) => readSync(fd, window, at, window.length - at, null));

/** Moves the files there one number on, and makes an empty one at the path; its file. */
export function startFile({ path, files }: FileSeries): number {
  const numbered = (number: number): string => (number === 0 ? path : `${path}.${number}`);
  // A start that failed after it had moved them has nothing to move the next time.
  if (!isThere(path)) return openSync(path, NEW, FILE_MODE);
  rmSync(numbered(files - 1), { force: true });
  for (let number = files - 2; number >= 0; number--)
    if (isThere(numbered(number))) renameSync(numbered(number), numbered(number + 1));
  return openSync(path, NEW, FILE_MODE);
}

const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;
