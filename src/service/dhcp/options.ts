/**
 * The options that clients are given: those of the subnet, and whatever else the operator names. Names and types of the
 * latter come from the table of the npm package `dhcp` (RFC 2132 and later); where that table is wrong or silent, the
 * few lines below say so.
 */
import table from 'dhcp/lib/options.js';
import { type Ip4, parseIp4 } from '../../wire/address.ts';
import { bytes16, bytes32, Code } from '../../wire/dhcp.ts';

export interface Route {
  readonly network: Ip4;
  readonly prefix: number;
  readonly router: Ip4;
}

export interface SubnetOptions {
  readonly mask: Ip4;
  readonly broadcast: Ip4;
  readonly router: Ip4;
  readonly mtu: number;
  readonly dns: readonly Ip4[];
  /** Empty: none is given. */
  readonly domain: string;
  /** Beside the default route, which is added; empty: option 121 is not given. */
  readonly routes: readonly Route[];
  /** The operator's own, by code. */
  readonly extra: ReadonlyMap<number, Uint8Array>;
}

/** Codes that the protocol gives a meaning in each message: nobody configures them. */
const RESERVED = new Set<number>([
  Code.Pad,
  Code.RequestedAddress,
  Code.LeaseTime,
  Code.Overload,
  Code.Type,
  Code.ServerId,
  Code.ParameterList,
  Code.Message,
  Code.MaxSize,
  Code.RenewalTime,
  Code.RebindingTime,
  Code.ClientId,
  Code.RelayAgent,
  Code.End,
]);

/** Codes whose value is not what the table says: compressed names (119), routes (121, 249). Given as hexadecimal. */
const RAW = new Set([119, 121, 249]);

const addresses = (list: readonly Ip4[]): Uint8Array => {
  const bytes = new Uint8Array(4 * list.length);
  for (const [i, ip] of list.entries()) bytes.set(bytes32(ip), 4 * i);
  return bytes;
};

/** Option 121, RFC 3442: prefix length, the significant octets of the network, the router. */
function classlessRoutes(routes: readonly Route[]): Uint8Array {
  const bytes: number[] = [];
  for (const { network, prefix, router } of routes) {
    bytes.push(prefix, ...bytes32(network).subarray(0, Math.ceil(prefix / 8)), ...bytes32(router));
  }
  return Uint8Array.from(bytes);
}

/** Everything configured, in order of importance: what fits no more in a message is left out from the end. */
export function subnetOptions(subnet: SubnetOptions): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>([
    [Code.Mask, bytes32(subnet.mask)],
    [Code.Router, bytes32(subnet.router)],
    [Code.Mtu, bytes16(subnet.mtu)],
    [Code.Broadcast, bytes32(subnet.broadcast)],
  ]);
  if (subnet.dns.length > 0) options.set(Code.Dns, addresses(subnet.dns));
  if (subnet.domain !== '') options.set(Code.DomainName, new TextEncoder().encode(subnet.domain));
  if (subnet.routes.length > 0) {
    // A client that takes 121 ignores the router option, so the default route stands here too.
    const byDefault: Route = { network: 0 as Ip4, prefix: 0, router: subnet.router };
    options.set(Code.Routes, classlessRoutes([...subnet.routes, byDefault]));
  }
  for (const [code, value] of subnet.extra) options.set(code, value);
  return options;
}

/** A code for `ntpServer`, `NTP…`'s full name or `42`; undefined when there is no such option. */
export function optionCode(name: string): number | undefined {
  if (/^\d{1,3}$/.test(name)) return Number(name) <= 255 ? Number(name) : undefined;
  const wanted = name.toLowerCase();
  for (const [code, entry] of Object.entries(table.opts)) {
    const known = [entry.config, entry.attr, entry.name].some(each => each?.toLowerCase() === wanted);
    if (known && Number(code) <= 255) return Number(code);
  }
  return undefined;
}

/** How an option is called, for people. */
export const optionName = (code: number): string => table.opts[code]?.name ?? `option ${code}`;

const integer = (text: string, min: number, max: number): number | undefined => {
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  return min <= value && value <= max ? value : undefined;
};

const integers = (size: 1 | 2) => (text: string) => {
  const values = text.split(/[\s,]+/).map(each => integer(each, 0, 256 ** size - 1));
  if (!values.every(value => value !== undefined)) return undefined;
  return Uint8Array.from(values.flatMap(value => (size === 1 ? [value] : [...bytes16(value)])));
};

const oneInteger = (size: 1 | 2 | 4, min: number, max: number) => (text: string) => {
  const value = integer(text, min, max);
  return value === undefined ? undefined : bytes32(value).subarray(4 - size);
};

const addressList = (text: string): Uint8Array | undefined => {
  const list = text.split(/[\s,]+/).map(parseIp4);
  return list.every(ip => ip !== undefined) ? addresses(list) : undefined;
};

const flag = (text: string): Uint8Array | undefined =>
  ['true', '1', 'false', '0'].includes(text)
    ? Uint8Array.of(text === 'true' || text === '1' ? 1 : 0)
    : undefined;

const rawBytes = (text: string): Uint8Array | undefined =>
  /^([0-9a-f]{2}[: ]?)+$/i.test(text)
    ? Uint8Array.from(Buffer.from(text.replace(/[: ]/g, ''), 'hex'))
    : undefined;

interface Encoding {
  readonly expects: string;
  encode(text: string): Uint8Array | undefined;
}

const asText: Encoding = { expects: 'a text', encode: text => new TextEncoder().encode(text) };
const asRaw: Encoding = { expects: 'bytes in hexadecimal', encode: rawBytes };

const ENCODINGS: Readonly<Record<string, Encoding>> = {
  IP: {
    expects: 'one IPv4 address',
    encode: text => (parseIp4(text) === undefined ? undefined : addressList(text)),
  },
  IPs: { expects: 'IPv4 addresses', encode: addressList },
  UInt8: { expects: 'a number from 0 to 255', encode: oneInteger(1, 0, 255) },
  UInt16: { expects: 'a number from 0 to 65535', encode: oneInteger(2, 0, 65_535) },
  UInt32: { expects: 'a number from 0 to 4294967295', encode: oneInteger(4, 0, 0xffffffff) },
  Int32: {
    expects: 'a number from -2147483648 to 2147483647',
    encode: oneInteger(4, -0x80000000, 0x7fffffff),
  },
  UInt8s: { expects: 'numbers from 0 to 255', encode: integers(1) },
  UInt16s: { expects: 'numbers from 0 to 65535', encode: integers(2) },
  Bool: { expects: 'true or false', encode: flag },
  ASCII: asText,
  UTF8: asText,
};

/**
 * An option as the operator writes it: name or code, and value. What comes back is its code and bytes, or a sentence
 * that says what is expected.
 */
export function encodeOption(name: string, text: string): { code: number; value: Uint8Array } | string {
  const code = optionCode(name);
  if (code === undefined) return `DHCP option "${name}" is not known: give its name or its code, 1 to 254`;
  if (RESERVED.has(code)) return `DHCP option ${code} (${optionName(code)}) is set by the server itself`;
  const type = RAW.has(code) ? undefined : table.opts[code]?.type;
  const encoding = (type === undefined ? undefined : ENCODINGS[type]) ?? asRaw;
  const value = text === '' ? undefined : encoding.encode(text);
  if (value === undefined)
    return `DHCP option ${code} (${optionName(code)}): "${text}" is not ${encoding.expects}`;
  return { code, value };
}
