/** What `/metrics` shows beside the views, read from the data plane's shared memory. */
import type { Config } from './config.ts';
import type { Figures, FlowFigures } from './control/figures.ts';
import { readLoop } from './dataplane/loopstats.ts';
import type { SharedMemory } from './dataplane/messages.ts';
import { countFlows } from './gateway/flowcount.ts';
import { STATES, stateName } from './gateway/tcpstate.ts';
import { UNSPECIFIED } from './wire/address.ts';
import * as ip4 from './wire/ipv4.ts';

export const figuresOf = (
  { natAddress }: Pick<Config, 'natAddress'>,
  memory: Pick<SharedMemory, 'loop' | 'flows'>,
): Figures => ({
  loop: readLoop(memory.loop),
  flows: natAddress === UNSPECIFIED ? undefined : flowFigures(memory.flows),
});

function flowFigures(memory: SharedArrayBuffer): FlowFigures {
  const { most, byKind, opened, tableFull, guestFull, noPort } = countFlows(memory);
  const counts = new Map(
    [['icmp', '-'], ['udp', '-'], ...STATES.map(state => ['tcp', state])].map(kind => [kind.join(' '), 0]),
  );
  for (const [kind, count] of byKind) {
    const protocol = kind & 0xff;
    const name =
      protocol === ip4.TCP ? `tcp ${stateName(kind >> 8)}` : protocol === ip4.UDP ? 'udp -' : 'icmp -';
    counts.set(name, (counts.get(name) ?? 0) + count);
  }
  return {
    most,
    counts: [...counts].map(([name, count]) => {
      const [protocol, state] = name.split(' ') as [string, string];
      return { protocol, state, count };
    }),
    opened,
    refused: { 'table-full': tableFull, 'guest-full': guestFull, 'no-port': noPort },
  };
}
