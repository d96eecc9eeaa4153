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
    const wanted = existsSync(golden) ? (await readCapture(golden)).map(frame => hex(frame.data)) : [];
    const sent = (result.ports[port]?.sent ?? []).map(frame => hex(frame.data));
    assert.equal(sent, wanted, `${area}/${name}: what ${port} sent`);
  }
  const drops: unknown = JSON.parse(readFileSync(join(at, 'drops.json'), 'utf8'));
  assert.equal(result.drops, drops, `${area}/${name}: drops`);
}
