/**
 * Whom the forwarder asks: the host's own name servers, as resolv.conf(5) has them, followed as they change. We run on the
 * host, so a stub on its loopback is as good as any: systemd-resolved's 127.0.0.53 follows links and VPNs by itself. Our own
 * address is left out, or questions would go round in circles.
 */
import { readFileSync, statSync } from 'node:fs';
import { isIP, isIPv4 } from 'node:net';
import { DNS_PORT } from '../../wire/dns.ts';
import { MAX_NAMESERVERS, nameserversIn, RESOLV_CONF } from '../resolvers.ts';
import type { Upstream } from './upstream.ts';

/** How often the file is looked at, at most. */
const LOOK_MS = 1_000;

/**
 * The name servers in the text of a resolv.conf, in order, without those in `own`. Options are for clients: how often and how
 * long to ask we know better. What is no address is passed over, as in the C library.
 */
export function upstreamsIn(text: string, own: readonly string[]): Upstream[] {
  const found: Upstream[] = [];
  for (const word of nameserversIn(text)) {
    if (isIP(word) === 0) continue;
    // connecting to the unspecified address reaches the host itself; resolv.conf means just that by it
    const address = word === '0.0.0.0' ? '127.0.0.1' : word === '::' ? '::1' : word;
    if (isOwn(address, own) || found.some(each => each.address === address)) continue;
    found.push({ address, port: DNS_PORT });
  }
  return found.slice(0, MAX_NAMESERVERS);
}

/** IPv4 in IPv6 reaches the same. */
function isOwn(address: string, own: readonly string[]): boolean {
  const mapped = address.toLowerCase().replace(/^::ffff:/, '');
  return own.includes(isIPv4(mapped) ? mapped : address);
}

/** What of a file is looked at; undefined: it is not there, or can't be read. */
export interface WatchedFile {
  /** Another one where the file may have changed. */
  stamp(): string | undefined;
  text(): string | undefined;
}

export const watchedFile = (path: string): WatchedFile => {
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch {
      return undefined;
    }
  };
  return {
    // through the symbolic link that it mostly is; a file that was replaced has another inode
    stamp: () =>
      attempt(() => {
        const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
        return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
      }),
    text: () => attempt(() => readFileSync(path, 'utf8')),
  };
};

export interface HostUpstreamsOptions {
  /** Addresses at which we answer ourselves. */
  readonly own: readonly string[];
  nowMs(): number;
  log(level: 'info' | 'warn', sentence: string): void;
  readonly file?: WatchedFile;
}

/** The host's name servers at any time: a function for ResolverOptions. */
export function hostUpstreams({ own, nowMs, log, file = watchedFile(RESOLV_CONF) }: HostUpstreamsOptions) {
  let list: readonly Upstream[] | undefined;
  let stamp: string | undefined;
  let lookedMs = Number.NEGATIVE_INFINITY;
  return (): readonly Upstream[] => {
    const now = nowMs();
    if (list !== undefined && now - lookedMs < LOOK_MS) return list;
    lookedMs = now;
    const latest = file.stamp();
    if (list !== undefined && latest === stamp) return list;
    stamp = latest;
    const found = upstreamsIn(file.text() ?? '', own);
    const names = found.map(({ address }) => address).join(', ');
    if (list !== undefined && names === list.map(({ address }) => address).join(', ')) return list;
    if (names === '')
      log('warn', `${RESOLV_CONF} names no DNS server: guests' questions about other names fail`);
    else log('info', `guests' questions about other names are asked of ${names}`);
    list = found;
    return list;
  };
}
