/**
 * Resource records, RFC 1035 §4.1.3, walked by offset: every name and length is checked on the way, nothing is copied.
 * What stands in a record's data is its reader's to judge.
 */
export const TYPE_SOA = 6;
export const TYPE_OPT = 41;
export const TYPE_TSIG = 250;

/** Bytes of a label, and of a name with its lengths: RFC 1035 §2.3.4. */
export const MAX_LABEL = 63;
export const MAX_NAME = 255;
/** The two bits that make a length a pointer, RFC 1035 §4.1.4. */
export const POINTER = 0xc0;
/** Pointers in one name; those who write messages need one or two. */
export const MAX_POINTERS = 32;

export const readU16 = (message: Uint8Array, at: number): number =>
  ((message[at] as number) << 8) | (message[at + 1] as number);

/** As a signed number. */
export const readU32 = (message: Uint8Array, at: number): number =>
  (readU16(message, at) << 16) | readU16(message, at + 2);

export function writeU16(message: Uint8Array, at: number, value: number): void {
  message[at] = value >> 8;
  message[at + 1] = value;
}

export function writeU32(message: Uint8Array, at: number, value: number): void {
  writeU16(message, at, value >>> 16);
  writeU16(message, at + 2, value);
}

/** Where what follows the name at `from` begins; -1: it is broken. Pointers must go backwards, so that they end. */
function endOfName(message: Uint8Array, from: number): number {
  let [at, begin, end, bytes, pointers] = [from, from, -1, 1, 0];
  for (;;) {
    const length = message[at];
    if (length === undefined) return -1;
    if (length === 0) return end < 0 ? at + 1 : end;
    if (length <= MAX_LABEL) {
      bytes += length + 1;
      at += length + 1;
      if (at >= message.length || bytes > MAX_NAME) return -1;
      continue;
    }
    const low = message[at + 1];
    if ((length & POINTER) !== POINTER || low === undefined) return -1;
    if (end < 0) end = at + 2;
    at = ((length & ~POINTER) << 8) | low;
    if (at >= begin || ++pointers > MAX_POINTERS) return -1;
    begin = at;
  }
}

/** Offsets of one record. */
export interface RecordAt {
  /** Of its owner's name. */
  readonly at: number;
  readonly type: number;
  readonly class: number;
  /** Of its time to live. */
  readonly ttl: number;
  readonly data: number;
  /** Of what follows it. */
  readonly end: number;
}

/** The record at `at`; undefined: it is broken, or goes beyond the message. */
export function recordAt(message: Uint8Array, at: number): RecordAt | undefined {
  const name = endOfName(message, at);
  if (name < 0 || name + 10 > message.length) return undefined;
  const data = name + 10;
  const end = data + readU16(message, name + 8);
  if (end > message.length) return undefined;
  return { at, type: readU16(message, name), class: readU16(message, name + 2), ttl: name + 4, data, end };
}
