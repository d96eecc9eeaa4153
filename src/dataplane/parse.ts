/**
 * The first stage: bytes to columns, or a drop reason. After it, every later stage may read what the columns point at.
 *
 * Two loops: the first touches each header, and sees whether any frame of the burst needs a closer look than most do. It is
 * so short that the processor has the loads of many rows under way at once: a header that nobody has just copied costs more
 * than all the stages. The second takes out all that the bridge needs, its addresses' places in the FDB included.
 */
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import { checkOffload } from '../wire/vnet.ts';
import { type Batch, MAX_FRAME, type Stage, UNDECIDED } from './batch.ts';
import type { Fdb } from './fdb.ts';

// Imports that each row needs: read through the import, each costs a load and a test for "not yet initialised" a row.
const { ETHERNET_SIZE, ETHERTYPE_TAG, ETHERTYPE_STAG, TAG_SIZE } = ethernet;
const { destinationHi, destinationLo, sourceHi, sourceLo, type, isGroup, outerVlan } = ethernet;
const LONGEST = MAX_FRAME;
const [OPEN, NONE] = [UNDECIDED, Drop.None];

export const parse = (batch: Batch, fdb: Fdb): Stage => {
  const { mem, slab, halves, offset, length, egress, etherType, l3 } = batch;
  const { sourceKey, sourceLo: sourceLast, sourceHome } = batch;
  const { destinationKey, destinationLo: destinationLast, destinationHome } = batch;
  const { home } = fdb;
  return {
    name: 'parse',
    run(): void {
      const { count } = batch;
      let total = 0;
      let odd = 0;
      for (let row = 0; row < count; row++) {
        const at = offset[row] as number;
        const bytes = length[row] as number;
        total += bytes;
        odd |= ((bytes - ETHERNET_SIZE) | (LONGEST - bytes)) >> 31;
        odd |= ((slab[at + 6] as number) & 1) | (halves[(at - 10) >> 1] as number);
      }
      batch.bytes = total;
      let groups = 0;
      for (let row = 0; row < count; row++) {
        const at = offset[row] as number;
        if (odd !== 0) {
          const reason = check(mem, at, length[row] as number);
          if (reason !== NONE) {
            batch.refuse(row, reason);
            continue;
          }
        }
        let from = sourceHi(mem, at);
        let to = destinationHi(mem, at);
        groups |= to;
        let kind = type(mem, at);
        let next = at + ETHERNET_SIZE;
        if (isTag(kind)) {
          next = behindTags(mem, at, at + (length[row] as number));
          if (next < 0) {
            batch.refuse(row, Drop.FrameTooShort);
            continue;
          }
          kind = mem.getUint16(next - 2);
          const vlan = outerVlan(mem, at) << 16;
          from |= vlan;
          to |= vlan;
        }
        const fromLast = sourceLo(mem, at);
        const toLast = destinationLo(mem, at);
        etherType[row] = kind;
        l3[row] = next;
        sourceKey[row] = from;
        sourceLast[row] = fromLast;
        sourceHome[row] = home(from, fromLast);
        destinationKey[row] = to;
        destinationLast[row] = toLast;
        destinationHome[row] = home(to, toLast);
        egress[row] = OPEN;
      }
      batch.grouped = isGroup(groups);
    },
  };
};

/** Of a right length, from one station, and what is unfinished makes sense? */
function check(mem: DataView, at: number, bytes: number): Drop {
  if (bytes < ETHERNET_SIZE) return Drop.FrameTooShort;
  if (bytes > LONGEST) return Drop.FrameTooLong;
  if (isGroup(sourceHi(mem, at))) return Drop.SourceIsGroup;
  return checkOffload(mem, at, bytes) ? Drop.None : Drop.BadOffloadHeader;
}

const isTag = (kind: number): boolean => kind === ETHERTYPE_TAG || kind === ETHERTYPE_STAG;

/** Where the frame goes on behind its tags, of which it has one at the least; -1: it ends before. */
function behindTags(mem: DataView, at: number, end: number): number {
  let next = at + ETHERNET_SIZE;
  do {
    next += TAG_SIZE;
    if (next > end) return -1;
  } while (isTag(mem.getUint16(next - 2)));
  return next;
}
