/**
 * Whom an address is kept for, and the networks behind relays, as the operator writes them:
 * `vm1,02:4c:40:5b:f7:3c,192.168.100.10,tag:web`, `10.5.0.0/24,10.5.0.10-10.5.0.99,router:10.5.0.1`.
 */
import type { HostReservation, Subnet } from '../config.ts';
import { formatIp4, type Ip4, parseMac } from '../wire/address.ts';
import { ADDRESS, type AddressRange, parseAddress, parseRange, parseSubnet } from './network.ts';
import { Refusal } from './schema.ts';
import { parsePortName } from './taps.ts';

export const HOST =
  'expected NAME,IDENTITY,ADDRESS with a MAC, id:HEX or a port as identity, such as vm1,02:4c:40:5b:f7:3c,192.168.100.10';
export const POOL =
  'expected CIDR[,FIRST-LAST][,router:IP], such as 10.5.0.0/24,10.5.0.10-10.5.0.99,router:10.5.0.1';

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;
const TAG = /^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/;
const MAX_HOSTS = 16_384;
const MAX_POOLS = 64;
const MAX_ID_BYTES = 255;

export const parseTag = (text: string): string | Refusal =>
  TAG.test(text)
    ? text
    : new Refusal(`names the tag ${JSON.stringify(text)}; expected up to 32 letters, digits, '_' and '-'`);

/** A name in lower case: DNS knows no other. */
export const parseHostName = (text: string): string | Refusal =>
  LABEL.test(text)
    ? text.toLowerCase()
    : new Refusal(
        `names the host ${JSON.stringify(text)}; expected letters, digits and hyphens, such as vm1`,
      );

function identityOf(text: string): HostReservation['identity'] | Refusal {
  const mac = parseMac(text);
  if (mac !== undefined) {
    if ((mac.hi & 0x100) !== 0 || (mac.hi === 0 && mac.lo === 0))
      return new Refusal(
        `names the MAC ${text}, which no guest has; expected one that is neither zero nor a group`,
      );
    return { kind: 'mac', mac };
  }
  if (text.startsWith('id:')) {
    const id = text.slice(3).replaceAll(':', '').toLowerCase();
    return /^([0-9a-f]{2})+$/.test(id) && id.length <= 2 * MAX_ID_BYTES
      ? { kind: 'client', id }
      : new Refusal(
          `names the client ${JSON.stringify(text)}; expected id: and up to ${MAX_ID_BYTES} bytes in hexadecimal`,
        );
  }
  const port = parsePortName(text);
  return port instanceof Refusal
    ? new Refusal(`names the identity ${JSON.stringify(text)}; expected a MAC, id:HEX or a port`)
    : { kind: 'port', port };
}

function parseHost(item: string): HostReservation | Refusal {
  const [name = '', identity, ip, ...rest] = item.split(',').map(part => part.trim());
  if (identity === undefined || ip === undefined) return new Refusal(HOST);
  const called = name === '' ? '' : parseHostName(name);
  if (called instanceof Refusal) return called;
  const who = identityOf(identity);
  if (who instanceof Refusal) return who;
  const address = parseAddress(ip);
  if (address instanceof Refusal) return new Refusal(`names the address ${JSON.stringify(ip)}; ${ADDRESS}`);
  const tags: string[] = [];
  for (const part of rest) {
    if (!part.startsWith('tag:'))
      return new Refusal(`has ${JSON.stringify(part)} behind the address; expected tag:NAME`);
    const tag = parseTag(part.slice(4));
    if (tag instanceof Refusal) return tag;
    tags.push(tag);
  }
  return { name: called, identity: who, address, tags };
}

const identityText = ({ identity }: HostReservation): string =>
  identity.kind === 'mac' ? `${identity.mac.hi}:${identity.mac.lo}` : JSON.stringify(identity);

export function parseHosts(items: readonly string[]): readonly HostReservation[] | Refusal {
  const hosts: HostReservation[] = [];
  const seen = new Set<string>();
  for (const item of items) {
    const host = parseHost(item);
    if (host instanceof Refusal) return host;
    const [, identity] = item.split(',');
    for (const [key, what] of [
      [`ip ${host.address}`, `the address ${formatIp4(host.address)}`],
      [identityText(host), `the identity ${identity?.trim()}`],
      ...(host.name === '' ? [] : [[`name ${host.name}`, `the name ${host.name}`] as const]),
    ] as const) {
      if (seen.has(key)) return new Refusal(`reserves for ${what} twice; expected each once`);
      seen.add(key);
    }
    hosts.push(host);
  }
  return hosts.length <= MAX_HOSTS
    ? hosts
    : new Refusal(`has ${hosts.length} hosts; expected at most ${MAX_HOSTS}`);
}

/** A network behind a relay; the range is `undefined` where none is named. */
export interface GivenPool {
  readonly subnet: Subnet;
  readonly range: AddressRange | undefined;
  readonly router: Ip4;
}

function parsePool(item: string): GivenPool | Refusal {
  const [cidr = '', ...rest] = item.split(',').map(part => part.trim());
  const subnet = parseSubnet(cidr);
  if (subnet instanceof Refusal)
    return new Refusal(
      `names the network ${JSON.stringify(cidr)}, which ${subnet.why}`.replace('which expected', 'expected'),
    );
  let range: AddressRange | undefined;
  let router: Ip4 = subnet.gateway;
  for (const part of rest) {
    if (part.startsWith('router:')) {
      const ip = parseAddress(part.slice(7));
      if (ip instanceof Refusal)
        return new Refusal(`names the router ${JSON.stringify(part.slice(7))}; ${ADDRESS}`);
      router = ip;
    } else {
      const parsed = range === undefined ? parseRange(part) : new Refusal(POOL);
      if (parsed instanceof Refusal)
        return new Refusal(`has ${JSON.stringify(part)} behind the network; ${POOL}`);
      range = parsed;
    }
  }
  return { subnet, range, router };
}

export function parsePools(items: readonly string[]): readonly GivenPool[] | Refusal {
  const pools: GivenPool[] = [];
  for (const item of items) {
    const pool = parsePool(item);
    if (pool instanceof Refusal) return pool;
    pools.push(pool);
  }
  return pools.length <= MAX_POOLS
    ? pools
    : new Refusal(`has ${pools.length} pools; expected at most ${MAX_POOLS}`);
}
