/**
 * What clients are told beside addresses, and whom it is for, as the operator writes it: `ntp-server=192.168.100.1`,
 * `tag:efi,67=boot.efi`, tags by `efi=arch:efi-x64`, boot files by `tag:efi,ipxe.efi,192.168.100.5`.
 */
import type { GivenBoot, GivenOption, Scope } from '../service/dhcp/options.ts';
import type { TagMatch, TagRule } from '../service/dhcp/tags.ts';
import { parseIp4, parseNetwork } from '../wire/address.ts';
import { encodeOption } from './encodings.ts';
import { parseHostName, parseTag } from './reservations.ts';
import { Refusal } from './schema.ts';
import { parseDomain } from './values.ts';

export const OPTION =
  'expected [tag:T,|host:NAME,]NAME=VALUE, such as ntp-server=192.168.100.1 or tag:web,42=192.168.100.1';
export const TAG =
  'expected T=MATCH with mac:, vendor:, user-class:, arch:, port:, pool: or host:, such as efi=arch:efi-x64';
export const BOOT = 'expected [tag:T,|host:NAME,]FILE[,SERVER], such as tag:efi,ipxe.efi,192.168.100.5';

const MAX_RULES = 1_024;
/** Option 67 and nothing more. */
const MAX_FILE = 255;

/** Client system architectures, as IANA numbers them (RFC 4578 §2.1 and its registry; 7 and 9 both are x64's). */
const ARCHITECTURES: Readonly<Record<string, readonly number[]>> = {
  bios: [0],
  'efi-ia32': [6],
  'efi-x64': [7, 9],
  'efi-arm32': [10],
  'efi-arm64': [11],
  'http-ia32': [15],
  'http-x64': [16],
  'http-arm32': [18],
  'http-arm64': [19],
  'efi-riscv64': [27],
  'http-riscv64': [28],
};

/** The scope in front, and what follows it. */
function scoped(item: string): { scope: Scope; rest: string } | Refusal {
  const [, kind, name = '', rest = ''] = /^\s*(tag|host):([^,]*),(.*)$/s.exec(item) ?? [];
  if (kind === undefined) return { scope: { kind: 'all' }, rest: item };
  const parsed = kind === 'tag' ? parseTag(name.trim()) : parseHostName(name.trim());
  if (parsed instanceof Refusal) return parsed;
  return { scope: kind === 'tag' ? { kind: 'tag', tag: parsed } : { kind: 'host', name: parsed }, rest };
}

const scopeText = (scope: Scope): string =>
  scope.kind === 'all' ? 'all' : scope.kind === 'tag' ? `tag:${scope.tag}` : `host:${scope.name}`;

/** Each item parsed, at most so many, each `key` once. */
function each<T>(
  items: readonly string[],
  parse: (item: string) => T | Refusal,
  key: (value: T) => string | undefined,
): readonly T[] | Refusal {
  const values: T[] = [];
  const seen = new Set<string>();
  for (const item of items) {
    const value = parse(item);
    if (value instanceof Refusal) return value;
    const name = key(value);
    if (name !== undefined && seen.has(name)) return new Refusal(`gives ${name} twice; expected each once`);
    if (name !== undefined) seen.add(name);
    values.push(value);
  }
  return values.length <= MAX_RULES
    ? values
    : new Refusal(`has ${values.length} entries; expected at most ${MAX_RULES}`);
}

function parseOption(item: string): GivenOption | Refusal {
  const found = scoped(item);
  if (found instanceof Refusal) return found;
  const equals = found.rest.indexOf('=');
  if (equals < 1) return new Refusal(OPTION);
  const option = encodeOption(found.rest.slice(0, equals).trim(), found.rest.slice(equals + 1).trim());
  return option instanceof Refusal ? option : { scope: found.scope, ...option };
}

export const parseOptions = (items: readonly string[]): readonly GivenOption[] | Refusal =>
  each(items, parseOption, ({ scope, code }) => `option ${code} for ${scopeText(scope)}`);

function matchOf(kind: string, value: string): TagMatch | Refusal {
  switch (kind) {
    case 'mac':
    case 'vendor':
    case 'user-class':
    case 'port':
      return { kind, pattern: value };
    case 'arch': {
      const number = /^\d{1,5}$/.test(value) && Number(value) <= 65_535 ? [Number(value)] : undefined;
      const types = number ?? (Object.hasOwn(ARCHITECTURES, value) ? ARCHITECTURES[value] : undefined);
      return types === undefined
        ? new Refusal(
            `names the architecture ${JSON.stringify(value)}; expected a number or ${Object.keys(ARCHITECTURES).join(', ')}`,
          )
        : { kind, types };
    }
    case 'pool': {
      const network = value.includes('/') ? parseNetwork(value) : undefined;
      return network === undefined
        ? new Refusal(`names the pool ${JSON.stringify(value)}; expected its network, such as 10.5.0.0/24`)
        : { kind, network: network.network };
    }
    case 'host': {
      const name = parseHostName(value);
      return name instanceof Refusal ? name : { kind, name };
    }
    default:
      return new Refusal(TAG);
  }
}

function parseTagRule(item: string): TagRule | Refusal {
  const [, name, kind, value] = /^\s*([^=\s]+)\s*=\s*([a-z-]+):(.+?)\s*$/s.exec(item) ?? [];
  if (name === undefined || kind === undefined || value === undefined) return new Refusal(TAG);
  const tag = parseTag(name);
  if (tag instanceof Refusal) return tag;
  const match = matchOf(kind, value);
  return match instanceof Refusal ? match : { tag, match };
}

export const parseTagRules = (items: readonly string[]): readonly TagRule[] | Refusal =>
  each(items, parseTagRule, () => undefined);

function parseBoot(item: string): GivenBoot | Refusal {
  const found = scoped(item);
  if (found instanceof Refusal) return found;
  const [file = '', server, ...more] = found.rest.split(',').map(part => part.trim());
  if (file === '' || more.length > 0) return new Refusal(BOOT);
  if (Buffer.byteLength(file) > MAX_FILE)
    return new Refusal(`names a file with ${Buffer.byteLength(file)} bytes; expected at most ${MAX_FILE}`);
  if (server === undefined) return { scope: found.scope, file, server: undefined };
  const address = parseIp4(server);
  const name = /^[\d.]+$/.test(server) ? new Refusal(BOOT) : parseDomain(server);
  if (address === undefined && name instanceof Refusal)
    return new Refusal(`names the server ${JSON.stringify(server)}; expected an IPv4 address or a name`);
  return { scope: found.scope, file, server: address ?? server };
}

export const parseBoots = (items: readonly string[]): readonly GivenBoot[] | Refusal =>
  each(items, parseBoot, ({ scope }) => `a boot file for ${scopeText(scope)}`);
