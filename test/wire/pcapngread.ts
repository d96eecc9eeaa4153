/** Reads from a pcapng file what our own reader passes over: comments, ways, losses, statistics. Little-endian, as we write it. */
export interface Seen {
  readonly comment: string;
  readonly interfaceId: number;
  readonly way: number;
  readonly lost: number;
  readonly length: number;
  readonly data: Uint8Array;
  readonly seconds: number;
}

export interface SeenFile {
  readonly packets: readonly Seen[];
  /** Names, by number. */
  readonly interfaces: readonly string[];
  /** The last counts of each interface. */
  readonly counts: ReadonlyMap<number, { received: number; dropped: number }>;
}

const [SECTION, INTERFACE, STATISTICS, PACKET] = [0x0a0d0d0a, 1, 5, 6];

/** All whole blocks; throws where one is broken, or the last is cut off. */
export function readCapture(bytes: Uint8Array): SeenFile {
  const mem = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const packets: Seen[] = [];
  const interfaces: string[] = [];
  const counts = new Map<number, { received: number; dropped: number }>();
  for (let at = 0; at < bytes.length; ) {
    const [type, size] = [mem.getUint32(at, true), mem.getUint32(at + 4, true)];
    const end = at + size - 4;
    if (end + 4 > bytes.length || mem.getUint32(end, true) !== size)
      throw new Error(`block at ${at} is broken`);
    const options = (from: number): Map<number, DataView> => optionsOf(mem, from, end);
    if (type === INTERFACE) interfaces.push(textOf(options(at + 16).get(2)));
    else if (type === STATISTICS) {
      const said = options(at + 20);
      const count = (code: number): number => Number(said.get(code)?.getBigUint64(0, true));
      counts.set(mem.getUint32(at + 8, true), { received: count(4), dropped: count(5) });
    } else if (type === PACKET) {
      const kept = mem.getUint32(at + 20, true);
      const said = options(at + 28 + ((kept + 3) & ~3));
      const ticks = (mem.getBigUint64(at + 12, true) << 32n) | (mem.getBigUint64(at + 12, true) >> 32n);
      packets.push({
        comment: textOf(said.get(1)),
        interfaceId: mem.getUint32(at + 8, true),
        way: said.get(2)?.getUint32(0, true) ?? 0,
        lost: Number(said.get(4)?.getBigUint64(0, true) ?? 0n),
        length: mem.getUint32(at + 24, true),
        data: bytes.subarray(at + 28, at + 28 + kept),
        seconds: Number(BigInt.asUintN(64, ticks)) / 1e9,
      });
    } else if (type !== SECTION) throw new Error(`block at ${at} is of type ${type}`);
    at += size;
  }
  return { packets, interfaces, counts };
}

const textOf = (value: DataView | undefined): string =>
  value === undefined ? '' : Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString();

function optionsOf(mem: DataView, from: number, end: number): Map<number, DataView> {
  const found = new Map<number, DataView>();
  for (let at = from; at < end; ) {
    const [code, size] = [mem.getUint16(at, true), mem.getUint16(at + 2, true)];
    if (code === 0) break;
    found.set(code, new DataView(mem.buffer, mem.byteOffset + at + 4, size));
    at += 4 + ((size + 3) & ~3);
  }
  return found;
}
