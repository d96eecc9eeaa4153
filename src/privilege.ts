/** What the host must let us do, asked before anything is touched, so that a refusal is one sentence. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { OperatorError } from './errors.ts';

/** Bits of the effective capability set, capabilities(7). */
const CAP_NET_ADMIN = 1n << 12n;
const CAP_NET_RAW = 1n << 13n;
const CAP_SYS_ADMIN = 1n << 21n;

export interface Rights {
  /** The effective capabilities as a bit set. */
  readonly capabilities: bigint;
  /** Where the tun driver's device is. */
  readonly tunDevice: string;
}

export function ownRights(): Rights {
  const [, hex = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return { capabilities: BigInt(`0x${hex}`), tunDevice: '/dev/net/tun' };
}

/** Throws an OperatorError when these taps, packet sockets or host changes would be refused. */
export function checkPrivilege(
  rights: Rights = ownRights(),
  taps: readonly { readonly name: string; readonly netns?: string }[] = [],
): void {
  const needed = CAP_NET_ADMIN | CAP_NET_RAW;
  if ((rights.capabilities & needed) !== needed)
    throw new OperatorError(
      'vswitchd must make taps and firewall rules, which this user may not; run it as root (sudo), or with CAP_NET_ADMIN and CAP_NET_RAW',
      { code: 'Privilege' },
    );
  const away = taps.find(tap => tap.netns !== undefined);
  if (away !== undefined && (rights.capabilities & CAP_SYS_ADMIN) === 0n)
    throw new OperatorError(
      `--taps ${away.name}@${away.netns}: this user may not enter namespaces; run vswitchd as root (sudo), or with CAP_SYS_ADMIN`,
      { code: 'Privilege' },
    );
  try {
    accessSync(rights.tunDevice, constants.R_OK | constants.W_OK);
  } catch (cause) {
    throw new OperatorError(
      `${rights.tunDevice} is missing or closed to us; load the driver with 'modprobe tun', or in a container pass '--device /dev/net/tun'`,
      { code: 'NoDevice', cause },
    );
  }
}
