/** Port forwards as the operator writes them: `8080:192.168.100.10:80`, `udp/53:vm1:53`. */
import type { Forward } from '../config.ts';
import { parseIp4 } from '../wire/address.ts';
import { Refusal } from './schema.ts';
import { DOMAIN, parseDomain } from './values.ts';

export const FORWARD = 'expected PORT:GUEST:PORT, such as 8080:192.168.100.10:80 or udp/53:vm1:53';

const MAX_PORT = 65_535;

function parseForward(item: string): Forward | Refusal {
  const [, protocol = 'tcp', port, guest = '', guestPort] =
    /^(?:(tcp|udp)\/)?(\d{1,5}):([^:]+):(\d{1,5})$/.exec(item) ?? [];
  if (port === undefined || guestPort === undefined) return new Refusal(FORWARD);
  for (const number of [Number(port), Number(guestPort)])
    if (number < 1 || number > MAX_PORT)
      return new Refusal(`names the port ${number}; expected ports from 1 to ${MAX_PORT}`);
  const address = parseIp4(guest);
  const name = /^[\d.]+$/.test(guest) ? new Refusal(FORWARD) : parseDomain(guest);
  if (address === undefined && name instanceof Refusal)
    return new Refusal(
      `names the guest ${JSON.stringify(guest)}; ${name.why === DOMAIN ? FORWARD : name.why}`,
    );
  return {
    protocol: protocol as Forward['protocol'],
    port: Number(port),
    guest: address ?? guest,
    guestPort: Number(guestPort),
  };
}

export function parseForwards(items: readonly string[]): readonly Forward[] | Refusal {
  const forwards: Forward[] = [];
  for (const item of items) {
    const forward = parseForward(item.trim());
    if (forward instanceof Refusal) return forward;
    const { protocol, port } = forward;
    if (forwards.some(other => other.protocol === protocol && other.port === port))
      return new Refusal(`forwards ${protocol}/${port} twice; expected each port once`);
    forwards.push(forward);
  }
  return forwards;
}
