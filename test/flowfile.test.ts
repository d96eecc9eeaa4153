/** The NAT's flows on disk: what is kept, and what of it a next switch believes. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { monotonicS } from '../src/clock.ts';
import { readReplayConfig } from '../src/config.ts';
import { FlowKeeper, readFlows } from '../src/flowfile.ts';
import { flowMemory, partsOf } from '../src/gateway/flowmemory.ts';
import { FlowTable } from '../src/gateway/flows.ts';
import { packFlows } from '../src/gateway/packedflows.ts';
import { parseIp4 } from '../src/wire/address.ts';

const guest = parseIp4('192.168.100.10')!;
const world = parseIp4('203.0.113.7')!;

interface Bench {
  readonly place: ReturnType<typeof readReplayConfig>;
  readonly file: string;
  readonly memory: SharedArrayBuffer;
  readonly warned: string[];
  open(port: number): void;
  keep(): FlowKeeper;
}

async function withBench(act: (bench: Bench) => Promise<void>): Promise<void> {
  const runDir = mkdtempSync(join(tmpdir(), 'flowfile-'));
  const place = { ...readReplayConfig({}), runDir };
  const memory = flowMemory(16);
  const flows = new FlowTable(partsOf(memory, 1), 1);
  const warned: string[] = [];
  try {
    await act({
      ...{ place, file: join(runDir, `${place.name}.flows`), memory, warned },
      open: port => flows.refresh(flows.open(flows.map(17, guest, port), world, 53), monotonicS(), 300),
      keep: () => new FlowKeeper(place, memory, sentence => void warned.push(sentence)),
    });
  } finally {
    rmSync(runDir, { recursive: true });
  }
}

/** More than the second that the file may be old. */
const WRITTEN_MS = 1_300;

test('a file at most a second old, for root alone, that a clean end removes', () =>
  withBench(async ({ place, file, memory, open, keep }) => {
    const keeper = keep();
    open(4000);
    await sleep(WRITTEN_MS);
    assert.equal(readFlows(place), packFlows(memory, monotonicS()));
    assert.is(statSync(file).mode & 0o777, 0o600);
    open(4001);
    await sleep(WRITTEN_MS);
    assert.is(readFlows(place)?.length, packFlows(memory, monotonicS()).length);
    await keeper.close();
    assert.is(readFlows(place), undefined);
  }));

test('left for whoever follows: with what was opened in the last moment', () =>
  withBench(async ({ place, memory, open, keep }) => {
    const keeper = keep();
    open(4000);
    await keeper.close(true);
    assert.equal(readFlows(place), packFlows(memory, monotonicS()));
  }));

test('of another boot, another network or cut off: nothing is believed', () =>
  withBench(async ({ place, file, open, keep }) => {
    open(4000);
    await keep().close(true);
    const bytes = readFileSync(file);
    assert.ok(readFlows(place));
    assert.is(readFlows({ ...place, natAddress: world }), undefined);
    for (const wrong of [bytes.subarray(0, -1), bytes.subarray(0, 10), Buffer.alloc(0)]) {
      writeFileSync(file, wrong);
      assert.is(readFlows(place), undefined);
    }
    bytes[5]! ^= 1;
    writeFileSync(file, bytes);
    assert.is(readFlows(place), undefined, 'another boot');
  }));

test('a folder that is gone is told of once, and the switch goes on', () =>
  withBench(async ({ place, warned, open, keep }) => {
    const keeper = keep();
    rmSync(place.runDir, { recursive: true });
    open(4000);
    await sleep(2 * WRITTEN_MS);
    assert.is(warned.length, 1);
    assert.match(warned[0]!, /flows\.new.*|can't be written: ENOENT/);
    await keeper.close();
    writeFileSync(`${place.runDir}`, ''); // for the bench to remove
  }));

test.run();
