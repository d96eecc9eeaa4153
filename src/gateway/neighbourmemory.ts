/**
 * Where the gateway's neighbours stand: a direct-mapped table in shared memory, an entry for each address of a subnet up to /16; in
 * larger ones addresses that share the low 16 bits share an entry. The data plane's thread writes it, the control thread reads.
 */
import type { Ip4 } from '../wire/address.ts';

const MAX_ENTRIES = 65_536;
/** Words of an entry. */
export const IP = 0;
export const MAC_HI = 1;
export const MAC_LO = 2;
export const HEARD = 3; // seconds, and one; 0: never
export const ASKED = 4;
export const WORDS = 5;
/** An entry that nobody has confirmed for this long is asked for again. */
export const STALE_S = 300;

/** Memory for the table; zeros are an empty one. */
export const neighbourMemory = (subnetMask: Ip4): SharedArrayBuffer =>
  new SharedArrayBuffer(Math.min(MAX_ENTRIES, ~subnetMask + 1) * WORDS * 4);

/** Makes a table as it was when it was new. */
export const clearNeighbours = (memory: SharedArrayBuffer): void => void new Int32Array(memory).fill(0);

/** What is known at `nowS`, packed: four words each, the address, the MAC's two halves, the second when it was heard. */
export function packNeighbours(memory: SharedArrayBuffer, nowS: number): Int32Array {
  const table = new Int32Array(memory);
  const words: number[] = [];
  for (let at = 0; at < table.length; at += WORDS) {
    const heard = table[at + HEARD] as number;
    if (heard !== 0 && nowS - heard < STALE_S) words.push(...table.subarray(at, at + HEARD), heard - 1);
  }
  return Int32Array.from(words);
}
