/** Which link events are about a tap, by where it is served. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type LinkEvent, RTM_DELLINK, RTM_NEWLINK } from '../../src/host/netlink.ts';
import { concerns, newTap, type Tap } from '../../src/host/tapstate.ts';

const ALIAS = 'vswitchd:vsw0:tap0';
const tap = (state: Partial<Tap>, netns?: string): Tap => ({
  ...newTap({ name: 'tap0', end: 'auto', ...(netns === undefined ? {} : { netns }) }, 'vsw0'),
  ...state,
});
const event = (type: LinkEvent['type'], ifindex: number, name: string, alias = ''): LinkEvent => ({
  type,
  ifindex,
  name,
  alias,
  mtu: 1500,
  up: true,
  lowerUp: false,
});
const comes = (ifindex: number, name: string, alias?: string): LinkEvent =>
  event(RTM_NEWLINK, ifindex, name, alias);
const goes = (ifindex: number, name: string, alias?: string): LinkEvent =>
  event(RTM_DELLINK, ifindex, name, alias);

const none = tap({});
const here = tap({ end: 'interface', ifindex: 5, shielded: 'tap0' });
const away = tap({ end: 'device', ifindex: 5, netns: 'red' });
/** The data plane's word came before the kernel's: its interface was renamed here, and is no longer served. */
const lost = tap({ end: 'none', ifindex: 5, shielded: 'eth5' });
const elsewhere = tap({}, 'red');

const rows: readonly (readonly [what: string, tap: Tap, event: LinkEvent, expected: boolean])[] = [
  ['nowhere: one of its name comes', none, comes(9, 'tap0'), true],
  ['nowhere: one with its alias comes, renamed', none, comes(9, 'eth0', ALIAS), true],
  ['nowhere: another comes', none, comes(9, 'tap1', 'vswitchd:vsw0:tap1'), false],
  ['nowhere: one of its name passes through', none, goes(9, 'tap0'), true],
  ['nowhere: one of index 0 is none of its', none, goes(0, 'tap1'), false],
  ['here: carrier, whatever its name is by now', here, comes(5, 'eth0'), true],
  ['here: another index, its own name', here, comes(6, 'tap0'), false],
  ['here: it goes', here, goes(5, 'tap0'), true],
  ['here: another goes', here, goes(6, 'tap0', ALIAS), false],
  ['away: it comes back', away, comes(7, 'eth0', ALIAS), true],
  ['away: one of its name comes', away, comes(7, 'tap0'), true],
  ['away: its leaving, told late', away, goes(5, 'tap0', ALIAS), false],
  ['lost: its leaving', lost, goes(5, 'eth5'), true],
  ['lost: an index used anew', lost, goes(5, 'veth0'), false],
  ['lost: a name used anew', lost, goes(6, 'eth5'), false],
  ['in a namespace from the start: its name here is somebody else’s', elsewhere, comes(9, 'tap0'), false],
  ['in a namespace from the start: so it is when that goes', elsewhere, goes(9, 'tap0'), false],
  ['in a namespace from the start: its alias is its own', elsewhere, comes(9, 'tap0', ALIAS), true],
];

for (const [what, state, about, expected] of rows)
  test(what, () => assert.is(concerns(state, about), expected));

test.run();
