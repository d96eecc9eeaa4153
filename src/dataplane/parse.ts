/** The first stage: bytes to offsets, or a drop reason. After it, every later stage may read what the columns point at. */
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import { checkOffload } from '../wire/vnet.ts';
import { type Batch, MAX_FRAME, type Stage } from './batch.ts';

// Imports that each row needs: read through the import, each costs a load and a test for "not yet initialised" a row.
const { ETHERNET_SIZE, ETHERTYPE_TAG, ETHERTYPE_STAG } = ethernet;
const LONGEST = MAX_FRAME;

export const parse = (batch: Batch): Stage => {
  const { mem, slab, halves, offset, length, drop, etherType, l3, vlan } = batch;
  return {
    name: 'parse',
    run(): void {
      const { count } = batch;
      for (let row = 0; row < count; row++) {
        const at = offset[row] as number;
        const bytes = length[row] as number;
        if (bytes < ETHERNET_SIZE) drop[row] = Drop.FrameTooShort;
        else if (bytes > LONGEST) drop[row] = Drop.FrameTooLong;
        else if ((slab[at + 6] as number) & 1) drop[row] = Drop.SourceIsGroup;
        // flags and gso_type: one load says that there is nothing unfinished, as for nearly every small frame
        else if (halves[(at - 10) >> 1] !== 0 && !checkOffload(mem, at, bytes))
          drop[row] = Drop.BadOffloadHeader;
        else {
          const type = mem.getUint16(at + 12);
          if (isTag(type)) {
            drop[row] = skipTags(batch, row);
          } else {
            etherType[row] = type;
            l3[row] = at + ETHERNET_SIZE;
            vlan[row] = 0;
          }
        }
      }
    },
  };
};

const isTag = (type: number): boolean => type === ETHERTYPE_TAG || type === ETHERTYPE_STAG;

/** Finds the EtherType behind the tags; the outer one names the VLAN. */
function skipTags(batch: Batch, row: number): Drop {
  const { mem } = batch;
  const at = batch.offset[row] as number;
  const end = at + (batch.length[row] as number);
  let type = ethernet.type(mem, at);
  let next = at + ethernet.ETHERNET_SIZE;
  if (next + ethernet.TAG_SIZE > end) return Drop.FrameTooShort;
  batch.vlan[row] = mem.getUint16(next) & 0xfff;
  while (isTag(type)) {
    if (next + ethernet.TAG_SIZE > end) return Drop.FrameTooShort;
    type = mem.getUint16(next + 2);
    next += ethernet.TAG_SIZE;
  }
  batch.etherType[row] = type;
  batch.l3[row] = next;
  return Drop.None;
}
