/**
 * What guests are called. The name in a lease is one label that DNS can serve (RFC 1123 §2.1): the reservation's, else what
 * the guest says in option 81 (RFC 4702), else in option 12. A guest may have any name but another's reserved one and those
 * that programs trust: whoever reads the lease, a hook or a port forward by name, shall not take one guest for another.
 *
 * The answer to option 81: S when the name is served, N when none is, O when that is not what the client asked for. Who says
 * N gets no name, unless one is reserved for it.
 */
import { Code, type DhcpMessage } from '../../wire/dhcp.ts';
import { emitClientName, FQDN, parseClientName } from '../../wire/dhcpvalues.ts';

const MAX_LABEL = 63;

/**
 * Names by which programs find what they then trust: a guest that was called so would be everybody's proxy or router.
 * Windows' DNS server blocks the same two (its global query block list).
 */
export const NEVER = ['wpad', 'isatap'];
/** The switch's own name in the zone. */
export const GATEWAY_NAME = 'gateway';
const NOT_FOR_GUESTS: readonly string[] = [...NEVER, GATEWAY_NAME, 'localhost'];

export interface Naming {
  /** Empty: it has none. */
  readonly hostname: string;
  /** Option 81 for the reply, where the client sent one. */
  readonly answer: Uint8Array | undefined;
}

/** The first label in lower case, with hyphens for what no host name has; empty when nothing is left. */
export function labelOf(text: string): string {
  const [first = ''] = text.split(/[.\0]/, 1);
  const label = first
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-/, '')
    .slice(0, MAX_LABEL)
    .replace(/-$/, '');
  return NOT_FOR_GUESTS.includes(label) ? '' : label;
}

/** `reserved`: the reservation's name, or empty; `domain`: what the guests' names end with, or empty; `taken`: what is reserved. */
export function naming(
  message: DhcpMessage,
  reserved: string,
  domain: string,
  taken: ReadonlySet<string>,
): Naming {
  const value = message.options.get(Code.ClientName);
  const said = value === undefined ? undefined : parseClientName(value);
  const own = said?.label || plainName(message);
  const refuses = said !== undefined && (said.flags & FQDN.N) !== 0;
  const claimed = refuses ? '' : labelOf(own);
  const hostname = reserved || (taken.has(claimed) ? '' : claimed);
  return { hostname, answer: said === undefined ? undefined : answer(said.flags, hostname, domain) };
}

function plainName(message: DhcpMessage): string {
  const value = message.options.get(Code.HostName);
  return value === undefined ? '' : String.fromCharCode(...value.subarray(0, 255));
}

function answer(asked: number, hostname: string, domain: string): Uint8Array {
  const served = hostname === '' ? 0 : FQDN.S;
  const override = (asked & FQDN.S) === served ? 0 : FQDN.O;
  const flags = served | override | (asked & FQDN.E) | (served === 0 ? FQDN.N : 0);
  const complete = hostname !== '' && domain !== '';
  return emitClientName(flags, complete ? `${hostname}.${domain}` : hostname, complete);
}
