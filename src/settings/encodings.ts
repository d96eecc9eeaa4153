/**
 * DHCP options as the operator names and writes them, and their bytes. Names and types come from the table of the npm
 * package `dhcp` (RFC 2132 and later); where that table is wrong or silent, the lines below say so. What nobody knows the
 * type of is written in hexadecimal, and so may anything be: `hex:0102`.
 */
import table from 'dhcp/lib/options.js';
import { type Ip4, parseIp4, parseNetwork } from '../wire/address.ts';
import { bytes16, bytes32, bytesOf, Code } from '../wire/dhcp.ts';
import { emitRoutes, emitSearchList, type Route } from '../wire/dhcpvalues.ts';
import { Refusal } from './schema.ts';
import { parseDomain } from './values.ts';

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
  Code.ClientName,
  Code.RelayAgent,
  Code.End,
]);

/** More than any client takes, beside what every reply holds. */
const MAX_BYTES = 1_024;
const HEX = 'hex:';

/** Beside the table's. Option 43 is bytes of the vendor's own; 114 is of RFC 8910, 100 and 101 of RFC 4833, 108 of RFC 8925. */
const MORE: Readonly<Record<number, { readonly type: string; readonly name: string }>> = {
  43: { type: 'Raw', name: 'Vendor Specific Information' },
  100: { type: 'ASCII', name: 'POSIX Time Zone' },
  101: { type: 'ASCII', name: 'TZ Database Time Zone' },
  108: { type: 'UInt32', name: 'IPv6-Only Preferred' },
  114: { type: 'ASCII', name: 'Captive Portal' },
  119: { type: 'Search', name: 'Domain Search List' },
  121: { type: 'Routes', name: 'Classless Static Route' },
  150: { type: 'IPs', name: 'TFTP Server Address' },
  249: { type: 'Routes', name: 'Microsoft Classless Static Route' },
};

/** As other servers call them. */
const ALIASES: Readonly<Record<string, number>> = {
  dnsserver: 6,
  mtu: 26,
  interfacemtu: 26,
  vendorencapsulatedoptions: 43,
  vendorclass: 60,
  tftpservername: 66,
  bootfilename: 67,
  domainsearch: 119,
  searchlist: 119,
  routes: 121,
  classlessstaticroute: 121,
};

const plain = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '');

/** Every name without case and punctuation, to its code. */
const codes: ReadonlyMap<string, number> = new Map([
  ...Object.entries(ALIASES),
  ...Object.entries(MORE).map(([code, { name }]) => [plain(name), Number(code)] as const),
  ...Object.entries(table.opts)
    .filter(([code]) => Number(code) <= 255)
    .flatMap(([code, { config, attr, name }]) =>
      [config, attr, name].flatMap(each =>
        each === undefined ? [] : [[plain(each), Number(code)] as const],
      ),
    ),
]);

/** A code for `ntpServer`, `ntp-server`, its full name or `42`; undefined when there is no such option. */
function optionCode(name: string): number | undefined {
  if (/^\d{1,3}$/.test(name)) return Number(name) <= 255 ? Number(name) : undefined;
  return codes.get(plain(name));
}

/** How an option is called, for people. */
const optionName = (code: number): string => MORE[code]?.name ?? table.opts[code]?.name ?? 'no known name';

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
  if (!list.every(ip => ip !== undefined)) return undefined;
  return Uint8Array.from(list.flatMap(ip => [...bytes32(ip)]));
};

const flag = (text: string): Uint8Array | undefined =>
  ['true', '1', 'false', '0'].includes(text)
    ? Uint8Array.of(text === 'true' || text === '1' ? 1 : 0)
    : undefined;

const rawBytes = (text: string): Uint8Array | undefined =>
  /^([0-9a-f]{2}[: ]?)+$/i.test(text)
    ? Uint8Array.from(Buffer.from(text.replace(/[: ]/g, ''), 'hex'))
    : undefined;

const names = (text: string): Uint8Array | undefined => {
  const list = text.split(/[\s,]+/).map(name => parseDomain(name.replace(/\.$/, '')));
  return list.every(name => typeof name === 'string') ? emitSearchList(list) : undefined;
};

function route(text: string): Route | undefined {
  const [, to = '', by = ''] = /^(\S+)\s+via\s+(\S+)$/.exec(text.trim()) ?? [];
  const network = parseNetwork(to === 'default' ? '0.0.0.0/0' : to);
  const router: Ip4 | undefined = parseIp4(by);
  if (network === undefined || router === undefined) return undefined;
  return { network: network.network, prefix: Math.clz32(~network.mask), router };
}

const routes = (text: string): Uint8Array | undefined => {
  const list = text.split(',').map(route);
  return list.every(each => each !== undefined) ? emitRoutes(list) : undefined;
};

interface Encoding {
  readonly expects: string;
  encode(text: string): Uint8Array | undefined;
}

const asText: Encoding = { expects: 'a text', encode: bytesOf };
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
  Raw: {
    expects: 'bytes in hexadecimal, or numbers from 0 to 255 with commas between',
    encode: text => (text.includes(',') ? integers(1)(text) : rawBytes(text)),
  },
  Search: { expects: 'domains with commas between, such as vm.test,example.com', encode: names },
  Routes: { expects: 'routes such as 10.0.0.0/8 via 192.168.100.2, with commas between', encode: routes },
};

export interface EncodedOption {
  readonly code: number;
  readonly value: Uint8Array;
  /** Written in hexadecimal, so it is meant to the byte. */
  readonly exact: boolean;
}

/** An option as the operator writes it: its name or code, and its value. */
export function encodeOption(name: string, text: string): EncodedOption | Refusal {
  const code = optionCode(name);
  if (code === undefined)
    return new Refusal(
      `names the option ${JSON.stringify(name)}; expected a name such as ntp-server, or a code from 1 to 254`,
    );
  if (RESERVED.has(code))
    return new Refusal(
      `sets option ${code} (${optionName(code)}), which the server sets itself; expected another`,
    );
  const type = MORE[code]?.type ?? table.opts[code]?.type;
  const known = type === undefined ? undefined : ENCODINGS[type];
  const exact = text.startsWith(HEX) || known === undefined;
  const encoding = exact ? asRaw : (known ?? asRaw);
  const bare = text.startsWith(HEX) ? text.slice(HEX.length) : text;
  const value = bare === '' ? undefined : encoding.encode(bare);
  if (value === undefined)
    return new Refusal(
      `gives option ${code} (${optionName(code)}) the value ${JSON.stringify(text)}; expected ${encoding.expects}`,
    );
  return value.length <= MAX_BYTES
    ? { code, value, exact }
    : new Refusal(`gives option ${code} ${value.length} bytes; expected at most ${MAX_BYTES}`);
}
