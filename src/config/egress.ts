/** What the egress policy's rules must be beside the rest: about guests of the subnet, and about targets outside it. */
import type { EgressConfig, EgressGuest, Subnet, UplinkConfig } from '../config.ts';
import { formatIp4, type Network } from '../wire/address.ts';
import { guestFault, type Surroundings } from './addresses.ts';
import type { GivenSettings } from './given.ts';

/** Throws an OperatorError for rules that can't be. */
export function egressOf(given: GivenSettings, uplink: UplinkConfig, around: Surroundings): EgressConfig {
  const rules = given.value('egress-rule') ?? [];
  for (const name of ['egress', 'egress-rule'] as const)
    if (
      given.value(name) !== undefined &&
      (uplink.kind === 'bridge' || (uplink.kind === 'none' && name !== 'egress'))
    )
      given.refuse(name, `is given beside uplink ${uplink.kind}; expected one of the two`);
  for (const [item, { guest, target }] of rules.entries()) {
    const fault = egressGuestFault(guest, around);
    if (fault !== undefined) given.refuse('egress-rule', fault, item);
    if (target.kind === 'network' && isWithin(target, around.subnet))
      given.refuse(
        'egress-rule',
        `names the target ${networkText(target)}, which is in ${around.subnet.text}; expected one outside, as guests reach each other without the gateway`,
        item,
      );
  }
  return { rules, otherwise: given.value('egress') ?? 'all', resolvers: given.value('dns') ?? [] };
}

/** Why a rule's guest can't be one; undefined: it can. */
function egressGuestFault(
  guest: EgressGuest,
  { subnet, natAddress, ports }: Surroundings,
): string | undefined {
  if (guest.kind === 'tap' && !ports.includes(guest.name))
    return `names the guest ${guest.name}; expected one of the ports, an address in ${subnet.text} or a MAC address`;
  if (guest.kind !== 'network') return undefined;
  if (!isWithin(guest, subnet))
    return `names the guests ${networkText(guest)}, outside ${subnet.text}; expected addresses in it`;
  const fault = guest.mask === -1 ? guestFault(guest.network, subnet, natAddress) : undefined;
  return fault === undefined ? undefined : `${fault}; expected a guest's address in ${subnet.text}`;
}

/** A network's mask has no fewer bits than that of one that it is within; as signed numbers such masks are in order. */
const isWithin = ({ network, mask }: Network, subnet: Subnet): boolean =>
  (network & subnet.mask) === subnet.network && mask !== 0 && mask >= subnet.mask;

const networkText = ({ network, mask }: Network): string =>
  mask === -1 ? formatIp4(network) : `${formatIp4(network)}/${Math.clz32(~mask)}`;
