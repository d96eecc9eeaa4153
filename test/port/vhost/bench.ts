/** Two guests over vhost-user and a port in memory on a switch, for tests that send frames between them. */
import type { Dataplane } from '../../../src/dataplane/dataplane.ts';
import { MemoryPort } from '../../../src/port/memory.ts';
import { loadNative } from '../../../src/port/native.ts';
import { VhostPort } from '../../../src/port/vhost/port.ts';
import { plainPlane } from '../../dataplane/plain.ts';
import { hostThat } from '../host.ts';
import { type GuestOptions, VhostGuest } from './guest.ts';

const native = loadNative();

export interface Bench {
  readonly dataplane: Dataplane;
  readonly a: VhostGuest;
  readonly b: VhostGuest;
  readonly ports: VhostPort[];
  readonly memory: MemoryPort;
  readonly carriers: boolean[][];
  readonly gone: (string | undefined)[];
  /** Each port till it has nothing more, as when its files are ready. */
  turn(): void;
  /** Another port goes on with a guest's connection, where its port stands. */
  handOver(guest: 0 | 1): void;
}

/** Two guests and a port in memory on a switch; closed afterwards. */
export function withGuests(
  optionsA: GuestOptions,
  optionsB: GuestOptions,
  act: (bench: Bench) => void,
): void {
  const gone: (string | undefined)[] = [];
  const dataplane = plainPlane(256, (_, fault) => void gone.push(fault));
  const guests = [new VhostGuest(optionsA), new VhostGuest(optionsB)];
  const carriers: boolean[][] = [[], []];
  const portOf = (guest: VhostGuest, i: number, transcript?: number): VhostPort =>
    new VhostPort(
      `g${i}`,
      guest.theirs,
      1500,
      guest.options.pairs ?? 1,
      undefined,
      hostThat({ carrier: up => void carriers[i]!.push(up) }),
      transcript,
    );
  const ports = guests.map((guest, i) => portOf(guest, i));
  for (const [i, port] of ports.entries()) dataplane.attach(i + 1, port);
  const memory = new MemoryPort('m', { offloads: true, mtu: 65_521 });
  dataplane.attach(3, memory);
  let nowMs = 1_000;
  const turn = (): void => {
    nowMs++;
    for (const index of [1, 2, 3]) while (dataplane.serve(index, nowMs) > 0);
  };
  const handOver = (i: 0 | 1): void => {
    const [ours, theirs] = native.socketPair();
    if (!ports[i]!.transcribe(ours)) throw new Error('the transcript is not whole');
    native.close(ours);
    dataplane.detach(i + 1);
    carriers[i] = [];
    ports[i] = portOf(guests[i]!, i, theirs);
    native.close(theirs);
    dataplane.attach(i + 1, ports[i]!);
  };
  const [a, b] = guests as [VhostGuest, VhostGuest];
  try {
    for (const guest of guests) guest.start(turn);
    act({ dataplane, a, b, ports, memory, carriers, gone, turn, handOver });
  } finally {
    for (const index of [1, 2, 3]) dataplane.detach(index);
    for (const guest of guests) {
      guest.close();
      native.close(guest.theirs);
    }
  }
}

export const hex = (frame: Uint8Array): string => Buffer.from(frame).toString('hex');

/** From one guest's MAC to another's, with bytes by which it is known. */
export function frameOf(from: number, to: number, bytes: number, mark: number): Uint8Array {
  const frame = new Uint8Array(bytes);
  for (let i = 14; i < bytes; i++) frame[i] = (mark * 31 + i * 7) & 0xff;
  frame.set([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5]);
  return frame;
}

/** Both are known to the switch, so that what follows is for one port. */
export function meet({ a, b, turn }: Bench): void {
  a.fill(64);
  b.fill(64);
  a.send(frameOf(1, 2, 60, 0));
  b.send(frameOf(2, 1, 60, 0));
  turn();
  turn();
  a.received();
  b.received();
}
