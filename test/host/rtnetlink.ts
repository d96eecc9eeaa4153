/** Emits what the kernel says of links, as it lays it out: for tests of those who read it. */
export interface LinkWords {
  readonly type?: number;
  readonly ifindex: number;
  readonly name?: string;
  readonly alias?: string;
  readonly mtu?: number;
  readonly flags?: number;
  readonly family?: number;
  readonly nsid?: number;
  readonly newIfindex?: number;
}

const RTM_NEWLINK = 16;

export const UP = 0x1;
export const LOWER_UP = 0x1_0000;

/** One RTM_NEWLINK, or another type with the same body (linux/rtnetlink.h, linux/if_link.h). */
export function linkMessage(words: LinkWords): Uint8Array {
  const body = Buffer.alloc(16);
  body.writeUInt8(words.family ?? 0, 0);
  body.writeInt32LE(words.ifindex, 4);
  body.writeUInt32LE(words.flags ?? 0, 8);
  const attributes = [
    ...text(3, words.name),
    ...int32(4, words.mtu),
    ...text(20, words.alias),
    ...int32(45, words.nsid),
    ...int32(49, words.newIfindex),
  ];
  return message(words.type ?? RTM_NEWLINK, Buffer.concat([body, ...attributes]));
}

/** The answer to RTM_GETNSID: a byte of family and padding, then the id. */
export const nsidMessage = (nsid: number): Uint8Array =>
  message(88, Buffer.concat([Buffer.alloc(4), ...int32(1, nsid)]));

/** A message of any type: length, type, flags, sequence, port, then its body. */
export function message(type: number, body: Uint8Array): Uint8Array {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + body.length, 0);
  header.writeUInt16LE(type, 4);
  return Buffer.concat([header, body, Buffer.alloc(-body.length & 3)]);
}

const text = (kind: number, value: string | undefined): Buffer[] =>
  value === undefined ? [] : [attribute(kind, Buffer.from(`${value}\0`))];

function int32(kind: number, value: number | undefined): Buffer[] {
  if (value === undefined) return [];
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return [attribute(kind, bytes)];
}

export function attribute(kind: number, value: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16LE(4 + value.length, 0);
  header.writeUInt16LE(kind, 2);
  return Buffer.concat([header, value, Buffer.alloc(-value.length & 3)]);
}
