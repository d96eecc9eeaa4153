/**
 * The pipeline in memory: frames per second from memory ports through parse, guard, learn, gateway test and forward to
 * another port's list; or without a gateway, as of a plain switch (L2 only). The frames stand in the slab; no port copies them, as no tap's read is in the figure either.
 *
 * Each row is measured in a process of its own, as a switch has one data plane: the stages' code is compiled for the
 * first one, with its memory's addresses folded in, and a second in the same process shares code made for any.
 */

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { readReplayConfig } from '../src/config.ts';
import { counterMemory } from '../src/dataplane/counters.ts';
import { Dataplane } from '../src/dataplane/dataplane.ts';
import { fdbMemory } from '../src/dataplane/fdb.ts';
import { flowMemory } from '../src/gateway/flowmemory.ts';
import { Gateway } from '../src/gateway/gateway.ts';
import { gatewaySettings } from '../src/identity.ts';
import { MemoryPort } from '../src/port/memory.ts';
import { readCaptureSync } from '../src/port/pcap-file.ts';
import type { Mac } from '../src/wire/address.ts';
import * as ethernet from '../src/wire/ethernet.ts';

export interface Row {
  readonly what: string;
  readonly framesPerS: number;
  readonly gbitPerS: number;
}

const L2 = 'L2 only';
const ALL = 'all stages';
type Layers = typeof L2 | typeof ALL;

const ROUND_MS = 500;
const ROUNDS = 5;
const MAX_MACS = 65_536;

/** Frames among stations of which half are behind either port. */
function mesh(macs: number, bytes: number): [Uint8Array[], Uint8Array[]] {
  const perSide = Math.min(macs / 2, 4096);
  const stride = macs / 2 / perSide;
  const frame = (from: number, to: number): Uint8Array => {
    const data = new Uint8Array(bytes);
    ethernet.setHeader(new DataView(data.buffer), 0, 0x0200, scatter(to), 0x0200, scatter(from), 0x88b5);
    return data;
  };
  const left: Uint8Array[] = [];
  const right: Uint8Array[] = [];
  for (let i = 0; i < perSide * stride; i++) {
    const peer = Math.imul(i, 40_503) & (perSide * stride - 1);
    left.push(frame(2 * i, 2 * peer + 1));
    right.push(frame(2 * i + 1, 2 * peer));
  }
  return [left, right];
}

/** Station numbers spread as vendors' addresses are not: the table must not profit from their order. */
export const scatter = (station: number): number => Math.imul(station + 1, 0x9e3779b1) | 0;

/** Room for all frames, packed. */
export const arenaFor = (inputs: readonly (readonly Uint8Array[])[]): number =>
  inputs.flat().reduce((sum, frame) => sum + frame.length + 192, 1 << 18) & ~63;

function plane(inputs: readonly (readonly Uint8Array[])[], layers: Layers): Dataplane {
  const settings = gatewaySettings(readReplayConfig({}));
  const gateway = (): { gateway: Gateway; gatewayMac: Mac } => ({
    gateway: new Gateway({
      ...settings,
      uplink: -1,
      punt: { punt: () => true },
      seed: 1,
      flowMemory: flowMemory(1024),
    }),
    gatewayMac: settings.gatewayMac,
  });
  const dataplane = new Dataplane({
    fdbMemory: fdbMemory(MAX_MACS),
    counterMemory: counterMemory(),
    maxMacs: MAX_MACS,
    ageingS: 300,
    seed: 1,
    ...(layers === L2 ? {} : gateway()),
    uplink: -1,
    arenaBytes: arenaFor(inputs),
    onGone: () => undefined,
  });
  for (const [index, frames] of inputs.entries()) {
    const port = new MemoryPort(`p${index}`);
    port.loop(frames);
    dataplane.attach(index, port);
  }
  return dataplane;
}

function measure(what: string, inputs: readonly (readonly Uint8Array[])[], layers: Layers): Row {
  const busy = inputs.flatMap((frames, index) => (frames.length > 0 ? [index] : []));
  return row(what, turn(plane(inputs, layers), busy), inputs.flat());
}

/** Frames a second that a data plane takes from some ports: the median of some rounds, after one to warm up. */
export function turn(dataplane: Dataplane, ports: readonly number[]): number {
  const rates: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const start = performance.now();
    let count = 0;
    while (performance.now() - start < ROUND_MS)
      for (let turns = 0; turns < 64; turns++)
        for (let i = 0; i < ports.length; i++) count += dataplane.serve(ports[i] as number, start);
    if (round > 0) rates.push((count * 1000) / (performance.now() - start));
  }
  rates.sort((a, b) => a - b);
  return rates[ROUNDS >> 1] as number;
}

export function row(what: string, framesPerS: number, frames: readonly Uint8Array[]): Row {
  const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  return { what, framesPerS, gbitPerS: (framesPerS * (bytes / frames.length) * 8) / 1e9 };
}

/** Sizes and numbers of stations; or the frames of a capture, looped. */
export function memoryBench(pcap: string | undefined): Row[] {
  if (pcap !== undefined) {
    const frames = readCaptureSync(pcap).map(frame => Uint8Array.from(frame.data));
    return [measure(`${frames.length} frames of the capture`, [frames, []], ALL)];
  }
  const rows: Row[] = [];
  for (const [layers, sizes] of [
    [L2, [64]],
    [ALL, [64, 512, 1_514]],
  ] as const)
    for (const macs of [2, 1_024, 65_536])
      for (const bytes of sizes) {
        const words = [SELF, String(macs), String(bytes), layers];
        rows.push(JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' })) as Row);
      }
  return rows;
}

const SELF = fileURLToPath(import.meta.url);
if (process.argv[1] === SELF) {
  const [macs, bytes] = process.argv.slice(2).map(Number) as [number, number];
  const layers = process.argv[4] === L2 ? L2 : ALL;
  console.log(JSON.stringify(measure(`${layers}, ${bytes} B, ${macs} MACs`, mesh(macs, bytes), layers)));
}
