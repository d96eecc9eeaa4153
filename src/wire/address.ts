/**
 * Addresses are signed 32-bit integers inside, so that reading one never allocates; text is for the edges.
 * 192.168.100.1 is 0xc0a86401 | 0 = -1062706175.
 */

/** An IPv4 address in host order as a signed int32. */
export type Ip4 = number & { readonly brand: 'Ip4' };
/** 0.0.0.0: nobody's. */
export const UNSPECIFIED = 0 as Ip4;

/** A MAC address in two integers: `hi` the first two octets (0 … 0xffff), `lo` the last four as a signed int32. */
export interface Mac {
  readonly hi: number;
  readonly lo: number;
}

const OCTET = /^(0|[1-9]\d{0,2})$/;
const HEX = /^[0-9a-f]{2}$/i;

/** Text to address, strict dotted quad; undefined when the text is anything else. */
export function parseIp4(text: string): Ip4 | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    if (!OCTET.test(part) || Number(part) > 255) return undefined;
    value = (value << 8) | Number(part);
  }
  return value as Ip4;
}

/** A network, or one address: what has `network` under `mask`. */
export interface Network {
  readonly network: Ip4;
  readonly mask: Ip4;
}

/** Text (`10.0.0.0/8`, `10.0.0.1`) to network, host bits cut off; undefined when the text is anything else. */
export function parseNetwork(text: string): Network | undefined {
  const [, address = '', length = '32'] = /^([^/]+)(?:\/(\d|[12]\d|3[0-2]))?$/.exec(text) ?? [];
  const ip = parseIp4(address);
  if (ip === undefined) return undefined;
  const mask = (length === '0' ? 0 : -1 << (32 - Number(length))) as Ip4;
  return { network: (ip & mask) as Ip4, mask };
}

/** Address to dotted quad. */
export const formatIp4 = (ip: number): string =>
  `${(ip >>> 24) & 255}.${(ip >>> 16) & 255}.${(ip >>> 8) & 255}.${ip & 255}`;

/** Text (`02:4c:40:5b:f7:3c`) to MAC; undefined when the text is anything else. */
export function parseMac(text: string): Mac | undefined {
  const parts = text.split(':');
  if (parts.length !== 6 || !parts.every(part => HEX.test(part))) return undefined;
  const octets = parts.map(part => Number.parseInt(part, 16)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return {
    hi: (octets[0] << 8) | octets[1],
    lo: (octets[2] << 24) | (octets[3] << 16) | (octets[4] << 8) | octets[5],
  };
}

const hex2 = (value: number): string => (value & 255).toString(16).padStart(2, '0');

/** MAC to lower-case colon text. */
export const formatMac = (hi: number, lo: number): string =>
  [hi >>> 8, hi, lo >>> 24, lo >>> 16, lo >>> 8, lo].map(hex2).join(':');
