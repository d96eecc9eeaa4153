/** Counting in a pcapng stream as it passes: where its blocks end, how many packets there are, and how many were lost. */
import { ENHANCED_PACKET, viewOf } from './pcap.ts';
import { STATISTICS, STATISTICS_DROPPED } from './pcapng.ts';

const HEADER = 8;
const TRAILER = 4;

/** Of a stream that pcapng.ts has written: little-endian, one section. */
export class PcapngCounts {
  packets = 0;
  /** By interface, as its last statistics say. */
  readonly #lost = new Map<number, number>();

  get lost(): number {
    return [...this.#lost.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Counts the whole blocks at the beginning of `bytes`, and returns where they end. */
  take(bytes: Uint8Array): number {
    const mem = viewOf(bytes);
    let at = 0;
    while (at + HEADER <= bytes.length) {
      const size = mem.getUint32(at + 4, true);
      if (size < HEADER + TRAILER) throw new Error(`a block of ${size} bytes in what the switch sends`);
      if (at + size > bytes.length) break;
      const type = mem.getUint32(at, true);
      if (type === ENHANCED_PACKET) this.packets++;
      else if (type === STATISTICS) this.#take(mem, at, at + size - TRAILER);
      at += size;
    }
    return at;
  }

  #take(mem: DataView, at: number, end: number): void {
    for (let option = at + HEADER + 12; option + 4 < end; ) {
      const code = mem.getUint16(option, true);
      if (code === STATISTICS_DROPPED)
        this.#lost.set(mem.getUint32(at + 8, true), Number(mem.getBigUint64(option + 4, true)));
      option += 4 + ((mem.getUint16(option + 2, true) + 3) & ~3);
    }
  }
}
