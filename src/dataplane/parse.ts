/** The first stage: bytes to offsets, or a drop reason. After it, every later stage may read what the columns point at. */
import { Drop } from '../wire/drop.ts';
import * as ethernet from '../wire/ethernet.ts';
import { checkOffload } from '../wire/vnet.ts';
import { type Batch, MAX_FRAME, type Stage } from './batch.ts';

export const parse: Stage = {
  name: 'parse',
  run(batch: Batch): void {
    for (let row = 0; row < batch.count; row++) batch.drop[row] = parseFrame(batch, row);
  },
};

function parseFrame(batch: Batch, row: number): Drop {
  const at = batch.offset[row] as number;
  const bytes = batch.length[row] as number;
  if (bytes < ethernet.ETHERNET_SIZE) return Drop.FrameTooShort;
  if (bytes > MAX_FRAME) return Drop.FrameTooLong;
  const { mem } = batch;
  if ((batch.slab[at + 6] as number) & 1) return Drop.SourceIsGroup;
  // flags and gso_type: one load says that there is nothing unfinished, as for nearly every small frame
  if (batch.halves[(at - 10) >> 1] !== 0 && !checkOffload(mem, at, bytes)) return Drop.BadOffloadHeader;
  let type = ethernet.type(mem, at);
  let l3 = at + ethernet.ETHERNET_SIZE;
  batch.vlan[row] = 0;
  while (type === ethernet.ETHERTYPE_TAG || type === ethernet.ETHERTYPE_STAG) {
    if (l3 + ethernet.TAG_SIZE > at + bytes) return Drop.FrameTooShort;
    if (l3 === at + ethernet.ETHERNET_SIZE) batch.vlan[row] = mem.getUint16(l3) & 0xfff;
    type = mem.getUint16(l3 + 2);
    l3 += ethernet.TAG_SIZE;
  }
  batch.etherType[row] = type;
  batch.l3[row] = l3;
  return Drop.None;
}
