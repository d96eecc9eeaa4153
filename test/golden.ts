/**
 * Golden cases: fixtures/<area>/<case>/ holds what comes in on each port (in.<port>.pcap), what must go out of it
 * (out.<port>.pcap), the drops (drops.json) and the switch's settings (config.json). They run through the same replay as
 * `vswitchd replay`, files included, and are compared byte for byte, in order.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { readReplayConfig } from '../src/config.ts';
import { projectRoot } from '../src/port/native.ts';
import { readCapture } from '../src/port/pcap-file.ts';
import { replay } from '../src/replay.ts';

const folder = (area: string): string => join(projectRoot(), 'fixtures', area);

/** The names of an area's cases. */
export const casesOf = (area: string): string[] =>
  readdirSync(folder(area), { withFileTypes: true })
    .filter(entry => entry.isDirectory())
    .map(entry => entry.name);

const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');

/** What a person looks for first in a frame: its length, destination, source and type. */
function headline(frame: Uint8Array): string {
  const mac = (at: number): string => hex(frame.subarray(at, at + 6)).replace(/..(?=.)/g, '$&:');
  return `${frame.length} bytes, ${mac(0)} < ${mac(6)}, type ${hex(frame.subarray(12, 14))}`;
}

/** Says where two lists of frames part, with the first frame that differs; undefined: nowhere. */
export function difference(sent: readonly Uint8Array[], wanted: readonly Uint8Array[]): string | undefined {
  const first = wanted.findIndex((frame, i) => hex(frame) !== hex(sent[i] ?? new Uint8Array(0)));
  if (first < 0 && sent.length === wanted.length) return undefined;
  const at = first < 0 ? wanted.length : first;
  const [got, want] = [sent[at], wanted[at]];
  const lines = [
    `sent ${sent.length} frames, wanted ${wanted.length}; frame ${at + 1} is the first to differ`,
  ];
  if (got !== undefined && want !== undefined) {
    const octet = Array.from(want).findIndex((byte, i) => byte !== got[i]);
    lines.push(`from byte ${octet < 0 ? want.length : octet}`);
  }
  for (const [which, frame] of [['sent', got] as const, ['wanted', want] as const])
    lines.push(frame === undefined ? `${which}: none` : `${which}: ${headline(frame)}\n  ${hex(frame)}`);
  return lines.join('\n');
}

/** Replays one case and compares all of it. */
export async function checkCase(area: string, name: string): Promise<void> {
  const at = join(folder(area), name);
  const config = readReplayConfig({}, join(at, 'config.json'));
  const ports = readdirSync(at).flatMap(file => /^in\.(.+)\.pcap$/.exec(file)?.[1] ?? []);
  ports.sort();
  const inputs = await Promise.all(
    ports.map(async port => ({ port, frames: await readCapture(join(at, `in.${port}.pcap`)) })),
  );
  const result = await replay(config, inputs);
  for (const port of ports) {
    const golden = join(at, `out.${port}.pcap`);
    const wanted = existsSync(golden) ? await readCapture(golden) : [];
    const sent = result.ports[port]?.sent ?? [];
    const found = difference(
      sent.map(frame => frame.data),
      wanted.map(frame => frame.data),
    );
    assert.ok(found === undefined, `${area}/${name}: ${port}: ${found}`);
  }
  const drops: unknown = JSON.parse(readFileSync(join(at, 'drops.json'), 'utf8'));
  assert.equal(result.drops, drops, `${area}/${name}: drops`);
}
