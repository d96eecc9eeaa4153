/**
 * The messages of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst), as a back end has them: a header of three words
 * in the machine's byte order, then a payload. A front end may write anything; what a message must be stands in one table.
 *
 *   0 request   4 flags: version 1 in bits 0–1, bit 2 reply, bit 3 a reply is wanted   8 bytes of payload
 */

export const HEADER_BYTES = 12;
export const VERSION = 1;
export const REPLY = 4;
export const NEED_REPLY = 8;
/** No message of ours is longer; a table of eight regions has 264. */
export const MAX_PAYLOAD = 512;
/** Regions in a table, and the most that may be added one by one. */
export const MAX_TABLE = 8;
export const MAX_SLOTS = 32;
/** Files that may come with a message. */
export const MAX_FILES = 8;
/** In the number that a ring's file comes with: which ring, and that there is no file. */
export const INDEX_MASK = 0xff;
export const NO_FILE = 0x100;

export enum Request {
  GetFeatures = 1,
  SetFeatures = 2,
  SetOwner = 3,
  ResetOwner = 4,
  SetMemTable = 5,
  SetVringNum = 8,
  SetVringAddr = 9,
  SetVringBase = 10,
  GetVringBase = 11,
  SetVringKick = 12,
  SetVringCall = 13,
  SetVringErr = 14,
  GetProtocolFeatures = 15,
  SetProtocolFeatures = 16,
  GetQueueNum = 17,
  SetVringEnable = 18,
  SendRarp = 19,
  GetInflightFd = 31,
  SetInflightFd = 32,
  ResetDevice = 34,
  GetMaxMemSlots = 36,
  AddMemReg = 37,
  RemMemReg = 38,
  SetStatus = 39,
  GetStatus = 40,
}

/** Of each request: the bytes of its payload (`table`: 8 + 32 a region), and the files that may come along. */
const SHAPES: Readonly<Record<Request, { readonly bytes: number | 'table'; readonly files: number }>> = {
  [Request.GetFeatures]: { bytes: 0, files: 0 },
  [Request.SetFeatures]: { bytes: 8, files: 0 },
  [Request.SetOwner]: { bytes: 0, files: 0 },
  [Request.ResetOwner]: { bytes: 0, files: 0 },
  [Request.SetMemTable]: { bytes: 'table', files: MAX_TABLE },
  [Request.SetVringNum]: { bytes: 8, files: 0 },
  [Request.SetVringAddr]: { bytes: 40, files: 0 },
  [Request.SetVringBase]: { bytes: 8, files: 0 },
  [Request.GetVringBase]: { bytes: 8, files: 0 },
  [Request.SetVringKick]: { bytes: 8, files: 1 },
  [Request.SetVringCall]: { bytes: 8, files: 1 },
  [Request.SetVringErr]: { bytes: 8, files: 1 },
  [Request.GetProtocolFeatures]: { bytes: 0, files: 0 },
  [Request.SetProtocolFeatures]: { bytes: 8, files: 0 },
  [Request.GetQueueNum]: { bytes: 0, files: 0 },
  [Request.SetVringEnable]: { bytes: 8, files: 0 },
  [Request.SendRarp]: { bytes: 8, files: 0 },
  [Request.GetInflightFd]: { bytes: 24, files: 0 },
  [Request.SetInflightFd]: { bytes: 24, files: 1 },
  [Request.ResetDevice]: { bytes: 0, files: 0 },
  [Request.GetMaxMemSlots]: { bytes: 0, files: 0 },
  [Request.AddMemReg]: { bytes: 40, files: 1 },
  [Request.RemMemReg]: { bytes: 40, files: 1 },
  [Request.SetStatus]: { bytes: 8, files: 0 },
  [Request.GetStatus]: { bytes: 0, files: 0 },
};

/** Those that are answered with a payload of their own. */
export const ANSWERED: readonly Request[] = [
  Request.GetFeatures,
  Request.GetVringBase,
  Request.GetProtocolFeatures,
  Request.GetQueueNum,
  Request.GetInflightFd,
  Request.GetMaxMemSlots,
  Request.GetStatus,
];

export const isRequest = (number: number): number is Request => Object.hasOwn(SHAPES, number);

/** Why a message is none; undefined: it is one. `files`: how many came along. */
export function messageFault(
  request: number,
  flags: number,
  payload: DataView,
  bytes: number,
  files: number,
): string | undefined {
  if ((flags & 3) !== VERSION || (flags & REPLY) !== 0) return `it sent a message with the flags ${flags}`;
  if (!isRequest(request)) return undefined; // what is new to us is answered, not punished
  const shape = SHAPES[request];
  const name = Request[request];
  if (files > shape.files) return `its ${name} came with ${files} files; ${shape.files} may`;
  if (shape.bytes !== 'table')
    return bytes === shape.bytes ? undefined : `its ${name} has ${bytes} bytes; it must have ${shape.bytes}`;
  const regions = bytes < 8 ? -1 : payload.getUint32(0, true);
  if (regions < 0 || regions > MAX_TABLE || bytes !== 8 + 32 * regions || files !== regions)
    return `its ${name} has ${bytes} bytes and ${files} files for ${regions} regions`;
  return undefined;
}

/** Features of the device, by bit: virtio 1.2 §5.1.3, §6. */
export const Feature = {
  csum: 0,
  guestCsum: 1,
  guestTso4: 7,
  guestTso6: 8,
  guestEcn: 9,
  hostTso4: 11,
  hostTso6: 12,
  hostEcn: 13,
  mergeable: 15,
  multiqueue: 22,
  anyLayout: 27,
  indirect: 28,
  eventIndex: 29,
  protocol: 30,
  version1: 32,
} as const;

/** Features of the protocol, by bit. */
export const ProtocolFeature = {
  multiqueue: 0,
  rarp: 2,
  replyAck: 3,
  inflight: 12,
  resetDevice: 13,
  memSlots: 15,
  status: 16,
} as const;

export const bits = (...numbers: readonly number[]): bigint =>
  numbers.reduce((all, bit) => all | (1n << BigInt(bit)), 0n);

export const hasBit = (all: bigint, bit: number): boolean => (all & (1n << BigInt(bit))) !== 0n;
