/**
 * The host's own name servers, for guests to use. A stub on the host's loopback (systemd-resolved's 127.0.0.53) is of no
 * use to a guest, so the servers behind it are read instead; where there are none the guests get none.
 */
import { readFileSync } from 'node:fs';
import { type Ip4, parseIp4 } from '../../wire/address.ts';

/** First what the host uses, then what stands behind its stub. */
const FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];
/** As many as resolvers of clients look at: MAXNS in resolv.h. */
const MAX_RESOLVERS = 3;

const readText = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // not there, or not ours to read: the same to a guest
  }
};

/** Usable from elsewhere than the host itself: not loopback, not 0.0.0.0, not group or broadcast. */
const usable = (ip: Ip4): boolean => ip >>> 24 !== 127 && ip >>> 24 !== 0 && ip >>> 24 < 224;

/** The IPv4 name servers in the text of a resolv.conf(5) that a guest can use, in order. */
export function resolversIn(text: string): Ip4[] {
  const found: Ip4[] = [];
  for (const line of text.split('\n')) {
    const ip = parseIp4(/^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '');
    if (ip !== undefined && usable(ip) && !found.includes(ip)) found.push(ip);
  }
  return found.slice(0, MAX_RESOLVERS);
}

/** The host's resolvers that a guest can use; empty when there are none. Reads files, so not for every message. */
export function hostResolvers(read: (path: string) => string = readText): Ip4[] {
  for (const path of FILES) {
    const found = resolversIn(read(path));
    if (found.length > 0) return found;
  }
  return [];
}
