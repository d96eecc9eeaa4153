/**
 * Reading captures from files. The package pcap-parser reads microsecond pcap, but takes a truncated file for a whole one
 * and a corrupt length for the end, so it gets only files that our own codec has found sound; nanosecond pcap and pcapng,
 * which it does not know, and files for benchmarks, where it is too slow, are read by that codec alone.
 */
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import pcapParser from 'pcap-parser';
import { OperatorError } from '../errors.ts';
import { type Captured, formOf, parse } from '../wire/pcap.ts';

/** All frames of a capture file, in its order. One sentence when it can't be read or is broken. */
export async function readCapture(path: string): Promise<Captured[]> {
  const bytes = readBytes(path);
  const frames = parsed(path, bytes);
  return formOf(bytes)?.form === 'micro' ? byPackage(bytes) : frames;
}

/** The same at once, by our own codec: for large files. */
export const readCaptureSync = (path: string): Captured[] => parsed(path, readBytes(path));

function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new OperatorError(
      `${path} can't be read: ${(cause as Error).message}; expected a pcap or pcapng file`,
      {
        code: 'Usage',
        cause,
      },
    );
  }
}

function parsed(path: string, bytes: Uint8Array): Captured[] {
  try {
    return parse(bytes);
  } catch (cause) {
    throw new OperatorError(`${path}: ${(cause as Error).message}`, { code: 'Usage', cause });
  }
}

function byPackage(bytes: Uint8Array): Promise<Captured[]> {
  return new Promise((resolve, reject) => {
    const frames: Captured[] = [];
    const parser = pcapParser.parse(Readable.from([Buffer.from(bytes)]));
    parser.on('packet', ({ header, data }) =>
      frames.push({
        seconds: header.timestampSeconds,
        nanoseconds: header.timestampMicroseconds * 1000,
        data: Uint8Array.from(data),
        originalLength: header.originalLength,
      }),
    );
    parser.on('end', () => resolve(frames));
    parser.on('error', reject);
  });
}
