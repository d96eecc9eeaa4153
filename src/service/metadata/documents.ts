/**
 * The files that guests are served from: DIR/<port>/, then DIR/<mac>/, then DIR/default/, each of the four names looked for
 * by itself. They are read at every request, so an edit counts at once. No name ever comes from a guest but its MAC, and that
 * is six octets by then.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';

export const DOCUMENTS = ['meta-data', 'user-data', 'vendor-data', 'network-config'] as const;
export type DocumentName = (typeof DOCUMENTS)[number];

export const MAX_BYTES = 1 << 20;

export interface Found {
  readonly path: string;
  readonly content: Buffer;
}

/** A file is there and can't be served; the message is a sentence for the operator. */
export class DocumentFault extends Error {
  override readonly name = 'DocumentFault';
}

/** The folders of a guest, first to last. */
const foldersOf = (port: string, mac: string): string[] => [port, mac, mac.replaceAll(':', '-'), 'default'];

/** The first of the guest's files of that name; undefined: there is none. */
export async function findDocument(
  root: string,
  port: string,
  mac: string,
  name: DocumentName,
): Promise<Found | undefined> {
  for (const folder of foldersOf(port, mac)) {
    const path = join(root, folder, name);
    const content = await contentOf(path);
    if (content !== undefined) return { path, content };
  }
  return undefined;
}

async function contentOf(path: string): Promise<Buffer | undefined> {
  try {
    // not blocking: a pipe without a writer would hold one of the few threads that read files
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw new DocumentFault(`${path} is no file; expected a file of at most 1 MiB`);
      const buffer = Buffer.alloc(Math.min(stat.size, MAX_BYTES) + 1); // it may have grown since
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      if (stat.size > MAX_BYTES || bytesRead > MAX_BYTES)
        throw new DocumentFault(`${path} has more than 1 MiB; expected at most that`);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (error instanceof DocumentFault) throw error;
    throw new DocumentFault(`${path} can't be read: ${(error as Error).message}`);
  }
}
