/** An address of the host with a TCP port, as the operator writes it. */
import { isIPv4, isIPv6 } from 'node:net';
import type { Endpoint } from '../config.ts';
import { Refusal } from './schema.ts';

export const ENDPOINT =
  'expected an address of this host and a TCP port, such as 127.0.0.1:9560, [::1]:9560 or 0.0.0.0:9560';
const SHAPE = /^(?:\[([^\]%]+)\]|([^:]+)):([1-9]\d{0,4})$/;

/** IPv6 addresses stand in brackets (RFC 3986 §3.2.2). */
export function parseEndpoint(value: string): Endpoint | Refusal {
  const [, six, four, digits] = SHAPE.exec(value) ?? [];
  const port = Number(digits);
  if (!(port <= 65_535)) return new Refusal(ENDPOINT);
  if (six !== undefined && isIPv6(six)) return { address: six, port };
  return four !== undefined && isIPv4(four) ? { address: four, port } : new Refusal(ENDPOINT);
}
