/**
 * `vswitchctl capture`: what the switch captures, to standard output, for a file or for Wireshark. Whole blocks alone are
 * written, so that what is there is a sound file however it ends; how much there was, and was lost, is told on standard error.
 */
import type { IncomingMessage } from 'node:http';
import { receive } from '../control/client.ts';
import { OperatorError } from '../errors.ts';
import { PcapngCounts } from '../wire/pcapngcounts.ts';

/** How long the last blocks may take to be read. */
const LAST_WRITES_MS = 1_000;

export interface CaptureOptions {
  readonly filter?: string;
  readonly snaplen?: string;
}

/** Resolves when the switch, the reader or the user has ended it. */
export async function capture(socketPath: string, port: string, options: CaptureOptions): Promise<void> {
  if (process.stdout.isTTY)
    throw new OperatorError(
      `capture ${port}: standard output is a terminal; expected a file or a program, as in: vswitchctl capture ${port} | wireshark -k -i -`,
      { code: 'Usage' },
    );
  const query = new URLSearchParams({ port, ...options });
  const response = await receive(socketPath, `capture?${query}`);
  const ended = (): void => void response.destroy();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, ended);
  process.stdout.on('error', ended); // the reader has gone
  const counts = new PcapngCounts();
  await pass(response, counts);
  const { packets, lost } = counts;
  console.error(`vswitchctl: ${packets} frames captured, ${lost} lost as they were not read in time`);
  await flushed();
  process.exit();
}

async function pass(response: IncomingMessage, counts: PcapngCounts): Promise<void> {
  let rest: Buffer = Buffer.alloc(0);
  let wake = (): void => undefined;
  process.stdout.on('drain', () => wake());
  response.on('close', () => wake());
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const whole = counts.take(bytes);
      rest = bytes.subarray(whole);
      warn(counts);
      if (whole === 0 || process.stdout.write(bytes.subarray(0, whole))) continue;
      if (response.destroyed) return;
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    }
  } catch {
    // it was ended by a signal, by the reader, or by the switch's own end
  }
}

/** What has been written is read, or the reader has gone, or it has stopped: that is not waited for. */
function flushed(): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, LAST_WRITES_MS);
    process.stdout.on('error', () => resolve());
    process.stdout.write('', () => resolve());
  });
}

let warned = false;

/** At the first loss, and not again till the end. */
function warn({ lost }: PcapngCounts): void {
  if (lost === 0 || warned) return;
  warned = true;
  console.error(
    'vswitchctl: frames are lost to this capture, as they are not read in time; the traffic is whole',
  );
}
