/**
 * The host's own name servers: what its resolv.conf says, and which of them guests can use themselves. Those are told to
 * guests where no DNS service of ours runs, and the egress policy knows them. A stub on the host's loopback
 * (systemd-resolved's 127.0.0.53) is of no use to a guest, so the servers behind it are read instead; where there are none
 * the guests get none.
 */
import { readFileSync } from 'node:fs';
import { type Ip4, parseIp4 } from '../wire/address.ts';

export const RESOLV_CONF = '/etc/resolv.conf';
/** First what the host uses, then what stands behind its stub. */
const FILES = [RESOLV_CONF, '/run/systemd/resolve/resolv.conf'];
/** As many as resolvers of clients look at: MAXNS in resolv.h. */
export const MAX_NAMESERVERS = 3;

const readText = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // not there, or not ours to read: the same to a guest
  }
};

/** What stands behind `nameserver` in the text of a resolv.conf(5), in order; as in the C library, no blank may be before it. */
export const nameserversIn = (text: string): string[] =>
  text.split('\n').flatMap(line => /^nameserver[ \t]+([^\s#;]+)/.exec(line)?.[1] ?? []);

/** Usable from elsewhere than the host itself: not loopback, not 0.0.0.0, not group or broadcast. */
const usable = (ip: Ip4): boolean => ip >>> 24 !== 127 && ip >>> 24 !== 0 && ip >>> 24 < 224;

/** The IPv4 name servers in the text of a resolv.conf(5) that a guest can use, in order. */
export function resolversIn(text: string): Ip4[] {
  const found: Ip4[] = [];
  for (const word of nameserversIn(text)) {
    const ip = parseIp4(word);
    if (ip !== undefined && usable(ip) && !found.includes(ip)) found.push(ip);
  }
  return found.slice(0, MAX_NAMESERVERS);
}

/** The host's resolvers that a guest can use; empty when there are none. Reads files, so not for every message. */
export function hostResolvers(read: (path: string) => string = readText): Ip4[] {
  for (const path of FILES) {
    const found = resolversIn(read(path));
    if (found.length > 0) return found;
  }
  return [];
}
